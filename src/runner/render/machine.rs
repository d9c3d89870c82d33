//! Renders the conditions of a ManagedNode after an attempt.

use super::Phase;
use super::verdict::{Verdict, reachable};
use crate::api::condition;
use crate::attempt::{End, View};
use crate::failure::Failure;
use farrier_update::{NodeVerdict, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Returns the conditions of a ManagedNode after an attempt.
pub(in crate::runner) fn node_conditions(
    old: &[Condition],
    view: &View,
    end: &End,
    run: &str,
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    let mut conditions = old.to_vec();
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
    set("Reachable", &reachable(view, &Phase::Ended(end.clone())));
    let inventory = view
        .survey
        .as_ref()
        .map(|s| Verdict::yes(Reason::Succeeded, format!("{}, taken by run {run}", s.extent())));
    for (type_, verdict) in [
        ("HostKeyVerified", host_key(view, failure)),
        ("LegacyAlgorithms", legacy_algorithms(view)),
        ("CertificateVerified", certificate(view, failure)),
        ("Authenticated", authenticated(view, failure)),
        ("InventoryCurrent", inventory),
        ("PartsHealthy", parts_healthy(view)),
        ("InBaseline", in_baseline(view, end, run)),
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

fn in_baseline(view: &View, end: &End, run: &str) -> Option<Verdict> {
    if let End::Finished(verdict) = end {
        return Some(match verdict {
            NodeVerdict::Succeeded { message, .. } => {
                Verdict::yes(Reason::Verified, format!("run {run}: {message}"))
            }
            NodeVerdict::Failed { reason, message } => Verdict::no(*reason, format!("run {run}: {message}")),
            NodeVerdict::Cancelled { message } => {
                Verdict::no(Reason::Cancelled, format!("run {run}: {message}"))
            }
        });
    }
    let plan = view.plan.as_ref().filter(|_| *end == End::Planned)?;
    Some(match plan.changes() {
        0 => Verdict::yes(Reason::AlreadyCurrent, format!("run {run} found nothing to install")),
        n => Verdict::no(Reason::Planned, format!("run {run} would install {n} components")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::Survey;

    fn after(old: &[Condition], old_algorithms: Option<&[&str]>) -> Vec<Condition> {
        let names = old_algorithms.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let view = View { host_key_accepted: true, old_algorithms: names, ..View::default() };
        node_conditions(old, &view, &End::Inventoried, "r1", None, &condition::now())
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

    /// A director of which one control processor is missing would look like one that is well.
    #[test]
    fn a_part_that_is_not_well_is_a_condition() {
        let with = |old: &[Condition], parts: Option<Result<(), Failure>>| {
            let survey = Some(std::sync::Arc::new(Survey { parts, ..Survey::default() }));
            let view = View { survey, ..View::default() };
            node_conditions(old, &view, &End::Inventoried, "r1", None, &condition::now())
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
