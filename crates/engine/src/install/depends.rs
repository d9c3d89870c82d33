//! Checks whether the installed packages meet the dependencies of a Debian package.
//!
//! Versions are compared by dpkg, not here. Packages and dependencies that cannot be read are left to dpkg
//! to reject.

use crate::command::{self, Errors, TOOL};
use std::path::Path;

/// The fields that are queried of every installed package.
const FORMAT: &str =
    "${Package}\\t${Version}\\t${Architecture}\\t${Multi-Arch}\\t${db:Status-Status}\\t${Provides}\\n";

/// The fields of the package that are read.
const FIELDS: [&str; 9] = [
    "Package",
    "Version",
    "Architecture",
    "Multi-Arch",
    "Provides",
    "Pre-Depends",
    "Depends",
    "Conflicts",
    "Replaces",
];

/// A package to install, and the packages of the machine.
pub(super) struct Database {
    control: Vec<(String, String)>,
    listing: String,
}

/// The result of the check.
pub(super) struct Check {
    /// One line for each dependency that is not met.
    pub(super) unmet: Vec<String>,
    /// Whether the package is installed, in any version and in a good state.
    pub(super) is_installed: bool,
}

/// A package or virtual package that can meet a dependency.
struct Provider {
    name: String,
    /// Empty for a virtual package without a version.
    version: String,
    arch: String,
    multi_arch: String,
}

/// One alternative of a dependency: `name:arch (operator version)`.
#[derive(Debug, PartialEq, Eq)]
struct Relation<'a> {
    name: &'a str,
    arch: &'a str,
    constraint: Option<(&'a str, &'a str)>,
}

impl Database {
    /// Reads the package in `file` and the database. Returns an error if one of them cannot be read.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let control = control(file)?;
        let listing = command::capture("dpkg-query", &["-W", "-f", FORMAT], Errors::Discard, TOOL)?.text;
        Ok(Self { control, listing })
    }

    /// Returns a field of the package; empty if the package does not have it.
    pub(super) fn field(&self, name: &str) -> &str {
        self.control.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// Returns version, architecture and `Multi-Arch` of the packages of this name, in any state.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = [&str; 3]> {
        self.listing.lines().filter_map(move |line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [package, version, arch, multi_arch, status, _] = fields[..] else { return None };
            let is_there = package == name && !matches!(status, "not-installed" | "config-files");
            is_there.then_some([version, arch, multi_arch])
        })
    }

    /// Reports whether the package declares a conflict with an installed package of this name.
    pub(super) fn conflicts_with(&self, name: &str) -> bool {
        let lines = self.listing.lines().filter(|line| line.split('\t').next() == Some(name));
        let offers: Vec<Provider> = lines.flat_map(offers_of).collect();
        let mut conflicts = self.field("Conflicts").split(',').map(relation);
        conflicts.any(|one| offers.iter().any(|offer| offer.name == one.name && offer.satisfies(&one)))
    }
}

/// Checks the dependencies of the package.
pub(super) fn check(database: &Database) -> Check {
    let field = |name: &str| database.field(name);
    let (package, arch) = (field("Package"), field("Architecture"));
    let mut offers: Vec<Provider> = database.listing.lines().flat_map(offers_of).collect();
    let native = offers.iter().find(|offer| offer.name == "dpkg").map(|offer| offer.arch.clone());
    let native = native.unwrap_or_default();
    let is_installed = offers.iter().any(|offer| offer.name == package);
    // What the package itself provides counts too.
    let own = format!("{package}\t{}\t{arch}\t\tinstalled\t{}", field("Version"), field("Provides"));
    offers.retain(|offer| offer.name != package);
    offers.extend(offers_of(&own));

    let arch = if arch == "all" { &native } else { arch };
    let mut unmet = Vec::new();
    for (field, word) in [(field("Pre-Depends"), "pre-depends"), (field("Depends"), "depends")] {
        for group in field.split(',').map(str::trim).filter(|group| !group.is_empty()) {
            let met = group.split('|').map(relation).any(|wanted| {
                offers.iter().any(|offer| offer.is_for(&wanted, arch, &native) && offer.satisfies(&wanted))
            });
            if !met {
                unmet.push(format!("{package} {word} on {group}; {}", found(group, &offers)));
            }
        }
    }
    Check { unmet, is_installed }
}

