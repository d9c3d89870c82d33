//! A token bucket: a burst at once, and a refill over time. Pure, with the time as a parameter.

use std::time::{Duration, Instant};

/// The tokens that are left.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    most: f64,
    per_second: f64,
    left: f64,
    since: Instant,
}

impl TokenBucket {
    /// Creates a full bucket with `most` tokens and a refill rate per second.
    pub(crate) fn new(most: u32, per_second: u32, now: Instant) -> Self {
        let most = f64::from(most);
        Self { most, per_second: f64::from(per_second), left: most, since: now }
    }

    /// Takes one token, if available.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let has = self.left >= 1.0;
        if has {
            self.left -= 1.0;
        }
        has
    }

    /// Charges `units`, even beyond the available tokens, and returns how long the refill of the debt
    /// takes. The debt is limited to the size of the bucket.
    pub(crate) fn charge(&mut self, units: u32, now: Instant) -> Duration {
        self.refill(now);
        self.left = (self.left - f64::from(units)).max(-self.most);
        Duration::from_secs_f64((-self.left / self.per_second).max(0.0))
    }

    /// Reports whether the bucket is full, so that it may be dropped.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left >= self.most
    }

    fn refill(&mut self, now: Instant) {
        let back = now.saturating_duration_since(self.since).as_secs_f64() * self.per_second;
        self.left = (self.left + back).min(self.most);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_refill_over_time_and_debts_are_limited() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut bucket = TokenBucket::new(10, 100, start);
        assert_eq!((0..20).filter(|_| bucket.take(start)).count(), 10);
        assert_eq!((0..20).filter(|_| bucket.take(at(50))).count(), 5);
        assert!(bucket.is_full(at(1000)));
        assert_eq!(bucket.charge(10, at(1000)), Duration::ZERO);
        assert_eq!(bucket.charge(5, at(1000)), Duration::from_millis(50));
        assert_eq!(bucket.charge(1_000_000, at(1000)), Duration::from_millis(100));
        assert!(!bucket.take(at(1100)) && bucket.take(at(1110)));
    }
}
