//! The log of the session: one stream of lines, from which any runner can read at any offset.
//!
//! ```text
//! installer ──► spool (raw, in the engine's directory) ──► pump ──► output-SESSION.log ──► link ──► runner
//! ```
//!
//! An installer writes into a file, not into a pipe: it outlives the engine and must never wait for one. The
//! pump copies complete lines into the log, with time and component, without credentials, and within limits.
//! Only the log stays on the machine and reaches the runner. The spool goes with the engine's directory.

mod quote;
mod redact;
mod source;
mod words;

use crate::clock;
use crate::logs::{StepLog, open_append};
use crate::work_dir::WorkDir;
use farrier_protocol::{EventBody, LOG_ENGINE, LOG_LIMIT_BYTES, log_name};
use redact::Redactor;
use source::{Part, Position, Source};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Interval between two looks at the output of an installer; a user who follows it sees each line within
/// two seconds, with the transfer.
pub(crate) const PUMP_INTERVAL: Duration = Duration::from_millis(250);

/// Length of the log from which on only the end of each installer's output is copied. The rest up to
/// [`LOG_LIMIT_BYTES`] is for these ends and for the engine's own lines.
const OUTPUT_LIMIT: u64 = 16 * 1024 * 1024;

/// How much of the output may wait to be copied. A program that prints faster than the pump copies would
/// otherwise be shown later and later.
const BACKLOG_LIMIT: u64 = 4 * 1024 * 1024;

/// How much of the output is copied where most of it is left out.
const LAST_PART: u64 = 64 * 1024;

/// Maximum number of bytes that one look copies: with [`PUMP_INTERVAL`], 4 MiB a second.
const BYTES_PER_LOOK: u64 = 1024 * 1024;

/// The log of one session.
pub(crate) struct Output {
    state: Mutex<State>,
    /// The log once more, and its length: whoever reads it does not wait for the pump.
    reader: File,
    length: AtomicU64,
    place: WorkDir,
}

struct State {
    file: File,
    source: Option<Source>,
    /// Of the output of the installer. All other texts have nothing to do with its lines.
    redactor: Redactor,
    /// The directory of the spool.
    dir: PathBuf,
    /// Whether users were told that the log is full.
    told_full: bool,
}

/// Whether more output may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    MayFollow,
    /// The installer has ended.
    No,
}

impl Output {
    /// Opens the log at `path`, and goes on with the output of an installer that an earlier engine started.
    pub(crate) fn open(path: &Path, place: &WorkDir) -> io::Result<Self> {
        let mut file = open_append(path)?;
        let mut length = file.metadata()?.len();
        let mut last = [b'\n'];
        if length > 0 {
            file.read_exact_at(&mut last, length - 1)?;
        }
        if last != *b"\n" {
            // The line that an engine was writing when the machine lost power.
            file.write_all(b"\n")?;
            length += 1;
        }
        let source = Source::resume(&place.output(), length);
        let mut redactor = Redactor::of(place);
        if let Some(source) = &source {
            source.show_copied(&mut redactor)?;
        }
        let reader = file.try_clone()?;
        let state = Mutex::new(State { file, source, redactor, dir: place.output(), told_full: false });
        Ok(Self { state, reader, length: AtomicU64::new(length), place: place.clone() })
    }

    /// Returns the length of the log, with what earlier engines of the session have written.
    pub(crate) fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// Lets new lines begin at `offset` at least. A runner has these bytes of a log that the machine has lost.
    pub(crate) fn skip_to(&self, offset: u64) {
        let state = self.lock();
        let offset = offset.min(LOG_LIMIT_BYTES);
        // The bytes in between are a sparse gap, which `read` leaves out.
        if offset > self.length() && state.file.set_len(offset).is_ok() {
            self.length.store(offset, Ordering::Release);
        }
    }

