//! Keeps credentials out of what an engine reports in free text: it ends up in statuses and events.

use crate::log_store::Secrets;
use farrier_protocol::Event;

/// Masks the credentials in the texts of an event.
pub(super) fn mask(event: &mut Event, secrets: &Secrets) {
    event.body.quotations().into_iter().for_each(|text| secrets.mask_text(text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_protocol::{
        EventBody, Facts, FailureCode, Leftover, NoReboot, Reading, Refusal, Simulation, StepExit, Wait,
        WaitFor,
    };

    const SAID: &str = "Err: https://ann:canary-password@repo.example";

    fn said() -> String {
        SAID.to_owned()
    }

    /// One event of each kind that quotes something.
    fn bodies() -> Vec<EventBody> {
        let (task, component) = (String::new, String::new);
        let finished =
            |exit| EventBody::StepFinished { task: task(), component: component(), exit, output: said() };
        let not_rebooted = |why| EventBody::NotRebooted { task: task(), why };
        let inhibitor = WaitFor::Inhibitor { who: said(), why: said() };
        let broken = Reading::Broken { version: String::new(), detail: said(), instances: Vec::new() };
        vec![
            finished(StepExit::Exited { code: 1 }),
            finished(StepExit::not_started(FailureCode::Other, said())),
            finished(StepExit::refused(Refusal::Held, said())),
            EventBody::TaskFailed {
                task: task(),
                code: FailureCode::Other,
                component: component(),
                message: said(),
            },
            EventBody::SurveyDone {
                task: task(),
                facts: Box::new(Facts::default()),
                packages: Vec::new(),
                firmware: Vec::new(),
                readings: vec![("a".into(), broken), ("b".into(), Reading::Unreadable { detail: said() })],
                programs: Vec::new(),
            },
            EventBody::Simulated {
                task: task(),
                simulations: vec![
                    ("a".into(), Simulation::Refused { refusal: Refusal::Held, detail: said() }),
                    ("b".into(), Simulation::Failed { message: said() }),
                ],
            },
            not_rebooted(NoReboot::Inhibited { who: said(), why: said(), holder: None }),
            not_rebooted(NoReboot::Failed { detail: said() }),
            EventBody::Waiting { wait: Some(Wait { what: inhibitor, holder: None, since: 0, until: None }) },
            EventBody::Retired { leftovers: vec![Leftover { what: "/x".into(), why: said() }] },
        ]
    }

    /// Passwords of a fleet could be read in statuses by everyone who may see them.
    #[test]
    fn every_event_that_quotes_something_is_masked() {
        let secrets = Secrets::new(["canary-password"]);
        for body in bodies() {
            let mut event = Event { seq: 1, at: 0, body };
            mask(&mut event, &secrets);
            let json = serde_json::to_string(&event).expect("JSON");
            assert!(!json.contains("canary") && json.contains("ann:***************@repo.example"), "{json}");
        }
    }
}
