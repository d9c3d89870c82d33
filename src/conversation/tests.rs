//! The conversation as a state: what arrives twice, late or after a restart.

use super::*;
use farrier_protocol::{Facts, LeaseKind};

struct NoFiles;
impl PayloadFiles for NoFiles {
    fn file(&self, _: &str) -> Option<std::path::PathBuf> {
        None
    }
}

fn conversation() -> Conversation {
    Conversation::new("s1", 60, Box::new(NoFiles))
}

fn event(seq: u64, body: EventBody) -> Event {
    Event { seq, at: 0, body }
}

fn survey_done(task: &str) -> EventBody {
    EventBody::SurveyDone {
        task: task.into(),
        facts: Box::new(Facts::default()),
        packages: Vec::new(),
        readings: Vec::new(),
    }
}

fn lease(id: &str) -> EventBody {
    EventBody::LeaseTaken { lease: Lease { id: id.into(), kind: LeaseKind::Directory, what: "/x".into() } }
}

fn hello(last_seq: u64) -> Hello {
    Hello {
        protocol: farrier_protocol::VERSION,
        engine: "0".into(),
        session: "s1".into(),
        boot_id: String::new(),
        last_seq,
        tasks: Vec::new(),
        leases: Vec::new(),
        dials: Vec::new(),
    }
}

#[test]
fn a_duplicate_or_a_gap_changes_nothing() {
    let c = conversation();
    assert_eq!(c.take(vec![event(1, lease("a"))]).0, 1);
    assert_eq!(c.take(vec![event(1, lease("b"))]).0, 1, "the same number once more");
    assert_eq!(c.leases(), 1);
    assert_eq!(c.take(vec![event(3, lease("c"))]).0, 1, "a gap is not acknowledged");
    assert_eq!(c.take(vec![event(2, lease("b"))]).0, 3);
}

#[test]
fn the_engine_of_another_session_is_refused() {
    let mut other = hello(0);
    other.session = "s2".into();
    assert!(conversation().greet(&other).is_err());
}

#[tokio::test]
async fn a_task_of_the_journal_ends_at_once() {
    let c = conversation();
    c.take(vec![event(1, survey_done("a1-survey"))]);
    let end = c
        .perform(Task { id: "a1-survey".into(), work: Work::Survey { packages: false, detect: Vec::new() } })
        .await;
    assert_eq!(end, TaskEnd::Done);
}

#[tokio::test]
async fn an_engine_that_was_started_anew_must_retire_again() {
    let c = conversation();
    c.take(vec![event(1, lease("a")), event(2, EventBody::Retired { leftovers: Vec::new() })]);
    assert!(c.is_retired());
    c.take(vec![event(3, lease("b"))]);
    assert!(!c.is_retired(), "it has leases again");
}

#[tokio::test]
async fn what_the_journal_holds_must_have_arrived_before_work_begins() {
    let c = conversation();
    c.greet(&hello(2)).unwrap();
    c.take(vec![event(1, lease("a"))]);
    let early = tokio::time::timeout(std::time::Duration::from_millis(20), c.greeted()).await;
    assert!(early.is_err(), "one event of two has arrived");
    c.take(vec![event(1, lease("a")), event(2, survey_done("x"))]);
    assert_eq!(c.greeted().await, 2);
}
