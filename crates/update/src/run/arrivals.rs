//! Waiting for objects that are created after the run that needs them.
//!
//! Tools that apply many manifests apply them one by one, in an order of their own, so a run can exist
//! seconds before its nodes, its baseline or a Secret. A missing object therefore ends nothing before a
//! deadline has passed. Nor does a run end, or fix its list of nodes, on the word of a cache alone: each
//! kind has its own watch, and one watch can lag behind another by seconds.
//! docs/adr/0016-arrivals.md explains the choices.

use super::{BaselineFacts, Observed};
use crate::model::Millis;
use std::time::Duration;

/// The set of selected nodes counts as complete when it has not changed for this long. Tools apply
/// several objects a second, and a slow admission webhook delays one by a second or two. Only runs that
/// are created together with their nodes pay for it.
pub const SETTLE: Duration = Duration::from_secs(3);

/// How long a run waits for missing objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrivals {
    /// When the run was created, by the API server's clock.
    pub created: Millis,
    /// How long the run waits; zero means that it does not wait.
    pub timeout: Duration,
    /// The deadline for missing objects, if the run's status contains it.
    pub deadline: Option<Millis>,
    /// When the set of nodes that the selector matches was last seen to change, or was first seen.
    pub changed: Millis,
    /// Whether a consistent read of the API server has just confirmed that the caches of nodes and
    /// baselines are complete. If not, the caches may be stale.
    pub confirmed: bool,
}

impl Arrivals {
    /// Returns the deadline for missing objects: the recorded deadline, or else the deadline that is
    /// recorded with this decision.
    pub fn deadline(&self, now: Millis) -> Millis {
        self.deadline.unwrap_or_else(|| now.after(self.timeout))
    }

    /// Returns the deadline, if it has not passed.
    pub(super) fn open_until(&self, now: Millis) -> Option<Millis> {
        Some(self.deadline(now)).filter(|&until| until > now)
    }
}

/// Returns when the set of selected nodes counts as complete; `None` if it already does.
///
/// If every node was created more than [`SETTLE`] before the run, the set was complete when the run was
/// created. Both times come from the API server, so the comparison does not depend on the operator's
/// clock.
pub(super) fn settles_at(observed: &Observed) -> Option<Millis> {
    let arrivals = &observed.arrivals;
    let newest = observed.targets.values().map(|facts| facts.created).max().unwrap_or_default();
    if newest.after(SETTLE) < arrivals.created {
        return None;
    }
    let deadline = arrivals.open_until(observed.now)?;
    Some(arrivals.changed.after(SETTLE).min(deadline)).filter(|&at| at > observed.now)
}

/// Reports whether the baseline is invalid according to a view that is not confirmed. The user may have
/// replaced the baseline with a corrected one that the cache does not show yet.
pub(super) fn is_baseline_unconfirmed(observed: &Observed) -> bool {
    matches!(observed.baseline, BaselineFacts::Invalid { .. }) && !observed.arrivals.confirmed
}
