//! The state of a run as a whole, before it is rendered.

use super::{Cond, CondStatus, RunEnd};
use crate::reason::Reason;

/// How a run stands.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing moves, and it is not at its end.
    Waiting {
        /// Why.
        reason: Reason,
        /// In words, with the way out.
        message: String,
    },
    /// Something moves.
    Moving {
        /// Why, or how.
        reason: Reason,
        /// In words.
        message: String,
    },
    /// It is being brought to its end.
    Stopping {
        /// Why, and what is left to do.
        message: String,
    },
    /// Nothing is left to do but to close what is open for it.
    Closing,
    /// It is at its end.
    Ended(RunEnd),
}

/// What becomes of nodes that were never begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unstarted {
    /// Their turn may come.
    Pending,
    /// It will not.
    Cancelled,
}

pub(super) fn cond(status: CondStatus, reason: Reason, message: &str) -> Cond {
    Cond { status, reason, message: message.to_owned() }
}
