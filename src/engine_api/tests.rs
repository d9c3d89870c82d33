//! The state of the engine API: messages that arrive twice, late or after a restart.

use super::*;
use crate::log_store::{LogStore, Secrets};
use crate::metrics::Metrics;
use farrier_protocol::{Facts, LeaseKind, StepExit};

struct NoFiles;
impl PayloadFiles for NoFiles {
    fn file(&self, _: &str) -> Option<std::path::PathBuf> {
        None
    }
}

pub(super) fn engine_api() -> EngineApi {
    EngineApi::new("s1", 60, Box::new(NoFiles))
}

pub(super) fn event(seq: u64, body: EventBody) -> Event {
    Event { seq, at: 0, body }
}

pub(super) fn survey_done(task: &str) -> EventBody {
    EventBody::SurveyDone {
        task: task.into(),
        facts: Box::new(Facts::default()),
        packages: Vec::new(),
        firmware: Vec::new(),
        readings: Vec::new(),
        programs: Vec::new(),
    }
}

fn lease(id: &str) -> EventBody {
    EventBody::LeaseTaken {
        lease: Lease { id: id.into(), kind: LeaseKind::Directory, what: "/x".into(), started: None },
    }
}

pub(super) fn hello(last_seq: u64) -> Hello {
    Hello {
        protocol: farrier_protocol::VERSION,
        engine: "0".into(),
        session: "s1".into(),
        last_seq,
        ..Hello::default()
    }
}

#[test]
fn a_duplicate_changes_nothing_and_a_gap_is_refused() {
    let c = engine_api();
    assert_eq!(c.take(vec![event(1, lease("a"))], 0).unwrap().0, 1);
    assert_eq!(c.take(vec![event(1, lease("b"))], 0).unwrap().0, 1, "the same number once more");
    assert_eq!(c.leases(), 1);
    assert_eq!(c.take(vec![event(3, lease("c"))], 0), Err(Refused::Gap(1)));
    assert_eq!(
        c.take(vec![event(1, lease("b")), event(2, lease("b")), event(3, lease("c"))], 0).unwrap().0,
        3
    );
    // A reader that waits for events after the greatest possible number would never stop finding one.
    assert_eq!(c.take(vec![event(u64::MAX, lease("d"))], 0), Err(Refused::Gap(3)));
    assert_eq!(c.leases(), 3);
}

/// Otherwise root on one machine could fill the operator's memory, and all other machines would lose their
/// sessions.
#[test]
fn the_size_and_number_of_events_are_limited() {
    let c = engine_api();
    for seq in 1..=16 {
        c.take(vec![event(seq, lease("a"))], limits::MAX_BYTES / 16).unwrap();
    }
    assert_eq!(c.take(vec![event(17, lease("a"))], 1), Err(Refused::TooMuch));
    assert_eq!(c.take(vec![event(16, lease("a"))], limits::MAX_BYTES).unwrap().0, 16, "nothing new");
    let c = engine_api();
    let many = |count| (1..=count as u64).map(|seq| event(seq, lease("a"))).collect();
    assert_eq!(c.take(many(limits::MAX_EVENTS + 1), 0), Err(Refused::TooMuch));
    c.take(many(limits::MAX_EVENTS), 0).unwrap();
}

/// Otherwise the first half of a password would be in the status.
#[test]
fn a_password_is_masked_before_its_text_is_truncated() {
    let dir = tempfile::tempdir().unwrap();
    let store = LogStore::open(dir.path(), 1 << 20, &Metrics::new()).unwrap();
    let secrets = Arc::new(Secrets::new(["canary-password"]));
    let c = engine_api().with_log(Some(store.writer("s1", secrets)));
    let output = format!("{}canary-password", "x".repeat(4090));
    let (task, component, exit) = ("t".to_owned(), "a".to_owned(), StepExit::TimedOut);
    c.take(vec![event(1, EventBody::StepFinished { task, component, exit, output })], 0).unwrap();
    let taken = c.events_after(0);
    let EventBody::StepFinished { output, .. } = &taken[0].body else { panic!() };
    assert_eq!(output.trim_start_matches('x'), "******");
}

