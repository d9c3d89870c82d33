//! Points in time that one task renews and others read: heartbeats of loops, and the last answer of
//! the API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// An idle loop wakes at least this often to renew its heartbeat.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// An instant that is shared between threads. Clones share it.
#[derive(Debug, Clone)]
struct SharedInstant {
    created: Instant,
    /// Milliseconds since `created`.
    offset: Arc<AtomicU64>,
}

impl SharedInstant {
    fn now() -> Self {
        Self { created: Instant::now(), offset: Arc::default() }
    }

    fn renew(&self) {
        let passed = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.offset.store(passed, Ordering::Relaxed);
    }

    fn age(&self) -> Duration {
        let renewed = Duration::from_millis(self.offset.load(Ordering::Relaxed));
        self.created.elapsed().saturating_sub(renewed)
    }
}

/// When the API server last answered a request.
#[derive(Debug, Clone)]
pub struct LastContact(SharedInstant);

impl Default for LastContact {
    fn default() -> Self {
        Self(SharedInstant::now())
    }
}

impl LastContact {
    /// Records an answer.
    pub fn note(&self) {
        self.0.renew();
    }

    /// Time since the last answer.
    pub fn age(&self) -> Duration {
        self.0.age()
    }
}

/// The heartbeat of one loop. Clones share it.
#[derive(Debug, Clone)]
pub struct Heartbeat(SharedInstant);

impl Heartbeat {
    /// A heartbeat that was renewed just now.
    pub(crate) fn new() -> Self {
        Self(SharedInstant::now())
    }

    /// A heartbeat that was last renewed this long ago.
    #[cfg(test)]
    pub(crate) fn aged(age: Duration) -> Self {
        let created = Instant::now().checked_sub(age).unwrap();
        Self(SharedInstant { created, offset: Arc::default() })
    }

    /// Renews the heartbeat. The loop calls this once per iteration.
    pub fn heartbeat(&self) {
        self.0.renew();
    }

    /// Time since the last renewal.
    pub(crate) fn age(&self) -> Duration {
        self.0.age()
    }
}
