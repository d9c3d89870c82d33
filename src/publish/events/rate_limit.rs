//! How often something may be told: pure, with the time as a parameter.

use super::Key;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The least time between two events of one kind about one object.
const EVERY: Duration = Duration::from_mins(1);

/// Above so many, what is over is forgotten.
const PRUNE_THRESHOLD: usize = 4096;

/// What was told lately, and what waits.
pub(super) struct RateLimiter<T> {
    open: HashMap<Key, Window<T>>,
    prune_threshold: usize,
}

struct Window<T> {
    until: Instant,
    /// The last one that was held back, and how many there were before it.
    held: Option<(T, u32)>,
}

/// What becomes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is told at once.
    Publish,
    /// It is held back. It is the first one, so that somebody must come back at that time.
    Defer {
        /// When.
        until: Instant,
    },
    /// It is held back, in the place of another one.
    Coalesce,
}

impl<T> Default for RateLimiter<T> {
    fn default() -> Self {
        Self { open: HashMap::new(), prune_threshold: PRUNE_THRESHOLD }
    }
}

impl<T> RateLimiter<T> {
    /// Whether this may be told now.
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

    /// What was held back, to be told now, and how many others it stands for.
    pub(super) fn take(&mut self, key: &Key, now: Instant) -> Option<(T, u32)> {
        let window = self.open.get_mut(key)?;
        window.until = now + EVERY;
        window.held.take()
    }

    fn forget(&mut self, now: Instant) {
        if self.open.len() > self.prune_threshold {
            self.open.retain(|_, window| window.held.is_some() || now < window.until);
            // Where all are needed, looking again each time would cost more than it frees.
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

    /// A machine that flaps for an hour writes 3,600 events; or, told too little, its last state is
    /// never seen.
    #[test]
    fn a_flood_becomes_one_a_minute_and_the_last_one_is_told() {
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
    fn another_object_is_told_at_once_and_the_same_one_after_a_minute() {
        let now = Instant::now();
        let mut limiter = RateLimiter::default();
        assert_eq!(limiter.ask(&key("a"), (), now), Admission::Publish);
        assert_eq!(limiter.ask(&key("b"), (), now), Admission::Publish);
        assert_eq!(limiter.ask(&key("a"), (), now + EVERY), Admission::Publish);
        assert_eq!(limiter.ask(&key("a"), (), now + EVERY), Admission::Defer { until: now + EVERY * 2 });
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let now = Instant::now();
        let mut limiter = RateLimiter::default();
        for uid in 0..=PRUNE_THRESHOLD {
            limiter.ask(&key(&uid.to_string()), (), now);
        }
        limiter.ask(&key("later"), (), now + EVERY);
        assert_eq!(limiter.open.len(), 1);
    }
}
