//! Faults that are switched on: for how many times, and for how long.
//!
//! What can go wrong is a type of each double, an enum that is JSON with a `name`.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A fault with how often or how long it happens. As JSON: `{"name": "slow", "ms": 500, "times": 1}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Armed<F> {
    /// What.
    #[serde(flatten)]
    pub fault: F,
    /// How many more times; without it: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// For how long, counted from now; without it: for ever.
    #[serde(default, rename = "for-ms", skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Seconds in the header `Retry-After` of the answers that the fault makes, where it makes answers of HTTP.
    #[serde(default, rename = "retry-after", skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    #[serde(skip)]
    until: Option<Instant>,
}

impl<F> Armed<F> {
    /// Until it is cleared.
    pub const fn always(fault: F) -> Self {
        Self { fault, times: None, for_ms: None, retry_after: None, until: None }
    }

    /// That many times.
    pub const fn times(fault: F, times: u32) -> Self {
        Self { fault, times: Some(times), for_ms: None, retry_after: None, until: None }
    }

    /// The same with this header `Retry-After`.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    fn is_over(&self) -> bool {
        self.times == Some(0) || self.until.is_some_and(|until| until <= Instant::now())
    }
}

/// The faults that are switched on.
#[derive(Debug)]
pub struct Faults<F>(Vec<Armed<F>>);

impl<F> Default for Faults<F> {
    fn default() -> Self {
        Self(vec![])
    }
}

impl<F: Serialize + PartialEq> Faults<F> {
    /// Switches a fault on, from now.
    pub fn arm(&mut self, mut armed: Armed<F>) {
        armed.until = armed.for_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        self.0.push(armed);
    }

    /// Switches faults off: those of this name, or all.
    pub fn clear(&mut self, name: Option<&str>) {
        self.0.retain(|armed| name.is_some_and(|name| fault_name(&armed.fault) != name));
    }

    /// Those that still happen.
    pub fn armed(&mut self) -> &[Armed<F>] {
        self.0.retain(|armed| !armed.is_over());
        &self.0
    }

    /// The first fault for which `pick` has an answer; one of its times is used up.
    pub fn take<T>(&mut self, pick: impl Fn(&F) -> Option<T>) -> Option<T> {
        self.take_with_retry(pick).map(|(picked, _)| picked)
    }

    /// The same with the seconds of `Retry-After`.
    pub fn take_with_retry<T>(&mut self, pick: impl Fn(&F) -> Option<T>) -> Option<(T, Option<u64>)> {
        let (armed, picked) = self
            .0
            .iter_mut()
            .filter(|armed| !armed.is_over())
            .find_map(|armed| pick(&armed.fault).map(|picked| (armed, picked)))?;
        armed.times = armed.times.map(|times| times.saturating_sub(1));
        Some((picked, armed.retry_after))
    }

    /// Whether this fault is on; one of its times is used up.
    pub fn has(&mut self, fault: &F) -> bool {
        self.take(|armed| (armed == fault).then_some(())).is_some()
    }

    /// Whether a fault is on, without using it up.
    pub fn look<T>(&self, pick: impl Fn(&F) -> Option<T>) -> Option<T> {
        self.0.iter().filter(|armed| !armed.is_over()).find_map(|armed| pick(&armed.fault))
    }
}

/// The name in JSON.
pub fn fault_name(fault: &impl Serialize) -> String {
    serde_json::to_value(fault)
        .ok()
        .and_then(|value| value.get("name").and_then(|name| name.as_str().map(str::to_owned)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(tag = "name", rename_all = "kebab-case")]
    enum Fault {
        NoRoom,
        Slow { ms: u64 },
    }

    fn armed(text: &str) -> Armed<Fault> {
        serde_json::from_str(text).unwrap()
    }

    /// A test that switches a fault on for one update must not meet it at the second.
    #[test]
    fn a_fault_for_one_time_happens_once() {
        let mut faults = Faults::default();
        faults.arm(armed(r#"{"name": "no-room", "times": 1}"#));
        assert!(faults.look(|fault| (*fault == Fault::NoRoom).then_some(())).is_some(), "not used up");
        assert!(faults.has(&Fault::NoRoom));
        assert!(!faults.has(&Fault::NoRoom));
        assert!(faults.armed().is_empty());
    }

    /// As above, with a fault that is on for a while.
    #[test]
    fn a_fault_for_some_time_ends_by_itself() {
        let mut faults = Faults::default();
        faults.arm(armed(r#"{"name": "slow", "ms": 5, "for-ms": 0}"#));
        assert!(!faults.has(&Fault::Slow { ms: 5 }));
        faults.arm(armed(r#"{"name": "slow", "ms": 5, "for-ms": 600000, "retry-after": 7}"#));
        let slow = |fault: &Fault| match fault {
            Fault::Slow { ms } => Some(*ms),
            Fault::NoRoom => None,
        };
        assert_eq!(faults.take_with_retry(slow), Some((5, Some(7))));
        assert_eq!(faults.take(slow), Some(5), "it is on for ten minutes");
    }

    /// A test in another process would clear the faults of others, or none.
    #[test]
    fn faults_are_cleared_by_their_name_in_json() {
        let mut faults = Faults::default();
        faults.arm(Armed::always(Fault::NoRoom));
        faults.arm(Armed::times(Fault::Slow { ms: 1 }, 3));
        faults.clear(Some("slow"));
        let left: Vec<_> = faults.armed().iter().map(|armed| armed.fault.clone()).collect();
        assert_eq!(left, [Fault::NoRoom]);
        faults.clear(None);
        assert!(faults.armed().is_empty());
    }
}
