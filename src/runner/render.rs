//! From a view of the work to the status of a NodeUpdate: pure.

use crate::api::condition;
use crate::api::node_update::{ComponentOutcome, NodeUpdateStatus, PlannedComponent};
use crate::failure::Failure;
use crate::session::{End, View};
use farrier_protocol::Reading;
use farrier_update::{Action, ComponentResult, Millis, NodePlan, NodeVerdict, Outcome, PlanItem, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// How far the object is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    /// An attempt is under way.
    Working,
    /// An attempt failed; another one follows.
    Retrying {
        /// Why it failed.
        failure: Failure,
        /// When the next one begins.
        at: Time,
    },
    /// The machine is planned, and waits for the run to be set going.
    Planned,
    /// Nothing follows.
    Ended(End),
}

/// What is rendered.
pub(super) struct Picture<'a> {
    pub(super) old: &'a NodeUpdateStatus,
    pub(super) view: &'a View,
    pub(super) phase: &'a Phase,
    pub(super) attempt: u32,
    pub(super) run: &'a str,
    pub(super) generation: Option<i64>,
    pub(super) now: &'a Time,
}

/// The status that shows this.
pub(super) fn status(picture: &Picture) -> NodeUpdateStatus {
    let Picture { old, view, phase, attempt, run, generation, now } = picture;
    let mut conditions = old.conditions.clone();
    let verdicts = Verdicts::of(view, phase, old);
    for (type_, verdict) in verdicts.list() {
        condition::set(
            &mut conditions,
            type_,
            verdict.status,
            verdict.reason.as_str(),
            &verdict.message,
            *generation,
            now,
        );
    }
    let components = merge(&old.components, &view.results);
    let plan = view.plan.as_deref();
    let ended = matches!(phase, Phase::Ended(_));
    NodeUpdateStatus {
        observed_generation: *generation,
        conditions,
        step: Some(step(view, phase)),
        changed: changed(&components, plan).or_else(|| old.changed.clone()),
        attempt: Some(*attempt),
        next_attempt_at: match phase {
            Phase::Retrying { at, .. } => Some(at.clone()),
            Phase::Working | Phase::Planned | Phase::Ended(_) => None,
        },
        plan_digest: plan.map(NodePlan::digest).or_else(|| old.plan_digest.clone()),
        plan: plan.map_or_else(|| old.plan.clone(), |p| p.items.iter().map(planned).collect()),
        components,
        address: view.address.clone().or_else(|| old.address.clone()),
        leases: view.leases,
        leftovers: view.leftovers.clone(),
        logs: view.engine.as_ref().map(|_| format!("/var/log/farrier/{run}")).or_else(|| old.logs.clone()),
        started_at: old.started_at.clone().or_else(|| Some((*now).clone())),
        finished_at: if ended { old.finished_at.clone().or_else(|| Some((*now).clone())) } else { None },
    }
}

fn step(view: &View, phase: &Phase) -> String {
    match phase {
        Phase::Working => view.step.as_text(),
        Phase::Retrying { .. } => "WaitingForRetry".into(),
        Phase::Planned => "Planned".into(),
        Phase::Ended(_) => "Done".into(),
    }
}

/// One condition to be.
struct Verdict {
    status: &'static str,
    reason: Reason,
    message: String,
}

impl Verdict {
    fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: "True", reason, message: message.into() }
    }
    fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: "False", reason, message: message.into() }
    }
    fn open(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: "Unknown", reason, message: message.into() }
    }
    /// Not done, and why: because of this failure, or not yet, or not at all.
    fn pending(phase: &Phase, what: &str) -> Self {
        match phase {
            Phase::Working => Self::open(Reason::InProgress, format!("waiting for: {what}")),
            Phase::Planned => {
                Self::open(Reason::PlanOnly, "waiting for the run's desiredState to become Run")
            }
            Phase::Retrying { failure, .. } | Phase::Ended(End::Failed(failure)) => {
                Self::no(failure.reason, failure.message.clone())
            }
            Phase::Ended(End::Cancelled) => Self::no(Reason::Cancelled, "the run was cancelled before"),
            Phase::Ended(End::Inventoried | End::Planned | End::Finished(_)) => {
                Self::yes(Reason::NotRequired, "nothing was to be done")
            }
        }
    }
}

