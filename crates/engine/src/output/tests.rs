//! Tests of the log without an engine.

use super::*;
use crate::journal::Journal;
use crate::shared::{LinkOrder, RequestTimes, Shared};
use farrier_protocol::{VERSION, Welcome};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

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
    let begun = Instant::now();
    while !output.pump() {
        assert!(begun.elapsed() < Duration::from_mins(1));
        // sleep: between two looks.
        thread::sleep(Duration::from_millis(20));
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
    let on_disk = spool.metadata().unwrap().blocks() * 512;
    assert!(on_disk < 8 * 1024 * 1024, "{on_disk} bytes of output are on the disk");
    spool.write_all(b"the end\n").unwrap();
    // The report of what was left out outlives the engine.
    drop(output);
    let output = scratch.open();
    output.finish();
    assert!(output.length() < OUTPUT_LIMIT + 4 * 1024 * 1024, "{}", output.length());
    let lines = scratch.lines();
    assert!(lines.iter().any(|line| line.starts_with("a [farrier: the log is full")));
    let left_out: Vec<&String> = lines.iter().filter(|line| line.contains("are left out]")).collect();
    let copied = lines.iter().filter(|line| line.ends_with("xx")).count() as u64 * 8001;
    let expected = 40 * mebibyte.len() as u64 - copied;
    // The first line after a gap is the rest of one.
    let number: u64 = left_out[0].split(' ').nth(2).unwrap().parse().unwrap();
    assert!(left_out.len() == 1 && number.abs_diff(expected) < 8001, "{left_out:?}, not {expected}");
    assert_eq!(lines.last().unwrap(), "a the end");
}

/// Empty lines become thirty times as long. The ends of later installers would find no room in the log.
#[test]
fn the_end_of_one_installer_does_not_fill_the_log() {
    let scratch = Scratch::new("empty");
    let (output, mut spool) = (scratch.open(), scratch.spool("a"));
    output.begin("a", scratch.spool("a"), 0);
    spool.write_all(&b"\n".repeat(2 * 1024 * 1024)).unwrap();
    output.finish();
    assert!(output.length() < OUTPUT_LIMIT + 4 * 1024 * 1024, "{}", output.length());
}

/// The engine would copy the output of a daemon that an installer has started for ever, and stop otherwise.
#[test]
fn a_daemon_that_prints_without_end_does_not_hold_up_the_step() {
    let scratch = Scratch::new("daemon");
    let (output, mut spool) = (Arc::new(scratch.open()), scratch.spool("a"));
    output.begin("a", scratch.spool("a"), 0);
    let lines = b"of a daemon\n".repeat(100_000);
    spool.write_all(&lines).unwrap();
    let (log, ended) = (Arc::clone(&output), Arc::new(AtomicBool::new(false)));
    let daemon = thread::spawn({
        let ended = Arc::clone(&ended);
        move || {
            let mut seen = 0;
            while !ended.load(Ordering::Acquire) {
                if log.length() > seen {
                    seen = log.length();
                    spool.write_all(&lines).unwrap();
                }
                thread::yield_now();
            }
        }
    });
    output.finish();
    ended.store(true, Ordering::Release);
    daemon.join().unwrap();
    assert_eq!(scratch.lines().len(), 100_000);
}

/// Heartbeats would stop while a slow disk takes the output of an installer.
#[test]
fn the_link_does_not_wait_while_output_is_copied() {
    let scratch = Scratch::new("busy");
    let output = Arc::new(scratch.open());
    output.note(LOG_ENGINE, "a line");
    let journal = Journal::open(&scratch.0.join("journal")).unwrap();
    let shared = Arc::new(Shared::new(journal, Duration::from_mins(1)).with_output(Arc::clone(&output)));
    let welcome = |log| Welcome { ack: 0, lease_seconds: 60, protocol: VERSION, log: Some(log) };
    shared.welcome(&welcome(0));
    let within_time = |act: fn(&Shared)| {
        let (sender, ended) = mpsc::channel();
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            act(&shared);
            sender.send(()).ok();
        });
        ended.recv_timeout(Duration::from_secs(20)).expect("it waits for the log");
    };
    let copying = output.lock();
    within_time(|shared| {
        let pace = RequestTimes { posted: Some(Instant::now()), asked: None };
        assert!(matches!(shared.link_order(&pace), LinkOrder::Log { from: 0, .. }));
    });
    let welcomed = thread::spawn({
        let (shared, welcome) = (Arc::clone(&shared), welcome(100_000));
        move || shared.welcome(&welcome)
    });
    let until = Instant::now() + Duration::from_millis(200);
    while Instant::now() < until {
        within_time(|shared| assert_eq!(shared.stop(), None));
    }
    drop(copying);
    welcomed.join().unwrap();
    assert_eq!(output.length(), 100_000);
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
