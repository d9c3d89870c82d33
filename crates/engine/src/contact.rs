//! When the engine last had contact with the operator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time of the last byte from the runner.
#[derive(Debug)]
pub(crate) struct Contact {
    started: Instant,
    /// Milliseconds from `started` to the last byte.
    last: AtomicU64,
}

impl Contact {
    /// Starts with the current time as the last contact.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), last: AtomicU64::new(0) }
    }

    /// Records that bytes arrived from the runner.
    pub(crate) fn touch(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    /// Returns the time of the last byte. `None`: beyond the range of the clock.
    pub(crate) fn last(&self) -> Option<Instant> {
        self.started.checked_add(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}
