//! Whether a component applies to a machine, and can be installed on it.

use super::{Action, PlanInput};
use crate::installer::{Installers, PackageManager};
use crate::model::Component;
use crate::reason::Reason;
use farrier_protocol::{Detect, Facts};

/// Returns the detections that must be read on a machine of this type before planning.
///
/// The facts are not known yet. The commands of a component that is for machines of another type should not
/// run there.
pub fn detections(components: &[Component], node_type: &str) -> Vec<(String, Detect)> {
    components
        .iter()
        .filter(|component| wrong_type(component, node_type).is_none())
        // A machine whose class does not take such components is not asked for their versions.
        .filter(|component| component.installer.engine().is_some())
        .filter_map(|component| Some((component.name.clone(), component.detection()?)))
        .collect()
}

/// Returns why a component is skipped regardless of the installed version; `None` if nothing blocks it.
pub(super) fn blocker(component: &Component, input: &PlanInput<'_>) -> Option<Action> {
    let &PlanInput { node_type, installers, facts, .. } = input;
    wrong_type(component, node_type)
        .or_else(|| wrong_fact(component, facts))
        .or_else(|| wrong_installer(component, installers, node_type))
        .or_else(|| no_package_manager(component, facts))
        .map(|why| Action::NotApplicable { why })
        .or_else(|| not_supported(component, installers))
        .or_else(|| not_provable(component))
}

fn wrong_type(component: &Component, node_type: &str) -> Option<String> {
    let types = &component.applies_to.types;
    if types.is_empty() || types.iter().any(|name| name == node_type) {
        return None;
    }
    Some(format!(
        "the component is for nodes of type {}, but this node is of type {node_type}",
        types.join(", ")
    ))
}

fn wrong_fact(component: &Component, facts: &Facts) -> Option<String> {
    component.applies_to.match_facts.iter().find_map(|(key, wanted)| {
        let Some(found) = fact(facts, key) else {
            return Some(format!("appliesTo.match.{key} is not a known fact"));
        };
        let matches = match key.as_str() {
            // The only fact with several values.
            "osLike" => found.split_whitespace().any(|word| word == wanted),
            _ => found == wanted,
        };
        (!matches).then(|| match found {
            "" => format!("the component is for {key} {wanted}, but the {key} of this machine is not known"),
            _ => format!("the component is for {key} {wanted}, but this machine has {found}"),
        })
    })
}

/// Returns the fact of this name, as users write it in `appliesTo.match`.
fn fact<'a>(facts: &'a Facts, key: &str) -> Option<&'a str> {
    match key {
        "os" => Some(&facts.os),
        "osVersion" => Some(&facts.os_version),
        "osLike" => Some(&facts.os_like),
        "arch" => Some(&facts.arch),
        "kernel" => Some(&facts.kernel),
        "vendor" => Some(&facts.vendor),
        "model" => Some(&facts.model),
        "serial" => Some(&facts.serial),
        "hostname" => Some(&facts.hostname),
        "biosVersion" => Some(&facts.bios_version),
        _ => None,
    }
}

/// Returns why the machine cannot take components of this kind, although this version supports them.
fn wrong_installer(component: &Component, installers: Installers<'_>, node_type: &str) -> Option<String> {
    let kind = component.installer;
    let others_only = installers.any.contains(&kind) && !installers.machine.contains(&kind);
    others_only.then(|| format!("nodes of type {node_type} do not take components of installer {kind}"))
}

/// Returns the package manager that a component needs and the machine lacks.
fn no_package_manager(component: &Component, facts: &Facts) -> Option<String> {
    let PackageManager { title, program, .. } = component.installer.packages()?;
    let has = facts.package_managers.split_whitespace().any(|word| word == program);
    (!has).then(|| format!("the component is a {title} package, but this machine has no {program}"))
}

fn not_supported(component: &Component, installers: Installers<'_>) -> Option<Action> {
    let supported = installers.any.contains(&component.installer);
    (!supported).then(|| Action::NotSupported { what: format!("installer {}", component.installer) })
}

fn not_provable(component: &Component) -> Option<Action> {
    match component.detection() {
        Some(_) => None,
        None => Some(Action::Blocked {
            why: format!(
                "{} has no detect, so its result could not be verified; add a detect with a command, a file or an entry \
                 of the firmware list",
                component.name
            ),
            reason: Reason::NotVerified,
        }),
    }
}
