//! Decides the next step of a run, as a pure function of the observed state.
//!
//! ```text
//! observe ──► Observed ──► decide ──► Decision ──► act (effects), publish (status), wait (wake)
//! ```
//!
//! This file defines the observed state, and `run/decision.rs` the result. The other files are:
//!
//! - `run/decide.rs`: the order of the rules.
//! - `run/arrivals.rs`: how long a run waits for missing objects.
//! - `run/select.rs`: which nodes a run has.
//! - `run/baseline.rs`: which baseline a run has.
//! - `run/stop.rs`: how a run ends, at its regular end or earlier.
//! - `run/begin.rs`: how nodes are started.
//! - `run/progress.rs`: the progress of one node.
//! - `run/order.rs`: which nodes are begun after others, and which are never in flight together.
//! - `run/rollout.rs`: stages, budgets and fault domains: which nodes may be begun at present, and when none is.
//! - `run/runners.rs`: which runner works on a node.
//! - `run/paths.rs`: which network paths must be open for a node.
//! - `run/waiting.rs`: what nodes and runs wait for.
//! - `run/status.rs`: the status of the run.
//!
//! This module does not know how a node is updated. That is the task of the runner, which receives its work
//! as a NodeUpdate.

mod arrivals;
mod baseline;
mod begin;
mod conclude;
mod decide;
mod decision;
mod order;
mod paths;
mod progress;
mod rollout;
mod runners;
mod select;
mod state;
mod status;
mod stop;
mod waiting;

pub use arrivals::{Arrivals, SETTLE};
pub use baseline::BaselineId;
pub use decide::decide;
pub use decision::{
    Cond, CondStatus, Counts, Decision, Effect, Failing, RunSummary, StageState, StageSummary, WaitingOn,
    Wake,
};
pub use order::{
    BY_TYPE, IfUnreachable, MachineKind, Manager, OrderPolicy, OrderStep, OrderedNode, Relations, TypeEdge,
    groups,
};
pub use paths::{NetworkPaths, PathState};
pub use rollout::{Approval, ApprovalGiven, Rollout, Spread, Stage, StageRecord};
pub use runners::{Runners, reassign};

use crate::model::{Millis, NodeName, RunName, RunnerName};
use crate::reason::Reason;
use crate::window::WindowState;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The input of a decision.
///
/// # Assumptions
///
/// The controller's own earlier writes are visible, including those of earlier leaders: the recorded list of
/// nodes, the recorded turns, the end of the run, the state of what was opened for the run, and every
/// NodeUpdate of the run with its intent. Read them from the API server, or wait until the cache has caught
/// up; otherwise more nodes may be started than allowed, or a node after the end of the run. All other input
/// may be stale: phases, holds, the baseline, and the user's desired state. Where stale input is not
/// sufficient, the decision requests a confirmed view, see [`Arrivals::confirmed`] and [`Decision::confirm`].
///
/// Decisions about runs that share nodes are made and carried out one after the other, so that
/// [`TargetFacts::claimed_by`] still holds when a node is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The current time.
    pub now: Millis,
    /// The run.
    pub run: RunFacts,
    /// The baseline of the run.
    pub baseline: BaselineFacts,
    /// How long the run waits for missing objects.
    pub arrivals: Arrivals,
    /// The network paths between runners and machines.
    pub paths: NetworkPaths,
    /// The live runners. This input may be stale, too: a node that is assigned to a runner that is gone is
    /// reassigned, see [`reassign`].
    pub runners: Runners,
    /// After the list of nodes is recorded, exactly the nodes of that list; before that, all nodes that the
    /// selector matches.
    pub targets: BTreeMap<NodeName, TargetFacts>,
    /// How many nodes of each fault domain are in flight in other runs, see [`Rollout::spread`]. As
    /// [`TargetFacts::claimed_by`], this must not be stale.
    pub busy_elsewhere: BTreeMap<Option<String>, usize>,
}