/// The conditions of a NodeUpdate, in the order in which they come true.
struct Verdicts {
    reachable: Verdict,
    engine: Verdict,
    payload: Verdict,
    applied: Verdict,
    verified: Verdict,
    torn_down: Verdict,
    succeeded: Verdict,
}

impl Verdicts {
    fn of(view: &View, phase: &Phase, old: &NodeUpdateStatus) -> Self {
        Self {
            reachable: reachable(view, phase),
            engine: match &view.engine {
                Some(dir) => Verdict::yes(Reason::EngineDeployed, format!("in {dir}")),
                None => Verdict::pending(phase, "the engine to run on the machine"),
            },
            payload: payload(view, phase),
            applied: applied(view, phase),
            verified: verified(view, phase),
            torn_down: torn_down(view, phase, old),
            succeeded: succeeded(view, phase),
        }
    }

    fn list(self) -> Vec<(&'static str, Verdict)> {
        let Self { reachable, engine, payload, applied, verified, torn_down, succeeded } = self;
        let copy = |status: &'static str, of: &Verdict| Verdict {
            status,
            reason: of.reason,
            message: of.message.clone(),
        };
        let (ready, reconciling, stalled) = match succeeded.status {
            "True" => ("True", "False", "False"),
            "False" => ("False", "False", "True"),
            _ => ("False", "True", "False"),
        };
        let kstatus = [("Ready", ready), ("Reconciling", reconciling), ("Stalled", stalled)];
        let mut list: Vec<_> = kstatus.map(|(type_, status)| (type_, copy(status, &succeeded))).into();
        list.extend([
            ("Reachable", reachable),
            ("EngineDeployed", engine),
            ("PayloadVerified", payload),
            ("Applied", applied),
            ("Verified", verified),
            ("TornDown", torn_down),
            ("Succeeded", succeeded),
        ]);
        list
    }
}

fn reachable(view: &View, phase: &Phase) -> Verdict {
    match &view.address {
        // A machine that was reached and then lost is not reachable.
        Some(_) if failure_of(phase).is_some_and(|f| f.reason.unreachable()) => Verdict::pending(phase, ""),
        Some(address) => Verdict::yes(Reason::Reachable, format!("it answered at {address}")),
        None => match phase {
            Phase::Ended(End::Failed(f)) | Phase::Retrying { failure: f, .. } if !f.reason.unreachable() => {
                Verdict::open(f.reason, f.message.clone())
            }
            Phase::Ended(End::Cancelled) => Verdict::open(Reason::Cancelled, "the run was cancelled before"),
            Phase::Working | Phase::Retrying { .. } | Phase::Planned | Phase::Ended(_) => {
                Verdict::pending(phase, "an answer from the machine")
            }
        },
    }
}

fn failure_of(phase: &Phase) -> Option<&Failure> {
    match phase {
        Phase::Retrying { failure, .. } | Phase::Ended(End::Failed(failure)) => Some(failure),
        Phase::Working | Phase::Planned | Phase::Ended(_) => None,
    }
}

fn payload(view: &View, phase: &Phase) -> Verdict {
    let wanted = view.plan.as_ref().map_or(0, |p| p.changes());
    if view.plan.is_some() && wanted == 0 {
        return Verdict::yes(Reason::NotRequired, "no payload is needed");
    }
    if wanted > 0 && view.payloads_verified >= wanted {
        return Verdict::yes(
            Reason::PayloadVerified,
            "the digest was right at the operator and on the machine",
        );
    }
    Verdict::pending(phase, "the payloads, verified on the machine")
}

