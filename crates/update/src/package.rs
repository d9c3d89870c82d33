//! Which installed packages count for a component: those of its name and architecture, and of
//! several versions one.
//!
//! A package is its name and its architecture: one of another architecture is another package.
//! Packages such as kernels are installed in several versions side by side. Why it is decided like
//! this is written in docs/adr/0018-packages.md.

use crate::model::{Component, InstallerKind};
use crate::version::{Scheme, compare, compare_installed};
use farrier_protocol::{Detect, Facts, Instance, PackageRef, Reading};
use std::cmp::Ordering;

/// The architectures that rpm treats as the machine's own, by what `uname -m` says. They are
/// rpm's own tables (`rpmrc`), without architectures on which no supported system runs.
const RPM_FAMILIES: [(&[&str], &[&str]); 7] = [
    (&["x86_64"], &["x86_64", "x86_64_v2", "x86_64_v3", "x86_64_v4", "amd64", "ia32e"]),
    (&["i386", "i486", "i586", "i686"], &["i386", "i486", "i586", "i686", "athlon"]),
    (&["aarch64"], &["aarch64"]),
    (&["armv6l", "armv7l", "armv8l"], &["armv6hl", "armv6l", "armv7hl", "armv7hnl", "armv7l", "armv8hl"]),
    (&["ppc64le"], &["ppc64le"]),
    (&["s390x"], &["s390x"]),
    (&["riscv64"], &["riscv64"]),
];

/// dpkg's word for what `uname -m` says, for engines that do not report dpkg's own.
const DPKG_NAMES: [(&str, &str); 11] = [
    ("x86_64", "amd64"),
    ("i386", "i386"),
    ("i486", "i386"),
    ("i586", "i386"),
    ("i686", "i386"),
    ("aarch64", "arm64"),
    ("armv7l", "armhf"),
    ("armv8l", "armhf"),
    ("ppc64le", "ppc64el"),
    ("s390x", "s390x"),
    ("riscv64", "riscv64"),
];

/// The package whose version is read for `component`; `None` where something else is read.
///
/// Without an architecture of its own it is a package for the machine's architecture or for all of
/// them. Where the machine's is not known, every architecture will do.
pub(crate) fn package_of(component: &Component, facts: &Facts) -> Option<PackageRef> {
    let Some(Detect::Package(text)) = component.detection() else { return None };
    let (name, arches) = match text.split_once(':') {
        Some((name, arch)) => (name, vec![arch.to_owned()]),
        None => (text.as_str(), own_arches(component.installer, facts)),
    };
    Some(PackageRef { name: name.to_owned(), arches })
}

/// The architectures of packages for this machine.
fn own_arches(installer: InstallerKind, facts: &Facts) -> Vec<String> {
    let known = match manager(installer) {
        Some("deb") => dpkg_arches(facts),
        Some(_) => rpm_arches(facts),
        // It may be in either database.
        None => dpkg_arches(facts).zip(rpm_arches(facts)).map(|(deb, rpm)| [deb, rpm].concat()),
    };
    known.unwrap_or_default()
}

fn dpkg_arches(facts: &Facts) -> Option<Vec<String>> {
    let guessed = || DPKG_NAMES.iter().find(|(machine, _)| *machine == facts.arch).map(|(_, name)| *name);
    let native = Some(facts.dpkg_arch.as_str()).filter(|arch| !arch.is_empty()).or_else(guessed)?;
    Some(vec![native.to_owned(), "all".to_owned()])
}

fn rpm_arches(facts: &Facts) -> Option<Vec<String>> {
    let (_, family) = RPM_FAMILIES.iter().find(|(machines, _)| machines.contains(&facts.arch.as_str()))?;
    Some(family.iter().chain(&["noarch"]).map(|&arch| arch.to_owned()).collect())
}

