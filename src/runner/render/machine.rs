//! Renders the conditions of a ManagedNode after an attempt.

mod baseline;

pub(in crate::runner) use baseline::applied_baseline;

use super::Phase;
use super::verdict::{Verdict, reachable};
use crate::api::condition;
use crate::api::managed_node::{InventorySchedule, ManagedNodeStatus};
use crate::api::update_run::{Operation, RecordedBaseline};
use crate::attempt::{End, View};
use crate::failure::Failure;
use farrier_update::Reason;
use jiff::Unit;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The run of an attempt, as far as a machine's conditions depend on it.
#[derive(Debug, Clone, Copy)]
pub(in crate::runner) struct RunOfNode<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it does; `None` if the run is gone.
    pub operation: Option<Operation>,
    /// The baseline that it began with.
    pub baseline: Option<&'a RecordedBaseline>,
}

/// Returns the conditions of a ManagedNode after an attempt. `old` is its status before.
pub(in crate::runner) fn node_conditions(
    old: &ManagedNodeStatus,
    schedule: Option<&InventorySchedule>,
    view: &View,
    end: &End,
    run_of_node: RunOfNode<'_>,
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    let run = run_of_node.name;
    let mut conditions = old.conditions.clone();
    if view.host_key_accepted && view.old_algorithms.is_none() {
        conditions.retain(|condition| condition.type_ != "LegacyAlgorithms");
    }
    if view.survey.as_ref().is_some_and(|survey| survey.parts.is_none()) {
        conditions.retain(|condition| condition.type_ != "PartsHealthy");
    }
    let mut set = |type_: &str, verdict: &Verdict| {
        condition::set(
            &mut conditions,
            type_,
            verdict.status,
            verdict.reason.as_str(),
            &verdict.message,
            generation,
            now,
        );
    };
    let failure = match end {
        End::Failed(failure) => Some(failure),
        End::Finished(_) | End::Planned | End::Inventoried | End::Cancelled => None,
    };
    let looked = old.inventory.as_ref().and_then(|times| times.taken_at.as_ref());
    set("Reachable", &reachable(view, &Phase::Ended(end.clone())));
    for (type_, verdict) in [
        ("HostKeyVerified", host_key(view, failure)),
        ("LegacyAlgorithms", legacy_algorithms(view)),
        ("CertificateVerified", certificate(view, failure)),
        ("Authenticated", authenticated(view, failure)),
        ("InventoryCurrent", inventory_current(old, schedule, view, failure, run_of_node)),
        ("PartsHealthy", parts_healthy(view)),
        ("InBaseline", baseline::in_baseline(old.baseline.as_ref(), looked, view, end, run_of_node)),
    ] {
        if let Some(verdict) = verdict {
            set(type_, &verdict);
        }
    }
    let ready = match failure {
        Some(failure) => Verdict::no(failure.reason, failure.message.clone()),
        None => Verdict::yes(Reason::Reachable, format!("run {run} reached it")),
    };
    set("Ready", &ready);
    set("Reconciling", &Verdict { status: "False", ..Verdict::no(ready.reason, ready.message.clone()) });
    set(
        "Stalled",
        &Verdict {
            status: if failure.is_some() { "True" } else { "False" },
            reason: ready.reason,
            message: ready.message.clone(),
        },
    );
    conditions
}

fn host_key(view: &View, failure: Option<&Failure>) -> Option<Verdict> {
    if let Some(manager) = &view.manager {
        let words = format!(
            "{}, through which the machine is reached, proved that it holds an accepted host key; a console has none",
            manager.name
        );
        return Some(Verdict::yes(Reason::HostKeyVerified, words));
    }
    if view.host_key_accepted {
        let how = if view.first_key.is_some() { Reason::HostKeyRecorded } else { Reason::HostKeyVerified };
        return Some(Verdict::yes(how, "the machine proved that it holds an accepted host key"));
    }
    refused(failure, &[Reason::HostKeyChanged, Reason::HostKeyUnknown])
}