/// The facts about the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFacts {
    /// The name of the run.
    pub name: RunName,
    /// The user's current desired state.
    pub desired: Desired,
    /// The operation on each node.
    pub operation: Operation,
    /// The maximum number of nodes in progress at the same time.
    pub max_concurrent: Limit,
    /// In which manner the nodes are brought to the baseline.
    pub rollout: Rollout,
    /// What the run's status contains about each stage of the rollout; empty until the list of nodes is recorded.
    pub stages: Vec<StageRecord>,
    /// The approvals that users have given.
    pub approvals: Vec<ApprovalGiven>,
    /// The digest of the plans of all nodes that have a plan. After the first node has begun to carry out its plan,
    /// that of the plans as they were then.
    pub plan_digest: Option<String>,
    /// Whether the maintenance window is open; `None` if the run has none. Only updates wait for it.
    pub window: Option<WindowState>,
    /// Why the maintenance window cannot be used, with the field and the remedy.
    pub window_error: Option<String>,
    /// Whether the nodes were named one by one, so that one that does not exist is waited for.
    pub names_nodes: bool,
    /// What prevents the run from repeating another one; `None` if it may, or repeats none.
    pub retry: Option<RetryProblem>,
    /// Whether the types of machines order the nodes.
    pub order: OrderPolicy,
    /// The maximum number of further attempts after a failed attempt. The runner counts the attempts.
    pub retries: u32,
    /// Whether the run is being deleted.
    pub deleting: bool,
    /// How the run ended, if its status contains an end.
    pub finished: Option<RunEnd>,
    /// When the run ended.
    pub finished_at: Option<Millis>,
    /// How long the run is kept after its end.
    pub ttl: Option<Duration>,
    /// Fields that are set but that this version does not support.
    pub not_supported: Vec<String>,
    /// Whether the run's status contains the list of nodes.
    pub targets_recorded: bool,
    /// Nodes whose turn is recorded in the run's status, see [`Effect::RecordStarts`].
    pub starting: BTreeSet<NodeName>,
    /// Nodes whose turn to be planned is recorded in the run's status. A plan needs no order, so such a turn
    /// must not become a turn to be updated, even if the user changes the desired state meanwhile.
    pub planning: BTreeSet<NodeName>,
    /// Nodes that the recorded list omits because of `spec.hold`.
    pub left_out: Vec<NodeName>,
    /// Why the selector of the run or of a stage cannot be parsed, with the field.
    pub selector_error: Option<String>,
}

/// What prevents a run from repeating another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryProblem {
    /// The other run does not exist.
    Missing {
        /// Its name.
        run: RunName,
    },
    /// The other run has not ended.
    Unfinished {
        /// Its name.
        run: RunName,
    },
    /// The run names itself.
    Itself,
    /// Something else would be done on the machines.
    Differs {
        /// Its name.
        run: RunName,
        /// The fields that differ.
        fields: Vec<String>,
    },
}

/// The user's desired state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Desired {
    /// Carry out the run.
    Run,
    /// Plan all nodes and change nothing.
    Plan,
    /// Start no further nodes.
    Pause,
    /// End the run. This cannot be undone.
    Cancel,
}

/// The operation on each node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Read the inventory of the machine.
    Inventory,
    /// Transfer the payloads to the machine.
    Stage,
    /// Update the node to the baseline.
    Update,
}

/// A number of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// An absolute number.
    Count(u32),
    /// A percentage of the nodes of the run, rounded down, but at least one node.
    Percent(u32),
}

impl Limit {
    /// Returns the limit for a run with `total` nodes.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(percent) => {
                let percent = usize::try_from(percent).unwrap_or(usize::MAX);
                (total.saturating_mul(percent) / 100).max(1)
            }
        }
    }

    /// Returns how many of `total` nodes may fail, if this is a budget: a percentage may be no node at all.
    pub fn tolerated(self, total: usize) -> usize {
        match self {
            Self::Count(_) => self.of(total),
            Self::Percent(percent) => {
                total.saturating_mul(usize::try_from(percent).unwrap_or(usize::MAX)) / 100
            }
        }
    }
}

/// The facts about the baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaselineFacts {
    /// The operation needs no baseline.
    NotNeeded,
    /// The baseline does not exist.
    Missing {
        /// The name of the baseline.
        name: String,
    },
    /// The baseline of this name has another content than the one that the run began with, see
    /// [`BaselineId::has_content_of`].
    Replaced {
        /// The name of the baseline.
        name: String,
    },
    /// The baseline cannot be carried out.
    Invalid {
        /// The cause and the remedy.
        message: String,
    },
    /// The baseline exists and is valid.
    Ready,
}

