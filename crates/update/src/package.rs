//! Determines which installed packages count for a component: the packages with its name and
//! architecture, and if there are several versions, one of them.
//!
//! A package is identified by its name and its architecture: the same name with another
//! architecture is another package. Packages such as kernels are installed in several versions
//! side by side. docs/adr/0018-packages.md gives the reasons for these rules.

use crate::installer::InstallerKind;
use crate::model::Component;
use crate::version::{Scheme, compare, compare_installed};
use farrier_protocol::{Detect, Facts, Instance, PackageRef, Reading};
use std::cmp::Ordering;

/// The architectures that rpm treats as the machine's own, by the architecture of the package `rpm`
/// or the output of `uname -m`. They come from rpm's own tables (`rpmrc`), without architectures on
/// which no supported system runs.
const RPM_FAMILIES: [(&[&str], &[&str]); 7] = [
    (&["x86_64"], &["x86_64", "x86_64_v2", "x86_64_v3", "x86_64_v4", "amd64", "ia32e"]),
    (&["i386", "i486", "i586", "i686"], &["i386", "i486", "i586", "i686", "athlon"]),
    (&["aarch64"], &["aarch64"]),
    (&["armv6l", "armv7l", "armv8l"], &["armv6hl", "armv6l", "armv7hl", "armv7hnl", "armv7l", "armv8hl"]),
    (&["ppc64le"], &["ppc64le"]),
    (&["s390x"], &["s390x"]),
    (&["riscv64"], &["riscv64"]),
];

/// dpkg's architecture names by the output of `uname -m`, for engines that do not report dpkg's
/// architecture.
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

/// Returns the package whose version is read for `component`; `None` if something other than a
/// package is read.
///
/// If `detect` names no architecture, packages for the machine's own architecture and
/// architecture-independent packages count. If the machine's architecture is not known, every
/// architecture counts.
pub(crate) fn package_of(component: &Component, facts: &Facts) -> Option<PackageRef> {
    let Some(Detect::Package(text)) = component.detection() else { return None };
    let (name, arches) = match text.split_once(':') {
        Some((name, arch)) => (name, vec![arch.to_owned()]),
        None => (text.as_str(), own_arches(component.installer, facts)),
    };
    Some(PackageRef { name: name.to_owned(), arches })
}

/// Returns the architectures of packages for this machine.
fn own_arches(installer: InstallerKind, facts: &Facts) -> Vec<String> {
    let known = match installer.packages().map(|packages| packages.database) {
        Some("deb") => dpkg_arches(facts),
        Some(_) => rpm_arches(facts),
        // The package may be in either database.
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
    let of = |arch: &str| {
        RPM_FAMILIES.iter().find(|(machines, family)| machines.contains(&arch) || family.contains(&arch))
    };
    let (_, family) = of(&facts.rpm_arch).or_else(|| of(&facts.arch))?;
    Some(family.iter().chain(&["noarch"]).map(|&arch| arch.to_owned()).collect())
}

/// The search criteria among the packages of one name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    package: Option<&'a PackageRef>,
    manager: Option<&'static str>,
    scheme: Scheme,
    version: &'a str,
}

impl<'a> Wanted<'a> {
    /// Returns the criteria for `component`, with `package` as its package.
    pub(crate) fn of(component: &'a Component, package: Option<&'a PackageRef>) -> Self {
        Self {
            package,
            manager: component.installer.packages().map(|packages| packages.database),
            scheme: component.installer.versions(),
            version: component.version.trim(),
        }
    }

    /// Returns the reading without other packages. Its version is the one that counts: the wanted
    /// version if it is installed, otherwise the highest. A version that is not usable counts only
    /// if no usable version is installed.
    ///
    /// A reading without instances is returned unchanged.
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
            Reading::Present { version, instances, pending: None }
        } else {
            Reading::Broken { version, detail, instances }
        }
    }

    /// Returns what users should know about a reading besides the version that counts: the
    /// versions that are installed side by side, and other packages of the same name. `None` if
    /// there is nothing to report.
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
            remarks.push(format!("{name} is also installed for another architecture: {others}"));
        }
        if remarks.is_empty() { None } else { Some(remarks.join("; ")) }
    }

    /// Returns the instances of this package, lowest version first.
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
