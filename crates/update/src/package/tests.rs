//! Tests which package is meant, which of several versions counts, and what is reported about
//! other packages.

use super::*;
use crate::model::{AppliesTo, Needs, PayloadRef, RebootNeed};
use std::time::Duration;

fn component(installer: InstallerKind, package: &str, version: &str) -> Component {
    Component {
        name: "fx".to_owned(),
        version: version.to_owned(),
        applies_to: AppliesTo::default(),
        installer,
        detect: Some(Detect::Package(package.to_owned())),
        firmware: None,
        payload: Some(PayloadRef {
            url: String::new(),
            digest: String::new(),
            size: None,
            unpack: false,
            signatures: Vec::new(),
        }),
        requires: Vec::new(),
        needs: Needs::default(),
        reboot: RebootNeed::IfRequested,
        interruptible: true,
        timeout: Duration::from_mins(1),
    }
}

fn machine(arch: &str, dpkg_arch: &str) -> Facts {
    Facts { arch: arch.to_owned(), dpkg_arch: dpkg_arch.to_owned(), ..Facts::default() }
}

fn instance(kind: &str, version: &str, arch: &str) -> Instance {
    let [kind, version, arch] = [kind, version, arch].map(str::to_owned);
    Instance { version, arch, kind, ..Instance::default() }
}

fn reading(instances: &[Instance]) -> Reading {
    let version = instances.last().map(|last| last.version.clone()).unwrap_or_default();
    Reading::Present { version, instances: instances.to_vec(), pending: None }
}

/// Returns the reading that counts for `component`, and the remark.
fn counted(component: &Component, facts: &Facts, reading: &Reading) -> (Reading, Option<String>) {
    let package = package_of(component, facts);
    let wanted = Wanted::of(component, package.as_ref());
    (wanted.count(reading), wanted.remark(reading))
}

fn version(reading: &Reading) -> &str {
    match reading {
        Reading::Present { version, .. } | Reading::Broken { version, .. } => version,
        Reading::Absent | Reading::Unreadable { .. } | Reading::Unknown => "",
    }
}

fn arches(installer: InstallerKind, package: &str, facts: &Facts) -> String {
    package_of(&component(installer, package, "1"), facts).unwrap().arches.join(" ")
}

/// With a wrong default, a package would be installed that the machine cannot run, or a package
/// for another architecture would be taken for the component.
#[test]
fn without_an_architecture_native_and_neutral_packages_count() {
    let (deb, rpm, script) = (InstallerKind::Deb, InstallerKind::Rpm, InstallerKind::Script);
    assert_eq!(arches(deb, "fx", &machine("x86_64", "amd64")), "amd64 all");
    assert_eq!(arches(deb, "fx", &machine("x86_64", "i386")), "i386 all", "a 32-bit system");
    assert_eq!(arches(deb, "fx", &machine("aarch64", "")), "arm64 all", "an older engine");
    assert_eq!(
        arches(rpm, "fx", &machine("x86_64", "")),
        "x86_64 x86_64_v2 x86_64_v3 x86_64_v4 amd64 ia32e noarch"
    );
    assert_eq!(arches(rpm, "fx", &machine("i686", "")), "i386 i486 i586 i686 athlon noarch");
    let of_rpm = |rpm_arch: &str| Facts { rpm_arch: rpm_arch.to_owned(), ..machine("x86_64", "") };
    assert_eq!(arches(rpm, "fx", &of_rpm("i686")), "i386 i486 i586 i686 athlon noarch", "a 32-bit system");
    assert!(arches(rpm, "fx", &of_rpm("x86_64_v2")).starts_with("x86_64 "));
    assert_eq!(arches(rpm, "fx", &machine("e2k", "")), "", "any will do");
    assert!(arches(script, "fx", &machine("aarch64", "arm64")).starts_with("arm64 all aarch64"));
}

#[test]
fn an_explicit_architecture_counts_exactly() {
    let facts = machine("x86_64", "amd64");
    assert_eq!(arches(InstallerKind::Deb, "fx:i386", &facts), "i386");
    let package = package_of(&component(InstallerKind::Rpm, "python3.11:i686", "1"), &facts).unwrap();
    assert_eq!((package.name.as_str(), package.arches.as_slice()), ("python3.11", &["i686".to_owned()][..]));
    let command = Component {
        detect: Some(Detect::Command("fx --version".to_owned())),
        ..component(InstallerKind::Deb, "", "1")
    };
    assert_eq!(package_of(&command, &facts), None);
}

