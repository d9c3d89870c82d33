//! RPM packages: version locks and excludes of dnf and yum, and locks of zypper.

use super::{dnf5, files, matches};
use crate::install::side_by_side;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Lists of the version lock plugins of dnf and yum.
const VERSION_LOCKS: [&str; 2] =
    ["/etc/dnf/plugins/versionlock.list", "/etc/yum/pluginconf.d/versionlock.list"];

/// The version locks of dnf 5.
const DNF5_LOCKS: &str = "/etc/dnf/versionlock.toml";

/// Main configuration files with excluded packages.
const CONFIGURATIONS: [&str; 2] = ["/etc/dnf/dnf.conf", "/etc/yum.conf"];

/// Directories with files that may exclude packages, and how these files end: those of repositories, and what the
/// owner adds for dnf 5.
const MORE_CONFIGURATIONS: [(&str, &str); 4] = [
    ("/etc/dnf/libdnf5.conf.d", "conf"),
    ("/etc/yum.repos.d", "repo"),
    ("/etc/distro.repos.d", "repo"),
    ("/etc/dnf/repos.override.d", "repo"),
];

/// zypper's locks.
const ZYPPER_LOCKS: &str = "/etc/zypp/locks";

/// A package as patterns may name it.
struct Named {
    name: String,
    forms: Vec<String>,
}

/// Returns the decision against this version of a package. `arch` may be empty.
pub(crate) fn rpm(name: &str, version: &str, arch: &str) -> Option<String> {
    let package = Named::of(name, version, arch);
    let read = |place: &str| fs::read_to_string(place).unwrap_or_default();
    let locked = || {
        VERSION_LOCKS.iter().find_map(|place| {
            let entry = version_lock(&read(place), &package)?;
            Some(format!(
                "{place} locks {name} by {entry}, which is against {version} (lift it with dnf versionlock delete {name})"
            ))
        })
    };
    let excluded = || {
        let mut places: Vec<PathBuf> = CONFIGURATIONS.iter().map(PathBuf::from).collect();
        for (dir, end) in MORE_CONFIGURATIONS {
            places.extend(files(dir, |path: &Path| path.extension().is_some_and(|found| found == end)));
        }
        places.into_iter().find_map(|place| {
            let pattern = exclude(&fs::read_to_string(&place).ok()?, &package)?;
            Some(format!("{} excludes {pattern}, which is {name} (change it there)", place.display()))
        })
    };
    let locked_in_zypper = || {
        let pattern = zypper_lock(&read(ZYPPER_LOCKS), name)?;
        Some(format!(
            "{ZYPPER_LOCKS} locks {pattern}, which is {name} (lift it with zypper removelock {pattern})"
        ))
    };
    let locked_in_dnf5 = || locked_in_dnf5(&dnf5::Package { name, version, arch });
    locked().or_else(locked_in_dnf5).or_else(excluded).or_else(locked_in_zypper)
}

/// Returns the lock of dnf 5 against the package. A file that cannot be read is against every package: dnf itself
/// stops, and what the owner has decided is not known.
fn locked_in_dnf5(package: &dnf5::Package<'_>) -> Option<String> {
    let dnf5::Package { name, version, .. } = package;
    let found = match fs::read_to_string(DNF5_LOCKS) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => Err(error.to_string()),
        Ok(text) => dnf5::lock(&text, package),
    };
    match found {
        Ok(lock) => lock.map(|dnf5::Lock { name: entry, conditions }| {
            format!(
                "{DNF5_LOCKS} locks {entry} by {conditions}, which is against {name} {version} (lift it with dnf versionlock delete '{entry}')"
            )
        }),
        Err(error) => Some(format!(
            "{DNF5_LOCKS} cannot be read, so that it is not known whether it locks {name}: {error} (correct it)"
        )),
    }
}

