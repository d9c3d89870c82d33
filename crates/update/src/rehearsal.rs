//! Rehearses a run: plays it over a simulated fleet, with the decisions that the controller would make.
//!
//! The clock of a rehearsal goes from one event to the next: the end of a node, or the time at which
//! [`decide`](crate::run::decide) wants to decide again, such as the end of a soak or the opening of a maintenance window.
//!
//! What is simulated is only the nodes: how long each takes ([`Model::duration_of`]) and how it ends
//! ([`Model::fate`]). What is not simulated:
//!
//! - Attempts. A rate is that of nodes that fail after all attempts, and a failed node takes as long as another.
//! - Plans take no time, and network paths are open at once.
//! - Other runs: the nodes on which they work are free.
//! - Missing objects are not waited for.

mod model;
mod play;
mod result;
#[cfg(test)]
mod tests;

pub use model::{Fate, Model, Permille};
pub use result::{Ending, Halted, Pause, PlayedNode, Rehearsal, Span, StageSpan};

use crate::run::Observed;
use crate::window::Window;
use play::Play;

/// Rehearses a run that has not begun, from `observed.now` on. `window` is its maintenance window.
///
/// What `observed` contains of the progress of the run, its desired state, its network paths and of other runs does
/// not matter: the run is carried out from its beginning.
pub fn rehearse(observed: Observed, window: Option<&Window>, model: &Model) -> Rehearsal {
    Play::new(observed, window, model).run()
}
