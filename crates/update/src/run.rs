//! What a run does next, as a pure function of what is observed.
//!
//! ```text
//! observe ──► Observed ──► decide ──► Decision ──► act (effects), publish (status), wait (wake)
//! ```
//!
//! This module holds what is observed, `run/decision.rs` what comes out. `run/decide.rs` has
//! the order of the rules, `run/arrivals.rs` how long missing objects are waited for, `run/select.rs`
//! which nodes a run has, `run/stop.rs` how a run comes to its end before its time,
//! `run/begin.rs` how nodes are begun, `run/progress.rs` how one node stands, `run/runners.rs` who works on it, `run/paths.rs` what must be open for it,
//! `run/status.rs` how it is told. How a node is
//! updated is not known here: that is the runner's, with a NodeUpdate in between.

mod arrivals;
mod begin;
mod conclude;
mod decide;
mod decision;
mod paths;
mod progress;
mod runners;
mod select;
mod state;
mod status;
mod stop;
mod waiting;

pub use arrivals::{Arrivals, SETTLE};
pub use decide::decide;
pub use decision::{Cond, CondStatus, Counts, Decision, Effect, Failing, RunSummary, WaitingOn, Wake};
pub use paths::{NetworkPaths, PathState};
pub use runners::{Runners, reassign};

use crate::model::{Millis, NodeName, RunName, RunnerName};
use crate::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Everything that a decision depends on.
///
/// # Assumptions
///
/// Our own earlier writes are seen, those of earlier leaders among them: the recorded list, the
/// recorded turns and the end of the run, what was opened for it, and every NodeUpdate of it with its intent. Read them from the API server, or wait until the cache
/// has caught up; otherwise more nodes than allowed may be begun, or one after the end.
/// Everything else may be as old as it likes: phases, holds, the baseline, what the user
/// wants. Where that is not enough, the decision asks for a confirmed view, see
/// [`Arrivals::confirmed`] and [`Decision::confirm`].
///
/// Decisions about runs that share nodes are made and carried out one after the other, so
/// that [`TargetFacts::claimed_by`] still holds when a node is begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The time.
    pub now: Millis,
    /// The run.
    pub run: RunFacts,
    /// Its baseline.
    pub baseline: BaselineFacts,
    /// How long objects are waited for that do not exist yet.
    pub arrivals: Arrivals,
    /// The ways between runners and machines.
    pub paths: NetworkPaths,
    /// The live runners. May be as old as it likes, too: what is handed to one that is gone is
    /// handed on, see [`reassign`].
    pub runners: Runners,
    /// Once the list of nodes is recorded, exactly the nodes of that list; before, all nodes
    /// that the selector matches.
    pub targets: BTreeMap<NodeName, TargetFacts>,
}

/// What is known of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFacts {
    /// Its name.
    pub name: RunName,
    /// What the user wants now.
    pub desired: Desired,
    /// What is done with each node.
    pub operation: Operation,
    /// How many nodes may be worked on at the same time.
    pub max_concurrent: Limit,
    /// How many attempts may follow a failed one. The runner counts them.
    pub retries: u32,
    /// Whether the run is being deleted.
    pub deleting: bool,
    /// How it ended, if its status says that it did.
    pub finished: Option<RunEnd>,
    /// When it ended.
    pub finished_at: Option<Millis>,
    /// How long it is kept after its end.
    pub ttl: Option<Duration>,
    /// Fields that are set and that this version does not support.
    pub not_supported: Vec<String>,
    /// Whether the list of nodes is in the run's status.
    pub targets_recorded: bool,
    /// Nodes whose turn is recorded in the run's status, see [`Effect::RecordStarts`].
    pub starting: BTreeSet<NodeName>,
    /// Nodes that were left out of the recorded list because of `spec.hold`.
    pub left_out: Vec<NodeName>,
    /// Why the selector cannot be read.
    pub selector_error: Option<String>,
}

/// What the user wants of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Desired {
    /// Carry it out.
    Run,
    /// Work everything out and change nothing.
    Plan,
    /// Begin no other node.
    Pause,
    /// End it. Final.
    Cancel,
}

/// What is done with each node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Everything that is installed is read.
    Inventory,
    /// Payloads are brought to the machine.
    Stage,
    /// The node is brought to the baseline.
    Update,
}

