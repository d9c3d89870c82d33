//! Whether the kernel of a package is the running one.
//!
//! A rule is applied only to names whose versions are known to say the release; nothing is claimed about other
//! packages.

use crate::plan::PlanItem;
use crate::version::{Scheme, compare, compare_installed};
use farrier_protocol::{Instance, Package, Reading};
use std::cmp::Ordering;

/// Packages of RPM distributions that contain a kernel, or belong to one.
const RPM_KERNELS: [&str; 8] = [
    "kernel",
    "kernel-core",
    "kernel-default",
    "kernel-modules",
    "kernel-rt-core",
    "kernel-uek",
    "kernel-uek-core",
    "kernel-64k-core",
];

/// Prefix of the packages of Debian and Ubuntu that contain a kernel.
const DEB_KERNEL: &str = "linux-image-";

/// An installed kernel that is not the running one.
pub(super) struct NotRunning {
    /// The installed kernel, in words.
    pub(super) described: String,
    /// How the number of the running kernel compares with it. `Equal`: another flavour of it runs.
    pub(super) running: Ordering,
}

/// Returns the installed kernel if the running one is another; `None` if it is running, or the component is no
/// kernel. `packages` are all installed packages, `running` is what `uname -r` prints.
pub(super) fn not_running(
    item: &PlanItem,
    reading: Option<&Reading>,
    packages: &[Package],
    running: &str,
) -> Option<NotRunning> {
    let name = item.package.as_ref()?.name.as_str();
    let version = item.component.version.as_str();
    let scheme = item.component.installer.versions();
    let instances = reading.map(Reading::instances).unwrap_or_default();
    let described = format!("the kernel of {name} {version}");
    // The engine has found the package that owns the running kernel.
    if let Some(booted) = instances.iter().find(|instance| instance.booted) {
        let running = compare_installed(scheme, &booted.version, version);
        return (running == Ordering::Less).then_some(NotRunning { described, running });
    }
    if let Some(rest) = name.strip_prefix(DEB_KERNEL) {
        let releases = deb_releases(rest, version, packages);
        if releases.iter().any(|release| release == running) {
            return None;
        }
        let orders = releases.iter().map(|release| compare(Scheme::Deb, number(running), number(release)));
        let described = format!("the kernel {}", releases.join(" or "));
        return orders.max().map(|running| NotRunning { described, running });
    }
    if RPM_KERNELS.contains(&name) {
        let version = installed(instances).unwrap_or(version);
        let order = compare(Scheme::Rpm, rpm_number(running), without_epoch(version));
        return (!is_rpm_release(version, running)).then_some(NotRunning { described, running: order });
    }
    None
}

fn installed(instances: &[Instance]) -> Option<&str> {
    match instances {
        [only] => Some(only.version.as_str()),
        [] | [_, _, ..] => None,
    }
}

/// Returns the releases of the kernels that a Debian package contains or depends on. `rest` is its name without
/// the prefix: a release, or a flavour such as `amd64`, whose package has the version of the kernel that it
/// depends on.
fn deb_releases(rest: &str, version: &str, packages: &[Package]) -> Vec<String> {
    let release = |rest: &str| {
        let rest = rest.strip_suffix("-unsigned").unwrap_or(rest);
        rest.starts_with(|c: char| c.is_ascii_digit()).then(|| rest.to_owned())
    };
    if let Some(release) = release(rest) {
        return vec![release];
    }
    let is_it = |package: &&Package| package.kind == "deb" && package.version == version;
    let names = packages.iter().filter(is_it).filter_map(|package| package.name.strip_prefix(DEB_KERNEL));
    names.filter_map(release).filter(|release| release.ends_with(rest)).collect()
}

/// Returns the release of a kernel of Debian or Ubuntu without its flavour: `6.1.0-30` of `6.1.0-30-cloud-amd64`.
fn number(release: &str) -> &str {
    let is_flavour =
        |at: &usize| release.get(at + 1..).is_some_and(|rest| rest.starts_with(char::is_alphabetic));
    let mut dashes = release.match_indices('-').map(|(at, _)| at);
    dashes.find(is_flavour).and_then(|at| release.get(..at)).unwrap_or(release)
}

/// Returns the release of a kernel of an RPM distribution without the flavour that SUSE appends.
fn rpm_number(release: &str) -> &str {
    release.rsplit_once('-').map_or(release, |(rest, _)| if rest.contains('-') { rest } else { release })
}

fn without_epoch(version: &str) -> &str {
    version.split_once(':').map_or(version, |(_, rest)| rest)
}

/// Reports whether a kernel of this version has this release: `5.14.0-503.el9` is `5.14.0-503.el9.x86_64`, and
/// `6.4.0-150600.23.7.1` of SUSE is `6.4.0-150600.23.7-default`.
fn is_rpm_release(version: &str, running: &str) -> bool {
    let version = without_epoch(version);
    let without_flavour = running.rsplit_once('-').map_or(running, |(rest, _)| rest);
    let is_beginning = |whole: &str, part: &str| {
        whole.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '+']))
    };
    is_beginning(running, version)
        || (without_flavour.contains('-') && is_beginning(version, without_flavour))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package { name: name.into(), version: version.into(), arch: "amd64".into(), kind: "deb".into() }
    }

    /// A machine whose boot loader chose the old kernel would be reported as updated.
    #[test]
    fn the_release_of_a_kernel_follows_from_its_package() {
        let all = [
            package("linux-image-6.1.0-29-amd64", "6.1.123-1"),
            package("linux-image-6.1.0-30-amd64", "6.1.124-1"),
        ];
        let of = |rest, version| deb_releases(rest, version, &all).join(" ");
        assert_eq!(of("6.1.0-30-amd64", "6.1.124-1"), "6.1.0-30-amd64");
        assert_eq!(of("6.1.0-30-amd64-unsigned", "6.1.124-1"), "6.1.0-30-amd64");
        assert_eq!(
            of("amd64", "6.1.124-1"),
            "6.1.0-30-amd64",
            "the package that depends on the newest kernel"
        );
        assert_eq!(of("cloud-amd64", "6.1.124-1"), "", "nothing is claimed");
        for (version, running, is) in [
            ("5.14.0-503.11.1.el9_5", "5.14.0-503.11.1.el9_5.x86_64", true),
            ("0:5.14.0-503.11.1.el9_5", "5.14.0-503.11.1.el9_5.x86_64", true),
            ("5.14.0-503.11.1.el9_5", "5.14.0-427.13.1.el9_4.x86_64", false),
            ("6.4.0-150600.23.7.1", "6.4.0-150600.23.7-default", true),
            ("6.4.0-150600.23.14.2", "6.4.0-150600.23.7-default", false),
        ] {
            assert_eq!(is_rpm_release(version, running), is, "{version} {running}");
        }
    }
}