/// The facts about one node of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFacts {
    /// Whether the ManagedNode exists.
    pub exists: bool,
    /// When the ManagedNode was created, by the API server's clock; zero if the ManagedNode does not exist.
    pub created: Millis,
    /// The node's `spec.hold`.
    pub hold: bool,
    /// Another run that has a NodeUpdate in flight on this node (see [`UpdateFacts::in_flight`]) or a
    /// recorded turn for it. A plan that waits for its run to be carried out claims nothing, because two
    /// plans for the same node would wait for each other.
    pub claimed_by: Option<RunName>,
    /// Why nothing can be done with the node until the user corrects its spec: a reason, and a message that
    /// says what to correct.
    pub unfit: Option<(Reason, String)>,
    /// How the node is related to other nodes.
    pub relations: Relations,
    /// The recorded stage of the node, as an index of [`Rollout::stages`]; zero if the run has none.
    pub stage: usize,
    /// Before the list of nodes is recorded: the stages whose selectors select the node, in their order.
    pub selected_by: Vec<usize>,
    /// How long an update of the node takes, as far as that is known.
    pub expected: Option<Duration>,
    /// The fault domain of the node, see [`Rollout::spread`]; `None` if the node does not tell.
    pub domain: Option<String>,
    /// Whether the machine has to connect to the callback server: the engine of a machine whose channel is
    /// `Callback` always, a machine without an engine only while it fetches an image. So a node at work
    /// may begin to need the ports, and stop needing them.
    pub calls_back: bool,
    /// The NodeUpdate of this run on this node, if there is one.
    pub update: Option<UpdateFacts>,
}

/// The facts about a NodeUpdate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateFacts {
    /// The intent of the NodeUpdate.
    pub intent: Intent,
    /// The phase of the NodeUpdate.
    pub phase: UpdatePhase,
    /// The runner to which the NodeUpdate is assigned.
    pub runner: RunnerName,
    /// Whether the NodeUpdate has a finalizer that its runner must remove before the object can be deleted.
    pub kept: bool,
}

impl UpdateFacts {
    /// Reports whether the NodeUpdate has ended: nothing of it is on the machine, and no attempt follows.
    pub const fn is_done(&self) -> bool {
        matches!(self.phase, UpdatePhase::Done(_))
    }

    /// Reports whether a runner has work to do for the NodeUpdate, now or after a change of intent.
    pub const fn needs_runner(&self) -> bool {
        !self.is_done() || self.kept
    }

    /// Reports whether the NodeUpdate waits for its run to be carried out, with nothing of it on the machine.
    pub const fn is_planned(&self) -> bool {
        matches!((self.intent, &self.phase), (Intent::Plan, UpdatePhase::Planned))
    }

    /// Reports whether the NodeUpdate is working on the machine, or may start to at any moment.
    ///
    /// A plan that is being given up is not in flight: the machine is clean, and no work follows there.
    pub const fn in_flight(&self) -> bool {
        match (&self.phase, self.intent) {
            (UpdatePhase::Done(_), _) | (UpdatePhase::Planned, Intent::Plan | Intent::Cancel) => false,
            (UpdatePhase::Planned, Intent::Run)
            | (
                UpdatePhase::Pending
                | UpdatePhase::Working { .. }
                | UpdatePhase::Awaiting { .. }
                | UpdatePhase::WaitingForRetry { .. },
                _,
            ) => true,
        }
    }
}

/// The intent of a NodeUpdate. It only moves forward, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Intent {
    /// Plan the work, and change nothing.
    Plan,
    /// Carry out the plan.
    Run,
    /// Finish the component in progress, clean up, and end.
    Cancel,
}

/// The phase of a NodeUpdate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdatePhase {
    /// No runner has accepted the NodeUpdate yet.
    Pending,
    /// A runner is working on the NodeUpdate.
    Working {
        /// The current step, for users.
        step: String,
    },
    /// The runner waits for a missing object that the work needs.
    Awaiting {
        /// Which kind of object is missing, see [`Reason::may_arrive`].
        reason: Reason,
        /// A description of the missing object.
        message: String,
    },
    /// An attempt failed, and another attempt follows.
    WaitingForRetry {
        /// Time of the next attempt.
        at: Millis,
        /// Why the last attempt failed.
        reason: Reason,
    },
    /// The plan is complete, and nothing is on the machine.
    Planned,
    /// The NodeUpdate has ended, and nothing is on the machine.
    Done(NodeEnd),
}

/// The result of a NodeUpdate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEnd {
    /// The requested work is done and verified.
    Succeeded,
    /// The requested work is not done.
    Failed {
        /// The cause.
        reason: Reason,
        /// The cause in words.
        message: String,
    },
    /// The machine was never reached.
    Unreachable {
        /// The cause.
        reason: Reason,
        /// The cause in words.
        message: String,
    },
    /// The NodeUpdate was cancelled.
    Cancelled,
}

/// The result of a run. It is final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// Whether every node succeeded.
    pub succeeded: bool,
    /// The reason for the result.
    pub reason: Reason,
    /// The reason in words.
    pub message: String,
}

#[cfg(test)]
mod tests;