/// A number of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many.
    Count(u32),
    /// So many of a hundred nodes of the run, rounded down, but at least one.
    Percent(u32),
}

impl Limit {
    /// How many that are of `total` nodes.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(percent) => {
                let percent = usize::try_from(percent).unwrap_or(usize::MAX);
                (total.saturating_mul(percent) / 100).max(1)
            }
        }
    }
}

/// What is known of the baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaselineFacts {
    /// The operation needs none.
    NotNeeded,
    /// It does not exist.
    Missing {
        /// Its name.
        name: String,
    },
    /// It cannot be carried out.
    Invalid {
        /// Why, and what to do about it.
        message: String,
    },
    /// It is there and in order.
    Ready,
}

/// What is known of one node of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFacts {
    /// Whether the ManagedNode exists.
    pub exists: bool,
    /// When the ManagedNode was created, by the API server's clock; zero if it does not exist.
    pub created: Millis,
    /// Its `spec.hold`.
    pub hold: bool,
    /// Another run whose NodeUpdate on this node is in flight, see
    /// [`UpdateFacts::in_flight`], or for which its turn is recorded. A plan that waits for its run to be carried out claims
    /// nothing: two plans for the same node would wait for each other.
    pub claimed_by: Option<RunName>,
    /// Why nothing can be done with it until its owner corrects what is written of it, and what.
    pub unfit: Option<(Reason, String)>,
    /// Whether the machine calls the callback server back.
    pub calls_back: bool,
    /// The NodeUpdate of this run on this node, if there is one.
    pub update: Option<UpdateFacts>,
}

/// What is known of a NodeUpdate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateFacts {
    /// What it is to do.
    pub intent: Intent,
    /// How it stands.
    pub phase: UpdatePhase,
    /// The runner that it is handed to.
    pub runner: RunnerName,
    /// Whether it cannot go before its runner has let it go.
    pub kept: bool,
}

impl UpdateFacts {
    /// Whether it is at its end: nothing of it is on the machine, and nothing follows.
    pub const fn is_done(&self) -> bool {
        matches!(self.phase, UpdatePhase::Done(_))
    }

    /// Whether a runner has something to do with it, now or when it is told.
    pub const fn needs_runner(&self) -> bool {
        !self.is_done() || self.kept
    }

    /// Whether it waits for its run to be carried out, with nothing of it on the machine.
    pub const fn is_planned(&self) -> bool {
        matches!((self.intent, &self.phase), (Intent::Plan, UpdatePhase::Planned))
    }

    /// Whether it works on the machine, or may begin to at any moment.
    ///
    /// A plan that is given up is not: the machine is clean, and nothing is done there.
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

/// What a NodeUpdate is to do. It only ever moves forward, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Intent {
    /// Work out what is needed, and change nothing.
    Plan,
    /// Carry it out.
    Run,
    /// Finish the component in progress, take everything back, end.
    Cancel,
}

/// How a NodeUpdate stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdatePhase {
    /// No runner has taken it yet.
    Pending,
    /// A runner works on it.
    Working {
        /// At what, for users.
        step: String,
    },
    /// Its runner waits for an object that the work needs and that does not exist yet.
    Awaiting {
        /// What is missing, see [`Reason::may_arrive`].
        reason: Reason,
        /// In words.
        message: String,
    },
    /// An attempt failed, and another one follows.
    WaitingForRetry {
        /// When.
        at: Millis,
        /// Why the last one failed.
        reason: Reason,
    },
    /// The plan is made, and nothing of ours is on the machine.
    Planned,
    /// It is over, and nothing of ours is on the machine.
    Done(NodeEnd),
}

/// How a NodeUpdate ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEnd {
    /// What was asked for is done and proven.
    Succeeded,
    /// It is not.
    Failed {
        /// Why.
        reason: Reason,
        /// In words.
        message: String,
    },
    /// The machine was never reached.
    Unreachable {
        /// Why.
        reason: Reason,
        /// In words.
        message: String,
    },
    /// It was cancelled.
    Cancelled,
}

/// How a run ended. Nothing follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// Whether every node succeeded.
    pub succeeded: bool,
    /// Why it ended so.
    pub reason: Reason,
    /// In words.
    pub message: String,
}

#[cfg(test)]
mod tests;
