//! Tests of the log without an engine.

use super::*;
use crate::journal::Journal;
use crate::shared::{LinkOrder, RequestTimes, Shared};
use farrier_protocol::{FailureCode, VERSION, Welcome};
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

/// A private key, of more bytes than the end of a step's output has.
fn key() -> String {
    let body = format!("{}\n", "canary+".repeat(9)).repeat(100);
    format!("-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n")
}

/// The rest of a key or of a password does not look like a credential.
#[test]
fn the_end_of_output_begins_within_no_credential() {
    let scratch = Scratch::new("cut");
    let output = scratch.open();
    let logs = |name: &str, text: &str| {
        scratch.spool(name).write_all(text.as_bytes()).unwrap();
        StepLog::of(scratch.spool(name), 0)
    };
    let header = format!("Authorization: Basic {}\nafter\n", "canary ".repeat(1000));
    let filler = "filler\n".repeat(20_000);
    // What is read begins within the key, and this line becomes a short one.
    let far = format!("Authorization: {}\n", "x ".repeat(14_000));
    for (name, text, expected) in [
        ("key", format!("{}after\n", key()), "[redacted]\nafter\n"),
        ("key-late", format!("{filler}{}{far}after\n", key()), "[redacted]\nafter\n"),
        ("header", format!("{filler}{header}"), "Authorization: [redacted]\nafter\n"),
    ] {
        let tail = output.tail(&logs(name, &text));
        assert!(!tail.contains("canary") && tail.ends_with(expected), "{name}: {tail}");
        assert!(tail.len() <= 4096, "{name}: {}", tail.len());
    }
    assert!(!output.last_part(&key()).contains("canary"));
}

/// Whoever reports an event may quote a program.
#[test]
fn events_are_recorded_without_credentials() {
    let scratch = Scratch::new("event");
    let journal = Journal::open(&scratch.0.join("journal")).unwrap();
    let shared = Shared::new(journal, Duration::from_mins(1)).with_output(Arc::new(scratch.open()));
    let message = "Failed to fetch https://ann:canary@repo.example/x".to_owned();
    shared.record(crate::engine::failed("t", FailureCode::Other, "", message)).unwrap();
    let text = fs::read_to_string(scratch.0.join("journal")).unwrap();
    assert!(text.contains("https://[redacted]@repo.example/x"), "{text}");
}

/// The rest of a key would be in the log of the machine and of the runner.
#[test]
fn a_key_that_is_left_out_in_part_or_copied_by_two_engines_is_not_shown() {
    let scratch = Scratch::new("key");
    let (output, mut spool) = (scratch.open(), scratch.spool("a"));
    output.begin("a", scratch.spool("a"), 0);
    let (key, filler) = (key(), "filler\n".repeat(700_000));
    let last_part = usize::try_from(LAST_PART).unwrap();
    spool.write_all(filler.as_bytes()).unwrap();
    spool.write_all(key.as_bytes()).unwrap();
    spool.write_all(&b"x\n".repeat(last_part / 2 - 1000)).unwrap();
    assert!(output.pump());
    let (first, second) = key.split_at(3000 / 64 * 64 + 28);
    spool.write_all(first.as_bytes()).unwrap();
    output.pump();
    drop(output);
    let output = scratch.open();
    spool.write_all(second.as_bytes()).unwrap();
    spool.write_all(b"the end\n").unwrap();
    output.finish();
    let lines = scratch.lines();
    assert!(lines.iter().any(|line| line.contains("are left out]")));
    assert!(lines.iter().all(|line| !line.contains("canary")), "{lines:#?}");
    assert_eq!(lines.last().unwrap(), "a the end");
}

/// What follows the beginning of a line is not recognised without it.
#[test]
fn a_line_that_is_left_out_in_part_is_left_out_whole() {
    let scratch = Scratch::new("line");
    let (output, mut spool) = (scratch.open(), scratch.spool("a"));
    output.begin("a", scratch.spool("a"), 0);
    spool.write_all("filler\n".repeat(700_000).as_bytes()).unwrap();
    spool.write_all(format!("Authorization: {}\n", "canary ".repeat(1000)).as_bytes()).unwrap();
    spool.write_all(&b"x\n".repeat(usize::try_from(LAST_PART).unwrap() / 2 - 1000)).unwrap();
    output.finish();
    let lines = scratch.lines();
    assert!(lines[0].contains("are left out]") && lines[1..].iter().all(|line| line == "a x"), "{lines:#?}");
}

/// Lines are cut into pieces, and a piece of a credential does not look like one.
#[test]
fn credentials_in_long_lines_are_removed_before_the_lines_are_cut() {
    let scratch = Scratch::new("long");
    let (output, mut spool) = (scratch.open(), scratch.spool("a"));
    output.begin("a", scratch.spool("a"), 0);
    spool.write_all(format!("{}token=canary {}", "x".repeat(8190), "y ".repeat(2000)).as_bytes()).unwrap();
    assert!(!output.pump(), "the line has no end yet");
    spool.write_all(b"\n").unwrap();
    spool
        .write_all(format!("{} Authorization: {}\n", "x".repeat(3000), "canary ".repeat(2000)).as_bytes())
        .unwrap();
    output.finish();
    let lines = scratch.lines();
    assert!(lines.iter().all(|line| !line.contains("canary") && line.len() <= 8194), "{lines:#?}");
    assert_eq!(lines.concat().matches("[redacted]").count(), 2);
}

/// The engine's own lines, and what it quotes elsewhere, would be hidden until the next installer.
#[test]
fn a_key_in_the_output_of_an_installer_hides_nothing_of_the_engine() {
    let scratch = Scratch::new("stray");
    let (output, mut spool) = (scratch.open(), scratch.spool("a"));
    output.begin("a", scratch.spool("a"), 0);
    spool.write_all(b"-----BEGIN PRIVATE KEY-----\ncanary\n").unwrap();
    output.pump();
    output.note(LOG_ENGINE, "-----BEGIN PRIVATE KEY-----\ncanary");
    output.note(LOG_ENGINE, "a line of the engine");
    spool.write_all(b"canary\n").unwrap();
    output.finish();
    assert_eq!(output.last_part("a message"), "a message");
    let lines = scratch.lines();
    let own: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("- ")).collect();
    assert_eq!(own, ["[redacted]", "[redacted]", "a line of the engine"]);
    assert!(lines.iter().all(|line| !line.contains("canary")), "{lines:#?}");
}
