//! Tests of the store of logs.

use super::*;
use tempfile::TempDir;

struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn store(&self, limit: u64) -> LogStore {
        LogStore::open(&self.path("logs"), limit, &Metrics::new()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn writer(store: &LogStore, session: &str) -> RunLog {
    store.writer(session, Arc::new(Secrets::new(["canary-password"])))
}

fn text(store: &LogStore, session: &str, from: u64, filter: &Filter) -> String {
    let (mut text, mut from) = (String::new(), from);
    loop {
        let piece = store.read(session, from, 40, filter).unwrap().unwrap();
        text.push_str(&piece.text);
        from = piece.next;
        if piece.at_end {
            return text;
        }
    }
}

const LINES: &str = "2026-01-01T00:00:00Z - one\n2026-01-01T00:00:01Z a two\n2026-01-01T00:00:02Z b three\n";

/// A runner that was restarted would lose lines or show them twice.
#[test]
fn a_log_continues_after_a_restart_and_repeated_bytes_change_nothing() {
    let scratch = Scratch::new();
    let log = writer(&scratch.store(1 << 20), "s");
    assert_eq!(log.next(), 0);
    assert_eq!(log.append(0, LINES.as_bytes()[..27].to_vec()), 27);
    let store = scratch.store(1 << 20);
    let log = writer(&store, "s");
    assert_eq!(log.next(), 27);
    assert_eq!(log.append(0, LINES.as_bytes()[..54].to_vec()), 54);
    assert_eq!(log.append(54, LINES.as_bytes()[54..].to_vec()), LINES.len() as u64);
    assert_eq!(text(&store, "s", 0, &Filter::default()), LINES);
    assert_eq!(text(&store, "s", 27, &Filter::default()), LINES[27..]);
    let only = Filter { component: Some("a".into()), since: None };
    assert_eq!(text(&store, "s", 0, &only), LINES[27..54]);
    let late = Filter { component: None, since: Some("2026-01-01T00:00:02Z".into()) };
    assert_eq!(text(&store, "s", 0, &late), LINES[54..]);
    assert_eq!(store.read("t", 0, 10, &Filter::default()).unwrap(), None);
}

/// What a machine has lost must not shift what comes after it.
#[test]
fn lost_bytes_are_left_out() {
    let scratch = Scratch::new();
    let store = scratch.store(1 << 20);
    let log = writer(&store, "s");
    log.append(0, b"one\n".to_vec());
    assert_eq!(log.append(100, b"two\n".to_vec()), 104);
    assert_eq!(text(&store, "s", 0, &Filter::default()), "one\ntwo\n");
    assert_eq!(text(&store, "s", 50, &Filter::default()), "two\n");
}

/// A user would see a screen full of replacement characters, and would miss the first line after them with
/// `--component` and `--since`.
#[test]
fn bytes_that_are_lost_in_the_middle_of_what_is_read_are_left_out() {
    let scratch = Scratch::new();
    let store = scratch.store(1 << 20);
    let log = writer(&store, "s");
    let [first, second, third] = [&LINES[..27], &LINES[27..54], &LINES[54..]];
    log.append(0, first.into());
    log.append(5000, second.into());
    log.append(9000, third.into());
    let all = |filter: &Filter| store.read("s", 0, 128 * 1024, filter).unwrap().unwrap();
    let next = 9000 + third.len() as u64;
    assert_eq!(all(&Filter::default()), Piece { text: LINES.into(), next, at_end: true });
    let only = Filter { component: Some("a".into()), since: None };
    assert_eq!(all(&only).text, second);
    let late = Filter { component: None, since: Some("2026-01-01T00:00:02Z".into()) };
    assert_eq!(all(&late).text, third);
}

#[test]
fn secrets_and_control_characters_do_not_reach_a_reader() {
    let scratch = Scratch::new();
    let store = scratch.store(1 << 20);
    writer(&store, "s").append(0, b"pw=canary-password\x1b[2J\xff\n".to_vec());
    let expected = "pw=***************\u{fffd}[2J\u{fffd}\n";
    assert_eq!(text(&store, "s", 0, &Filter::default()), expected);
    let raw = fs::read(scratch.path("logs/s.log")).unwrap();
    assert!(!String::from_utf8_lossy(&raw).contains("canary"));
}

/// A root user who impersonates the engine could otherwise fill the operator's disk.
#[test]
fn one_log_and_all_logs_are_bounded() {
    let scratch = Scratch::new();
    let store = scratch.store(1000);
    let line = |letter: char| format!("{}\n", letter.to_string().repeat(399)).into_bytes();
    let [a, b, c] = ["a", "b", "c"].map(|session| writer(&store, session));
    a.append(0, line('a'));
    b.append(0, line('b'));
    c.append(0, line('c'));
    assert_eq!(store.read("a", 0, 10, &Filter::default()).unwrap(), None, "the oldest has made room");
    assert_eq!(c.append(400, vec![b'x'; 700]), 1100, "what does not fit is taken and left out");
    assert_eq!(text(&store, "c", 0, &Filter::default()).len(), 400);
    assert_eq!(store.inner.metrics.log_dropped.get([]), 700);
    assert_eq!(a.append(LOG_LIMIT_BYTES, b"x\n".to_vec()), LOG_LIMIT_BYTES + 2);
    assert_eq!(store.inner.metrics.log_dropped.get([]), 702);
}

/// An operator that updates no machine any more would keep what it has for ever.
#[test]
fn old_logs_are_removed_when_the_store_is_opened_and_when_it_is_swept() {
    let scratch = Scratch::new();
    let store = scratch.store(1 << 20);
    let [old, older, new] = ["old", "older", "new"].map(|session| writer(&store, session));
    for log in [old, older, new] {
        assert_eq!(log.append(0, LINES.into()), LINES.len() as u64);
    }
    let exist = || ["old", "older", "new"].map(|session| store.path(session).exists());
    let week = SystemTime::now() - MAX_AGE - Duration::from_secs(1);
    File::options().write(true).open(store.path("older")).unwrap().set_modified(week).unwrap();
    let opened = scratch.store(1 << 20);
    assert_eq!(exist(), [true, false, true]);
    assert_eq!(opened.read("older", 0, 10, &Filter::default()).unwrap(), None);
    opened.lock().get_mut("old").unwrap().written = week;
    opened.remove_old();
    assert_eq!(exist(), [false, false, true]);
    assert_eq!(opened.read("old", 0, 10, &Filter::default()).unwrap(), None);
}
