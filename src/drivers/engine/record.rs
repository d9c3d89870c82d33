//! Evaluates the engine's events: the work of this attempt and of earlier attempts.

use crate::attempt::{Firmware, Survey};
use farrier_protocol::{Event, EventBody, Reading, Simulation};
use farrier_update::{Action, ComponentResult, Millis, PlanItem, StepRecord, conclude};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The result of one survey.
pub(super) struct Surveyed {
    /// Facts and inventory.
    pub(super) survey: Survey,
    /// The readings, by component.
    pub(super) readings: BTreeMap<String, Reading>,
    /// Those of the requested programs that the machine has.
    pub(super) programs: Vec<String>,
}

/// The reported steps of a NodeUpdate.
pub(super) struct StepHistory<'a> {
    events: &'a [Arc<Event>],
    /// By component: the result of this attempt's installation.
    steps: BTreeMap<String, StepRecord>,
}

impl<'a> StepHistory<'a> {
    /// Creates the record from the session's events; `apply` is the id of this attempt's installation task.
    pub(super) fn by(events: &'a [Arc<Event>], apply: &str) -> Self {
        Self { events, steps: step_records(apply, events) }
    }

    /// Returns the result of a component. A component that an earlier attempt has installed counts as
    /// installed by this NodeUpdate, although this attempt finds it up to date: the earlier result may never
    /// have been reported, because the machine was lost or the engine's lease expired.
    pub(super) fn conclude(&self, item: &PlanItem, after: Option<&Reading>) -> ComponentResult {
        let name = &item.component.name;
        match self.installed_before(item) {
            Some((item, step)) => conclude(&item, Some(&step), after),
            None => conclude(item, self.steps.get(name), after),
        }
    }

    /// Reports whether the machine was rebooted for this component already: since its installer ended or, if this
    /// NodeUpdate has not installed it, at all.
    pub(super) fn is_rebooted(&self, item: &PlanItem) -> bool {
        let before = self.installed_before(item).map(|(_, step)| step);
        let step = before.as_ref().or_else(|| self.steps.get(&item.component.name));
        let is_reboot = |body: &EventBody| matches!(body, EventBody::Rebooted { .. });
        step.map_or_else(|| self.events.iter().any(|event| is_reboot(&event.body)), |step| step.rebooted)
    }

    /// For an item that is up to date: returns the item as the earlier attempt had planned it, with the
    /// record of its installer. `None`: the item has yet to be installed, or was not installed before.
    fn installed_before(&self, item: &PlanItem) -> Option<(PlanItem, StepRecord)> {
        if !matches!(item.action, Action::UpToDate { .. }) {
            return None;
        }
        let name = &item.component.name;
        let mut bodies = self.events.iter().rev().map(|event| &event.body);
        let series = bodies.find_map(|body| {
            let EventBody::StepStarted { task, component, .. } = body else { return None };
            task.strip_suffix("-apply").filter(|_| component == name)
        })?;
        let step = step_records(&format!("{series}-apply"), self.events).remove(name)?;
        let survey = format!("{series}-survey");
        let before = bodies.find_map(|body| {
            let EventBody::SurveyDone { task, readings, .. } = body else { return None };
            let mut readings = readings.iter().filter(|(component, _)| *task == survey && component == name);
            readings.next().map(|(_, reading)| reading.clone())
        })?;
        let from = match &before {
            Reading::Present { version, .. } | Reading::Broken { version, .. } => Some(version.clone()),
            Reading::Absent | Reading::Unreadable { .. } | Reading::Unknown => None,
        };
        let action = Action::Install { from, to: item.component.version.clone() };
        Some((PlanItem { action, before: Some(before), ..item.clone() }, step))
    }
}

/// Returns the series of tasks that an earlier attempt has begun with this engine and not finished: the
/// machine was lost meanwhile, and the engine has yet to report what it has done since. A failed series is
/// not resumed.
pub(super) fn unfinished_series(events: &[Arc<Event>]) -> Option<String> {
    let mut open: Option<&str> = None;
    for event in events {
        #[expect(clippy::wildcard_enum_match_arm, reason = "exactly these kinds open and close a series")]
        match &event.body {
            EventBody::TaskStarted { task, .. } => open = task.split_once('-').map(|(series, _)| series),
            EventBody::Retired { .. } | EventBody::TaskFailed { .. } => open = None,
            _ => {}
        }
    }
    open.map(str::to_owned)
}

/// Returns the facts, the firmware, the readings and the programs of a survey. Its packages are taken by
/// [`EngineApi::take_packages`](crate::engine_api::EngineApi::take_packages).
pub(super) fn match_survey(event: &Event, id: &str) -> Option<Surveyed> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "exactly one kind of event is looked for")]
    match &event.body {
        EventBody::SurveyDone { task, facts, packages: _, firmware, readings, programs } if task == id => {
            let firmware = firmware.iter().cloned().map(Firmware::from).collect();
            let survey = Survey { facts: (**facts).clone(), firmware, ..Survey::default() };
            let (readings, programs) = (readings.iter().cloned().collect(), programs.clone());
            Some(Surveyed { survey, readings, programs })
        }
        _ => None,
    }
}

