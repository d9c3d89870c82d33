//! What is behind is read out of real plans.

use super::*;
use crate::installer::{InstallerKind, Installers};
use crate::model::{AppliesTo, Component, FailedDependency, Force, Needs, RebootNeed};
use crate::plan::{PlanInput, plan_node};
use farrier_protocol::Facts;
use std::collections::BTreeMap;
use std::time::Duration;

fn component(name: &str) -> Component {
    Component {
        name: name.to_owned(),
        version: "2.0".to_owned(),
        applies_to: AppliesTo::default(),
        installer: InstallerKind::Deb,
        detect: None,
        firmware: None,
        payload: None,
        requires: Vec::new(),
        needs: Needs::default(),
        reboot: RebootNeed::IfRequested,
        interruptible: true,
        timeout: Duration::from_mins(10),
    }
}

/// Compares a Debian machine with a baseline of these components in version 2.0, on which they read like this.
fn compared(found: &[(&str, Reading)]) -> Comparison {
    let components: Vec<Component> = found.iter().map(|(name, _)| component(name)).collect();
    let readings: BTreeMap<String, Reading> =
        found.iter().map(|(name, reading)| ((*name).to_owned(), reading.clone())).collect();
    let installers = &[InstallerKind::Deb];
    let package_managers = "dpkg".to_owned();
    Comparison::of(&plan_node(&PlanInput {
        components: &components,
        node_type: "Linux",
        installers: Installers { machine: installers, any: installers },
        facts: &Facts { os: "debian".to_owned(), package_managers, ..Facts::default() },
        programs: &[],
        readings: &readings,
        force: Force::default(),
        on_failed_dependency: FailedDependency::Force,
    }))
}

/// Users would learn that something differs and not what, or be woken for a machine that is newer.
#[test]
fn what_is_behind_is_named() {
    let found = compared(&[
        ("a", Reading::present("2.0")),
        ("b", Reading::present("1.9")),
        ("c", Reading::Absent),
        ("d", Reading::present("2.1")),
        ("e", Reading::broken("2.0", "half-configured")),
    ]);
    assert_eq!(found.standing(), Standing::Behind);
    assert_eq!(
        found.message(),
        "3 of 5 components are behind: b is 1.9 (2.0 in the baseline); c is not installed (2.0 in the baseline); \
         e 2.0 is half-configured"
    );
    let newer = compared(&[("a", Reading::present("2.0")), ("d", Reading::present("2.1"))]);
    assert_eq!(newer.standing(), Standing::InBaseline);
    assert_eq!(newer.message(), "all 2 components are as in it, or newer");
}

/// A machine whose packages cannot be read would count as in its baseline, or as behind.
#[test]
fn what_could_not_be_read_is_neither_behind_nor_in_the_baseline() {
    let unreadable = || Reading::Unreadable { detail: "no permission".to_owned() };
    let found = compared(&[("a", Reading::present("2.0")), ("b", unreadable())]);
    assert_eq!(found.standing(), Standing::Unknown);
    assert!(
        found.message().starts_with("1 of 2 components could not be compared: ")
            && found.message().contains("no permission"),
        "{}",
        found.message()
    );
    let behind = compared(&[("a", Reading::Absent), ("b", unreadable())]);
    assert_eq!(behind.standing(), Standing::Behind);
}

/// A baseline of a thousand components with long names would make a status that no API server accepts.
#[test]
fn the_message_is_bounded() {
    let names: Vec<String> = (0..1000).map(|number| format!("{number:04}-{}", "ä".repeat(300))).collect();
    let found: Vec<(&str, Reading)> = names.iter().map(|name| (name.as_str(), Reading::Absent)).collect();
    let message = compared(&found).message();
    assert!(message.chars().count() < 2048, "{}", message.chars().count());
    assert!(message.starts_with("1000 of 1000 components are behind: 0000-ä"), "{message}");
    assert!(message.ends_with("; and 990 more"), "{message}");
}