/// Says whether the connection uses old algorithms, where they are allowed.
fn legacy_algorithms(view: &View) -> Option<Verdict> {
    Some(match view.old_algorithms.as_deref()? {
        [] => Verdict::no(
            Reason::LegacyAlgorithmsUnused,
            "the machine has current algorithms; remove spec.ssh.legacyAlgorithms",
        ),
        old => Verdict::yes(Reason::LegacyAlgorithmsInUse, in_use(old)),
    })
}

/// Describes the old algorithms in use.
pub(in crate::runner) fn in_use(old: &[String]) -> String {
    format!(
        "the SSH connection uses algorithms that are not safe any more ({}); spec.ssh.legacyAlgorithms allows them",
        old.join(", ")
    )
}

/// Says whether all parts of the machine are there and well, if the machine was asked.
fn parts_healthy(view: &View) -> Option<Verdict> {
    Some(match view.survey.as_ref()?.parts.as_ref()? {
        Ok(()) => Verdict::yes(Reason::Succeeded, "all parts of the machine are there and well"),
        Err(failure) => Verdict::no(failure.reason, failure.message.clone()),
    })
}

fn certificate(view: &View, failure: Option<&Failure>) -> Option<Verdict> {
    if view.certificate_accepted {
        let is_first = view.first_certificate.is_some();
        let how = if is_first { Reason::CertificateRecorded } else { Reason::CertificateVerified };
        return Some(Verdict::yes(how, "the machine proved that it holds a trusted certificate"));
    }
    refused(failure, &[Reason::CertificateChanged, Reason::CertificateUntrusted])
}

/// Returns the failure if it is one of these.
fn refused(failure: Option<&Failure>, reasons: &[Reason]) -> Option<Verdict> {
    failure.filter(|f| reasons.contains(&f.reason)).map(|f| Verdict::no(f.reason, f.message.clone()))
}

fn authenticated(view: &View, failure: Option<&Failure>) -> Option<Verdict> {
    if view.authenticated {
        return Some(Verdict::yes(Reason::Authenticated, "the machine accepted the credentials"));
    }
    let is_trusted = view.host_key_accepted || view.certificate_accepted;
    failure.filter(|_| is_trusted).map(|f| Verdict::no(f.reason, f.message.clone()))
}

