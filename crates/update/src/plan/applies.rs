//! Whether a component applies to a machine, and can be installed on it.

use super::Action;
use crate::model::{Component, InstallerKind};
use crate::reason::Reason;
use farrier_protocol::{Detect, Facts};

/// Returns the detections that must be read on a machine of this type before planning.
///
/// Without facts, only the type decides: the commands of a component that does not apply to the machine
/// should not run there.
pub fn detections(components: &[Component], node_type: &str, facts: Option<&Facts>) -> Vec<(String, Detect)> {
    let wanted = |component: &&Component| match facts {
        Some(facts) => blocker(component, node_type, facts).is_none(),
        None => wrong_type(component, node_type).is_none(),
    };
    components
        .iter()
        .filter(wanted)
        .filter_map(|component| Some((component.name.clone(), component.detection()?)))
        .collect()
}

/// Returns why a component is skipped regardless of the installed version; `None` if nothing blocks it.
pub(super) fn blocker(component: &Component, node_type: &str, facts: &Facts) -> Option<Action> {
    wrong_type(component, node_type)
        .or_else(|| wrong_fact(component, facts))
        .or_else(|| no_installer(component, facts))
        .map(|why| Action::NotApplicable { why })
        .or_else(|| not_supported(component))
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

/// Returns the package manager that a component needs and the machine lacks.
fn no_installer(component: &Component, facts: &Facts) -> Option<String> {
    let (kind, program) = match component.installer {
        InstallerKind::Deb => ("Debian", "dpkg"),
        InstallerKind::Rpm => ("RPM", "rpm"),
        InstallerKind::Script
        | InstallerKind::Fwupd
        | InstallerKind::DellDup
        | InstallerKind::HpeSmartComponent
        | InstallerKind::WindowsComponent
        | InstallerKind::Msi
        | InstallerKind::RedfishImage
        | InstallerKind::SwinstallDepot
        | InstallerKind::Vib
        | InstallerKind::DeviceImage => return None,
    };
    let has = facts.package_managers.split_whitespace().any(|word| word == program);
    (!has).then(|| format!("the component is a {kind} package, but this machine has no {program}"))
}

fn not_supported(component: &Component) -> Option<Action> {
    match component.installer.engine() {
        Some(_) => None,
        None => Some(Action::NotSupported { what: format!("installer {}", component.installer) }),
    }
}

fn not_provable(component: &Component) -> Option<Action> {
    match component.detection() {
        Some(_) => None,
        None => Some(Action::Blocked {
            why: format!(
                "{} has no detect, so its result could not be verified; add a detect with a command or a file",
                component.name
            ),
            reason: Reason::NotVerified,
        }),
    }
}
