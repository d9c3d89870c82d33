//! The output of one installer in the spool, and how far it has been copied.

use super::quote;
use super::redact::{KEY_LIMIT, Redactor};
use crate::logs::spool_path;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Maximum length of a line; a longer one is cut into several.
const LINE: usize = 8 * 1024;

/// Maximum length of a line whose end is not printed yet; more than anybody writes as one credential. It is copied,
/// and credentials are looked for, without what follows.
const WHOLE: usize = 2 * LINE;

/// Bytes that are read at once.
const PART: usize = 64 * 1024;

/// A line without an end is copied after this time: it may be a question that nobody answers.
const UNFINISHED_LINE: Duration = Duration::from_secs(1);

/// How much copied output stays in the spool: what the end of a step's output is read from, and what precedes it.
const KEPT: u64 = 2 * KEY_LIMIT;

/// Copied output is removed from the disk in units of at least this size.
const RELEASED: u64 = 4 * 1024 * 1024;

/// Length of the record of a position, which is padded so that a shorter one replaces a longer one: the name of a
/// component has at most 200 letters, and each of six numbers has at most 20 digits.
const RECORD: usize = 326;

/// The output of one installer.
pub(super) struct Source {
    component: String,
    spool: File,
    /// Offset in the spool up to which lines are copied.
    copied: u64,
    /// Offset up to which the spool has given its disk space back.
    released: u64,
    /// Number of bytes that were left out since the last lines were copied.
    left_out: u64,
    /// Length of the spool at the last look, and since when.
    seen: (u64, Instant),
}

/// Lines that follow what was copied.
pub(super) struct Part {
    /// The lines, without their ends.
    pub(super) lines: Vec<String>,
    /// Whether the last of them may be continued.
    pub(super) is_open: bool,
    /// Number of bytes in the spool.
    pub(super) bytes: u64,
}

/// How far the output was copied, for an engine that takes over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Position {
    component: String,
    /// The offset in the spool before and after the last copy.
    spool: (u64, u64),
    /// The length of the log before and after it.
    stream: (u64, u64),
    /// Number of bytes that were left out and not reported, before and after it.
    left_out: (u64, u64),
}

impl Source {
    /// Begins at `start` in the spool.
    pub(super) fn new(component: &str, spool: File, start: u64) -> Self {
        let seen = (start, Instant::now());
        Self { component: component.to_owned(), spool, copied: start, released: 0, left_out: 0, seen }
    }

    /// Continues where an earlier engine stopped, if it stopped in the middle. `stream` is the length of the
    /// log.
    pub(super) fn resume(dir: &Path, stream: u64) -> Option<Self> {
        let position = Position::read(dir)?;
        let spool = File::options().read(true).write(true).open(spool_path(dir, &position.component)).ok()?;
        let is_done = stream > position.stream.0 || position.stream.0 == position.stream.1;
        let of = |(before, after)| if is_done { after } else { before };
        let source = Self::new(&position.component, spool, of(position.spool));
        Some(Self { left_out: of(position.left_out), ..source })
    }

    /// Returns the component as the log names it.
    pub(super) fn component(&self) -> &str {
        &self.component
    }