/// Regression: with `fx:i386` 2 installed, `fx` 1 for amd64 was reported as up to date.
#[test]
fn a_package_for_another_architecture_is_another_package() {
    let facts = machine("x86_64", "amd64");
    let fx = component(InstallerKind::Deb, "fx", "1");
    let foreign = reading(&[instance("deb", "2", "i386")]);
    let told = Some("fx is also installed for another architecture: i386 2".to_owned());
    assert_eq!(counted(&fx, &facts, &foreign), (Reading::Absent, told.clone()));
    let both = reading(&[instance("deb", "1", "amd64"), instance("deb", "2", "i386")]);
    let (own, remark) = counted(&fx, &facts, &both);
    assert_eq!((version(&own), remark), ("1", told));
    let asked = component(InstallerKind::Deb, "fx:i386", "1");
    assert_eq!(version(&counted(&asked, &facts, &both).0), "2");
    let neutral = reading(&[instance("deb", "3", "all")]);
    assert_eq!(counted(&fx, &facts, &neutral), (neutral.clone(), None));
}

/// A Debian machine on which rpm is installed has two package databases.
#[test]
fn a_package_in_the_other_database_is_another_package() {
    let facts = machine("s390x", "s390x");
    let guest = reading(&[instance("rpm", "2", "s390x")]);
    assert_eq!(counted(&component(InstallerKind::Deb, "fx", "1"), &facts, &guest), (Reading::Absent, None));
    let script = counted(&component(InstallerKind::Script, "fx", "1"), &facts, &guest);
    assert_eq!(version(&script.0), "2");
}

/// Of three kernels, the last installed is neither the newest nor the one in question.
#[test]
fn of_several_versions_the_wanted_one_counts_else_the_highest() {
    let facts = machine("x86_64", "");
    let booted = Instance { booted: true, ..instance("rpm", "5.14-9", "x86_64") };
    let kernels =
        reading(&[instance("rpm", "5.14-10", "x86_64"), booted, instance("rpm", "5.14-2", "x86_64")]);
    let kernel = |version| component(InstallerKind::Rpm, "kernel", version);
    for (wanted, expected) in
        [("5.14-9", "5.14-9"), ("5.14-11", "5.14-10"), ("5.14-1", "5.14-10"), ("5.14", "5.14-10")]
    {
        let (own, remark) = counted(&kernel(wanted), &facts, &kernels);
        assert_eq!(version(&own), expected, "{wanted}");
        assert_eq!(remark.unwrap(), "installed side by side: 5.14-2, 5.14-9 (running), 5.14-10");
    }
}

/// A broken version counts only if no usable version is installed.
#[test]
fn a_usable_version_counts_before_a_broken_one() {
    let facts = machine("x86_64", "amd64");
    let broken = Instance { broken: "half-installed".to_owned(), ..instance("deb", "2", "amd64") };
    let fx = component(InstallerKind::Deb, "fx", "2");
    let (own, remark) = counted(&fx, &facts, &reading(&[instance("deb", "1", "all"), broken.clone()]));
    assert_eq!(version(&own), "1");
    assert_eq!(remark.unwrap(), "installed side by side: 1, 2 (half-installed)");
    let (own, remark) = counted(&fx, &facts, &reading(std::slice::from_ref(&broken)));
    let expected =
        Reading::Broken { version: "2".into(), detail: "half-installed".into(), instances: vec![broken] };
    assert_eq!((own, remark), (expected, None));
}

/// An engine of the previous version does not report architectures.
#[test]
fn a_reading_without_instances_counts_as_it_is() {
    let facts = machine("x86_64", "amd64");
    let fx = component(InstallerKind::Deb, "fx", "1");
    for old in [Reading::present("2"), Reading::broken("1", "unpacked"), Reading::Absent] {
        assert_eq!(counted(&fx, &facts, &old), (old.clone(), None));
    }
}
