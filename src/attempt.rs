//! One attempt at one machine, whatever its class: what it is given, what it shows meanwhile, and how it ends.
//!
//! The runner makes attempts and knows no class of machine; the drivers carry them out. This module knows
//! neither Kubernetes nor the API types.

mod callback;
mod job;
mod view;
mod waiting;

pub use callback::{Awaited, CallbackOptions, CallbackTarget, ListenerWait, ResolvedTarget};
pub use job::{Goal, Job, Tools};
pub use view::{ReturnPath, Step, Survey, View};
pub use waiting::{Waiting, ahead_at_arrival, now};

use crate::failure::Failure;
use farrier_update::NodeVerdict;

/// How an attempt ended. What is left on the machine is in the [`View`].
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// All work was done; the verdict is its result.
    Finished(NodeVerdict),
    /// The plan was made; nothing was changed.
    Planned,
    /// The inventory was taken; the goal asked for nothing else.
    Inventoried,
    /// The run was cancelled before there was a result.
    Cancelled,
    /// The attempt failed.
    Failed(Failure),
}
