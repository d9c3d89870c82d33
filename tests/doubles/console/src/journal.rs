//! What happened, for tests to read: sign-ins, commands, fetches, flashes, reboots.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Value, json};

/// One line of the journal.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Counts from 1.
    pub number: u64,
    /// Since the start of the double.
    pub at_ms: u64,
    /// Since 1970, so that the journals of several doubles can be compared.
    pub unix_ms: u64,
    /// `sign-in`, `refused`, `command`, `answer`, `fetch`, `upload`, `flash`, `reboot`, `fault`.
    pub kind: String,
    /// What belongs to the kind.
    pub detail: Value,
}

#[derive(Debug)]
pub(crate) struct Journal {
    began: Instant,
    next: u64,
    entries: Vec<Entry>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), next: 1, entries: vec![] }
    }

    pub(crate) fn write(&mut self, kind: &str, detail: Value) {
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        self.entries.push(Entry { number: self.next, at_ms, unix_ms, kind: kind.to_owned(), detail });
        self.next += 1;
    }

    pub(crate) fn since(&self, number: u64) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.number > number).cloned().collect()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// How often each version was flashed on each part.
    pub(crate) fn flashes(&self) -> Vec<Value> {
        let mut counted: Vec<(Value, Value, u32)> = vec![];
        for entry in self.entries.iter().filter(|entry| entry.kind == "flash") {
            let (device, version) = (entry.detail["part"].clone(), entry.detail["version"].clone());
            match counted.iter_mut().find(|(d, v, _)| *d == device && *v == version) {
                Some((_, _, times)) => *times += 1,
                None => counted.push((device, version, 1)),
            }
        }
        counted.into_iter().map(|(d, v, n)| json!({"part": d, "version": v, "times": n})).collect()
    }
}