/// Returns the result of a simulation, by component.
pub(super) fn match_simulation(event: &Event, id: &str) -> Option<BTreeMap<String, Simulation>> {
    let EventBody::Simulated { task, simulations } = &event.body else { return None };
    (task == id).then(|| simulations.iter().cloned().collect())
}

/// What the engine reported about each step of a task.
fn step_records(task_id: &str, events: &[Arc<Event>]) -> BTreeMap<String, StepRecord> {
    let mut records: BTreeMap<String, StepRecord> = BTreeMap::new();
    for event in events {
        #[expect(clippy::wildcard_enum_match_arm, reason = "exactly these kinds of events are looked for")]
        match &event.body {
            EventBody::StepStarted { task, component, .. } if task == task_id => {
                records.entry(component.clone()).or_default().started_at = Some(Millis(event.at));
            }
            EventBody::StepFinished { task, component, exit, output } if task == task_id => {
                let record = records.entry(component.clone()).or_default();
                record.finished_at = Some(Millis(event.at));
                record.exit = Some(exit.clone());
                record.output.clone_from(output);
            }
            EventBody::Rebooted { .. } => {
                for record in records.values_mut().filter(|record| record.exit.is_some()) {
                    record.rebooted = true;
                }
            }
            _ => {}
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_protocol::{Facts, StepExit};
    use farrier_update::{AppliesTo, Component, InstallerKind, Needs, Outcome, PayloadRef, RebootNeed};

    fn survey(task: &str, reading: Reading) -> EventBody {
        let (facts, packages) = (Box::new(Facts::default()), Vec::new());
        let (firmware, readings, programs) = (Vec::new(), vec![("bios".into(), reading)], Vec::new());
        EventBody::SurveyDone { task: task.into(), facts, packages, firmware, readings, programs }
    }

    fn events(bodies: Vec<EventBody>) -> Vec<Arc<Event>> {
        let event = |(body, seq)| Arc::new(Event { seq, at: seq * 1000, body });
        bodies.into_iter().zip(1..).map(event).collect()
    }

    fn bios() -> Component {
        Component {
            name: "bios".into(),
            version: "2.0".into(),
            applies_to: AppliesTo::default(),
            installer: InstallerKind::Script,
            detect: None,
            firmware: None,
            payload: Some(PayloadRef {
                url: "file:///bios".into(),
                digest: String::new(),
                size: None,
                unpack: false,
                signatures: Vec::new(),
            }),
            requires: Vec::new(),
            needs: Needs::default(),
            reboot: RebootNeed::Never,
            interruptible: true,
            timeout: std::time::Duration::from_mins(1),
        }
    }

    /// Regression: the machine was lost, and its engine retired when its lease expired. The next attempt
    /// found the version in place and reported the component as up to date, as if nothing had been installed.
    #[test]
    fn an_unreported_installation_is_reported_by_the_next_attempt() {
        let (task, component) = (String::from("a1-apply"), String::from("bios"));
        let present = |version: &str| Reading::present(version);
        let events = events(vec![
            survey("a1-survey", present("1.0")),
            EventBody::TaskStarted { task: task.clone(), components: vec![component.clone()] },
            EventBody::StepStarted { task: task.clone(), component: component.clone(), limit: None },
            EventBody::StepFinished {
                task: task.clone(),
                component,
                exit: StepExit::Exited { code: 0 },
                output: String::new(),
            },
            EventBody::TaskDone { task },
            EventBody::Retired { leftovers: Vec::new() },
            survey("a2-survey", present("2.0")),
        ]);
        assert_eq!(unfinished_series(&events), None);
        let item = PlanItem {
            component: bios(),
            package: None,
            action: Action::UpToDate { at: "2.0".into(), newer: false },
            before: Some(present("2.0")),
            after: Vec::new(),
            force: farrier_update::Force::default(),
        };
        let history = StepHistory::by(&events, "a2-apply");
        let result = history.conclude(&item, Some(&present("2.0")));
        assert_eq!((result.outcome, result.exit_code), (Outcome::Updated, Some(0)));
        assert_eq!((result.before.as_str(), result.after.as_str()), ("1.0", "2.0"));
        assert_eq!((result.started_at, result.finished_at), (Some(Millis(3000)), Some(Millis(4000))));
        assert!(!history.is_rebooted(&item));
        // With `policy: Always`, the machine would be rebooted by each attempt that follows.
        let mut rebooted: Vec<_> = events.iter().map(|event| event.body.clone()).collect();
        let (task, boot_id) = (String::from("a1-reboot"), String::from("b2"));
        rebooted.insert(5, EventBody::Rebooted { task, boot_id });
        let rebooted = self::events(rebooted);
        assert!(StepHistory::by(&rebooted, "a2-apply").is_rebooted(&item));
        // An old kernel, which nobody has to install, does not run after the reboot either.
        let kernel = PlanItem { component: Component { name: "kernel".into(), ..bios() }, ..item.clone() };
        assert!(StepHistory::by(&rebooted, "a2-apply").is_rebooted(&kernel));
        assert!(!history.is_rebooted(&kernel));
        // If nothing was installed, no installation is reported.
        let none = StepHistory::by(&events[..1], "a2-apply").conclude(&item, Some(&present("2.0")));
        assert_eq!((none.outcome, none.before.as_str()), (Outcome::UpToDate, "2.0"));
    }
}
