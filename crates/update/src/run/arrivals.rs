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

/// How long objects are waited for that do not exist yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrivals {
    /// When the run was created, by the API server's clock.
    pub created: Millis,
    /// How long missing objects are waited for; zero: not at all.
    pub timeout: Duration,
    /// Until when they are waited for, if the run's status says it.
    pub deadline: Option<Millis>,
    /// When the set of nodes that the selector matches was last seen to change, or was seen first.
    pub changed: Millis,
    /// Whether the caches of nodes and baselines were compared with a consistent read of the API
    /// server just now and showed all of it. If not, they may lag behind.
    pub confirmed: bool,
}

impl Arrivals {
    /// Until when missing objects are waited for: the recorded deadline, else the one that is recorded
    /// with this decision.
    pub fn deadline(&self, now: Millis) -> Millis {
        self.deadline.unwrap_or_else(|| now.after(self.timeout))
    }

    /// The deadline, if it has not passed.
    pub(super) fn open_until(&self, now: Millis) -> Option<Millis> {
        Some(self.deadline(now)).filter(|&until| until > now)
    }
}

/// When the set of selected nodes counts as complete; `None`: it does already.
///
/// Where every node was created more than [`SETTLE`] before the run, the set was quiet already when the
/// run was created. Both times come from the API server, so the comparison does not depend on our clock.
pub(super) fn settles_at(observed: &Observed) -> Option<Millis> {
    let arrivals = &observed.arrivals;
    let newest = observed.targets.values().map(|facts| facts.created).max().unwrap_or_default();
    if newest.after(SETTLE) < arrivals.created {
        return None;
    }
    let deadline = arrivals.open_until(observed.now)?;
    Some(arrivals.changed.after(SETTLE).min(deadline)).filter(|&at| at > observed.now)
}

/// Whether the baseline is invalid according to a view that is not confirmed. Its user may have replaced
/// it by a corrected one that the cache does not show yet.
pub(super) fn doubts_baseline(observed: &Observed) -> bool {
    matches!(observed.baseline, BaselineFacts::Invalid { .. }) && !observed.arrivals.confirmed
}
