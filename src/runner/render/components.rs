//! Renders the components of a NodeUpdate: the plan and the results.

use crate::api::node_update::{ComponentOutcome, PartOutcome, PlannedComponent};
use farrier_protocol::{Reading, Simulation};
use farrier_update::{Action, ComponentResult, Forecast, Millis, NodePlan, Outcome, PartResult, PlanItem};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Returns how many components changed or are staged, of how many.
pub(super) fn changed(components: &[ComponentOutcome], plan: Option<&NodePlan>) -> Option<String> {
    let total = plan.map(|p| p.items.len()).filter(|n| *n > 0)?;
    let done = components
        .iter()
        .filter(|c| {
            [Outcome::Updated, Outcome::Staged, Outcome::RebootPending]
                .iter()
                .any(|done| c.outcome == done.as_str())
        })
        .count();
    Some(format!("{done}/{total}"))
}

/// Merges the results of an attempt into those of earlier ones. A component that an earlier attempt has
/// updated counts as updated by this NodeUpdate, although the last attempt found it up to date.
pub(super) fn merge(old: &[ComponentOutcome], new: &[ComponentResult]) -> Vec<ComponentOutcome> {
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
        parts: result.parts.iter().map(part).collect(),
    }
}

fn part(part: &PartResult) -> PartOutcome {
    let PartResult { entry, before, after, failed } = part.clone();
    PartOutcome { entry, before, after, failed }
}

pub(super) fn time(at: Millis) -> Option<Time> {
    jiff::Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok().map(Time)
}

/// Renders a component of the plan, with what the machine's package manager says about it.
pub(super) fn planned(item: &PlanItem, simulation: Option<&Simulation>) -> PlannedComponent {
    let (action, message) = match &item.action {
        Action::Install { .. } => match simulation.map(|simulation| item.forecast(simulation)) {
            None => ("Install", String::new()),
            Some(Forecast::Possible { besides }) => ("Install", besides),
            Some(Forecast::Refused { why }) => ("Blocked", why),
        },
        Action::UpToDate { newer: true, at } => {
            ("UpToDate", format!("{at} is newer than the baseline's version"))
        }
        Action::UpToDate { newer: false, .. } => ("UpToDate", String::new()),
        Action::NotApplicable { why } => ("NotApplicable", why.clone()),
        Action::DependencyMissing { missing } => ("DependencyMissing", missing.join("; ")),
        Action::NotSupported { what } => ("NotSupported", what.clone()),
        Action::Blocked { why, .. } => ("Blocked", why.clone()),
    };
    let from = match item.found() {
        Some(Reading::Present { version, .. } | Reading::Broken { version, .. }) => version,
        Some(Reading::Absent | Reading::Unreadable { .. } | Reading::Unknown) | None => String::new(),
    };
    let remark = item.before.as_ref().and_then(|before| item.remark(before));
    let message = [Some(message).filter(|message| !message.is_empty()), remark];
    PlannedComponent {
        name: item.component.name.clone(),
        action: action.to_owned(),
        from,
        to: item.component.version.clone(),
        message: message.into_iter().flatten().collect::<Vec<_>>().join("; "),
    }
}