/// Otherwise the runner would wait for events that never arrive.
#[test]
fn an_impossible_journal_length_is_rejected() {
    let c = engine_api();
    for last in [u64::MAX, limits::MAX_EVENTS as u64 + 1] {
        assert!(c.greet(&hello(last)).is_err());
    }
    c.greet(&hello(limits::MAX_EVENTS as u64)).unwrap();
}

/// Otherwise each machine of a fleet keeps its packages several times in the operator's memory, or a list is
/// taken for that of another survey.
#[test]
fn the_packages_of_a_survey_are_taken_once() {
    let c = engine_api();
    let survey = |task: &str, names: &[&str]| {
        let EventBody::SurveyDone { task, facts, firmware, readings, .. } = survey_done(task) else {
            panic!()
        };
        let (version, arch, kind) = ("1".to_owned(), "amd64".to_owned(), "deb".to_owned());
        let package = Package { name: String::new(), version, arch, kind };
        let packages = names.iter().map(|name| Package { name: (*name).into(), ..package.clone() });
        let (packages, programs) = (packages.collect(), Vec::new());
        EventBody::SurveyDone { task, facts, packages, firmware, readings, programs }
    };
    c.take(vec![event(1, survey("a1-survey", &["a", "b"])), event(2, survey("a1-verify", &["c"]))], 0)
        .unwrap();
    let reader = c.events_after(0);
    assert_eq!(c.take_packages("a1-survey").len(), 2);
    assert_eq!(c.take_packages("a1-survey").len(), 0);
    assert_eq!(c.take_packages("a1-verify").len(), 1);
    assert_eq!(c.take_packages("a2-survey").len(), 0);
    let left = |event: &Event| {
        let EventBody::SurveyDone { packages, .. } = &event.body else { panic!("{event:?}") };
        packages.len()
    };
    assert_eq!([left(&reader[0]), left(&reader[1])], [2, 1], "what a reader holds does not change");
    assert!(c.events_after(0).iter().all(|event| left(event) == 0));
}

#[test]
fn the_engine_of_another_session_is_refused() {
    let mut other = hello(0);
    other.session = "s2".into();
    assert!(engine_api().greet(&other).is_err());
}

#[tokio::test]
async fn a_task_of_the_journal_ends_at_once() {
    let c = engine_api();
    c.take(vec![event(1, survey_done("a1-survey"))], 0).unwrap();
    let end = c
        .perform(Task {
            id: "a1-survey".into(),
            work: Work::Survey { packages: false, detect: Vec::new(), fwupd: false, programs: Vec::new() },
        })
        .await;
    assert_eq!(end, TaskEnd::Done);
}

#[tokio::test]
async fn an_engine_that_was_started_anew_must_retire_again() {
    let c = engine_api();
    c.take(vec![event(1, lease("a")), event(2, EventBody::Retired { leftovers: Vec::new() })], 0).unwrap();
    assert!(c.is_retired());
    c.take(vec![event(3, lease("b"))], 0).unwrap();
    assert!(!c.is_retired(), "it has leases again");
}

/// Regression test: the journal was removed with the engine's directory. The next engine counts from one
/// again, and counted as retired, so that it stayed on the machine until its lease expired.
#[tokio::test]
async fn an_engine_without_the_journal_of_the_one_before_it_must_retire_too() {
    let c = engine_api();
    c.greet(&hello(2)).unwrap();
    c.take(vec![event(1, lease("a")), event(2, EventBody::Retired { leftovers: Vec::new() })], 0).unwrap();
    assert!(c.is_retired());
    // The first events of the new engine have numbers that are known already, and are not sent.
    assert_eq!(c.greet(&hello(1)).unwrap().0, 2);
    assert!(!c.is_retired());
    c.take(vec![event(3, EventBody::Retired { leftovers: Vec::new() })], 0).unwrap();
    assert!(c.is_retired());
}

