//! The result of a decision: effects, waits, the status, and the time of the next decision.

use super::{Intent, OrderStep, RunEnd};
use crate::model::{Millis, NodeName, RunnerName};
use crate::reason::Reason;

/// The next step of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The changes to make, in this order. Execution may stop after any effect; the next decision
    /// continues from there.
    pub effects: Vec<Effect>,
    /// Each node that has not ended, and what it waits for, sorted by name.
    pub waiting: Vec<(NodeName, WaitingOn)>,
    /// The run's status.
    pub status: RunSummary,
    /// When to decide again.
    pub wake: Wake,
    /// Whether the view must be confirmed before the run may end or record its list of nodes. Such
    /// a decision has no effects: compare the caches with the API server, observe, and decide
    /// again.
    pub confirm: bool,
}

impl Decision {
    /// Returns the same decision with a wake-up at this time at the latest.
    pub(super) fn no_later_than(self, at: Millis) -> Self {
        let wake = match self.wake {
            Wake::At(sooner) if sooner <= at => Wake::At(sooner),
            Wake::At(_) | Wake::OnChange => Wake::At(at),
        };
        Self { wake, ..self }
    }
}

/// A change outside of this crate. Every effect is idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Writes the list of nodes into the run's status. The list never changes afterwards.
    ///
    /// The write is conditional on the observed version of the run and is rejected if the run has
    /// changed: a late write must not replace a list that is in use.
    RecordTargets {
        /// The nodes of the run.
        nodes: Vec<NodeName>,
        /// Nodes that match the selector but are omitted because of `spec.hold`.
        left_out: Vec<NodeName>,
        /// The number of nodes of each stage; the nodes are listed by stage. Empty if the run has no stages.
        stages: Vec<usize>,
    },
    /// Adds nodes to the recorded turns in the run's status: see [`RunSummary::starting`]. A later
    /// decision starts them, when it sees this record.
    ///
    /// As for the list of nodes, the write is conditional on the observed version of the run.
    RecordStarts {
        /// The nodes to add.
        nodes: Vec<NodeName>,
    },
    /// Creates the NodeUpdate of a node. An existing NodeUpdate is left unchanged.
    Start {
        /// The node.
        node: NodeName,
        /// The intent of the NodeUpdate.
        intent: Intent,
        /// The runner to which the NodeUpdate is assigned.
        runner: RunnerName,
    },
    /// Changes the intent of a NodeUpdate. The intent never moves backward: see [`Intent`].
    SetIntent {
        /// The node.
        node: NodeName,
        /// The new intent.
        intent: Intent,
    },
    /// Opens the network paths that the run's nodes need, or adapts them to the current need. The
    /// result is observed, see [`super::NetworkPaths`].
    OpenPaths,
    /// Closes all network paths that are open for the run.
    ClosePaths,
    /// Removes the run's finalizer, because nothing of the run is on any machine.
    ReleaseRun,
    /// Deletes the run, because its TTL has expired.
    DeleteRun,
}

/// What a node or a run waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingOn {
    /// The reason.
    pub reason: Reason,
    /// The reason in words.
    pub message: String,
    /// When the wait ends, if that is known.
    pub until: Option<Millis>,
}

/// When to decide again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// When any input of the decision changes.
    OnChange,
    /// When any input of the decision changes, and at this time at the latest.
    At(Millis),
}

/// The status of a run, before it is converted to the API type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSummary {
    /// The number of nodes by progress.
    pub counts: Counts,
    /// Nodes whose turn is recorded and whose NodeUpdate is not visible yet, sorted by name. Each
    /// counts as in progress.
    pub starting: Vec<NodeName>,
    /// As `starting`, for nodes whose turn is to be planned.
    pub planning: Vec<NodeName>,
    /// The order of the nodes; empty if it has one step and no partners.
    pub order: Vec<OrderStep>,
    /// The stages of the run; empty if it has none, or has not recorded its list of nodes.
    pub stages: Vec<StageSummary>,
    /// Every node that failed or was not reached, sorted by name; then every node that was not begun because
    /// of another one, sorted by name.
    pub failing: Vec<Failing>,
    /// When the run stops waiting for missing objects; `None` while this wait has not begun.
    pub arrival_deadline: Option<Millis>,
    /// Whether the plan is known.
    pub planned: Cond,
    /// Whether work is in progress.
    pub progressing: Cond,
    /// Whether the machines can reach the addresses that they need.
    pub exposed: Cond,
    /// Why the run starts no further nodes, in words; `None` if it does.
    pub halt: Option<String>,
    /// `BudgetExceeded`: whether more nodes failed or were not reached than the run tolerates.
    pub budget: Cond,
    /// `Unknown` until the end, then `True` or `False`, which is final.
    pub succeeded: Cond,
    /// For kstatus: whether the run has succeeded.
    pub ready: Cond,
    /// For kstatus: whether the run is in progress.
    pub reconciling: Cond,
    /// For kstatus: whether the run cannot continue by itself.
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

/// The number of nodes of a run by progress. `total` is the sum of the other fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All nodes of the run.
    pub total: u32,
    /// Not started, or planned and waiting.
    pub pending: u32,
    /// In progress.
    pub in_progress: u32,
    /// Done and verified.
    pub succeeded: u32,
    /// Failed.
    pub failed: u32,
    /// Never reached.
    pub unreachable: u32,
    /// Cancelled by the user.
    pub cancelled: u32,
    /// Not begun, because a node before them or a partner did not succeed, or because the run starts no further
    /// nodes.
    pub skipped: u32,
}

/// The progress of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageSummary {
    /// The name of the stage.
    pub name: String,
    /// The number of its nodes.
    pub nodes: usize,
    /// How far it is.
    pub state: StageState,
    /// The nodes that succeeded.
    pub succeeded: usize,
    /// The nodes that failed.
    pub failed: usize,
    /// The nodes that were never reached.
    pub unreachable: usize,
    /// When its first node was given its turn.
    pub started_at: Option<Millis>,
    /// When all its nodes were first seen to have ended.
    pub finished_at: Option<Millis>,
    /// The digest of the plan for which its approval was given.
    pub approved: Option<String>,
}

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageState {
    /// An earlier stage comes first, or the plans of the nodes are not known yet.
    Waiting,
    /// A user has to approve it.
    AwaitingApproval,
    /// Its nodes are worked on.
    InProgress,
    /// Its nodes have ended, and the next stage begins later.
    Soaking {
        /// When the next stage begins.
        until: Millis,
    },
    /// Its nodes have ended.
    Finished,
    /// The run starts no further nodes, and not all of this stage were begun or too few succeeded.
    Stopped,
}

/// A node that failed, was not reached, or was not begun because of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The node.
    pub node: NodeName,
    /// The reason.
    pub reason: Reason,
    /// The reason in words.
    pub message: String,
}

/// A condition, without its type and its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cond {
    /// Whether it holds.
    pub status: CondStatus,
    /// The reason.
    pub reason: Reason,
    /// The reason in words.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CondStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// It is not known yet whether the condition holds.
    Unknown,
}
