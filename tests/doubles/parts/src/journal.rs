//! What happened, for tests to read.

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
    /// `fetch`, `flash`, `fault`, and what else the double has (its README).
    pub kind: String,
    /// What belongs to the kind.
    pub detail: Value,
}

/// The lines so far.
#[derive(Debug)]
pub struct Journal {
    began: Instant,
    next: u64,
    entries: Vec<Entry>,
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}

impl Journal {
    /// An empty one, of a double that starts now.
    pub fn new() -> Self {
        Self { began: Instant::now(), next: 1, entries: vec![] }
    }

    /// Adds a line.
    pub fn write(&mut self, kind: &str, detail: Value) {
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        self.entries.push(Entry { number: self.next, at_ms, unix_ms, kind: kind.to_owned(), detail });
        self.next += 1;
    }

    /// The lines after the one of this number.
    pub fn since(&self, number: u64) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.number > number).cloned().collect()
    }

    /// Removes all lines; the next one goes on counting.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// How often each version was flashed, on each thing that the detail has under `of`: `device`, `part`.
    pub fn flashes(&self, of: &str) -> Vec<Value> {
        let mut counted: Vec<(Value, Value, u32)> = vec![];
        for entry in self.entries.iter().filter(|entry| entry.kind == "flash") {
            let (thing, version) = (entry.detail[of].clone(), entry.detail["version"].clone());
            match counted.iter_mut().find(|(t, v, _)| *t == thing && *v == version) {
                Some((_, _, times)) => *times += 1,
                None => counted.push((thing, version, 1)),
            }
        }
        counted.into_iter().map(|(t, v, n)| json!({of: t, "version": v, "times": n})).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver that flashes twice would pass.
    #[test]
    fn each_flash_of_a_version_counts() {
        let mut journal = Journal::new();
        for (part, version) in [("a", "1"), ("a", "2"), ("a", "1"), ("b", "1")] {
            journal.write("flash", json!({"part": part, "version": version}));
        }
        journal.write("fault", json!({}));
        let times = |part, version, n| json!({"part": part, "version": version, "times": n});
        assert_eq!(journal.flashes("part"), [times("a", "1", 2), times("a", "2", 1), times("b", "1", 1)]);
        assert_eq!(journal.since(3).iter().map(|entry| entry.number).collect::<Vec<_>>(), [4, 5]);
        journal.clear();
        journal.write("fault", json!({}));
        assert_eq!(journal.since(0)[0].number, 6);
    }
}
