//! Reads whole lines of a log, and only those that are asked for.

use farrier_protocol::log_name;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How much is read at most to find lines that are asked for.
const SEARCHED: usize = 4 * 1024 * 1024;

/// Which lines are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only the output of this component's installer.
    pub component: Option<String>,
    /// Only lines from this time on, as `2026-04-14T09:05:07Z`.
    pub since: Option<String>,
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The lines.
    pub text: String,
    /// The offset after them.
    pub next: u64,
    /// Whether the log has nothing after them at present.
    pub at_end: bool,
}

/// Reads from `from` on, at most `limit` bytes of lines.
pub(super) fn read(file: &File, length: u64, from: u64, limit: usize, filter: &Filter) -> io::Result<Piece> {
    let component = filter.component.as_deref().map(log_name);
    let (mut next, mut text, mut searched) = (from.min(length), String::new(), 0);
    while next < length && text.len() < limit && searched < SEARCHED {
        let rest = usize::try_from(length - next).unwrap_or(usize::MAX);
        let mut bytes = vec![0; rest.min(limit)];
        file.read_exact_at(&mut bytes, next)?;
        let lost = bytes.iter().take_while(|byte| **byte == 0).count();
        if lost > 0 {
            next += lost as u64;
            continue;
        }
        // A line that is longer than what is read is none of ours; it is shown in parts.
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        bytes.truncate(end);
        next += end as u64;
        searched += end;
        for line in String::from_utf8_lossy(&bytes).split_inclusive('\n') {
            // What was lost in the middle of what is read lies in front of the next line.
            let line = line.trim_start_matches('\0');
            if is_wanted(line, component.as_deref(), filter.since.as_deref()) {
                text.extend(line.chars().map(printable));
            }
        }
    }
    Ok(Piece { text, next, at_end: next >= length })
}

fn is_wanted(line: &str, component: Option<&str>, since: Option<&str>) -> bool {
    let mut words = line.split(' ');
    let time = words.next().unwrap_or_default();
    // Times of this form are in the order of their characters.
    let is_late = since.is_none_or(|since| time >= since);
    is_late && component.is_none_or(|component| words.next() == Some(component))
}

/// Root on a machine can write anything into its log, and a terminal would execute control characters.
fn printable(letter: char) -> char {
    if letter.is_control() && letter != '\n' && letter != '\t' { char::REPLACEMENT_CHARACTER } else { letter }
}
