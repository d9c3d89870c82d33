//! Rate limit of events. Pure, with the time as a parameter.

use super::Key;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Minimum interval between two events of one kind about one object.
const EVERY: Duration = Duration::from_mins(1);

/// Above this number of windows, expired windows are removed.
const PRUNE_THRESHOLD: usize = 4096;

/// Recently published keys, and the events that wait for the end of their window.
pub(super) struct RateLimiter<T> {
    open: HashMap<Key, Window<T>>,
    prune_threshold: usize,
}

struct Window<T> {
    until: Instant,
    /// The last event that was held back, and the number of events before it.
    held: Option<(T, u32)>,
}

/// The decision about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Publish the event now.
    Publish,
    /// The event is held back. It is the first of its window, so the caller must return at `until`.
    Defer {
        /// End of the window.
        until: Instant,
    },
    /// The event is held back and replaces the one that was held before.
    Coalesce,
}

impl<T> Default for RateLimiter<T> {
    fn default() -> Self {
        Self { open: HashMap::new(), prune_threshold: PRUNE_THRESHOLD }
    }
}

impl<T> RateLimiter<T> {
    /// Decides whether the event may be published now.
    pub(super) fn ask(&mut self, key: &Key, told: T, now: Instant) -> Admission {
        self.forget(now);
        let Some(window) = self.open.get_mut(key) else {
            self.open.insert(key.clone(), Window { until: now + EVERY, held: None });
            return Admission::Publish;
        };
        match &mut window.held {
            Some((last, others)) => {
                *last = told;
                *others += 1;
                Admission::Coalesce
            }
            None if now < window.until => {
                window.held = Some((told, 0));
                Admission::Defer { until: window.until }
            }
            None => {
                window.until = now + EVERY;
                Admission::Publish
            }
        }
    }

    /// Takes the held event, to be published now, and the number of other events that it stands for.
    pub(super) fn take(&mut self, key: &Key, now: Instant) -> Option<(T, u32)> {
        let window = self.open.get_mut(key)?;
        window.until = now + EVERY;
        window.held.take()
    }

    fn forget(&mut self, now: Instant) {
        if self.open.len() > self.prune_threshold {
            self.open.retain(|_, window| window.held.is_some() || now < window.until);
            // If no window could be removed, pruning on each call would cost more than it frees.
            self.prune_threshold = PRUNE_THRESHOLD.max(self.open.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Action;
    use super::*;
    use farrier_update::Reason;

    fn key(uid: &str) -> Key {
        (uid.to_owned(), Reason::WaitingForRetry, Action::Retry, "")
    }

    /// Without a limit, a machine that flaps for an hour writes 3,600 events; with too strict a limit,
    /// its last state is never published.
    #[test]
    fn a_flood_becomes_one_event_a_minute_and_the_last_event_is_published() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut limiter = RateLimiter::default();
        let mut told = Vec::new();
        let mut due = None;
        for second in 0..3600 {
            if due.is_some_and(|due| due <= at(second)) {
                told.extend(limiter.take(&key("a"), at(second)));
                due = None;
            }
            match limiter.ask(&key("a"), second, at(second)) {
                Admission::Publish => told.push((second, 0)),
                Admission::Defer { until } => due = Some(until),
                Admission::Coalesce => {}
            }
        }
        told.extend(limiter.take(&key("a"), due.unwrap()));
        assert_eq!(told.len(), 61);
        assert_eq!(told.last(), Some(&(3599, 59)));
        let all: u64 = told.iter().map(|(_, others)| u64::from(*others) + 1).sum();
        assert_eq!(all, 3600, "each one is told or counted");
    }

    #[test]
    fn another_object_is_published_at_once_and_the_same_object_after_a_minute() {
        let now = Instant::now();
        let mut limiter = RateLimiter::default();
        assert_eq!(limiter.ask(&key("a"), (), now), Admission::Publish);
        assert_eq!(limiter.ask(&key("b"), (), now), Admission::Publish);
        assert_eq!(limiter.ask(&key("a"), (), now + EVERY), Admission::Publish);
        assert_eq!(limiter.ask(&key("a"), (), now + EVERY), Admission::Defer { until: now + EVERY * 2 });
    }

    #[test]
    fn expired_windows_are_removed() {
        let now = Instant::now();
        let mut limiter = RateLimiter::default();
        for uid in 0..=PRUNE_THRESHOLD {
            limiter.ask(&key(&uid.to_string()), (), now);
        }
        limiter.ask(&key("later"), (), now + EVERY);
        assert_eq!(limiter.open.len(), 1);
    }
}
