//! The journal: every event is on disk before it has an effect.
//!
//! One JSON [`Event`] per line; lines are only appended. The journal stores the events that the runner does
//! not have yet, and lets an engine that takes over see what its predecessor did. It stays on the machine
//! after the engine has removed itself.

mod line;
mod state;

pub(crate) use state::{OpenReboot, OpenStep, SessionState};

use crate::{clock, logs};
use farrier_protocol::{Event, EventBody};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The journal of one session.
pub(crate) struct Journal {
    file: File,
    length: u64,
    last_seq: u64,
    index: Vec<Entry>,
    known: SessionState,
}

/// The place of one event.
struct Entry {
    seq: u64,
    stored: Stored,
}

enum Stored {
    File {
        offset: u64,
        length: usize,
    },
    /// The disk did not take the event. It can be delivered while the engine runs.
    Memory(Vec<u8>),
}

impl Journal {
    /// Opens or creates the journal at `path`.
    ///
    /// # Guarantees
    /// An incomplete last line, which is left when the machine loses power, is removed. An unreadable line
    /// before readable lines is an error, because otherwise a step could run twice.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = logs::open_append(path)?;
        let mut journal =
            Self { file, length: 0, last_seq: 0, index: Vec::new(), known: SessionState::default() };
        journal.read(path)?;
        journal.file.set_len(journal.length)?;
        if let Some(dir) = path.parent() {
            // The file's name must survive a power failure, as its content does.
            File::open(dir)?.sync_all()?;
        }
        Ok(journal)
    }

    /// Returns the state that the events add up to.
    pub(crate) fn known(&self) -> &SessionState {
        &self.known
    }

    /// Returns the number of the last event.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Makes the next event's number greater than `seq`. The runner has events that this journal lost, and
    /// would mistake new events with the same numbers for them.
    pub(crate) fn skip_to(&mut self, seq: u64) {
        self.last_seq = self.last_seq.max(seq);
    }

    /// Appends one event. It is on disk when this returns.
    ///
    /// # Errors
    /// The disk did not take the event. The event is kept in memory and is delivered, but the caller must
    /// not do anything that depends on the event after a crash.
    pub(crate) fn append(&mut self, body: EventBody) -> io::Result<()> {
        let event = Event { seq: self.last_seq + 1, at: clock::now_millis(), body };
        let mut line = serde_json::to_vec(&event)?;
        self.last_seq = event.seq;
        self.known.take(&event.body);
        let length = line.len();
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        let stored = if written.is_ok() {
            let offset = self.length;
            self.length += line.len() as u64;
            Stored::File { offset, length }
        } else {
            // Remove the written part; if that fails too, it is an incomplete line.
            self.file.set_len(self.length).ok();
            line.truncate(length);
            Stored::Memory(line)
        };
        self.index.push(Entry { seq: event.seq, stored });
        written
    }

    /// Returns the events after `seq` as a JSON array of about `limit` bytes with at least one event, and
    /// the number of the last event in it. The array is empty if there are no such events.
    pub(crate) fn batch(&self, seq: u64, limit: usize) -> io::Result<(Vec<u8>, u64)> {
        let from = self.index.partition_point(|entry| entry.seq <= seq);
        let (mut array, mut last) = (vec![b'['], seq);
        for entry in self.index.iter().skip(from) {
            let line = match &entry.stored {
                Stored::Memory(line) => line.clone(),
                Stored::File { offset, length } => {
                    let mut line = vec![0; *length];
                    self.file.read_exact_at(&mut line, *offset)?;
                    line
                }
            };
            if array.len() > 1 {
                if array.len() + line.len() > limit {
                    break;
                }
                array.push(b',');
            }
            array.extend_from_slice(&line);
            last = entry.seq;
        }
        array.push(b']');
        Ok((array, last))
    }

    fn read(&mut self, path: &Path) -> io::Result<()> {
        let mut reader = BufReader::new(self.file.try_clone()?);
        let (mut line, mut offset, mut torn) = (Vec::new(), 0, None);
        for number in 1_u64.. {
            line.clear();
            let count = reader.read_until(b'\n', &mut line)?;
            if count == 0 {
                break;
            }
            match (self.parse(&line), torn) {
                (Some((seq, body)), None) => {
                    let stored = Stored::File { offset, length: count - 1 };
                    self.index.push(Entry { seq, stored });
                    self.last_seq = seq;
                    self.known.take(&body);
                    self.length = offset + count as u64;
                }
                (Some(_), Some(damaged)) => {
                    return Err(io::Error::other(format!("{}: line {damaged} is damaged", path.display())));
                }
                (None, None) => torn = Some(number),
                (None, Some(_)) => {}
            }
            offset += count as u64;
        }
        Ok(())
    }

    fn parse(&self, line: &[u8]) -> Option<(u64, EventBody)> {
        let (seq, body) = line::parse(line.strip_suffix(b"\n")?)?;
        (seq > self.last_seq).then_some((seq, body))
    }
}

#[cfg(test)]
mod tests;