/// Says whether the inventory was taken, and if not, when the machine is asked again.
fn inventory_current(
    old: &ManagedNodeStatus,
    schedule: Option<&InventorySchedule>,
    view: &View,
    failure: Option<&Failure>,
    run: RunOfNode<'_>,
) -> Option<Verdict> {
    let name = run.name;
    if let Some(survey) = &view.survey {
        return Some(Verdict::yes(Reason::Succeeded, format!("{}, taken by run {name}", survey.extent())));
    }
    let failure = failure.filter(|_| run.operation == Some(Operation::Inventory))?;
    let last = match old.inventory.as_ref().and_then(|times| times.taken_at.as_ref()) {
        Some(at) => format!("the last inventory is of {}", at.0.round(Unit::Second).unwrap_or(at.0)),
        None => "there is no inventory".to_owned(),
    };
    let next = match schedule {
        Some(schedule) => format!("it is tried again after {} (spec.inventory.every)", schedule.every.0),
        None => "start another UpdateRun with operation Inventory when the cause is gone".to_owned(),
    };
    Some(Verdict::no(failure.reason, format!("run {name}: {}; {last}; {next}", failure.message)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::managed_node::InventoryTimes;
    use crate::attempt::Survey;

    fn after(old: &[Condition], old_algorithms: Option<&[&str]>) -> Vec<Condition> {
        let names = old_algorithms.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let view = View { host_key_accepted: true, old_algorithms: names, ..View::default() };
        let run = RunOfNode { name: "r1", operation: Some(Operation::Inventory), baseline: None };
        let old = ManagedNodeStatus { conditions: old.to_vec(), ..ManagedNodeStatus::default() };
        node_conditions(&old, None, &view, &End::Inventoried, run, None, &condition::now())
    }

    fn legacy(conditions: &[Condition]) -> Option<(&str, &str, &str)> {
        let found = conditions.iter().find(|condition| condition.type_ == "LegacyAlgorithms")?;
        Some((&found.status, &found.reason, &found.message))
    }

    /// Otherwise nobody would know that a connection can be read by others, or that it cannot any more.
    #[test]
    fn old_algorithms_are_a_condition_as_long_as_they_are_allowed() {
        let used = after(&[], Some(&["cipher 3des-cbc", "MAC hmac-sha1"]));
        let (status, reason, message) = legacy(&used).unwrap();
        assert_eq!((status, reason), ("True", "LegacyAlgorithmsInUse"));
        assert!(message.contains("(cipher 3des-cbc, MAC hmac-sha1)"), "{message}");
        let unused = after(&used, Some(&[]));
        let words = "the machine has current algorithms; remove spec.ssh.legacyAlgorithms";
        assert_eq!(legacy(&unused), Some(("False", "LegacyAlgorithmsUnused", words)));
        assert_eq!(legacy(&after(&used, None)), None);
    }

    /// An inventory of last month would look like one of today, and nobody would know when the machine is asked again.
    #[test]
    fn an_inventory_that_could_not_be_taken_is_not_current() {
        let times = InventoryTimes {
            taken_at: Some(Time("2026-11-01T10:00:00.5Z".parse().unwrap())),
            tried_at: None,
        };
        let old = ManagedNodeStatus { inventory: Some(times), ..ManagedNodeStatus::default() };
        let schedule = InventorySchedule { every: "24h".into() };
        let end = End::Failed(Failure::new(Reason::ConnectionTimedOut, "db does not answer"));
        let told = |old: &ManagedNodeStatus, schedule: Option<&InventorySchedule>, operation| {
            let run = RunOfNode { name: "r2", operation: Some(operation), baseline: None };
            let now = condition::now();
            let all = node_conditions(old, schedule, &View::default(), &end, run, None, &now);
            condition::find(&all, "InventoryCurrent")
                .map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
        };
        let (status, reason, message) = told(&old, Some(&schedule), Operation::Inventory).unwrap();
        assert_eq!((status.as_str(), reason.as_str()), ("False", "ConnectionTimedOut"));
        let words = "run r2: db does not answer; the last inventory is of 2026-11-01T10:00:01Z; it is tried again after 24h (spec.inventory.every)";
        assert_eq!(message, words);
        let (_, _, message) = told(&ManagedNodeStatus::default(), None, Operation::Inventory).unwrap();
        assert!(message.contains("there is no inventory; start another UpdateRun"), "{message}");
        assert_eq!(told(&old, Some(&schedule), Operation::Update), None, "nobody asked for an inventory");
    }

    /// A director of which one control processor is missing would look like one that is well.
    #[test]
    fn a_part_that_is_not_well_is_a_condition() {
        let with = |old: &[Condition], parts: Option<Result<(), Failure>>| {
            let survey = Some(std::sync::Arc::new(Survey { parts, ..Survey::default() }));
            let view = View { survey, ..View::default() };
            let old = ManagedNodeStatus { conditions: old.to_vec(), ..ManagedNodeStatus::default() };
            let run = RunOfNode { name: "r1", operation: None, baseline: None };
            node_conditions(&old, None, &view, &End::Inventoried, run, None, &condition::now())
        };
        let found = |conditions: &[Condition]| {
            let found = conditions.iter().find(|condition| condition.type_ == "PartsHealthy").cloned();
            found.map(|found| (found.status, found.reason, found.message))
        };
        let missing = Failure::new(Reason::DeviceUnavailable, "CP1 is not there; look at its slot");
        let unwell = with(&[], Some(Err(missing)));
        let words = "CP1 is not there; look at its slot".to_owned();
        assert_eq!(found(&unwell), Some(("False".to_owned(), "DeviceUnavailable".to_owned(), words)));
        assert_eq!(found(&with(&unwell, Some(Ok(())))).unwrap().0, "True");
        assert_eq!(found(&with(&unwell, None)), None, "nobody asked");
    }
}
