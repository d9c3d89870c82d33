//! One attempt at one machine, whatever its class: what it is given, what it shows meanwhile, and how it ends.
//!
//! The runner makes attempts and knows no class of machine; the drivers carry them out. This module knows
//! neither Kubernetes nor the API types.

mod approval;
mod callback;
mod drain;
mod job;
mod listen;
pub mod logbook;
mod marks;
mod offers;
mod view;
mod waiting;

pub use approval::ApprovedPlan;
pub use callback::{Awaited, CallbackOptions, CallbackTarget, ListenerWait, ResolvedTarget};
pub use drain::{Drain, NoDrain};
pub use job::{
    DeviceOrder, EarlierWork, Goal, Job, LEASE_SECONDS, LogOptions, LogRetention, RecordedReboot, STAGE_FOR,
    Tools,
};
pub use listen::ListenOptions;
pub use logbook::Logbook;
pub use marks::Marks;
pub use offers::{
    Fetch, FetchWay, Login, Offer, OfferedFile, Offers, Place, Scheme, WaysBack, image_name, open_pulls,
    open_subscriptions,
};
pub use view::{Drained, Firmware, Manager, Reboot, ReturnPath, StagedUntil, StatusPath, Step, Survey, View};
pub use waiting::{Waiting, ahead_at_arrival, now};

use crate::failure::Failure;
use farrier_update::NodeVerdict;
use farrier_update::device::Action;
use std::sync::Arc;
use tokio::sync::watch;

/// What an attempt works with.
pub struct Desk<'a> {
    /// What all attempts share.
    pub tools: &'a Tools,
    /// Becomes true when the run is cancelled.
    pub stop: watch::Receiver<bool>,
    /// The state of the attempt, for the status.
    pub view: &'a watch::Sender<View>,
    /// Where requests to machines without an engine are recorded.
    pub logbook: Logbook,
    /// What was recorded before, in this attempt or an earlier one.
    pub actions: Vec<Action>,
    /// Images that the machine fetches from Farrier.
    pub offers: Arc<dyn Offers>,
    /// Lets the attempt through to what disrupts the machine.
    pub drain: Arc<dyn Drain>,
    /// Whether the reboot that the view shows is recorded, so that another process would wait for the machine.
    pub reboot_recorded: watch::Receiver<bool>,
}

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