    /// Returns the length of the spool.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.spool.metadata()?.len())
    }

    /// Returns the number of bytes before `end` that are not copied yet.
    pub(super) fn waiting(&self, end: u64) -> u64 {
        end.saturating_sub(self.copied)
    }

    /// Returns the number of bytes that were left out since the last lines were copied.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Returns the next complete lines before `end`; `None`: there are none yet. `ended`: no more output follows.
    pub(super) fn next(&mut self, end: u64, ended: bool) -> io::Result<Option<Part>> {
        if end != self.seen.0 {
            self.seen = (end, Instant::now());
        }
        let rest = self.waiting(end);
        let is_quiet = ended || self.seen.1.elapsed() >= UNFINISHED_LINE;
        let mut bytes = vec![0; PART.min(usize::try_from(rest).unwrap_or(PART))];
        self.spool.read_exact_at(&mut bytes, self.copied)?;
        let end = match bytes.iter().rposition(|byte| *byte == b'\n' || *byte == b'\r') {
            Some(last) => last + 1,
            None if bytes.len() >= WHOLE => cut(&bytes, WHOLE),
            None if is_quiet => bytes.len(),
            None => 0,
        };
        bytes.truncate(end);
        if bytes.is_empty() {
            return Ok(None);
        }
        let is_open = !bytes.ends_with(b"\n") && !bytes.ends_with(b"\r");
        Ok(Some(Part { lines: lines(&bytes), is_open, bytes: bytes.len() as u64 }))
    }

    /// Records that the next `bytes` of the spool are about to be copied, and that the log grows from
    /// `stream.0` to `stream.1` by that and by the report of what was left out.
    pub(super) fn moves(&mut self, dir: &Path, bytes: u64, stream: (u64, u64)) {
        self.record(dir, bytes, stream, 0);
    }

    /// Leaves output before `end` out, up to the whole lines of its last part of `kept` bytes. `stream` is the length
    /// of the log.
    pub(super) fn leave_out(
        &mut self,
        dir: &Path,
        (end, kept): (u64, u64),
        stream: u64,
        redactor: &mut Redactor,
    ) -> io::Result<()> {
        let at = quote::line_start(&self.spool, self.copied, end.saturating_sub(kept), end)?;
        quote::show_preceding(&self.spool, self.copied, at, redactor)?;
        let bytes = at - self.copied;
        self.record(dir, bytes, (stream, stream), self.left_out + bytes);
        Ok(())
    }

    /// Shows the redactor what was copied last, by an earlier engine.
    pub(super) fn show_copied(&self, redactor: &mut Redactor) -> io::Result<()> {
        quote::show_preceding(&self.spool, 0, self.copied, redactor)
    }

    fn record(&mut self, dir: &Path, bytes: u64, stream: (u64, u64), left_out: u64) {
        let spool = (self.copied, self.copied + bytes);
        let left_out = (self.left_out, left_out);
        let position = Position { component: self.component.clone(), spool, stream, left_out };
        // If the disk does not take it, an engine that takes over copies these lines a second time.
        position.write(dir).ok();
        (self.copied, self.left_out) = (spool.1, left_out.1);
    }

    /// Gives the disk space of copied output back. The file keeps its length, because the installer appends to it.
    pub(super) fn release(&mut self) {
        let until = self.copied.saturating_sub(KEPT);
        if until.saturating_sub(self.released) < RELEASED {
            return;
        }
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Not every file system can do this; the space is then returned with the engine's directory.
        fallocate(&self.spool, how, self.released, until - self.released).ok();
        self.released = until;
    }
}

impl Position {
    fn read(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join("position")).ok()?;
        let mut words = text.split_whitespace();
        let component = words.next()?.to_owned();
        let mut number = || words.next()?.parse().ok();
        let (spool, stream) = ((number()?, number()?), (number()?, number()?));
        // Earlier versions reported at once what they left out.
        let left_out = (number().unwrap_or_default(), number().unwrap_or_default());
        Some(Self { component, spool, stream, left_out })
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        let Self { component, spool, stream, left_out } = self;
        let numbers = [spool.0, spool.1, stream.0, stream.1, left_out.0, left_out.1];
        let text = format!("{component} {}", numbers.map(|number| number.to_string()).join(" "));
        let mut file = OpenOptions::new();
        let file = file.write(true).create(true).truncate(false).mode(0o600).open(dir.join("position"))?;
        // One write, so that an engine that is killed leaves the old record or the new one.
        file.write_all_at(format!("{text:<RECORD$}").as_bytes(), 0)
    }

    /// Forgets the position: nothing is being copied.
    pub(super) fn forget(dir: &Path) {
        // Without a position there is nothing to forget.
        fs::remove_file(dir.join("position")).ok();
    }
}

/// Returns where to cut a line that is too long: at a space if there is one near, so that no word is divided
/// that would be recognised as a whole.
fn cut(bytes: &[u8], most: usize) -> usize {
    let line = bytes.get(..most).unwrap_or(bytes);
    let near = line.len().saturating_sub(most / 8);
    line.iter().rposition(|byte| *byte == b' ').filter(|at| *at >= near).map_or(line.len(), |at| at + 1)
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let text = text.strip_suffix(['\n', '\r']).unwrap_or(&text);
    let mut lines = Vec::new();
    for line in text.split('\n') {
        // A carriage return repaints the line, as progress bars do.
        let painted = line.split('\r').filter(|part| !part.is_empty());
        let count = lines.len();
        lines.extend(painted.map(str::to_owned));
        if lines.len() == count {
            lines.push(String::new());
        }
    }
    lines
}

/// Cuts a line, which has no credentials, into pieces of the maximum length.
pub(super) fn pieces(mut line: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    while line.len() > LINE {
        let (piece, rest) = line.split_at(line.floor_char_boundary(cut(line.as_bytes(), LINE)));
        pieces.push(piece);
        line = rest;
    }
    pieces.push(line);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_becomes_lines() {
        assert_eq!(lines(b"one\r\ntwo\n\nthree\n"), ["one", "two", "", "three"]);
        assert_eq!(lines(b"10 %\r20 %\r\ndone"), ["10 %", "20 %", "done"]);
        let long = format!("{} end", "x".repeat(LINE - 2));
        assert_eq!(pieces(&long), [format!("{} ", "x".repeat(LINE - 2)).as_str(), "end"]);
    }
}
