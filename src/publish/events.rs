//! Events: what a user reads with `kubectl describe` and `kubectl get events`.
//!
//! Reasons and actions are closed lists. A flapping machine, or a run of a thousand machines, would
//! fill the cluster's database with events. Therefore at most one event per minute is written for each
//! object, reason and action, and the next event says how many were left out.

mod action;
mod rate_limit;

pub use action::Action;

use crate::metrics::Metrics;
use farrier_update::Reason;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use rate_limit::{Admission, RateLimiter};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;
use tracing::Instrument as _;

/// Maximum number of characters of an event's note; the API server rejects longer notes.
const MAX_NOTE_LEN: usize = 1024;

/// Writes events. If an event cannot be written, the failure is logged and the event is dropped: the
/// condition carries the same information.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    part: String,
    metrics: Metrics,
    limiter: Mutex<RateLimiter<EventRecord>>,
}

/// An event and the object that it is about.
#[derive(Clone)]
struct EventRecord {
    good: bool,
    about: ObjectReference,
    reason: Reason,
    action: Action,
    /// Distinguishes the event from others of the same reason and action; usually empty.
    kind: &'static str,
    note: String,
}

/// The unit of rate limiting: object, reason, action and kind.
type Key = (String, Reason, Action, &'static str);

impl Events {
    /// Creates a writer that reports events as this part of the operator.
    pub fn new(client: Client, part: &str, metrics: &Metrics) -> Self {
        let inner =
            Inner { client, part: part.to_owned(), metrics: metrics.clone(), limiter: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Publishes a Normal event.
    pub async fn normal(&self, about: &ObjectReference, reason: Reason, action: Action, note: &str) {
        let (about, note) = (about.clone(), note.to_owned());
        self.emit(EventRecord { good: true, about, reason, action, kind: "", note }).await;
    }

    /// Publishes a Warning event.
    pub async fn warning(&self, about: &ObjectReference, reason: Reason, action: Action, note: &str) {
        self.warning_of(about, reason, action, "", note).await;
    }

    /// Publishes a Warning event of a kind. Kinds are rate-limited separately, so that one does not
    /// hide another.
    pub async fn warning_of(
        &self,
        about: &ObjectReference,
        reason: Reason,
        action: Action,
        kind: &'static str,
        note: &str,
    ) {
        let (about, note) = (about.clone(), note.to_owned());
        self.emit(EventRecord { good: false, about, reason, action, kind, note }).await;
    }

    async fn emit(&self, record: EventRecord) {
        let key = key(&record);
        let verdict = self.limiter().ask(&key, record.clone(), Instant::now());
        match verdict {
            Admission::Publish => self.write(&record, 0).await,
            Admission::Coalesce => self.inner.metrics.events.count(["held_back"]),
            Admission::Defer { until } => {
                self.inner.metrics.events.count(["held_back"]);
                let events = self.clone();
                let later = async move {
                    tokio::time::sleep_until(until).await;
                    let held = events.limiter().take(&key, Instant::now());
                    if let Some((record, others)) = held {
                        events.write(&record, others).await;
                    }
                };
                tokio::spawn(later.in_current_span());
            }
        }
    }

    /// Writes an event that also stands for `others` suppressed events.
    async fn write(&self, record: &EventRecord, others: u32) {
        let event = Event {
            type_: if record.good { EventType::Normal } else { EventType::Warning },
            reason: record.reason.as_str().to_owned(),
            note: Some(noted(&record.note, others)),
            action: record.action.as_str().to_owned(),
            secondary: None,
        };
        // Use a new recorder for each event: a recorder treats events that differ only in their note as
        // repetitions, and keeps the first note.
        let reporter = Reporter { controller: self.inner.part.clone(), instance: None };
        let recorder = Recorder::new(self.inner.client.clone(), reporter);
        match recorder.publish(&event, &record.about).await {
            Ok(()) => self.inner.metrics.events.count(["written"]),
            Err(error) => {
                self.inner.metrics.events.count(["failed"]);
                tracing::warn!(error = %crate::failure::chain(&error), reason = %record.reason, "an event could not be written");
            }
        }
    }

    fn limiter(&self) -> std::sync::MutexGuard<'_, RateLimiter<EventRecord>> {
        self.inner.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(record: &EventRecord) -> Key {
    // The UID distinguishes the object from a later object of the same name.
    let object = record.about.uid.clone().or_else(|| record.about.name.clone()).unwrap_or_default();
    (object, record.reason, record.action, record.kind)
}

/// Truncates the note to the limit and appends the number of suppressed events.
fn noted(note: &str, others: u32) -> String {
    let more =
        if others == 0 { String::new() } else { format!(" (and {others} similar events within a minute)") };
    let room = MAX_NOTE_LEN.saturating_sub(more.chars().count());
    note.chars().take(room).chain(more.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::noted;

    /// The API server rejects a note that is too long; the truncation must keep the number at its end.
    #[test]
    fn a_long_note_is_truncated_and_keeps_the_number() {
        let cut = noted(&"ä".repeat(2000), 7);
        assert_eq!(cut.chars().count(), 1024);
        assert!(cut.ends_with("(and 7 similar events within a minute)"));
        assert_eq!(noted("short", 0), "short");
    }
}
