//! From readings and conclusions to what a plan needs and what users see.

use super::{Reading, Report, kept};
use crate::failure::Failure;
use farrier_protocol::Reading as Version;
use farrier_update::device::{
    Action, ComponentEnd, Conclusion, Entry, Inventory, Kept, Leftover, State, Verb,
};
use farrier_update::{Action as Planned, Component, ComponentResult, NodePlan, Outcome, PlanItem, Reason};
use std::collections::BTreeMap;

/// Maximum number of entries of a device that a message names.
const MAX_NAMED: usize = 12;

/// Returns the entries by the components' names. A component whose entry the device does not have is absent.
pub(super) fn entries(components: &[Component], inventory: &Inventory) -> BTreeMap<String, Entry> {
    let found = components.iter().filter_map(|component| {
        let entry = inventory.entries.get(component.own_entry()?)?;
        Some((component.name.clone(), entry.clone()))
    });
    found.collect()
}

/// Returns the installed versions by the components' names.
pub(super) fn readings(components: &[Component], reading: &Reading) -> BTreeMap<String, Version> {
    let found = components.iter().filter_map(|component| {
        if component.depot_entry().is_some() {
            return Some((component.name.clone(), product(component, reading)?));
        }
        let wanted = component.firmware_entry()?;
        let version = match reading.inventory.entries.get(wanted) {
            Some(entry) if !entry.version.is_empty() => Version::present(&entry.version),
            Some(_) => Version::Unreadable { detail: format!("the machine states no version of {wanted}") },
            None => Version::Unreadable { detail: no_such_entry(wanted, reading) },
        };
        Some((component.name.clone(), version))
    });
    found.collect()
}

/// Returns the version of a product that the machine installs into its own file systems. One that has no version is
/// not installed, or not whole.
fn product(component: &Component, reading: &Reading) -> Option<Version> {
    let entry = reading.inventory.entries.get(component.depot_entry()?)?;
    Some(if entry.version.is_empty() { Version::Absent } else { Version::present(&entry.version) })
}

fn no_such_entry(wanted: &str, reading: &Reading) -> String {
    let names: Vec<&str> =
        reading.survey.firmware.iter().take(MAX_NAMED).map(|entry| entry.name.as_str()).collect();
    format!("the machine has no firmware entry {wanted}; it has {} (see its NodeInventory)", names.join(", "))
}

/// Returns how many things of ours are on the device, as far as the actions tell.
pub(super) fn traces(actions: &[Action]) -> usize {
    let is_removed = |action: &Action| {
        actions.iter().any(|other| other.of == Some(action.id) && other.state == State::Ended)
    };
    let left = |action: &&Action| {
        action.verb.inverse().is_some() && action.state == State::Begun && !is_removed(action)
    };
    actions.iter().filter(left).count()
}

/// Returns the result of each component.
pub(super) fn results(
    plan: Option<&NodePlan>,
    conclusion: &Conclusion,
    readings: &[Inventory],
    refusals: &BTreeMap<String, Failure>,
    reports: &BTreeMap<String, Report>,
    node: &str,
) -> Vec<ComponentResult> {
    let Some(plan) = plan else { return Vec::new() };
    let ends: BTreeMap<&str, ComponentEnd> =
        conclusion.components.iter().map(|(name, end)| (name.as_str(), *end)).collect();
    let results = plan.items.iter().filter_map(|item| {
        let name = item.component.name.as_str();
        let after = readings.last().and_then(|reading| reading.version(name)).unwrap_or_default();
        let mut result = result(item, *ends.get(name)?, after, refusals.get(name), reports.get(name));
        let kept: Vec<&Kept> = conclusion.kept.iter().filter(|kept| kept.component == name).collect();
        if let (Outcome::Staged | Outcome::RebootPending, Some(place)) =
            (result.outcome, kept::place(&kept, item, node))
        {
            let said = reports.get(name).map(|report| report.words.as_str()).unwrap_or_default();
            let is_told = result.outcome == Outcome::RebootPending && !said.is_empty();
            result.message = if is_told { format!("{place}. It said: {said}") } else { place };
        }
        Some(result)
    });
    results.collect()
}

fn result(
    item: &PlanItem,
    end: ComponentEnd,
    after: &str,
    refusal: Option<&Failure>,
    report: Option<&Report>,
) -> ComponentResult {
    if let (Planned::Blocked { .. }, Some(failure)) = (&item.action, refusal) {
        return failed(item, failure);
    }
    let Some(mut outcome) = end.outcome() else {
        let reading = item.before.clone();
        return farrier_update::conclude(item, None, reading.as_ref());
    };
    let name = &item.component.name;
    let before = match &item.action {
        Planned::Install { from, .. } => from.clone().unwrap_or_default(),
        Planned::UpToDate { at, .. } => at.clone(),
        Planned::NotApplicable { .. }
        | Planned::DependencyMissing { .. }
        | Planned::NotSupported { .. }
        | Planned::Blocked { .. } => String::new(),
    };
    let refusal = refusal.filter(|_| is_of_refusal(end));
    let mut reason = refusal.map_or(end.reason(), |failure| failure.reason);
    let mut message = match refusal {
        Some(failure) => format!("{name}: {}", failure.message),
        None => words(name, end, &item.component.version, after),
    };
    if refusal.is_some() && outcome == Outcome::Skipped {
        outcome = Outcome::Failed;
    }
    let is_good = matches!(outcome, Outcome::Updated | Outcome::UpToDate | Outcome::Staged);
    if let Some(report) = report.filter(|report| refusal.is_none() && !is_good && !report.words.is_empty()) {
        message = format!("{message}. It said: {}", report.words);
        reason = report.reason.filter(|_| outcome == Outcome::Failed).unwrap_or(reason);
    }
    ComponentResult {
        name: name.clone(),
        outcome,
        reason,
        before,
        after: after.to_owned(),
        exit_code: None,
        started_at: None,
        finished_at: None,
        message,
        parts: Vec::new(),
    }
}

