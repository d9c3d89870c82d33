//! What an engine has recorded: events, leases, finished tasks, its log.

use super::{lease, now};
use farrier_protocol::{Event, EventBody, LOG_ENGINE, Lease, LeaseKind};

/// The journal and the log, in memory.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Those that the operator has not acknowledged.
    events: Vec<Event>,
    last_seq: u64,
    leases: Vec<Lease>,
    leases_taken: u64,
    finished: Vec<String>,
    log: String,
}

impl Record {
    /// Records an event.
    pub(super) fn event(&mut self, body: EventBody) {
        self.last_seq += 1;
        let kind = serde_json::to_value(&body).ok();
        let kind = kind.as_ref().and_then(|json| json.get("kind")?.as_str()).unwrap_or_default();
        self.print(LOG_ENGINE, kind);
        self.events.push(Event { seq: self.last_seq, at: now(), body });
    }

    /// Adds a line to the log.
    pub(super) fn print(&mut self, component: &str, text: &str) {
        self.log.extend(["2026-01-01T00:00:00Z ", component, " ", text, "\n"]);
    }

    /// Takes a lease.
    pub(super) fn take(&mut self, kind: LeaseKind, what: String) -> Lease {
        self.leases_taken += 1;
        let lease = lease(self.leases_taken, kind, what);
        self.leases.push(lease.clone());
        self.event(EventBody::LeaseTaken { lease: lease.clone() });
        lease
    }

    /// Returns a lease.
    pub(super) fn give_back(&mut self, lease: &Lease) {
        self.leases.retain(|held| held != lease);
        self.event(EventBody::LeaseReturned { id: lease.id.clone() });
    }

    /// Records that a task has ended.
    pub(super) fn finish(&mut self, task: &str) {
        self.finished.push(task.to_owned());
    }

    /// Reports whether a task has ended before.
    pub(super) fn is_finished(&self, task: &str) -> bool {
        self.finished.iter().any(|known| known == task)
    }

    /// Returns the tasks that have ended.
    pub(super) fn finished(&self) -> &[String] {
        &self.finished
    }

    /// Returns the leases that are held.
    pub(super) fn leases(&self) -> &[Lease] {
        &self.leases
    }

    /// Returns the number of the last event.
    pub(super) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Forgets the events that the operator has.
    pub(super) fn acknowledged(&mut self, ack: u64) {
        self.events.retain(|event| event.seq > ack);
    }

    /// Returns the events that the operator has not acknowledged.
    pub(super) fn unsent(&self) -> &[Event] {
        &self.events
    }

    /// Returns the log from an offset.
    pub(super) fn log_from(&self, from: u64) -> Vec<u8> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        self.log.as_bytes().get(from..).unwrap_or_default().to_vec()
    }
}
