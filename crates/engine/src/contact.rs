//! When the operator was last heard of.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time of the last byte that came from the runner.
#[derive(Debug)]
pub(crate) struct Contact {
    started: Instant,
    /// Milliseconds from `started` to the last byte.
    last: AtomicU64,
}

impl Contact {
    /// Counts the start as a contact.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), last: AtomicU64::new(0) }
    }

    /// Records that bytes came from the runner.
    pub(crate) fn touch(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    /// When the last byte came. `None`: beyond what the clock can hold.
    pub(crate) fn last(&self) -> Option<Instant> {
        self.started.checked_add(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}
