//! Tests of the log without an engine.

use super::*;
use std::fs;
use std::path::PathBuf;

/// A directory for one engine, and the log beside it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("farrier-output-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("output")).unwrap();
        Self(dir)
    }

    fn open(&self) -> Output {
        Output::open(&self.0.join("s.log"), &WorkDir::named(&self.0).unwrap()).unwrap()
    }

    /// Opens the spool of a component.
    fn spool(&self, component: &str) -> File {
        open_append(&crate::logs::spool_path(&self.0.join("output"), component)).unwrap()
    }

    /// Returns the lines of the log without their times.
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.join("s.log")).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn lines_are_copied_when_they_are_complete() {
    let scratch = Scratch::new("lines");
    let (output, mut spool) = (scratch.open(), scratch.spool("a"));
    output.begin("a", scratch.spool("a"), 0);
    assert!(!output.pump());
    spool.write_all(b"one\ntw").unwrap();
    assert!(output.pump());
    assert_eq!(scratch.lines(), ["a one"]);
    spool.write_all(b"o\nhttps://u:p@h\nend").unwrap();
    output.finish();
    output.note(LOG_ENGINE, "done");
    assert_eq!(scratch.lines(), ["a one", "a two", "a https://[redacted]@h", "a end", "- done"]);
}

/// A question that nobody answers would not be seen before the time limit of the installer.
#[test]
fn a_line_without_an_end_is_copied_when_nothing_follows() {
    let scratch = Scratch::new("question");
    let (output, mut spool) = (scratch.open(), scratch.spool("a"));
    output.begin("a", scratch.spool("a"), 0);
    spool.write_all(b"Continue? [y/N] ").unwrap();
    let begun = std::time::Instant::now();
    while !output.pump() {
        assert!(begun.elapsed() < Duration::from_mins(1));
        // sleep: between two looks.
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(scratch.lines(), ["a Continue? [y/N] "]);
}

/// Lines would be lost or doubled when an engine is killed.
#[test]
fn an_engine_that_takes_over_continues_where_the_log_ends() {
    let scratch = Scratch::new("takeover");
    let mut spool = scratch.spool("a");
    spool.write_all(b"of an earlier step\n").unwrap();
    let first = scratch.open();
    first.begin("a", scratch.spool("a"), 19);
    // Killed before anything was copied.
    drop(first);
    spool.write_all(b"one\n").unwrap();
    let second = scratch.open();
    assert!(second.pump());
    drop(second);
    spool.write_all(b"two\n").unwrap();
    // Killed after the position was written and before the log was.
    let log = File::options().write(true).open(scratch.0.join("s.log")).unwrap();
    let length = log.metadata().unwrap().len();
    let third = scratch.open();
    assert!(third.pump());
    drop(third);
    log.set_len(length).unwrap();
    let fourth = scratch.open();
    fourth.finish();
    assert_eq!(scratch.lines(), ["a one", "a two"]);
    assert!(scratch.open().state.lock().unwrap().source.is_none(), "the step has ended");
}

/// An installer that prints a gigabyte must cost neither the disk, nor memory, nor time.
#[test]
fn output_beyond_the_limits_is_left_out_and_counted() {
    let scratch = Scratch::new("flood");
    let (output, mut spool) = (scratch.open(), scratch.spool("a"));
    output.begin("a", scratch.spool("a"), 0);
    let line = format!("{}\n", "x".repeat(8000)).into_bytes();
    let mebibyte = line.repeat(131);
    for _ in 0..40 {
        spool.write_all(&mebibyte).unwrap();
        output.pump();
    }
    spool.write_all(b"the end\n").unwrap();
    output.finish();
    assert!(output.length() < OUTPUT_LIMIT + 4 * 1024 * 1024, "{}", output.length());
    let lines = scratch.lines();
    assert!(lines.iter().any(|line| line.starts_with("a [farrier: the log is full")));
    assert_eq!(lines.iter().filter(|line| line.contains("bytes of output are left out]")).count(), 1);
    assert_eq!(lines.last().unwrap(), "a the end");
}

/// What a runner has must never be taken for something else.
#[test]
fn a_log_that_was_lost_goes_on_after_what_the_runner_has() {
    let scratch = Scratch::new("lost");
    let output = scratch.open();
    output.skip_to(1000);
    output.note(LOG_ENGINE, "new");
    let (from, bytes) = output.read(0, 4096).unwrap();
    assert_eq!((from, String::from_utf8(bytes).unwrap().split_once(' ').unwrap().1), (1000, "- new\n"));
    let (from, bytes) = output.read(output.length(), 4096).unwrap();
    assert_eq!((from, bytes.len()), (output.length(), 0));
}