fn applied(view: &View, phase: &Phase) -> Verdict {
    if let Some(component) = &view.overdue {
        return Verdict::open(
            Reason::InstallerOverdue,
            format!(
                "the installer of {component} takes longer than its timeout, and is left to finish because it is not interruptible"
            ),
        );
    }
    if view.plan.as_ref().is_some_and(|p| p.changes() == 0) {
        return Verdict::yes(Reason::NothingToDo, "nothing was to be installed");
    }
    if view.applied {
        return Verdict::yes(
            Reason::Applied,
            "the installers have run; what came of it stands under components",
        );
    }
    Verdict::pending(phase, "the installers to run")
}

fn verified(view: &View, phase: &Phase) -> Verdict {
    match phase {
        Phase::Ended(End::Finished(NodeVerdict::Succeeded { message, .. })) => {
            Verdict::yes(Reason::Verified, message.clone())
        }
        Phase::Ended(End::Finished(NodeVerdict::Failed { reason, message })) => {
            Verdict::no(*reason, message.clone())
        }
        Phase::Ended(End::Finished(NodeVerdict::Cancelled { message })) => {
            Verdict::no(Reason::Cancelled, message.clone())
        }
        Phase::Working | Phase::Retrying { .. } | Phase::Planned | Phase::Ended(_)
            if view.results.is_empty() =>
        {
            Verdict::pending(phase, "the second inventory")
        }
        Phase::Working | Phase::Retrying { .. } | Phase::Planned | Phase::Ended(_) => {
            Verdict::open(Reason::InProgress, "the second inventory is in; the machine is being cleaned")
        }
    }
}

fn torn_down(view: &View, phase: &Phase, old: &NodeUpdateStatus) -> Verdict {
    match &view.clean {
        Some(Ok(())) => Verdict::yes(
            Reason::NothingLeftBehind,
            "a second look at the machine found nothing of ours but the log",
        ),
        Some(Err(failure)) => Verdict::no(failure.reason, failure.message.clone()),
        None if view.deploying => Verdict::open(
            Reason::CleanupPending,
            "the engine is on the machine; it takes everything back at the end",
        ),
        None => match condition::find(&old.conditions, "TornDown") {
            Some(was) if was.status == "False" => Verdict::no(Reason::CleanupPending, was.message.clone()),
            Some(_) | None if matches!(phase, Phase::Working) => {
                Verdict::open(Reason::InProgress, "nothing is on the machine yet")
            }
            Some(was) if was.status == "True" => Verdict::yes(Reason::NothingLeftBehind, was.message.clone()),
            Some(_) | None => Verdict::yes(Reason::NothingLeftBehind, "nothing was put on the machine"),
        },
    }
}

fn succeeded(view: &View, phase: &Phase) -> Verdict {
    match phase {
        Phase::Working => Verdict::open(Reason::InProgress, view.step.as_text()),
        Phase::Planned => Verdict::open(
            Reason::PlanOnly,
            "the plan is made and nothing was changed; set the run's desiredState to Run to carry it out",
        ),
        Phase::Retrying { failure, at } => Verdict::open(
            Reason::WaitingForRetry,
            format!("next attempt at {}: {}: {}", at.0, failure.reason, failure.message),
        ),
        Phase::Ended(end) => ending(view, end),
    }
}

fn ending(view: &View, end: &End) -> Verdict {
    let clean = match &view.clean {
        Some(Err(failure)) => Some(failure),
        Some(Ok(())) | None => None,
    };
    let verdict = match end {
        End::Finished(NodeVerdict::Succeeded { reason, message }) => Verdict::yes(*reason, message.clone()),
        End::Finished(NodeVerdict::Failed { reason, message }) => Verdict::no(*reason, message.clone()),
        End::Finished(NodeVerdict::Cancelled { message }) => Verdict::no(Reason::Cancelled, message.clone()),
        End::Planned => Verdict::yes(Reason::Planned, "the plan is made, nothing was changed"),
        End::Inventoried => Verdict::yes(Reason::Succeeded, "the inventory was taken"),
        End::Cancelled => Verdict::no(Reason::Cancelled, "the run was cancelled"),
        End::Failed(failure) => Verdict::no(failure.reason, failure.message.clone()),
    };
    match clean {
        // A success that leaves something behind is none.
        Some(failure) if verdict.status == "True" => Verdict::no(failure.reason, failure.message.clone()),
        Some(failure) => Verdict { message: format!("{}. {}", verdict.message, failure.message), ..verdict },
        None => verdict,
    }
}

