//! The update of a device that flashes itself, such as a BMC: what to do next.
//!
//! No engine runs on a device, and it keeps no journal for us. The journal is a list of
//! [`Action`]s in the status of the NodeUpdate: each request that changes the device is written
//! there before it is sent. A runner that takes over reads the list, asks the device, and calls
//! [`next`].
//!
//! ```text
//! actions + inventory + answers ──► next ──► Next: intend, record, read, follow, wait, conclude
//!         ▲                                     │
//!         └──────── written by the runner ◄─────┘
//! ```
//!
//! This module sends nothing and stores nothing. It does not compare versions with a baseline
//! either: [`crate::plan`] makes the plan.
//!
//! The laws are property tests in `tests/device_laws.rs`, over a simulated device that loses
//! connections and answers, forgets tasks, resets itself and reports wrong results, and over
//! runners that are killed or frozen at any point:
//!
//! - `next` is total and deterministic.
//! - No version is installed twice, and no reset is requested twice for one component, unless it
//!   is proven that the first request never began.
//! - Every history ends within a bound, and either nothing of ours is left on the device or the
//!   conclusion lists it.
//! - A component counts as updated only if the last inventory shows its version.
//! - After a cancellation nothing new begins, and every history ends.
//! - What belongs to another manager is never removed.
//! - A host is reset only if a component needs it and the run allows it.

mod action;
mod component;
mod conclude;
mod decision;
mod inventory;
mod judge;
mod next;
mod observed;
mod prepare;
mod reset;
mod session;
mod teardown;
mod unanswered;
mod verdict;
mod view;
mod work;

pub use action::{Action, ActionId, Answer, Change, Ending, Intent, State, Ticket, Verb, prune, record};
pub use decision::{ComponentEnd, Conclusion, DeviceEnd, Kept, KeptKind, Leftover, Next, Waiting};
pub use inventory::{
    Artifact, ArtifactKind, BootMarks, Earlier, Entry, Inventory, Obstacle, Part, Progress, ResetTarget, Task,
};
pub use next::next;
pub use observed::{Followed, Goal, Limits, Method, Observed, Preparation, ResetPolicy, Scope, Silence};
