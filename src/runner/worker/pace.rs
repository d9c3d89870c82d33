//! Decides when a status that changes during an attempt is written: pure, with the time as a parameter.
//!
//! Every write costs the API server a database write and each watcher an event, and an attempt on a fast
//! machine passes through eight steps in two seconds. So a status is written after it has been stable for a
//! while. The begin of an attempt, waits between attempts and the end are written immediately and do not use
//! this module.

use std::time::Duration;
use tokio::time::Instant;

/// A status is written when it has not changed for this long. Nobody can read a status that lasts less than a
/// second, and a watcher still sees within three seconds what an engine waits for; the engine takes up to one
/// of these to detect and report the wait.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// A status that keeps changing, as with many small components, is written this long after its first
/// unwritten change: a watcher must see that the attempt makes progress.
const AT_LATEST: Duration = Duration::from_secs(5);

/// Tracks when the next write is due.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Times of the first and the last change since the last write.
    unwritten: Option<(Instant, Instant)>,
}

impl Pace {
    /// Records that the status has changed.
    pub(super) fn changed(&mut self, now: Instant) {
        let first = self.unwritten.map_or(now, |(first, _)| first);
        self.unwritten = Some((first, now));
    }

    /// Returns when the status must be written; `None`: there is no unwritten change.
    pub(super) fn due(&self) -> Option<Instant> {
        self.unwritten.map(|(first, last)| (last + SETTLED_AFTER).min(first + AT_LATEST))
    }

    /// Records that the status was written.
    pub(super) fn written(&mut self) {
        self.unwritten = None;
    }

    /// Records that a write failed. The next try is scheduled as if the status had changed now.
    pub(super) fn failed(&mut self, now: Instant) {
        self.unwritten = Some((now, now));
    }

    /// Waits until the status must be written.
    pub(super) async fn wait(&self) {
        match self.due() {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the times of the writes for changes at these milliseconds, until `end`.
    fn writes(changes: impl IntoIterator<Item = u64>, end: u64) -> Vec<u64> {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut changes = changes.into_iter().peekable();
        let (mut pace, mut written) = (Pace::default(), Vec::new());
        for ms in 0..end {
            while changes.next_if_eq(&ms).is_some() {
                pace.changed(at(ms));
            }
            if pace.due().is_some_and(|due| due <= at(ms)) {
                pace.written();
                written.push(ms);
            }
        }
        written
    }

    /// Otherwise a fleet of a thousand machines would write ten thousand statuses that nobody has the time to
    /// read.
    #[test]
    fn a_status_that_lasts_less_than_a_second_is_not_written() {
        assert_eq!(writes([100, 300, 600, 900, 1300, 1600, 1900], 2000), Vec::<u64>::new());
        assert_eq!(writes([100, 300], 60_000), [1300], "one write, and nothing follows");
        assert_eq!(writes([100, 5000, 5200], 60_000), [1100, 6200]);
    }

    /// Otherwise a baseline of a hundred small scripts would look as if it hung.
    #[test]
    fn a_status_that_keeps_changing_is_written_every_few_seconds() {
        let changes = (0..30_000).step_by(250);
        assert_eq!(writes(changes, 20_000), [5000, 10_250, 15_500]);
    }

    /// Otherwise changes would be lost while the API server is unavailable, or the writes would be repeated
    /// without a pause.
    #[test]
    fn a_failed_write_is_retried_after_a_second() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.changed(now);
        pace.failed(now + AT_LATEST);
        assert_eq!(pace.due(), Some(now + AT_LATEST + SETTLED_AFTER));
    }
}
