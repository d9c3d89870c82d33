//! Waits of the worker for other processes on the machine. They have a limit, end when the engine is
//! stopped, and are reported while they last.
//!
//! Waits for the runner are not here, because they could not be reported to it.

use crate::clock;
use crate::shared::{Shared, Stop};
use farrier_protocol::{EventBody, Holder, Wait, WaitFor};
use std::time::{Duration, Instant};

/// Interval between two checks.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A shorter wait is not reported. Each report is written to disk, and most waits for a lock are this
/// short.
const UNREPORTED: Duration = Duration::from_millis(900);

/// Why the worker cannot continue.
pub(crate) struct Obstacle {
    /// What the worker waits for.
    pub(crate) what: WaitFor,
    /// The process that blocks the worker.
    pub(crate) holder: Option<Holder>,
}

/// Why a wait ended without success.
pub(crate) enum Ended {
    /// The limit has passed, and this obstacle remains.
    Expired(Obstacle),
    /// The engine was stopped.
    Stopped(Stop),
}

/// Calls `look` repeatedly until it succeeds, for at most `limit`. The first call is immediate; with a
/// limit of zero it is the only call.
pub(crate) fn wait<T>(
    shared: &Shared,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, Obstacle>,
) -> Result<T, Ended> {
    let mut report = Report::begin(shared, Some(limit));
    loop {
        let obstacle = match look() {
            Ok(found) => return Ok(found),
            Err(obstacle) => obstacle,
        };
        if report.elapsed() >= limit {
            return Err(Ended::Expired(obstacle));
        }
        report.show(&obstacle);
        let rest = limit.saturating_sub(report.elapsed());
        if let Some(stop) = shared.pause(POLL_INTERVAL.min(rest)) {
            return Err(Ended::Stopped(stop));
        }
    }
}

/// Reports a wait until it is dropped.
pub(crate) struct Report<'a> {
    shared: &'a Shared,
    begun: Instant,
    since: u64,
    until: Option<u64>,
    shown: Option<Wait>,
}

impl<'a> Report<'a> {
    /// Begins a wait. Nothing is reported yet.
    pub(crate) fn begin(shared: &'a Shared, limit: Option<Duration>) -> Self {
        let since = clock::now_millis();
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let until = limit.map(|limit| since.saturating_add(millis(limit)));
        Self { shared, begun: Instant::now(), since, until, shown: None }
    }

    /// Returns how long the wait has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Removes the limit of the wait.
    pub(crate) fn without_limit(&mut self) {
        self.until = None;
    }

    /// Reports the obstacle if it is new and the wait is not short.
    pub(crate) fn show(&mut self, obstacle: &Obstacle) {
        let Obstacle { what, holder } = obstacle;
        let is_known = self.shown.as_ref().is_some_and(|shown| {
            is_same(&shown.what, what) && shown.holder == *holder && shown.until == self.until
        });
        if is_known || self.elapsed() < UNREPORTED {
            return;
        }
        let (what, holder) = (what.clone(), holder.clone());
        let wait = Wait { what, holder, since: self.since, until: self.until };
        self.shown = Some(wait.clone());
        self.record(Some(wait));
    }

    fn record(&self, wait: Option<Wait>) {
        // The report is delivered even if the disk does not take it.
        self.shared.record(EventBody::Waiting { wait }).ok();
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if self.shown.is_some() {
            self.record(None);
        }
    }
}

/// Reports whether two waits are the same. The amount of free space is ignored, because it changes all the
/// time.
fn is_same(one: &WaitFor, other: &WaitFor) -> bool {
    match (one, other) {
        (WaitFor::Room { path: one, .. }, WaitFor::Room { path: other, .. }) => one == other,
        (one, other) => one == other,
    }
}
