//! The result of a rehearsal.

use super::Fate;
use crate::model::{Millis, NodeName};
use crate::reason::Reason;
use crate::run::{Counts, RunEnd};

/// How a run went in a rehearsal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// When the run began.
    pub began: Millis,
    /// When the last event happened.
    pub ended: Millis,
    /// How the run ended.
    pub ending: Ending,
    /// The number of nodes by progress at the end.
    pub counts: Counts,
    /// The stages; one without a name if the run has none.
    pub stages: Vec<StageSpan>,
    /// The nodes in the order in which they were begun, and then those that were not begun, by name.
    pub nodes: Vec<PlayedNode>,
    /// What let the run start no further nodes.
    pub halted: Option<Halted>,
    /// The nodes that determined when the run ended, first to last: each was begun when the one before it ended, or
    /// after a pause. Empty if no node was begun.
    pub critical_path: Vec<Span>,
    /// The maximum number of nodes in progress at the same time.
    pub most_in_progress: usize,
    /// The times during which no node was in progress, in their order.
    pub pauses: Vec<Pause>,
    /// The stages whose approval was taken as given.
    pub approved: Vec<String>,
    /// The number of nodes that were begun.
    pub begun: usize,
    /// The number of nodes that were begun and whose duration is known from earlier updates.
    pub known: usize,
}

/// How a rehearsal ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The run has ended.
    Ended(RunEnd),
    /// The run waits for something that does not come by itself.
    Waits {
        /// The reason.
        reason: Reason,
        /// The reason in words.
        message: String,
    },
}

/// How a stage went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StageSpan {
    /// The name; `None` for the only stage of a run without stages.
    pub name: Option<String>,
    /// The number of its nodes.
    pub nodes: usize,
    /// When its first node was begun.
    pub began: Option<Millis>,
    /// When its last node ended.
    pub ended: Option<Millis>,
    /// The nodes that succeeded.
    pub succeeded: usize,
    /// The nodes that failed.
    pub failed: usize,
    /// The nodes that were not reached.
    pub unreachable: usize,
    /// The nodes that were not begun.
    pub not_begun: usize,
}

/// A run starts no further nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halted {
    /// Since when.
    pub at: Millis,
    /// The reason in words.
    pub message: String,
    /// How many nodes were not begun because of it.
    pub not_begun: usize,
}

/// How a node went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayedNode {
    /// The node.
    pub node: NodeName,
    /// The index of its stage in [`Rehearsal::stages`].
    pub stage: usize,
    /// Whether its duration is known from earlier updates or from its plan.
    pub known: bool,
    /// The work on it; `None` if it was not begun.
    pub work: Option<Span>,
}

/// The work on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The node.
    pub node: NodeName,
    /// When it was begun.
    pub began: Millis,
    /// When it ended.
    pub ended: Millis,
    /// How it ended.
    pub fate: Fate,
}

/// A time during which no node is in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// When it began.
    pub from: Millis,
    /// When it ended.
    pub until: Millis,
    /// Why no node was begun.
    pub reason: Reason,
}
