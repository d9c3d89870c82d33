//! How long a Lease is good for, and what follows from it.

use super::LeaseState;
use std::time::Duration;

/// How long a Lease is good for. The other spans are parts of it, in the proportions that
/// Kubernetes' own components use (15 s, 10 s, 2 s).
#[derive(Debug, Clone, Copy)]
pub struct LeaseDurations {
    seconds: u16,
}

impl LeaseDurations {
    /// Leases that are good for so many seconds without being renewed.
    pub const fn new(seconds: u16) -> Self {
        Self { seconds }
    }

    /// So long others wait until they take it.
    pub(super) fn seconds(self) -> i32 {
        i32::from(self.seconds)
    }

    fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.seconds))
    }

    /// So long it is held after it was renewed: a third less than others wait, for clocks that
    /// run at different speeds and for what was begun just before.
    pub(super) fn held_for(self) -> Duration {
        self.duration() * 2 / 3
    }

    /// So long an attempt may take: there is time for another two before the Lease is lost.
    pub(super) fn attempt_limit(self) -> Duration {
        self.duration() / 5
    }

    /// The pause after an attempt: four fit into the time that it is held.
    pub(super) fn pause(self, state: &LeaseState) -> Duration {
        match state {
            LeaseState::Held => self.duration() / 6,
            LeaseState::Other { .. } => self.duration() / 8,
        }
    }

    /// The pause after an attempt that failed.
    pub(super) fn after_error(self) -> Duration {
        self.duration() / 15
    }

    /// How often the Leases of all runners are read.
    pub(crate) fn look_every(self) -> Duration {
        self.duration() / 8
    }
}
