//! When a status is written that changes while an attempt goes on: pure, with the time as a parameter.
//!
//! Every write costs the API server a write to its database and each watcher an event, and an attempt
//! on a quick machine passes through eight steps in two seconds. So a status is written when it has
//! stood for a while. The begin of an attempt, waits between attempts and the end are written at once
//! and do not pass through here.

use std::time::Duration;
use tokio::time::Instant;

/// A status is written when it has not changed for this long: nobody can read what is there for less
/// than a second, and whoever watches still sees within three seconds what an engine waits for, of
/// which it takes up to one to notice and tell.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// A status that keeps changing, as with many small components, is written this long after its first
/// unwritten change: whoever watches must see that the attempt moves.
const AT_LATEST: Duration = Duration::from_secs(5);

/// When the next write is due.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The first and the last change since the last write.
    unwritten: Option<(Instant, Instant)>,
}

impl Pace {
    /// The status has changed.
    pub(super) fn changed(&mut self, now: Instant) {
        let first = self.unwritten.map_or(now, |(first, _)| first);
        self.unwritten = Some((first, now));
    }

    /// When the status is to be written; `None`: it is written as it is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.unwritten.map(|(first, last)| (last + SETTLED_AFTER).min(first + AT_LATEST))
    }

    /// The status was written as it is.
    pub(super) fn written(&mut self) {
        self.unwritten = None;
    }

    /// The status could not be written, and is tried again as if it had changed now.
    pub(super) fn failed(&mut self, now: Instant) {
        self.unwritten = Some((now, now));
    }

    /// Waits until the status is to be written.
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

    /// What is written of changes at these milliseconds, until `end`.
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

    /// A fleet of a thousand machines writes ten thousand statuses that nobody has the time to read.
    #[test]
    fn what_lasts_less_than_a_second_is_not_written() {
        assert_eq!(writes([100, 300, 600, 900, 1300, 1600, 1900], 2000), Vec::<u64>::new());
        assert_eq!(writes([100, 300], 60_000), [1300], "one write, and nothing follows");
        assert_eq!(writes([100, 5000, 5200], 60_000), [1100, 6200]);
    }

    /// A baseline of a hundred small scripts looks as if it hung.
    #[test]
    fn what_never_comes_to_rest_is_written_every_few_seconds() {
        let changes = (0..30_000).step_by(250);
        assert_eq!(writes(changes, 20_000), [5000, 10_250, 15_500]);
    }

    /// While the API server is away each change would be lost, or it would be asked without a pause.
    #[test]
    fn what_could_not_be_written_is_tried_again_a_second_later() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.changed(now);
        pace.failed(now + AT_LATEST);
        assert_eq!(pace.due(), Some(now + AT_LATEST + SETTLED_AFTER));
    }
}