fn control(file: &Path) -> Result<Vec<(String, String)>, String> {
    let mut arguments = vec!["-f".as_ref(), file.as_os_str()];
    arguments.extend(FIELDS.iter().map(AsRef::<std::ffi::OsStr>::as_ref));
    let output = command::capture("dpkg-deb", &arguments, Errors::Merge, TOOL)?;
    if !output.status.success() {
        return Err(output.text);
    }
    let mut control: Vec<(String, String)> = Vec::new();
    for line in output.text.lines() {
        match (line.starts_with([' ', '\t']), control.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) => *value += line,
            (false, _, Some((key, value))) => control.push((key.to_owned(), value.trim().to_owned())),
            _ => {}
        }
    }
    Ok(control)
}

/// Returns the package of one line of the listing, and what it provides.
fn offers_of(line: &str) -> Vec<Provider> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [name, version, arch, multi_arch, status, provides] = fields.as_slice() else { return Vec::new() };
    if !matches!(*status, "installed" | "triggers-awaited" | "triggers-pending") {
        return Vec::new();
    }
    let offer = |name: &str, version: &str| Provider {
        name: name.to_owned(),
        version: version.to_owned(),
        arch: (*arch).to_owned(),
        multi_arch: (*multi_arch).to_owned(),
    };
    let virtuals = provides.split(',').map(relation).filter(|virtual_one| !virtual_one.name.is_empty());
    let virtuals = virtuals.map(|one| offer(one.name, one.constraint.map_or("", |(_, version)| version)));
    std::iter::once(offer(name, version)).chain(virtuals).collect()
}

fn relation(text: &str) -> Relation<'_> {
    let (head, constraint) = match text.split_once('(') {
        None => (text, None),
        Some((head, rest)) => {
            let inner = rest.split(')').next().unwrap_or_default().trim();
            let at = inner.find(|letter: char| !"<>=".contains(letter)).unwrap_or(inner.len());
            let (operator, version) = inner.split_at(at);
            (head, Some((operator, version.trim())))
        }
    };
    let head = head.trim();
    let (name, arch) = head.split_once(':').unwrap_or((head, ""));
    Relation { name, arch, constraint }
}

impl Provider {
    /// Reports whether name and architecture match.
    fn is_for(&self, wanted: &Relation<'_>, arch: &str, native: &str) -> bool {
        // Packages for all architectures count as packages for the machine's own architecture.
        let own = if self.arch == "all" { native } else { &self.arch };
        let fits = match wanted.arch {
            "any" => self.multi_arch == "allowed" || own == arch,
            "" => self.multi_arch == "foreign" || own == arch,
            named => own == named,
        };
        self.name == wanted.name && fits
    }

    fn satisfies(&self, wanted: &Relation<'_>) -> bool {
        match wanted.constraint {
            None => true,
            Some(_) if self.version.is_empty() => false,
            Some((operator, version)) => {
                let arguments = ["--compare-versions", &self.version, operator, version];
                command::capture("dpkg", &arguments, Errors::Discard, TOOL)
                    .is_ok_and(|output| output.status.success())
            }
        }
    }
}

/// Describes what is installed instead.
fn found(group: &str, offers: &[Provider]) -> String {
    let names: Vec<&str> = group.split('|').map(|text| relation(text).name).collect();
    match offers.iter().find(|offer| names.contains(&offer.name.as_str())) {
        Some(offer) => format!("{} {} {} is installed", offer.name, offer.version, offer.arch),
        None => format!("{} is not installed", names.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_read_in_all_their_forms() {
        for (text, name, arch, constraint) in [
            ("libc6 (>= 2.36)", "libc6", "", Some((">=", "2.36"))),
            (" perl:any ", "perl", "any", None),
            ("foo:i386 (<<1:2-3~)", "foo", "i386", Some(("<<", "1:2-3~"))),
            ("", "", "", None),
        ] {
            assert_eq!(relation(text), Relation { name, arch, constraint });
        }
    }

    /// A virtual package without a version does not meet a dependency with a version.
    #[test]
    fn provided_packages_are_offers() {
        let line = "exim4\t4.96\tamd64\t\tinstalled\tmail-transport-agent, smtp (= 2)";
        let offers: Vec<_> = offers_of(line).into_iter().map(|offer| (offer.name, offer.version)).collect();
        let expected = [("exim4", "4.96"), ("mail-transport-agent", ""), ("smtp", "2")];
        assert_eq!(offers, expected.map(|(name, version)| (name.to_owned(), version.to_owned())));
        assert!(offers_of("exim4\t4.96\tamd64\t\tconfig-files\t").is_empty());
    }
}
