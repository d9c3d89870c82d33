//! The duration of a Lease, and the intervals derived from it.

use super::LeaseState;
use std::time::Duration;

/// The duration of a Lease. The other intervals are fractions of it, in the proportions that
/// Kubernetes' own components use (15 s, 10 s, 2 s).
#[derive(Debug, Clone, Copy)]
pub struct LeaseDurations {
    seconds: u16,
}

impl LeaseDurations {
    /// Durations of Leases that are valid for this many seconds without a renewal.
    pub const fn new(seconds: u16) -> Self {
        Self { seconds }
    }

    /// Returns how long others wait before they acquire the Lease.
    pub(super) fn seconds(self) -> i32 {
        i32::from(self.seconds)
    }

    fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }

    /// Returns how long the Lease is held after a renewal: a third less than others wait, to allow
    /// for clocks that run at different speeds and for work that began just before.
    pub(super) fn held_for(self) -> Duration {
        self.duration() * 2 / 3
    }

    /// Returns the timeout of an attempt: there is time for two more attempts before the Lease is
    /// lost.
    pub(super) fn attempt_limit(self) -> Duration {
        self.duration() / 5
    }

    /// Returns the pause after an attempt: four attempts fit into the time that the Lease is held.
    pub(super) fn pause(self, state: &LeaseState) -> Duration {
        match state {
            LeaseState::Held => self.duration() / 6,
            LeaseState::Other { .. } => self.duration() / 8,
        }
    }

    /// Returns the pause after a failed attempt.
    pub(super) fn after_error(self) -> Duration {
        self.duration() / 15
    }

    /// Returns the interval at which the Leases of all runners are read.
    pub(crate) fn look_every(self) -> Duration {
        self.duration() / 8
    }
}
