//! The state of a whole run, before it is rendered.

use super::{Cond, CondStatus, RunEnd};
use crate::reason::Reason;

/// The state of a run.
#[derive(Debug)]
pub(super) enum State {
    /// No node is in progress, and the run has not ended.
    Waiting {
        /// The reason.
        reason: Reason,
        /// The reason in words, with the remedy.
        message: String,
    },
    /// At least one node is in progress.
    Moving {
        /// The reason, or the kind of progress.
        reason: Reason,
        /// The reason in words.
        message: String,
    },
    /// The run is being ended.
    Stopping {
        /// The cause, and what remains to be done.
        message: String,
    },
    /// All nodes have ended, and the network paths are being closed.
    Closing,
    /// The run has ended.
    Ended(RunEnd),
}

/// How nodes that were never started are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unstarted {
    /// As pending, because they may still be started.
    Pending,
    /// As cancelled, because they will not be started.
    Cancelled,
}

pub(super) fn cond(status: CondStatus, reason: Reason, message: &str) -> Cond {
    Cond { status, reason, message: message.to_owned() }
}