/// Regression test: an engine of another build was told to make room, and its successor, an engine of our
/// own build, was told the same.
#[tokio::test]
async fn a_task_that_was_done_is_not_given_to_the_next_engine() {
    let c = std::sync::Arc::new(engine_api());
    let retire = Task { id: "replace-1".into(), work: Work::Retire };
    let retired = tokio::spawn({
        let c = c.clone();
        async move { c.perform(retire).await }
    });
    assert_eq!(c.next_task(None).await.id, "replace-1");
    c.take(vec![event(1, EventBody::Retired { leftovers: Vec::new() })], 0).unwrap();
    assert_eq!(retired.await.unwrap(), TaskEnd::Done);
    c.take(vec![event(2, lease("b"))], 0).unwrap();
    let next = tokio::time::timeout(Duration::from_millis(20), c.next_task(None)).await;
    assert!(next.is_err(), "{next:?}");
}

/// An operator that was upgraded meets engines that report less than its own engines, and an operator that
/// was rolled back meets engines with a newer protocol version.
#[test]
fn an_engine_of_a_neighbouring_version_is_greeted_and_another_one_is_named() {
    use farrier_protocol::{OLDEST_VERSION, VERSION};
    let c = engine_api();
    let previous =
        r#"{"protocol":1,"engine":"0.1.0","session":"s1","boot_id":"b","last_seq":0,"tasks":[],"leases":[]}"#;
    let previous: Hello = serde_json::from_str(previous).unwrap();
    assert_eq!(c.greet(&previous), Ok((0, 1)));
    assert_eq!(
        c.peer(),
        Some(Peer { digest: None, ahead: 0, boot_id: Some("b".into()) }),
        "nothing is made up"
    );
    let newer = Hello { protocol: VERSION + 1, oldest: Some(VERSION), ..hello(0) };
    assert_eq!(c.greet(&newer), Ok((0, VERSION)));
    for range in [(VERSION + 1, VERSION + 2), (0, OLDEST_VERSION - 1)] {
        let (oldest, protocol) = range;
        let far = Hello { protocol, oldest: Some(oldest), engine: "9\u{1b}[2J".into(), ..hello(0) };
        assert!(c.greet(&far).unwrap_err().contains("speaks protocol"));
        let named = c.incompatible().unwrap();
        assert_eq!((named.protocol, named.engine.as_str()), (range, "9\u{fffd}[2J"));
    }
    c.greet(&newer).unwrap();
    assert_eq!(c.incompatible(), None, "one that can be understood has come");
}

#[tokio::test]
async fn what_the_journal_holds_must_have_arrived_before_work_begins() {
    let c = engine_api();
    c.greet(&hello(2)).unwrap();
    assert_eq!([1, 2, 3].map(|seq| c.is_replayed(seq)), [true, true, false]);
    c.take(vec![event(1, lease("a"))], 0).unwrap();
    let early = tokio::time::timeout(std::time::Duration::from_millis(20), c.greeted()).await;
    assert!(early.is_err(), "one event of two has arrived");
    c.take(vec![event(1, lease("a")), event(2, survey_done("x"))], 0).unwrap();
    assert_eq!(c.greeted().await, 2);
}

/// Otherwise a request that never ends would count as a live engine, and its run would never end.
#[tokio::test]
async fn a_body_that_never_ends_ends_the_stream() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let c = EngineApi { timeout: Duration::from_millis(300), ..engine_api() };
    let c = std::sync::Arc::new(c);
    let (mut engine, runner) = tokio::io::duplex(4096);
    let refused = std::sync::atomic::AtomicUsize::new(0);
    let served = c.serve(runner, || {
        refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    let said = async {
        let head = "POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        engine.write_all(head.as_bytes()).await.unwrap();
        while engine.write_all(b"1\r\n \r\n").await.is_ok() {
            // sleep: a client that keeps a stream open sends very little on it.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut answer = String::new();
        engine.read_to_string(&mut answer).await.ok();
        answer
    };
    let (served, answer) = tokio::join!(served, said);
    served.ok();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(refused.load(std::sync::atomic::Ordering::Relaxed), 1);
}