fn changed(components: &[ComponentOutcome], plan: Option<&NodePlan>) -> Option<String> {
    let total = plan.map(|p| p.items.len()).filter(|n| *n > 0)?;
    let done = components
        .iter()
        .filter(|c| c.outcome == Outcome::Updated.as_str() || c.outcome == Outcome::RebootPending.as_str())
        .count();
    Some(format!("{done}/{total}"))
}

/// What an earlier attempt has updated was updated by this NodeUpdate, although the last attempt
/// found it up to date.
fn merge(old: &[ComponentOutcome], new: &[ComponentResult]) -> Vec<ComponentOutcome> {
    if new.is_empty() {
        return old.to_vec();
    }
    new.iter()
        .map(|result| {
            let before = old.iter().find(|o| o.name == result.name);
            let kept = before.filter(|o| {
                result.outcome == Outcome::UpToDate
                    && (o.outcome == Outcome::Updated.as_str()
                        || o.outcome == Outcome::RebootPending.as_str())
            });
            kept.cloned().unwrap_or_else(|| outcome(result))
        })
        .collect()
}

fn outcome(result: &ComponentResult) -> ComponentOutcome {
    ComponentOutcome {
        name: result.name.clone(),
        outcome: result.outcome.as_str().to_owned(),
        before: result.before.clone(),
        after: result.after.clone(),
        exit_code: result.exit_code,
        started_at: result.started_at.and_then(time),
        finished_at: result.finished_at.and_then(time),
        message: result.message.clone(),
    }
}

fn time(at: Millis) -> Option<Time> {
    jiff::Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok().map(Time)
}

fn planned(item: &PlanItem) -> PlannedComponent {
    let (action, message) = match &item.action {
        Action::Install { .. } => ("Install", String::new()),
        Action::UpToDate { newer: true, at } => {
            ("UpToDate", format!("{at} is newer than the baseline's version"))
        }
        Action::UpToDate { newer: false, .. } => ("UpToDate", String::new()),
        Action::NotApplicable { why } => ("NotApplicable", why.clone()),
        Action::DependencyMissing { missing } => ("DependencyMissing", missing.join("; ")),
        Action::NotSupported { what } => ("NotSupported", what.clone()),
        Action::Blocked { why, .. } => ("Blocked", why.clone()),
    };
    let from = match &item.before {
        Some(Reading::Present { version } | Reading::Broken { version, .. }) => version.clone(),
        Some(Reading::Absent | Reading::Unreadable { .. }) | None => String::new(),
    };
    PlannedComponent {
        name: item.component.name.clone(),
        action: action.to_owned(),
        from,
        to: item.component.version.clone(),
        message,
    }
}

/// What a ManagedNode's conditions say after an attempt.
pub(super) fn node_conditions(
    old: &[Condition],
    view: &View,
    end: &End,
    run: &str,
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    let mut conditions = old.to_vec();
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
    let key = if view.host_key_accepted {
        let how = if view.first_key.is_some() { Reason::HostKeyRecorded } else { Reason::HostKeyVerified };
        Some(Verdict::yes(how, "the machine proved that it holds an accepted host key"))
    } else {
        failure
            .filter(|f| matches!(f.reason, Reason::HostKeyChanged | Reason::HostKeyUnknown))
            .map(|f| Verdict::no(f.reason, f.message.clone()))
    };
    let auth = if view.authenticated {
        Some(Verdict::yes(Reason::Authenticated, "the machine accepted the credentials"))
    } else {
        failure.filter(|_| view.host_key_accepted).map(|f| Verdict::no(f.reason, f.message.clone()))
    };
    let inventory = view.survey.as_ref().map(|s| {
        Verdict::yes(Reason::Succeeded, format!("{} packages, taken by run {run}", s.packages.len()))
    });
    for (type_, verdict) in [
        ("HostKeyVerified", key),
        ("Authenticated", auth),
        ("InventoryCurrent", inventory),
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
