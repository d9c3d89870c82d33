//! Checks whether the requirements of a component will be met when the component is installed.

use super::{Action, PlanItem};
use crate::model::{Component, Requirement};
use crate::plan::order::{Order, is_step_to};
use crate::version::compare_installed;
use farrier_protocol::Reading;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Returns a description of each requirement of `component` that will not be met. `found` is what the first
/// reading says about the component.
pub(super) fn missing(
    component: &Component,
    order: &Order,
    found: Option<&Reading>,
    planned: &BTreeMap<&str, PlanItem>,
) -> Vec<String> {
    if let Some(circle) = order.circle(&component.name) {
        return vec![format!("its requirements form a cycle: {circle}")];
    }
    let unmet = |need: &Requirement| {
        if need.component == component.name {
            unmet_before(component, need, found, planned)
        } else {
            unmet(need, planned)
        }
    };
    component.requires.iter().filter_map(unmet).collect()
}

/// Returns why a version of the component itself is not installed before; `None` if it is. `found` is the first
/// reading. A component that is not installed at all needs no step.
fn unmet_before(
    component: &Component,
    need: &Requirement,
    found: Option<&Reading>,
    planned: &BTreeMap<&str, PlanItem>,
) -> Option<String> {
    let scheme = component.installer.versions();
    let least = need.at_least.as_deref().unwrap_or_default();
    let enough = |version: &str| compare_installed(scheme, version, least) != Ordering::Less;
    let is_there = match found {
        Some(Reading::Present { version, .. } | Reading::Broken { version, .. }) => enough(version),
        Some(Reading::Absent) => true,
        Some(Reading::Unreadable { .. } | Reading::Unknown) | None => false,
    };
    let mut steps = planned.values().filter(|item| is_step_to(&item.component, component));
    if is_there || steps.any(|item| item.action.version().is_some_and(enough)) {
        return None;
    }
    let name = &component.name;
    let now = match found {
        Some(Reading::Present { version, .. } | Reading::Broken { version, .. }) => {
            format!("{version} is installed")
        }
        Some(Reading::Absent | Reading::Unreadable { .. } | Reading::Unknown) | None => {
            "it was not read".to_owned()
        }
    };
    Some(format!(
        "{name} {least} or newer on the machine before {} ({now}, and the baseline has no component with the same detect for the step)",
        component.version
    ))
}

/// Returns the components that `component` requires and that are installed before it.
pub(super) fn installed_before(component: &Component, planned: &BTreeMap<&str, PlanItem>) -> Vec<String> {
    let requires_itself = component.requires.iter().any(|need| need.component == component.name);
    let steps = planned.values().filter(|item| requires_itself && is_step_to(&item.component, component));
    let mut names: Vec<String> = component
        .requires
        .iter()
        .filter_map(|need| planned.get(need.component.as_str()))
        .chain(steps)
        .filter(|item| item.action.is_install())
        .map(|item| item.component.name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Returns why a requirement is not met; `None` if it is met.
fn unmet(need: &Requirement, planned: &BTreeMap<&str, PlanItem>) -> Option<String> {
    let Some(item) = planned.get(need.component.as_str()) else {
        return Some(format!("{}, which the baseline does not contain", wanted(need)));
    };
    let scheme = item.component.installer.versions();
    let enough = |version: &str| match &need.at_least {
        Some(least) => compare_installed(scheme, version, least) != Ordering::Less,
        None => true,
    };
    if item.action.version().is_some_and(enough) {
        return None;
    }
    // This run does not install the required version. The version may be installed already, even
    // beside the version that counts.
    let is_there = match item.found() {
        Some(Reading::Present { version, instances, pending: _ }) => {
            let mut usable = instances.iter().filter(|instance| instance.broken.is_empty());
            enough(&version) || usable.any(|instance| enough(&instance.version))
        }
        Some(Reading::Absent | Reading::Broken { .. } | Reading::Unreadable { .. } | Reading::Unknown)
        | None => false,
    };
    if is_there && !item.action.is_install() {
        return None;
    }
    Some(format!("{} ({})", wanted(need), state(item)))
}

/// Describes a requirement.
fn wanted(need: &Requirement) -> String {
    match &need.at_least {
        Some(least) => format!("{} {least} or newer", need.component),
        None => need.component.clone(),
    }
}

/// Describes the state of a component that does not meet a requirement.
fn state(item: &PlanItem) -> String {
    match &item.action {
        Action::Install { from: _, to } => format!("the baseline has {to}"),
        Action::UpToDate { at, newer: _ } => format!("{at} is installed"),
        Action::NotApplicable { why } => format!("not applicable: {why}"),
        Action::DependencyMissing { missing: _ } => "its own requirements are missing".to_owned(),
        Action::NotSupported { what } => format!("not supported: {what}"),
        Action::Blocked { why, reason: _ } => why.clone(),
    }
}
