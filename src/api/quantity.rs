//! Durations and limits, in the format that users write.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A duration: numbers with the units h, m, s, ms, for instance 90s, 10m or 1h30m.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Span(#[schemars(regex(pattern = r"^([0-9]{1,9}(ms|h|m|s))+$"), length(max = 32))] pub String);

impl Span {
    /// Returns a duration as users write it, rounded up to whole seconds.
    pub fn of(duration: Duration) -> Self {
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
        let parts = parts.into_iter().filter(|(number, _)| *number > 0);
        let text = parts.map(|(number, unit)| number.to_string() + unit).collect::<Vec<_>>().concat();
        Self(if text.is_empty() { "0s".to_owned() } else { text })
    }

    /// Returns the duration, or `None` if the text is not a duration (the schema rejects such text).
    pub fn duration(&self) -> Option<Duration> {
        let mut rest = self.0.as_str();
        let mut total = Duration::ZERO;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, tail) = rest.split_at(digits);
            let number: u64 = number.parse().ok()?;
            let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit);
            let millis = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return None,
            };
            total = total.checked_add(Duration::from_millis(number.checked_mul(millis)?))?;
            rest = tail;
        }
        Some(total)
    }
}

impl From<&str> for Span {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Parses "25%" or 3. Returns `None` for any other value.
pub fn limit(value: &IntOrString) -> Option<farrier_update::run::Limit> {
    use farrier_update::run::Limit;
    match value {
        IntOrString::Int(n) => u32::try_from(*n).ok().filter(|n| *n > 0).map(Limit::Count),
        IntOrString::String(text) => {
            if let Some(percent) = text.strip_suffix('%') {
                percent.parse().ok().filter(|p| (1..=100).contains(p)).map(Limit::Percent)
            } else {
                text.parse().ok().filter(|n| *n > 0).map(Limit::Count)
            }
        }
    }
}

/// Parses a budget: as [`limit`], and it may be zero.
pub fn budget(value: &IntOrString) -> Option<farrier_update::run::Limit> {
    use farrier_update::run::Limit;
    let is_zero = match value {
        IntOrString::Int(n) => *n == 0,
        IntOrString::String(text) => text == "0%",
    };
    if is_zero { Some(Limit::Count(0)) } else { limit(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is recorded is read again.
    #[test]
    fn durations_are_written_as_they_are_read() {
        for (millis, text) in
            [(0, "0s"), (1, "1s"), (59_001, "1m"), (5_400_000, "1h30m"), (3_661_000, "1h1m1s")]
        {
            let written = Span::of(Duration::from_millis(millis));
            assert_eq!(written, Span::from(text));
            assert_eq!(written.duration(), Some(Duration::from_secs(millis.div_ceil(1000))));
        }
    }

    #[test]
    fn spans_are_read_as_users_write_them() {
        for (text, seconds) in [("10m", 600), ("1h30m", 5400), ("90s", 90), ("168h", 604_800)] {
            assert_eq!(Span::from(text).duration(), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(Span::from("250ms").duration(), Some(Duration::from_millis(250)));
        for text in ["", "10", "m", "10 m", "1d", "-5s", "99999999999999999999h"] {
            assert_eq!(Span::from(text).duration(), None, "{text}");
        }
    }
}
