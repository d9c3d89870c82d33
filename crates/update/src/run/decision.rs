//! What comes out of a decision: effects, waits, status, and when to decide again.

use super::{Intent, RunEnd};
use crate::model::{Millis, NodeName, RunnerName};
use crate::reason::Reason;

/// What a run does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is to be changed, in this order. It may stop after any of them: the next
    /// decision goes on from there.
    pub effects: Vec<Effect>,
    /// Each node that is not at its end, and what it waits for, sorted by name.
    pub waiting: Vec<(NodeName, WaitingOn)>,
    /// The run's status.
    pub status: RunSummary,
    /// When to decide again.
    pub wake: Wake,
    /// Whether the view must be confirmed before the run may end or record its list of nodes. The
    /// decision has no effects then: compare the caches with the API server, observe, decide again.
    pub confirm: bool,
}

impl Decision {
    /// The same decision, to be made again at this time at the latest.
    pub(super) fn no_later_than(self, at: Millis) -> Self {
        let wake = match self.wake {
            Wake::At(sooner) if sooner <= at => Wake::At(sooner),
            Wake::At(_) | Wake::OnChange => Wake::At(at),
        };
        Self { wake, ..self }
    }
}

/// A change to the world. Each may be carried out twice without harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Writes the list of nodes into the run's status. It stays as it is from then on.
    ///
    /// To be written against the version of the run that was observed, and refused if the
    /// run has changed: a late write must not replace a list that is in use.
    RecordTargets {
        /// The nodes of the run.
        nodes: Vec<NodeName>,
        /// Nodes that match the selector and are left out because of `spec.hold`.
        left_out: Vec<NodeName>,
    },
    /// Adds nodes to those whose turn has come, in the run's status: see [`RunSummary::starting`].
    /// They are begun by a later decision, when this is seen to be written.
    ///
    /// Like the list of nodes, to be written against the version of the run that was observed.
    RecordStarts {
        /// The nodes that are added.
        nodes: Vec<NodeName>,
    },
    /// Creates the NodeUpdate of a node. If there is one already, that is left as it is.
    Start {
        /// The node.
        node: NodeName,
        /// What it is to do.
        intent: Intent,
        /// The runner that it is handed to.
        runner: RunnerName,
    },
    /// Changes what a NodeUpdate is to do. Never backward: see [`Intent`].
    SetIntent {
        /// The node.
        node: NodeName,
        /// What it is to do.
        intent: Intent,
    },
    /// Opens what the run's nodes need, or keeps it as they need it now. What came of it is
    /// observed, see [`super::NetworkPaths`].
    OpenWays,
    /// Closes all that is open for the run.
    CloseWays,
    /// Removes the run's finalizer: nothing of it is on any machine.
    ReleaseRun,
    /// Deletes the run: its time is over.
    DeleteRun,
}

/// What something waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingOn {
    /// Why.
    pub reason: Reason,
    /// In words.
    pub message: String,
    /// Until when, if that is known.
    pub until: Option<Millis>,
}

/// When to decide again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// When something changes that the decision depends on.
    OnChange,
    /// The same, and not later than at this time.
    At(Millis),
}

/// A run's status, before it becomes one of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// How many nodes stand how.
    pub counts: Counts,
    /// Nodes whose turn has come and whose NodeUpdate was not seen yet, sorted by name. Each
    /// counts as being worked on.
    pub starting: Vec<NodeName>,
    /// Every node that failed or was not reached, sorted by name.
    pub failing: Vec<Failing>,
    /// When the run stops waiting for objects that do not exist yet; `None` once it has ended.
    pub arrival_deadline: Option<Millis>,
    /// Whether it is known what will be done.
    pub planned: Cond,
    /// Whether anything moves.
    pub progressing: Cond,
    /// Whether machines can reach what they have to.
    pub exposed: Cond,
    /// `BudgetExceeded`: whether more nodes failed than the run tolerates.
    pub budget: Cond,
    /// `Unknown` until the end, then `True` or `False` for good.
    pub succeeded: Cond,
    /// For kstatus: whether it ended well.
    pub ready: Cond,
    /// For kstatus: whether it is under way.
    pub reconciling: Cond,
    /// For kstatus: whether it cannot get any further by itself.
    pub stalled: Cond,
}

impl RunSummary {
    /// How the run ended; `None` while it has not.
    pub fn end(&self) -> Option<RunEnd> {
        let succeeded = match self.succeeded.status {
            CondStatus::True => true,
            CondStatus::False => false,
            CondStatus::Unknown => return None,
        };
        Some(RunEnd { succeeded, reason: self.succeeded.reason, message: self.succeeded.message.clone() })
    }
}

/// How many nodes of a run stand how. `total` is the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All nodes of the run.
    pub total: u32,
    /// Not begun, or planned and waiting.
    pub pending: u32,
    /// Being worked on.
    pub in_progress: u32,
    /// Done and proven.
    pub succeeded: u32,
    /// Not done.
    pub failed: u32,
    /// Never reached.
    pub unreachable: u32,
    /// Given up by the user's decision.
    pub cancelled: u32,
}

/// A node that failed or was not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The node.
    pub node: NodeName,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub message: String,
}

/// A condition, without its type and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cond {
    /// Whether it holds.
    pub status: CondStatus,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CondStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// It is not known yet.
    Unknown,
}
