//! Texts that are not lines of the log: the end of a step's output, and the messages of events.
//!
//! A credential is recognised by what precedes it. So credentials are removed first and the text is cut
//! afterwards, and where reading begins in the middle of output, the redactor sees what comes before it.

use super::redact::{KEY_LIMIT, Redactor};
use farrier_protocol::EventBody;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Maximum number of bytes of an installer's output that are reported with its end; the log has more.
const TAIL: usize = 4096;

/// Returns the end of the output that begins at `start`.
pub(super) fn tail(file: &File, start: u64, mut redactor: Redactor) -> io::Result<String> {
    let end = file.metadata()?.len();
    let at = line_start(file, start, end.saturating_sub(KEY_LIMIT), end)?;
    show_preceding(file, start, at, &mut redactor)?;
    Ok(last_part(&redactor.text(&read(file, at, end)?)))
}

/// Returns `text` without credentials, line by line, and at most its last [`TAIL`] bytes.
pub(super) fn last_part_of(text: &str, mut redactor: Redactor) -> String {
    last_part(&redactor.text(text))
}

/// Removes credentials from the messages of an event, whoever wrote them.
pub(super) fn without_credentials(body: &mut EventBody, redactor: impl Fn() -> Redactor) {
    for text in body.quotations() {
        *text = redactor().text(text);
    }
}

/// Returns where the first line begins at `from` or after it, if `from` is after `start`. A line of more than
/// [`KEY_LIMIT`] bytes is divided between two words.
pub(super) fn line_start(file: &File, start: u64, from: u64, end: u64) -> io::Result<u64> {
    if from <= start {
        return Ok(start);
    }
    let bytes = read_bytes(file, from - 1, end.min(from + KEY_LIMIT))?;
    // The end of the last line is not the beginning of one.
    let bytes = bytes.get(..bytes.len().saturating_sub(1)).unwrap_or_default();
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let last = bytes.iter().position(is_end).or_else(|| bytes.iter().position(u8::is_ascii_whitespace));
    Ok(last.map_or(end, |last| from + last as u64))
}

/// Shows the redactor what precedes `at`, as far as a private key may reach.
pub(super) fn show_preceding(file: &File, start: u64, at: u64, redactor: &mut Redactor) -> io::Result<()> {
    let text = read(file, start.max(at.saturating_sub(KEY_LIMIT)), at)?;
    redactor.text(&text);
    redactor.begin(text.rsplit(['\n', '\r']).next().unwrap_or_default());
    Ok(())
}

fn read(file: &File, from: u64, until: u64) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&read_bytes(file, from, until)?).into_owned())
}

fn read_bytes(file: &File, from: u64, until: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(until.saturating_sub(from)).unwrap_or_default()];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

/// Shortens `text` to at most its last [`TAIL`] bytes: whole lines if there are any.
fn last_part(text: &str) -> String {
    let mut from = text.len().saturating_sub(TAIL);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let (before, part) = text.split_at(from);
    let is_cut = !before.is_empty() && !before.ends_with('\n');
    let rest = part.split_once('\n').map(|(_, rest)| rest).filter(|rest| is_cut && !rest.is_empty());
    rest.unwrap_or(part).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_protocol::{NoReboot, Simulation, StepExit};

    #[test]
    fn the_last_part_never_cuts_a_character_nor_a_line() {
        let text = "é".repeat(3000);
        let part = last_part(&text);
        assert_eq!(part.len(), TAIL);
        assert_eq!(last_part(&format!("x{text}y")).len(), TAIL - 1);
        assert_eq!(last_part("short"), "short");
        assert_eq!(last_part(&"a line\n".repeat(1000)), "a line\n".repeat(TAIL / 7));
        assert_eq!(last_part(&format!("{text}\n")).len(), TAIL - 1);
    }

    /// A password in the address of a repository would be in events, in statuses and in the journal.
    #[test]
    fn messages_of_events_have_no_credentials() {
        let text = || "Failed to fetch https://ann:canary@repo.example/x".to_owned();
        let (task, component) = (String::new(), String::new());
        let exit = StepExit::not_started(farrier_protocol::FailureCode::Other, text());
        let simulations = vec![("a".into(), Simulation::Failed { message: text() })];
        for mut body in [
            EventBody::StepFinished {
                task: task.clone(),
                component: component.clone(),
                exit,
                output: text(),
            },
            EventBody::Simulated { task: task.clone(), simulations },
            EventBody::NotRebooted { task: task.clone(), why: NoReboot::Failed { detail: text() } },
            crate::engine::failed(&task, farrier_protocol::FailureCode::Other, &component, text()),
        ] {
            without_credentials(&mut body, Redactor::default);
            let text = format!("{body:?}");
            assert!(text.contains("https://[redacted]@repo.example/x") && !text.contains("canary"), "{text}");
        }
    }
}
