//! Renders the components of a NodeUpdate: the plan and the results.

use crate::api::node_update::{ComponentOutcome, PartOutcome, PlannedComponent};
use farrier_protocol::{Reading, Simulation};
use farrier_update::{
    Action, ComponentResult, Forecast, Millis, NodePlan, Outcome, PartResult, PlanItem, Reason,
};
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
/// `boot_id` is that of the machine when the results were read.
pub(super) fn merge(
    old: &[ComponentOutcome],
    new: &[ComponentResult],
    boot_id: &str,
) -> Vec<ComponentOutcome> {
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
            kept.cloned().unwrap_or_else(|| outcome(result, boot_id))
        })
        .collect()
}

fn outcome(result: &ComponentResult, boot_id: &str) -> ComponentOutcome {
    // A power cycle is not known by the boot id.
    let is_pending = (result.outcome, result.reason) == (Outcome::RebootPending, Reason::RebootPending);
    ComponentOutcome {
        name: result.name.clone(),
        outcome: result.outcome.as_str().to_owned(),
        before: result.before.clone(),
        after: result.after.clone(),
        exit_code: result.exit_code,
        started_at: result.started_at.and_then(time),
        finished_at: result.finished_at.and_then(time),
        message: result.message.clone(),
        boot_id: (is_pending && !boot_id.is_empty()).then(|| boot_id.to_owned()),
        parts: result.parts.iter().map(part).collect(),
    }
}

fn part(part: &PartResult) -> PartOutcome {
    let PartResult { entry, before, after, failed } = part.clone();
    PartOutcome { entry, before, after, failed }
}

pub(in crate::runner) fn time(at: Millis) -> Option<Time> {
    jiff::Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok().map(Time)
}

/// Renders a component of the plan, with what the machine's package manager says about it, or the device about what
/// is interrupted.
pub(super) fn planned(
    item: &PlanItem,
    simulation: Option<&Simulation>,
    interruption: &str,
) -> PlannedComponent {
    let (action, message) = match &item.action {
        Action::Install { .. } => match simulation.map(|simulation| item.forecast(simulation)) {
            None => ("Install", interruption.to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a later run does not know that the machine was not rebooted since, or reboots it for what is in
    /// effect.
    #[test]
    fn what_waits_for_a_reboot_is_recorded_with_the_boot_id() {
        let result = |outcome| ComponentResult {
            name: "tool".into(),
            outcome,
            reason: Reason::RebootPending,
            before: "1.0".into(),
            after: "2.0".into(),
            exit_code: None,
            started_at: None,
            finished_at: None,
            message: String::new(),
            parts: Vec::new(),
        };
        let boot_id = |outcome, boot_id| merge(&[], &[result(outcome)], boot_id)[0].boot_id.clone();
        assert_eq!(boot_id(Outcome::RebootPending, "b1").as_deref(), Some("b1"));
        assert_eq!(
            boot_id(Outcome::RebootPending, ""),
            None,
            "an engine of an older version does not say it"
        );
        assert_eq!(boot_id(Outcome::Updated, "b1"), None);
        let power_cycle =
            ComponentResult { reason: Reason::PowerCyclePending, ..result(Outcome::RebootPending) };
        assert_eq!(merge(&[], &[power_cycle], "b1")[0].boot_id, None);
        // An attempt that begins has no results yet.
        let old = merge(&[], &[result(Outcome::RebootPending)], "b1");
        assert_eq!(merge(&old, &[], "b2"), old);
    }
}
