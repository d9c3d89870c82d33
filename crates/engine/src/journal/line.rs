//! One line of a journal, as read by an engine that takes over.
//!
//! Only the fields that [`super::SessionState`] needs are parsed; the line itself is sent to the runner
//! unchanged. A parser for all contents of events would add 40 KB to the binary that is sent to every
//! machine.

use farrier_protocol::{EventBody, Lease, StepExit, StepLimit, Wait, WaitFor};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// An event.
#[derive(Deserialize)]
pub(super) struct Line {
    /// Number of the event.
    pub(super) seq: u64,
    body: Body,
}

/// The fields of all kinds that are needed. [`Line::body`] checks the required fields of each kind.
#[derive(Deserialize)]
struct Body {
    kind: String,
    task: Option<String>,
    component: Option<String>,
    components: Option<Vec<String>>,
    id: Option<String>,
    lease: Option<Lease>,
    limit: Option<StepLimit>,
    wait: Option<IgnoredAny>,
}

impl Line {
    /// Returns the event, without the fields that are not needed here. `None` if a required field is
    /// missing.
    pub(super) fn body(self) -> Option<EventBody> {
        let Body { kind, task, component, components, id, lease, limit, wait } = self.body;
        Some(match kind.as_str() {
            "leaseTaken" => EventBody::LeaseTaken { lease: lease? },
            "leaseReturned" => EventBody::LeaseReturned { id: id? },
            "taskStarted" => EventBody::TaskStarted { task: task?, components: components? },
            "stepStarted" => EventBody::StepStarted { task: task?, component: component?, limit },
            "stepFinished" => {
                let (exit, output) = (StepExit::Unknown, String::new());
                EventBody::StepFinished { task: task?, component: component?, exit, output }
            }
            "surveyDone" | "taskDone" | "taskFailed" => EventBody::TaskDone { task: task? },
            "waiting" => {
                let what = |_| Wait { what: WaitFor::Unknown, holder: None, since: 0, until: None };
                EventBody::Waiting { wait: wait.map(what) }
            }
            _ => EventBody::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::SessionState;
    use farrier_protocol::{Event, Facts, FailureCode, LeaseKind};

    fn events() -> Vec<EventBody> {
        let (task, component) = (String::from("a1-apply"), String::from("bios"));
        let lease = Lease { id: "process-1".into(), kind: LeaseKind::Process, what: "7".into(), started: Some(9) };
        let wait = Wait { what: WaitFor::Unknown, holder: None, since: 1, until: None };
        vec![
            EventBody::LeaseTaken { lease },
            EventBody::SurveyDone {
                task: "a1-survey".into(),
                facts: Box::new(Facts::default()),
                packages: Vec::new(),
                readings: Vec::new(),
            },
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
            let line: Line = serde_json::from_slice(&json).unwrap();
            assert_eq!(line.seq, seq);
            read.take(&line.body().unwrap());
            assert_eq!(read, written, "after event {seq}");
        }
    }

    #[test]
    fn an_event_without_what_it_must_have_is_damaged() {
        for body in [r#"{"kind":"stepStarted","task":"a"}"#, r#"{"kind":"leaseTaken"}"#] {
            let line: Line = serde_json::from_str(&format!(r#"{{"seq":1,"body":{body}}}"#)).unwrap();
            assert!(line.body().is_none(), "{body}");
        }
        let later = r#"{"seq":1,"at":2,"body":{"kind":"ofALaterVersion","colour":[7]}}"#;
        let line: Line = serde_json::from_str(later).unwrap();
        assert!(matches!(line.body(), Some(EventBody::Unknown)));
    }
}