/// The database that a component of this kind is in; `None` where it may be in any.
fn manager(installer: InstallerKind) -> Option<&'static str> {
    match installer {
        InstallerKind::Deb => Some("deb"),
        InstallerKind::Rpm => Some("rpm"),
        InstallerKind::Script
        | InstallerKind::Fwupd
        | InstallerKind::DellDup
        | InstallerKind::HpeSmartComponent
        | InstallerKind::WindowsComponent
        | InstallerKind::Msi
        | InstallerKind::RedfishImage
        | InstallerKind::SwinstallDepot
        | InstallerKind::Vib
        | InstallerKind::DeviceImage => None,
    }
}

/// What is looked for among the packages of one name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    package: Option<&'a PackageRef>,
    manager: Option<&'static str>,
    scheme: Scheme,
    version: &'a str,
}

impl<'a> Wanted<'a> {
    /// What is looked for where `component` is this package.
    pub(crate) fn of(component: &'a Component, package: Option<&'a PackageRef>) -> Self {
        Self {
            package,
            manager: manager(component.installer),
            scheme: Scheme::of(component.installer),
            version: component.version.trim(),
        }
    }

    /// The reading without what is another package. Its version is the one that counts: the wanted
    /// one where it is there, else the highest. One that is not usable counts only where no other
    /// is there.
    ///
    /// A reading without instances is returned as it is.
    pub(crate) fn count(self, reading: &Reading) -> Reading {
        if reading.instances().is_empty() {
            return reading.clone();
        }
        let own = self.own(reading);
        let usable = || own.iter().filter(|instance| instance.broken.is_empty());
        let is_wanted = |instance: &&&Instance| {
            compare_installed(self.scheme, &instance.version, self.version) == Ordering::Equal
        };
        let counted = usable().rfind(is_wanted).or_else(|| usable().next_back()).or(own.last());
        let Some(counted) = counted else { return Reading::Absent };
        let (version, detail) = (counted.version.clone(), counted.broken.clone());
        let instances = own.iter().map(|&instance| instance.clone()).collect();
        if detail.is_empty() {
            Reading::Present { version, instances }
        } else {
            Reading::Broken { version, detail, instances }
        }
    }

    /// What people have to know about a reading besides the version that counts: which versions
    /// stand side by side, and which packages of the same name are other ones. `None` where there
    /// is nothing of the kind.
    pub(crate) fn remark(self, reading: &Reading) -> Option<String> {
        let own = self.own(reading);
        let others = reading.instances().iter().filter(|instance| !own.contains(instance));
        let others: Vec<String> = others.filter(|other| self.is_manager(other)).map(with_arch).collect();
        let mut remarks = Vec::new();
        if own.len() > 1 {
            let versions: Vec<String> = own.iter().map(|&instance| with_state(instance)).collect();
            remarks.push(format!("installed side by side: {}", versions.join(", ")));
        }
        if let (Some(package), false) = (self.package, others.is_empty()) {
            let (name, others) = (&package.name, others.join(", "));
            remarks.push(format!("{name} is there for another architecture too, as {others}"));
        }
        if remarks.is_empty() { None } else { Some(remarks.join("; ")) }
    }

    /// What is this package, the lowest version first.
    fn own(self, reading: &Reading) -> Vec<&Instance> {
        let is_own = |instance: &&Instance| {
            self.is_manager(instance) && self.package.is_none_or(|package| package.is_for(&instance.arch))
        };
        let mut own: Vec<&Instance> = reading.instances().iter().filter(is_own).collect();
        own.sort_by(|one, other| compare(self.scheme, &one.version, &other.version));
        own
    }

    fn is_manager(self, instance: &Instance) -> bool {
        self.manager.is_none_or(|manager| instance.kind == manager)
    }
}

fn with_state(instance: &Instance) -> String {
    let Instance { version, broken, booted, .. } = instance;
    match (booted, broken.as_str()) {
        (true, _) => format!("{version} (running)"),
        (false, "") => version.clone(),
        (false, broken) => format!("{version} ({broken})"),
    }
}

fn with_arch(instance: &Instance) -> String {
    format!("{} {}", instance.arch, with_state(instance))
}

#[cfg(test)]
mod tests;