impl Named {
    fn of(name: &str, version: &str, arch: &str) -> Self {
        let (epoch, plain) = version.split_once(':').unwrap_or(("0", version));
        let short = plain.rsplit_once('-').map_or(plain, |(version, _)| version);
        let mut forms = vec![name.to_owned()];
        for version in [short, plain] {
            forms.extend([format!("{name}-{version}"), format!("{name}-{epoch}:{version}")]);
        }
        // Patterns that end with an architecture or with `.*` are compared with forms that have one.
        let arch = if arch.is_empty() { "noarch" } else { arch };
        let with_arch: Vec<String> = forms.iter().map(|form| format!("{form}.{arch}")).collect();
        forms.extend(with_arch);
        Self { name: name.to_owned(), forms }
    }

    fn is(&self, pattern: &str) -> bool {
        self.forms.iter().any(|form| matches(pattern, form))
    }

    /// Reports whether a pattern is about some version of the package: `fx`, or `fx-` and a version.
    fn is_of_any_version(&self, pattern: &str) -> bool {
        let rest = pattern.strip_prefix(&self.name);
        rest.is_some_and(|rest| {
            let version = rest.strip_prefix('-').unwrap_or_default();
            rest.is_empty() || version.starts_with(|first: char| first.is_ascii_digit() || first == '*')
        })
    }
}

/// Returns the entry of a list of version locks that is against the package: one that excludes it (`!`), or
/// those for its name if none of them is for this version.
fn version_lock(text: &str, package: &Named) -> Option<String> {
    let entries = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let excluding = entries().find(|entry| entry.strip_prefix('!').is_some_and(|it| package.is(it)));
    let locks: Vec<&str> = entries().filter(|entry| package.is_of_any_version(entry)).collect();
    let is_met = locks.iter().any(|entry| package.is(entry));
    excluding.or_else(|| locks.first().copied().filter(|_| !is_met)).map(str::to_owned)
}

/// Returns the pattern of a configuration that excludes the package.
fn exclude(text: &str, package: &Named) -> Option<String> {
    let patterns = ["exclude", "excludepkgs"].map(|option| side_by_side::entries(text, option));
    patterns.concat().into_iter().find(|pattern| package.is(pattern)).map(str::to_owned)
}

/// Returns the name or pattern of a lock of zypper: paragraphs with `solvable_name`. Locks of some versions
/// only are treated as locks of all.
fn zypper_lock(text: &str, name: &str) -> Option<String> {
    let value = |line: &'_ str| {
        Some(line.split_once(':').filter(|(key, _)| key.trim() == "solvable_name")?.1.trim().to_owned())
    };
    text.lines().filter_map(value).find(|pattern| matches(pattern, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lock that is overlooked is a decision of the owner that is ignored.
    #[test]
    fn version_locks_are_read_as_the_plugin_does() {
        let package = Named::of("fx", "2-1", "");
        let lock = |text: &str| version_lock(text, &package);
        assert_eq!(lock("# Added lock\nfx-0:1-1.*\n"), Some("fx-0:1-1.*".into()));
        assert_eq!(lock("fx-1-1.*"), Some("fx-1-1.*".into()));
        assert_eq!(lock("!fx-0:2-1.*"), Some("!fx-0:2-1.*".into()));
        for text in
            ["fx-0:2-1.*", "fx-0:1-1.*\nfx-0:2-1.*", "fx-tools-0:1-1.*", "fxy-1-1.*", "!fx-0:1-1.*", "fx", ""]
        {
            assert_eq!(lock(text), None, "{text}");
        }
    }

    #[test]
    fn excludes_and_locks_are_patterns() {
        let package = Named::of("fx", "1:2-1", "x86_64");
        let excludes = |text: &str| exclude(text, &package);
        assert_eq!(excludes("[main]\nexclude=kernel* f*\n"), Some("f*".into()));
        assert_eq!(excludes("[main]\nexcludepkgs=a,\n  fx-1:2-1.x86_64\n"), Some("fx-1:2-1.x86_64".into()));
        assert_eq!(excludes("[main]\nexclude=fxy\n#exclude=fx\n"), None);
        let locks = "\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: fx\n";
        assert_eq!(zypper_lock(locks, "fx"), Some("fx".into()));
        assert_eq!(zypper_lock(locks, "fxy"), None);
    }
}
