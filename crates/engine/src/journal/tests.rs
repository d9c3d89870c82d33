//! The journal after power failures and full disks.

use super::state::TaskState;
use super::*;
use farrier_protocol::StepExit;
use std::fs;
use std::path::PathBuf;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("farrier-journal-{}-{name}", std::process::id()));
        fs::remove_file(&path).ok();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

fn started(component: &str) -> EventBody {
    EventBody::StepStarted { task: "apply-1".into(), component: component.into(), limit: None }
}

fn finished(component: &str) -> EventBody {
    EventBody::StepFinished {
        task: "apply-1".into(),
        component: component.into(),
        exit: StepExit::Exited { code: 0 },
        output: String::new(),
    }
}

fn sample(path: &Path) -> Journal {
    let mut journal = Journal::open(path).unwrap();
    let components = vec!["a".into(), "b".into()];
    journal.append(EventBody::TaskStarted { task: "apply-1".into(), components }).unwrap();
    journal.append(started("a")).unwrap();
    journal.append(finished("a")).unwrap();
    journal.append(started("b")).unwrap();
    journal
}

/// If a machine loses power in the middle of a write, the earlier events must not be lost.
#[test]
fn a_journal_cut_at_any_byte_keeps_every_whole_line() {
    let scratch = Scratch::new("cut");
    sample(&scratch.0);
    let bytes = fs::read(&scratch.0).unwrap();
    for cut in 0..=bytes.len() {
        fs::write(&scratch.0, &bytes[..cut]).unwrap();
        let whole = bytes[..cut].split(|byte| *byte == b'\n').count() as u64 - 1;
        let mut journal = Journal::open(&scratch.0).unwrap();
        assert_eq!(journal.last_seq(), whole, "cut at {cut}");
        journal.append(started("c")).unwrap();
        assert_eq!(Journal::open(&scratch.0).unwrap().last_seq(), whole + 1, "cut at {cut}");
    }
}

/// If a line in the middle were skipped, a step could run twice.
#[test]
fn damage_before_whole_lines_is_an_error() {
    let scratch = Scratch::new("damage");
    sample(&scratch.0);
    let mut bytes = fs::read(&scratch.0).unwrap();
    bytes[3] = 0;
    fs::write(&scratch.0, bytes).unwrap();
    let error = Journal::open(&scratch.0).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("line 1 is damaged"), "{error}");
}

#[test]
fn steps_without_an_end_are_known_after_opening() {
    let scratch = Scratch::new("open");
    sample(&scratch.0);
    let journal = Journal::open(&scratch.0).unwrap();
    let task = TaskState {
        id: "apply-1".into(),
        finished: false,
        open: vec![OpenStep { component: "b".into(), started: true, limit: None }],
    };
    assert_eq!(journal.known().tasks, [task]);
    assert!(!journal.known().is_finished("apply-1"));
}

#[test]
fn batches_hold_every_event_once() {
    let scratch = Scratch::new("batch");
    let journal = sample(&scratch.0);
    for limit in [0, 1, 150, 300, 10_000] {
        let (mut seq, mut seen) = (0, Vec::new());
        loop {
            let (array, last) = journal.batch(seq, limit).unwrap();
            let events: Vec<Event> = serde_json::from_slice(&array).unwrap();
            if events.is_empty() {
                break;
            }
            seen.extend(events.into_iter().map(|event| event.seq));
            seq = last;
        }
        assert_eq!(seen, [1, 2, 3, 4], "limit {limit}");
    }
}

/// The runner ignores numbers that it has seen, so an engine that lost its journal must not reuse them.
#[test]
fn numbers_go_on_after_what_the_runner_has() {
    let scratch = Scratch::new("skip");
    let mut journal = sample(&scratch.0);
    journal.skip_to(40);
    journal.append(finished("b")).unwrap();
    let journal = Journal::open(&scratch.0).unwrap();
    assert_eq!(journal.last_seq(), 41);
    assert_eq!(journal.batch(40, 1000).unwrap().1, 41);
}
