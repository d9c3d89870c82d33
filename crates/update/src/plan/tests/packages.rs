//! Tests of plans and outcomes for packages that are installed in several versions, or for several
//! architectures.

use super::*;
use crate::outcome::{Outcome, StepRecord, conclude};
use farrier_protocol::{Instance, Refusal, StepExit};

fn instance(version: &str, arch: &str) -> Instance {
    let kind = if arch == "x86_64" || arch == "i686" { "rpm" } else { "deb" };
    let [version, arch, kind] = [version, arch, kind].map(str::to_owned);
    Instance { version, arch, kind, ..Instance::default() }
}

/// Returns the reading that an engine reports for these instances; the last one was installed last.
fn installed(instances: &[Instance]) -> Reading {
    let version = instances.last().map(|last| last.version.clone()).unwrap_or_default();
    Reading::Present { version, instances: instances.to_vec(), pending: None }
}

/// Returns kernels in these versions; the first one is running.
fn kernels(versions: &[&str]) -> Reading {
    let mut instances: Vec<Instance> = versions.iter().map(|version| instance(version, "x86_64")).collect();
    if let Some(first) = instances.first_mut() {
        first.booted = true;
    }
    installed(&instances)
}

/// Creates a machine with the kernels 5.14-1 and 5.14-2; 5.14-1 was installed last.
fn with_kernels(wanted: &str) -> World {
    let kernel = Component { installer: InstallerKind::Rpm, ..component("kernel", wanted) };
    let mut world = World::of(&[kernel]).with("kernel", kernels(&["5.14-2", "5.14-1"]));
    world.facts = Facts { arch: "x86_64".into(), package_managers: "rpm".into(), ..Facts::default() };
    world
}

fn record(exit: StepExit) -> StepRecord {
    StepRecord { started_at: Some(crate::Millis(1)), exit: Some(exit), ..StepRecord::default() }
}

/// Regression: a third kernel was compared with the kernel that was installed last.
#[test]
fn a_version_is_installed_beside_others_and_the_highest_of_them_is_where_it_comes_from() {
    let plan = with_kernels("5.14-3").plan();
    let item = &plan.items[0];
    let install = Action::Install { from: Some("5.14-2".to_owned()), to: "5.14-3".to_owned() };
    assert_eq!(item.action, install);
    let step = &plan.steps(&BTreeMap::new())[0];
    let package = step.package.as_ref().unwrap();
    assert!(package.name == "kernel" && package.is_for("x86_64") && package.is_for("noarch"));
    assert!(!package.is_for("i686"));
    let after = kernels(&["5.14-2", "5.14-3", "5.14-1"]);
    let result = conclude(item, Some(&record(StepExit::Exited { code: 0 })), Some(&after));
    assert_eq!(result.outcome, Outcome::Updated);
    assert_eq!((result.before.as_str(), result.after.as_str()), ("5.14-2", "5.14-3"));
    assert_eq!(result.message, "installed side by side: 5.14-1, 5.14-2 (running), 5.14-3");
    // The result detects that another program has removed the version meanwhile.
    let result = conclude(item, Some(&record(StepExit::Exited { code: 0 })), Some(&kernels(&["5.14-2"])));
    assert_eq!(result.outcome, Outcome::Failed);
}

/// An older kernel that is already installed needs no downgrade, and does not count as one.
#[test]
fn a_wanted_version_that_is_there_beside_newer_ones_is_up_to_date() {
    let plan = with_kernels("5.14-1").plan();
    let item = &plan.items[0];
    assert_eq!(item.action, Action::UpToDate { at: "5.14-1".to_owned(), newer: false });
    let result = conclude(item, None, Some(&kernels(&["5.14-2", "5.14-1"])));
    assert_eq!((result.outcome, result.after.as_str()), (Outcome::UpToDate, "5.14-1"));
    assert_eq!(result.message, "installed side by side: 5.14-1, 5.14-2 (running)");
}

