//! Tests of what waits for a reboot that was never made.

use super::*;
use crate::installer::InstallerKind;
use crate::model::{AppliesTo, Component, Force, Needs};
use crate::plan::Action;
use crate::reboot::{RebootPolicy, check_kernels, is_needed};
use farrier_protocol::PackageRef;

/// A machine on which everything is up to date.
struct Machine {
    item: PlanItem,
    facts: Facts,
    packages: Vec<Package>,
}

impl Machine {
    fn new(name: &str, version: &str) -> Self {
        let component = Component {
            name: name.into(),
            version: version.into(),
            applies_to: AppliesTo::default(),
            installer: InstallerKind::Deb,
            detect: None,
            firmware: None,
            payload: None,
            requires: Vec::new(),
            needs: Needs::default(),
            reboot: RebootNeed::IfRequested,
            interruptible: true,
            timeout: std::time::Duration::from_mins(1),
        };
        let item = PlanItem {
            component,
            action: Action::UpToDate { at: version.into(), newer: false },
            package: None,
            before: Some(Reading::present(version)),
            after: Vec::new(),
            force: Force::default(),
        };
        Self { item, facts: Facts::default(), packages: Vec::new() }
    }

    /// A machine with the package of this kernel, which runs another one.
    fn with_kernel(release: &str, running: &str) -> Self {
        let mut machine = Self::new("kernel", "6.1.124-1");
        let name = format!("linux-image-{release}");
        machine.item.package = Some(PackageRef { name, arches: Vec::new() });
        machine.facts.kernel = running.into();
        machine
    }

    fn results(&self, earlier: &[InstalledEarlier]) -> Vec<ComponentResult> {
        let reading = self.item.before.as_ref();
        let mut results = vec![crate::conclude(&self.item, None, reading)];
        let (item, reading) = (|_: &str| Some(&self.item), |_: &str| reading.cloned());
        mark_pending(&mut results, item, reading, &self.packages, &self.facts, earlier);
        results
    }
}

fn outcome(results: &[ComponentResult]) -> Outcome {
    results[0].outcome
}

/// A run that may reboot the machine, or overrides the inhibitors, would find everything up to date and leave the
/// old kernel running.
#[test]
fn an_installed_kernel_that_does_not_run_waits_for_a_reboot() {
    let old = Machine::with_kernel("6.1.0-30-amd64", "6.1.0-29-amd64").results(&[]);
    assert_eq!(outcome(&old), Outcome::RebootPending);
    let words = "the kernel 6.1.0-30-amd64 is installed, and the machine runs the kernel 6.1.0-29-amd64";
    assert!(old[0].message.starts_with(words), "{}", old[0].message);
    assert!(is_needed(RebootPolicy::IfRequired, &old));
    // Nothing is claimed about a machine that runs a newer kernel, another flavour, or an unknown one.
    for running in ["6.1.0-30-amd64", "6.1.0-31-amd64", "6.1.0-30-cloud-amd64", "6.12.48+deb13-amd64", ""] {
        let results = Machine::with_kernel("6.1.0-30-amd64", running).results(&[]);
        assert_eq!(outcome(&results), Outcome::UpToDate, "{running}");
    }
    let mut never = Machine::with_kernel("6.1.0-30-amd64", "6.1.0-29-amd64");
    never.item.component.reboot = RebootNeed::Never;
    assert_eq!(outcome(&never.results(&[])), Outcome::UpToDate, "the baseline says so");
    let mut rpm = Machine::with_kernel("x", "5.14.0-427.13.1.el9_4.x86_64");
    rpm.item.package = Some(PackageRef { name: "kernel-core".into(), arches: Vec::new() });
    rpm.item.component.installer = InstallerKind::Rpm;
    rpm.item.component.version = "5.14.0-503.11.1.el9_5".into();
    rpm.item.before = Some(Reading::present("5.14.0-503.11.1.el9_5"));
    assert_eq!(outcome(&rpm.results(&[])), Outcome::RebootPending);
    rpm.facts.kernel = "5.14.0-570.1.1.el9_6.x86_64".into();
    assert_eq!(outcome(&rpm.results(&[])), Outcome::UpToDate);
}

/// A machine would be reported as updated, although its boot loader has chosen the old kernel again; or as failed,
/// although it runs a newer one.
#[test]
fn a_kernel_that_waited_is_judged_after_the_reboot() {
    let machine = Machine::with_kernel("6.1.0-30-amd64", "6.1.0-29-amd64");
    let before = machine.results(&[]);
    for (running, expected) in [
        ("6.1.0-30-amd64", (Outcome::Updated, Reason::Verified)),
        ("6.1.0-31-amd64", (Outcome::Updated, Reason::Verified)),
        ("6.1.0-29-amd64", (Outcome::Failed, Reason::OldKernelRunning)),
    ] {
        let machine = Machine::with_kernel("6.1.0-30-amd64", running);
        let mut results = machine.results(&[]);
        mark_effective(&mut results, &before);
        let (item, reading) = (|_: &str| Some(&machine.item), |_: &str| machine.item.before.clone());
        check_kernels(&mut results, item, reading, &[], running);
        assert_eq!((results[0].outcome, results[0].reason), expected, "{running}");
    }
}

/// The reboot that a run could not make would never be made by the run that follows; or a machine that somebody has
/// rebooted since would be rebooted again.
#[test]
fn what_an_earlier_run_has_left_waiting_waits_until_the_machine_has_another_boot_id() {
    let mut machine = Machine::new("tool", "2.0");
    let earlier = [InstalledEarlier {
        component: "tool".into(),
        version: "2.0".into(),
        run: "r1".into(),
        boot_id: "b1".into(),
    }];
    machine.facts.boot_id = "b1".into();
    let pending = machine.results(&earlier);
    assert_eq!(outcome(&pending), Outcome::RebootPending);
    assert!(pending[0].message.contains("which run r1 has installed"), "{}", pending[0].message);
    assert!(is_needed(RebootPolicy::IfRequired, &pending));
    for boot_id in ["b2", ""] {
        machine.facts.boot_id = boot_id.into();
        assert_eq!(outcome(&machine.results(&earlier)), Outcome::UpToDate, "{boot_id}");
    }
    let mut effective = machine.results(&earlier);
    mark_effective(&mut effective, &pending);
    assert_eq!((outcome(&effective), effective[0].reason), (Outcome::Updated, Reason::Verified));
    // Somebody has installed another version in between.
    machine.facts.boot_id = "b1".into();
    let newer = [InstalledEarlier { version: "1.9".into(), ..earlier[0].clone() }];
    assert_eq!(outcome(&machine.results(&newer)), Outcome::UpToDate);
    // A kernel module says itself whether it is the loaded one, unless its baseline wants a reboot in any case.
    machine.item.component.installer = InstallerKind::Tar;
    assert_eq!(outcome(&machine.results(&earlier)), Outcome::UpToDate);
    machine.item.component.reboot = RebootNeed::Always;
    assert_eq!(outcome(&machine.results(&earlier)), Outcome::RebootPending);
}