/// Returns the result of a component that cannot be read because the device takes no firmware at all.
fn failed(item: &PlanItem, failure: &Failure) -> ComponentResult {
    ComponentResult {
        name: item.component.name.clone(),
        outcome: Outcome::Failed,
        reason: failure.reason,
        before: String::new(),
        after: String::new(),
        exit_code: None,
        started_at: None,
        finished_at: None,
        message: format!("{}: {}", item.component.name, failure.message),
        parts: Vec::new(),
    }
}

/// Reports whether a component ended so because a request was refused or could not be made.
const fn is_of_refusal(end: ComponentEnd) -> bool {
    match end {
        ComponentEnd::Refused
        | ComponentEnd::NotSupported
        | ComponentEnd::NotBegun
        | ComponentEnd::ResetPending
        | ComponentEnd::Obstructed(_)
        | ComponentEnd::Busy => true,
        ComponentEnd::NotNeeded
        | ComponentEnd::Updated
        | ComponentEnd::Staged
        | ComponentEnd::StagingFailed
        | ComponentEnd::NotVerified
        | ComponentEnd::Unverified
        | ComponentEnd::DependencyFailed
        | ComponentEnd::Cancelled => false,
    }
}

/// Describes the result of a component, and the next step.
fn words(name: &str, end: ComponentEnd, wanted: &str, after: &str) -> String {
    match end {
        ComponentEnd::NotNeeded | ComponentEnd::Updated => String::new(),
        ComponentEnd::Staged => format!(
            "the machine has the image of {name} {wanted} and has not installed it; an UpdateRun with operation Update does"
        ),
        ComponentEnd::ResetPending => {
            format!("{name} {wanted} is installed and takes effect after a restart")
        }
        ComponentEnd::Refused => {
            format!("the machine refused the image of {name} each time; look at its log")
        }
        ComponentEnd::StagingFailed => {
            format!("the machine could not take the image of {name}; look at its log")
        }
        ComponentEnd::NotVerified => {
            format!("the machine has {name} {after} after the installation of {wanted}; look at its log")
        }
        ComponentEnd::Unverified => format!(
            "it cannot be told whether {name} {wanted} was installed; it is not installed again. Look at the machine, then start a new UpdateRun"
        ),
        ComponentEnd::DependencyFailed => {
            format!("{name}: a component that it requires was not installed; look at the result of that one")
        }
        ComponentEnd::Busy => format!(
            "{name}: the machine worked for another manager all the time; start a new UpdateRun when that has ended"
        ),
        ComponentEnd::Obstructed(_) => {
            format!(
                "{name} was not begun, because of the state of the machine; start a new UpdateRun when it has changed"
            )
        }
        ComponentEnd::NotSupported => {
            format!("{name}: the machine offers no way to take this image; update it by hand")
        }
        ComponentEnd::NotBegun => {
            format!("{name} was not begun; look at the results of the other components")
        }
        ComponentEnd::Cancelled => format!("{name} was not begun, because the run was cancelled"),
    }
}

/// Returns whether the device is clean.
pub(super) fn clean(node: &str, leftovers: &[Leftover]) -> Result<(), Failure> {
    if leftovers.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = leftovers.iter().map(in_words).collect();
    let next = if leftovers.iter().all(|left| left.expires.is_some()) {
        "the device says that it ends idle sessions after some time; close it in its web interface if it must be gone now"
    } else {
        "remove it in the machine's own web interface"
    };
    let message = format!("{node} may still have {}; {next}", names.join(", "));
    Err(Failure::new(Reason::Leftovers, message))
}

/// Describes something that is left on the device.
pub(super) fn in_words(left: &Leftover) -> String {
    let what = match left.verb {
        Verb::SignIn => "a session of Farrier",
        // An image that is only staged has no name for work.
        Verb::Upload | Verb::Pull if left.ticket.is_some() => "an update of Farrier that has not ended",
        Verb::Upload | Verb::Pull | Verb::AdoptImage => "an image of Farrier",
        Verb::Enqueue | Verb::AdoptWork => "an entry of Farrier in its queue",
        Verb::ImportAuthority => "the authority of Farrier's callback server among those that it trusts",
        Verb::Subscribe => "a subscription of Farrier to its events",
        Verb::Activate
        | Verb::ResetManager
        | Verb::ResetHost
        | Verb::SignOut
        | Verb::RemoveUpload
        | Verb::RemoveQueueEntry
        | Verb::RemoveAuthority
        | Verb::Unsubscribe
        | Verb::Unknown => "work of Farrier in progress",
    };
    let ticket = left.ticket.as_ref().map(|ticket| format!(" {}", ticket.0)).unwrap_or_default();
    let expires = left.expires.map(|at| format!(", which it ends by itself at {at}")).unwrap_or_default();
    format!("{what}{ticket}{expires}")
}
