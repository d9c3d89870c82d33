//! Decides whether and when a failed attempt is retried.
//!
//! The backoff grows, so that a machine in trouble is left alone, and differs between nodes, so that
//! the sessions of a whole rack do not contact it in the same second when it comes back.

use crate::model::Millis;
use crate::reason::Reason;
use std::time::Duration;

/// The first backoff. A restart of an SSH server or a moved link takes this long.
const FIRST_DELAY: Duration = Duration::from_secs(5);

/// Factor between two successive backoffs.
const FACTOR: u32 = 3;

/// Maximum backoff before jitter. A server's firmware boot takes this long; a longer backoff would only
/// delay users who have just repaired something.
const MAX_DELAY: Duration = Duration::from_mins(5);

/// The decision after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No further attempt: the failure is final.
    GiveUp,
    /// Another attempt, not before this time.
    At(Millis),
}

/// Returns the backoff after failed attempt number `attempt`, which counts from 1.
///
/// | attempt | wait  | with jitter     |
/// | ------- | ----- | --------------- |
/// | 1       | 5 s   | 4 s … 6 s       |
/// | 2       | 15 s  | 12 s … 18 s     |
/// | 3       | 45 s  | 36 s … 54 s     |
/// | 4       | 135 s | 108 s … 162 s   |
/// | 5 and on | 300 s | 240 s … 360 s  |
///
/// The jitter depends on `seed` and `attempt` alone: equal arguments give equal results.
pub fn backoff(attempt: u32, seed: u64) -> Duration {
    let factor = FACTOR.saturating_pow(attempt.max(1) - 1);
    let middle = FIRST_DELAY.saturating_mul(factor).min(MAX_DELAY);
    // Jitter: 800 to 1200 thousandths.
    let thousandths = 800 + u32::try_from(scramble(seed ^ u64::from(attempt)) % 401).unwrap_or(200);
    middle.saturating_mul(thousandths) / 1000
}

/// Decides whether and when attempt number `attempt` (from 1), which failed, is retried.
///
/// `retries` is the number of attempts that may follow the first attempt.
pub fn after_failure(reason: Reason, attempt: u32, retries: u32, seed: u64, now: Millis) -> Retry {
    if reason.retryable() && attempt <= retries {
        Retry::At(now.after(backoff(attempt, seed)))
    } else {
        Retry::GiveUp
    }
}

/// Spreads close seeds over the whole range (the finalizer of `SplitMix64`).
fn scramble(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The documentation promises the table in the comment.
    #[test]
    fn waits_stay_inside_the_documented_table() {
        for seed in 0..2000 {
            for (attempt, low, high) in [
                (0, 4, 6),
                (1, 4, 6),
                (2, 12, 18),
                (3, 36, 54),
                (4, 108, 162),
                (5, 240, 360),
                (u32::MAX, 240, 360),
            ] {
                let wait = backoff(attempt, seed);
                assert!(
                    wait >= Duration::from_secs(low) && wait <= Duration::from_secs(high),
                    "{attempt}: {wait:?}"
                );
                assert_eq!(wait, backoff(attempt, seed));
            }
        }
    }

    /// Without jitter a whole rack is contacted in the same second.
    #[test]
    fn neighbouring_seeds_are_spread() {
        let waits: std::collections::BTreeSet<_> = (0..100).map(|seed| backoff(3, seed)).collect();
        assert!(waits.len() > 70, "{}", waits.len());
    }

    /// One attempt too many locks an account; one attempt too few fails a run for a transient error.
    #[test]
    fn attempts_are_counted_exactly() {
        let now = Millis(1_000_000);
        let at = |attempt, retries| after_failure(Reason::ConnectionTimedOut, attempt, retries, 7, now);
        assert_eq!(at(1, 0), Retry::GiveUp);
        assert_eq!(at(1, 1), Retry::At(now.after(backoff(1, 7))));
        assert_eq!(at(2, 1), Retry::GiveUp);
        assert_eq!(at(3, 2), Retry::GiveUp);
        assert_eq!(after_failure(Reason::PasswordRejected, 1, 9, 7, now), Retry::GiveUp);
    }
}
