//! The time that a device names in the header `Retry-After` (RFC 9110, section 10.2.3).

use hyper::HeaderMap;
use hyper::header::{DATE, HeaderName, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Statuses whose header counts: accepted, too many requests, unavailable (DSP0266).
const STATUSES: [u16; 3] = [202, 429, 503];

/// When a device wants to be asked again, according to its last answer.
#[derive(Debug, Clone, Default)]
pub(super) struct RetryAfter(Arc<Mutex<Option<Instant>>>);

impl RetryAfter {
    /// Notes what the last answer says. An answer that names no time ends the wait.
    pub(super) fn note(&self, status: Option<u16>, named: Option<Duration>) {
        let is_meant = status.is_some_and(|status| STATUSES.contains(&status));
        let until = named.filter(|_| is_meant).and_then(|named| Instant::now().checked_add(named));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Returns how long the device wants to be left alone from now on.
    pub(super) fn left(&self) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

/// Reads the header: seconds, or a time by the device's own clock.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let named = text(RETRY_AFTER)?;
    if let Ok(seconds) = named.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let time = |text: &str| rfc2822::parse(text).ok().map(|time| time.timestamp());
    // The clock of a device may be wrong, and then the time of its answer is wrong likewise.
    let now = text(DATE).and_then(time).unwrap_or_else(Timestamp::now);
    Duration::try_from(time(named)?.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    /// A device that is asked before its time is kept from what it does, and one whose time is misread is not asked
    /// for hours.
    #[test]
    fn seconds_and_times_of_the_devices_clock_are_read() {
        let headers = |retry: &'static str, date: &'static str| {
            let date = (!date.is_empty()).then(|| (DATE, HeaderValue::from_static(date)));
            [(RETRY_AFTER, HeaderValue::from_static(retry))].into_iter().chain(date).collect::<HeaderMap>()
        };
        let seconds = |retry, date| read(&headers(retry, date)).map(|named| named.as_secs());
        assert_eq!(seconds(" 120 ", ""), Some(120));
        let date = "Thu, 01 Jan 1970 00:10:00 GMT";
        assert_eq!(seconds("Thu, 01 Jan 1970 00:10:30 GMT", date), Some(30), "a clock that was never set");
        assert_eq!(seconds("Thu, 01 Jan 1970 00:09:00 GMT", date), None, "in the past");
        for odd in ["soon", "-5", "1.5"] {
            assert_eq!(seconds(odd, ""), None, "{odd}");
        }
    }

    /// What a device said about one request must not delay the next one after another answer.
    #[test]
    fn only_the_last_answer_counts() {
        let retry = RetryAfter::default();
        let minute = Some(Duration::from_mins(1));
        retry.note(Some(503), minute);
        assert!(retry.clone().left() > Some(Duration::from_secs(50)));
        retry.note(Some(200), None);
        assert_eq!(retry.left(), None);
        retry.note(Some(301), minute);
        assert_eq!(retry.left(), None, "a redirect is followed at once");
    }
}
