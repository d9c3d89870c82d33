//! One line of a journal, as read by an engine that takes over.
//!
//! Only the fields that [`super::SessionState`] needs are parsed; the line itself is sent to the runner
//! unchanged. A parser for all contents of events would add 40 KB to the binary that is sent to every
//! machine.

use farrier_protocol::{EventBody, Lease, NoReboot, StepExit, StepLimit, Wait, WaitFor};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// An event: its number, and a part of its content.
#[derive(Deserialize)]
struct Line<B> {
    seq: u64,
    body: B,
}

/// The kind of an event.
#[derive(Deserialize)]
struct Kind {
    kind: String,
}

/// The fields of all kinds in [`KINDS`] that are needed. [`parse`] checks the required fields of each kind.
#[derive(Deserialize)]
struct Body {
    task: Option<String>,
    component: Option<String>,
    components: Option<Vec<String>>,
    id: Option<String>,
    lease: Option<Lease>,
    limit: Option<StepLimit>,
    wait: Option<IgnoredAny>,
    #[serde(rename = "bootId")]
    boot_id: Option<String>,
}

/// The kinds whose fields are needed. Fields of other kinds are not parsed: in a kind of a later version, a
/// field with one of these names may have any type.
const KINDS: [&str; 13] = [
    "leaseTaken",
    "leaseReturned",
    "taskStarted",
    "stepStarted",
    "stepFinished",
    "surveyDone",
    "taskDone",
    "taskFailed",
    "waiting",
    "rebootBegun",
    "rebootRequested",
    "rebooted",
    "notRebooted",
];

/// Returns the number of the event, and the event without the fields that are not needed here. `None` if the
/// line is not an event, or a required field is missing.
pub(super) fn parse(line: &[u8]) -> Option<(u64, EventBody)> {
    let Line { seq, body: Kind { kind } } = serde_json::from_slice(line).ok()?;
    if !KINDS.contains(&kind.as_str()) {
        return Some((seq, EventBody::Unknown));
    }
    let Line { seq: _, body } = serde_json::from_slice(line).ok()?;
    let Body { task, component, components, id, lease, limit, wait, boot_id } = body;
    let body = match kind.as_str() {
        "leaseTaken" => EventBody::LeaseTaken { lease: lease? },
        "leaseReturned" => EventBody::LeaseReturned { id: id? },
        "taskStarted" => EventBody::TaskStarted { task: task?, components: components? },
        "stepStarted" => EventBody::StepStarted { task: task?, component: component?, limit },
        "stepFinished" => {
            let (exit, output) = (StepExit::Unknown, String::new());
            EventBody::StepFinished { task: task?, component: component?, exit, output }
        }
        "waiting" => {
            let what = |_| Wait { what: WaitFor::Unknown, holder: None, since: 0, until: None };
            EventBody::Waiting { wait: wait.map(what) }
        }
        "rebootBegun" => EventBody::RebootBegun { task: task?, boot_id: boot_id? },
        "rebootRequested" => EventBody::RebootRequested { task: task? },
        "rebooted" => EventBody::Rebooted { task: task?, boot_id: boot_id? },
        "notRebooted" => EventBody::NotRebooted { task: task?, why: NoReboot::Unknown },
        _ => EventBody::TaskDone { task: task? },
    };
    Some((seq, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::SessionState;
    use farrier_protocol::{Event, Facts, FailureCode, LeaseKind};

    fn events() -> Vec<EventBody> {
        let (task, component) = (String::from("a1-apply"), String::from("bios"));
        let lease =
            Lease { id: "process-1".into(), kind: LeaseKind::Process, what: "7".into(), started: Some(9) };
        let wait = Wait { what: WaitFor::Unknown, holder: None, since: 1, until: None };
        vec![
            EventBody::LeaseTaken { lease },
            EventBody::SurveyDone {
                task: "a1-survey".into(),
                facts: Box::new(Facts::default()),
                packages: Vec::new(),
                firmware: Vec::new(),
                readings: Vec::new(),
                programs: Vec::new(),
            },
            EventBody::Simulated { task: "a1-simulate".into(), simulations: Vec::new() },
            EventBody::TaskStarted { task: task.clone(), components: vec![component.clone(), "nic".into()] },
            EventBody::PayloadVerified {
                task: task.clone(),
                component: component.clone(),
                digest: "x".into(),
            },
            EventBody::Waiting { wait: Some(wait) },
            EventBody::StepStarted {
                task: task.clone(),
                component: component.clone(),
                limit: Some(StepLimit { seconds: 60, interruptible: true }),
            },
            EventBody::StepOverdue { task: task.clone(), component: component.clone(), ended: true },
            EventBody::Waiting { wait: None },
            EventBody::StepFinished {
                task: task.clone(),
                component: component.clone(),
                exit: StepExit::TimedOut,
                output: "…".into(),
            },
            EventBody::TaskDone { task: task.clone() },
            EventBody::RebootBegun { task: "a1-reboot".into(), boot_id: "b".into() },
            EventBody::RebootRequested { task: "a1-reboot".into() },
            EventBody::Rebooted { task: "a1-reboot".into(), boot_id: "c".into() },
            EventBody::RebootBegun { task: "a2-reboot".into(), boot_id: "c".into() },
            EventBody::NotRebooted { task: "a2-reboot".into(), why: NoReboot::Cancelled },
            EventBody::TaskFailed { task, code: FailureCode::Other, component, message: String::new() },
            EventBody::LeaseReturned { id: "process-1".into() },
            EventBody::Retired { leftovers: Vec::new() },
        ]
    }

    /// Otherwise an engine that takes over would run a step twice, or leave something on the machine.
    #[test]
    fn what_is_read_from_a_journal_is_what_was_known_when_it_was_written() {
        let (mut written, mut read) = (SessionState::default(), SessionState::default());
        for (body, seq) in events().into_iter().zip(1..) {
            written.take(&body);
            let json = serde_json::to_vec(&Event { seq, at: 9, body }).unwrap();
            let (number, body) = parse(&json).unwrap();
            assert_eq!(number, seq);
            read.take(&body);
            assert_eq!(read, written, "after event {seq}");
        }
    }

    #[test]
    fn an_event_without_what_it_must_have_is_damaged() {
        for body in [r#"{"kind":"stepStarted","task":"a"}"#, r#"{"kind":"leaseTaken"}"#] {
            assert!(parse(format!(r#"{{"seq":1,"body":{body}}}"#).as_bytes()).is_none(), "{body}");
        }
    }

    /// Otherwise the journal would count as damaged after the operator is rolled back to this version.
    #[test]
    fn fields_of_a_later_kind_may_have_any_type() {
        for field in ["colour", "task", "component", "components", "id", "lease", "limit", "wait", "bootId"] {
            let line = format!(r#"{{"seq":1,"at":2,"body":{{"kind":"ofALaterVersion","{field}":[7]}}}}"#);
            assert_eq!(parse(line.as_bytes()), Some((1, EventBody::Unknown)), "{field}");
        }
    }
}