/// A version that is not installed and is older than the newest installed version is a downgrade,
/// which must be allowed.
#[test]
fn an_older_version_is_added_only_with_permission() {
    let mut world = with_kernels("5.14-0");
    assert_eq!(world.action("kernel"), Action::UpToDate { at: "5.14-2".to_owned(), newer: true });
    world.force.downgrade = true;
    let plan = world.plan();
    let item = &plan.items[0];
    assert!(item.action.is_install());
    let ended = record(StepExit::Exited { code: 0 });
    let result = conclude(item, Some(&ended), Some(&kernels(&["5.14-2", "5.14-0", "5.14-1"])));
    assert_eq!((result.outcome, result.after.as_str()), (Outcome::Updated, "5.14-0"));
    let result = conclude(item, Some(&ended), Some(&kernels(&["5.14-2", "5.14-1"])));
    assert_eq!(result.outcome, Outcome::Failed);
}

/// A module requires an installed kernel, even if the baseline is about another version of the
/// kernel.
#[test]
fn a_requirement_is_met_by_any_version_that_is_there() {
    let mut world = with_kernels("5.14-1");
    let module =
        Component { installer: InstallerKind::Rpm, ..requiring("module", &[("kernel", Some("5.14-2"))]) };
    world.components.push(module);
    world.readings.insert("module".to_owned(), Reading::Absent);
    assert!(world.action("module").is_install());
    world.readings.insert("kernel".to_owned(), kernels(&["5.14-1"]));
    assert!(matches!(world.action("module"), Action::DependencyMissing { .. }));
}

/// Regression: with `fx:i386` 2 installed and `fx` 1 for amd64 required, a success was reported
/// that did not happen.
#[test]
fn a_package_for_another_architecture_does_not_count() {
    let foreign = installed(&[instance("2", "i386")]);
    let mut world = World::of(&[component("fx", "1")]).with("fx", foreign.clone());
    world.facts.dpkg_arch = "amd64".to_owned();
    let plan = world.plan();
    let item = &plan.items[0];
    assert_eq!(item.action, Action::Install { from: None, to: "1".to_owned() });
    let both = installed(&[instance("1", "amd64"), instance("2", "i386")]);
    let result = conclude(item, Some(&record(StepExit::Exited { code: 0 })), Some(&both));
    assert_eq!((result.outcome, result.before.as_str(), result.after.as_str()), (Outcome::Updated, "", "1"));
    assert_eq!(result.message, "fx is also installed for another architecture: i386 2");
    let result = conclude(item, Some(&record(StepExit::Exited { code: 0 })), Some(&foreign));
    assert_eq!((result.outcome, result.reason), (Outcome::Failed, Reason::VersionNotReached));
}

/// Each refusal has its own reason, because each requires a different next step.
#[test]
fn refusals_have_distinct_reasons() {
    let world = World::of(&[component("fx", "1")]);
    let plan = world.plan();
    for (refusal, reason, next) in [
        (Refusal::OtherPackage, Reason::PackageMismatch, "detect (package, architecture, module)"),
        (Refusal::ArchitectureConflict, Reason::ArchitectureConflict, "remove the other package"),
        (Refusal::RemovesBooted, Reason::BootedPackageKept, "boot the machine from another kernel"),
        (Refusal::Unknown, Reason::InstallerFailed, "the log on the machine"),
    ] {
        let refused =
            StepRecord { exit: Some(StepExit::refused(refusal, "why".into())), ..StepRecord::default() };
        let result = conclude(&plan.items[0], Some(&refused), Some(&Reading::Absent));
        assert_eq!((result.outcome, result.reason, result.exit_code), (Outcome::Failed, reason, None));
        let begin = "the installer of fx was not started: why, and fx is not installed, not 1; ";
        assert!(result.message.starts_with(begin) && result.message.contains(next), "{}", result.message);
        assert!(!reason.retryable() || refusal == Refusal::Unknown, "{reason}");
    }
}