    /// Returns at most `limit` bytes from `offset` on, whole lines if there are any, and the offset at which
    /// they begin: greater than `offset` where bytes are lost. Never waits for the pump.
    pub(crate) fn read(&self, offset: u64, limit: usize) -> io::Result<(u64, Vec<u8>)> {
        let mut offset = offset.min(self.length());
        loop {
            let rest = usize::try_from(self.length() - offset).unwrap_or(usize::MAX);
            let mut bytes = vec![0; rest.min(limit)];
            self.reader.read_exact_at(&mut bytes, offset)?;
            let lost = bytes.iter().take_while(|byte| **byte == 0).count();
            offset += lost as u64;
            if lost < bytes.len() || bytes.is_empty() {
                bytes.drain(..lost);
                if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
                    bytes.truncate(end + 1);
                }
                return Ok((offset, bytes));
            }
        }
    }

    /// Writes a line for an event that users want to see, if it is one.
    pub(crate) fn event(&self, body: &EventBody) {
        if let Some(text) = words::of(body) {
            self.note(LOG_ENGINE, &text);
        }
    }

    /// Writes lines of the engine, or of a component's installer that is not run as a process of its own.
    pub(crate) fn note(&self, component: &str, text: &str) {
        let mut state = self.lock();
        let mut redactor = self.redactor();
        let component = if component == LOG_ENGINE { component.to_owned() } else { log_name(component) };
        let mut lines = Vec::new();
        for line in text.trim_end().lines() {
            stamp(&mut lines, &component, &redactor.line(line));
        }
        state.write(&lines, &self.length);
    }

    /// Begins to follow the output of a component's installer, which is in the spool from `start` on.
    pub(crate) fn begin(&self, component: &str, spool: File, start: u64) {
        let mut state = self.lock();
        state.redactor = self.redactor();
        let mut source = Source::new(&log_name(component), spool, start);
        source.moves(&state.dir, 0, (self.length(), self.length()));
        state.source = Some(source);
    }

    /// Copies what an installer has printed. Returns whether there was anything.
    pub(crate) fn pump(&self) -> bool {
        self.copy(More::MayFollow)
    }

    /// Copies the rest of the output of an installer, which has ended. What its daemons print from now on is lost.
    pub(crate) fn finish(&self) {
        self.copy(More::No);
        let mut state = self.lock();
        state.source = None;
        Position::forget(&state.dir);
    }

    /// Returns the end of a step's output without credentials.
    pub(crate) fn tail(&self, log: &StepLog) -> String {
        quote::tail(log.file(), log.start(), self.redactor()).unwrap_or_default()
    }

    /// Returns the end of `text` without credentials.
    pub(crate) fn last_part(&self, text: &str) -> String {
        quote::last_part_of(text, self.redactor())
    }

    /// Returns an event without credentials in its messages.
    pub(crate) fn without_credentials(&self, mut body: EventBody) -> EventBody {
        quote::without_credentials(&mut body, || self.redactor());
        body
    }

    fn redactor(&self) -> Redactor {
        Redactor::of(&self.place)
    }

    fn copy(&self, more: More) -> bool {
        let before = self.length();
        let mut state = self.lock();
        let Some(mut source) = state.source.take() else { return false };
        // An error means that the spool cannot be read now; the next look tries again.
        state.copy(&mut source, more, &self.length).ok();
        state.source = Some(source);
        self.length() > before
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn copy(&mut self, source: &mut Source, more: More, length: &AtomicU64) -> io::Result<()> {
        // What is printed meanwhile is left to the next look. A daemon that the installer has left behind may
        // print faster than this copies, without end.
        let end = source.length()?;
        let mut copied = 0;
        loop {
            let is_full = length.load(Ordering::Acquire) >= OUTPUT_LIMIT;
            if source.waiting(end) > if is_full { LAST_PART } else { BACKLOG_LIMIT } {
                let stream = length.load(Ordering::Acquire);
                source.leave_out(&self.dir, (end, LAST_PART), stream, &mut self.redactor)?;
            }
            if more == More::MayFollow && is_full {
                self.tell_full(source.component(), length);
            }
            if more == More::MayFollow && (is_full || copied >= BYTES_PER_LOOK) {
                break;
            }
            let Some(part) = source.next(end, more == More::No)? else { break };
            copied += part.bytes;
            self.copy_part(source, &part, length);
        }
        source.release();
        Ok(())
    }

    fn copy_part(&mut self, source: &mut Source, part: &Part, length: &AtomicU64) {
        let mut lines = Vec::new();
        if source.left_out() > 0 {
            let text = format!("[farrier: {} bytes of output are left out]", source.left_out());
            stamp(&mut lines, source.component(), &text);
        }
        for line in &part.lines {
            // A piece of a line may be a credential that is not recognised by itself.
            let line = self.redactor.line(line);
            for piece in source::pieces(&line) {
                stamp(&mut lines, source.component(), piece);
            }
        }
        if let Some(last) = part.lines.last().filter(|_| part.is_open) {
            self.redactor.begin(last);
        }
        // On disk before the lines, so that an engine that takes over copies no line twice.
        let stream = length.load(Ordering::Acquire);
        source.moves(&self.dir, part.bytes, (stream, stream + lines.len() as u64));
        self.write(&lines, length);
    }

    fn tell_full(&mut self, component: &str, length: &AtomicU64) {
        if !std::mem::replace(&mut self.told_full, true) {
            let mut line = Vec::new();
            stamp(&mut line, component, "[farrier: the log is full; of further output only the end is kept]");
            self.write(&line, length);
        }
    }

    /// Appends lines. What the disk does not take, or exceeds the limit, is lost: the journal has the results.
    fn write(&mut self, lines: &[u8], length: &AtomicU64) {
        let before = length.load(Ordering::Acquire);
        let after = before + lines.len() as u64;
        if after > LOG_LIMIT_BYTES || lines.is_empty() {
            return;
        }
        if self.file.write_all(lines).is_ok() {
            length.store(after, Ordering::Release);
        } else {
            // A part of a line would be continued by the next line.
            self.file.set_len(before).ok();
        }
    }
}

/// Appends one line of the log.
fn stamp(lines: &mut Vec<u8>, component: &str, text: &str) {
    let time = clock::utc(clock::now_millis());
    lines.extend_from_slice(format!("{time} {component} ").as_bytes());
    // A terminal would execute other control characters.
    let text = text.chars().filter(|letter| !letter.is_control() || *letter == '\t');
    lines.extend_from_slice(text.collect::<String>().as_bytes());
    lines.push(b'\n');
}

#[cfg(test)]
mod tests;
