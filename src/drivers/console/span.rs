//! A time limit as a product file has it: `500ms`, `30s`, `10m`, `1h`.

use serde::Deserialize;
use std::time::Duration;

/// The longest time limit. A command that takes longer is no command but work, which is followed by readings.
const LONGEST: Duration = Duration::from_hours(6);

/// A time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

/// Why a text is no time limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// It is not a number and a unit.
    #[error("`{0}` is no time limit; write a number and ms, s, m or h, for example 30s")]
    Form(String),
    /// It is nothing.
    #[error("`{0}` is no time at all")]
    Zero(String),
    /// It is longer than six hours.
    #[error("`{0}` is longer than 6h; work that takes so long is followed by `readings.work`")]
    TooLong(String),
}

impl TryFrom<String> for Span {
    type Error = SpanError;

    fn try_from(text: String) -> Result<Self, SpanError> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(SpanError::Form(text)),
        };
        let Ok(number) = number.parse::<u64>() else { return Err(SpanError::Form(text)) };
        let span = Duration::from_millis(number.saturating_mul(milliseconds));
        if span.is_zero() {
            return Err(SpanError::Zero(text));
        }
        if span > LONGEST { Err(SpanError::TooLong(text)) } else { Ok(Self(span)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A limit that is read in another unit would be a thousand times too short or too long.
    #[test]
    fn a_limit_has_a_number_and_a_unit() {
        let read = |text: &str| Span::try_from(text.to_owned()).map(|span| span.0);
        assert_eq!(read("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(read("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(read("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(read("1h"), Ok(Duration::from_hours(1)));
        for text in ["", "30", "s", "30 s", "-1s", "1d", "99999999999999999999s"] {
            assert_eq!(read(text), Err(SpanError::Form(text.to_owned())), "{text}");
        }
        assert_eq!(read("0s"), Err(SpanError::Zero("0s".to_owned())));
        assert_eq!(read("7h"), Err(SpanError::TooLong("7h".to_owned())));
    }
}
