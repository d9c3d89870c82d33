//! Debian packages: dpkg's selection `hold` (`apt-mark hold`), and pins in apt's preferences.

use super::{files, matches};
use crate::command::{self, Errors, TOOL};
use std::fs;
use std::path::{Path, PathBuf};

/// The priority of a version that nobody has decided about (`apt_preferences(5)`).
const NORMAL: i64 = 500;

/// One entry of the preferences.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pin {
    /// The packages: names and patterns.
    packages: String,
    /// What it prefers, such as `version 1.2*` or `release a=stable`.
    target: String,
    priority: i64,
}

/// Returns the decision against a version that a repository has. `policy` is what `apt-cache policy` prints
/// about the package.
pub(crate) fn deb_from_repository(name: &str, version: &str, policy: &str) -> Result<Option<String>, String> {
    Ok(hold(name)?.or_else(|| pin_in_policy(name, version, policy, &pins())))
}

/// Returns the decision against a version that is installed from a file.
pub(crate) fn deb_payload(name: &str, version: &str) -> Result<Option<String>, String> {
    Ok(hold(name)?.or_else(|| pin_of_file(name, version, &pins())))
}

/// Returns those of the packages that are on hold, as dpkg names them.
pub(crate) fn on_hold(names: &[&str]) -> Result<Vec<String>, String> {
    let held = selected(names)?.into_iter().filter(|package| package.want == "hold");
    Ok(held.map(|package| package.name).collect())
}

/// A package in dpkg's database, for one architecture, and what was decided about it.
pub(super) struct Selected {
    /// Its name, with the architecture where dpkg cannot do without.
    pub(super) name: String,
    /// `install`, `hold`, `deinstall` or `purge`.
    pub(super) want: String,
}

/// Returns the packages with these names, for all architectures. Those that dpkg does not know are left out.
pub(super) fn selected(names: &[&str]) -> Result<Vec<Selected>, String> {
    if names.is_empty() {
        // dpkg-query would list all.
        return Ok(Vec::new());
    }
    let arguments = [&["-W", "-f", "${binary:Package} ${db:Status-Want}\\n", "--"], names].concat();
    let output = command::capture("dpkg-query", &arguments, Errors::Discard, TOOL)?;
    // 1: some are not known.
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(format!("dpkg-query ended with {}", output.status));
    }
    let package = |line: &str| {
        let (name, want) = line.split_once(' ')?;
        Some(Selected { name: name.to_owned(), want: want.to_owned() })
    };
    Ok(output.text.lines().filter_map(package).collect())
}

fn hold(name: &str) -> Result<Option<String>, String> {
    let is_held = !on_hold(&[name])?.is_empty();
    Ok(is_held.then(|| format!("{name} is on hold on this machine (lift it with apt-mark unhold {name})")))
}

/// Returns the pin because of which apt would not choose the version.
fn pin_in_policy(name: &str, version: &str, policy: &str, pins: &[(PathBuf, Pin)]) -> Option<String> {
    let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    let own = priority(policy, version)?;
    let other = priority(policy, candidate).filter(|other| candidate != version && *other > own);
    if own >= 0 && other.is_none() {
        return None;
    }
    let decides = |pin: &Pin| {
        let prefers = pin.priority > NORMAL && other == Some(pin.priority);
        pin.is_for(name) && (prefers || (pin.priority < NORMAL && pin.priority == own))
    };
    let found =
        pins.iter().find(|(_, pin)| decides(pin)).map(|(place, pin)| describe(name, version, place, pin));
    // A negative priority is always a decision, even if its place is not found.
    found.or_else(|| {
        (own < 0)
            .then(|| format!("{name} {version} has the priority {own} on this machine (see apt_preferences)"))
    })
}

/// Returns the priority of a version: ` *** 1-1 500` or `     1-1 500`, below which are its sources.
fn priority(policy: &str, version: &str) -> Option<i64> {
    let (_, table) = policy.split_once("Version table:")?;
    let own = |line: &str| {
        let line = line.strip_prefix(" *** ").or_else(|| line.strip_prefix("     "))?;
        let (found, priority) = line.split_once(' ')?;
        (found == version).then(|| priority.trim().parse().ok())?
    };
    table.lines().find_map(own)
}

/// Returns the pin that names the package, and prefers something else than this file.
fn pin_of_file(name: &str, version: &str, pins: &[(PathBuf, Pin)]) -> Option<String> {
    let decides = |pin: &Pin| match pin.target.strip_prefix("version ") {
        Some(pattern) if matches(pattern.trim(), version) => pin.priority < 0,
        Some(_) | None => pin.priority > NORMAL,
    };
    let (place, pin) = pins.iter().find(|(_, pin)| pin.names(name) && decides(pin))?;
    Some(describe(name, version, place, pin))
}

fn describe(name: &str, version: &str, place: &Path, pin: &Pin) -> String {
    let Pin { packages, target, priority } = pin;
    let place = place.display();
    format!(
        "{place} pins {packages} to {target} with priority {priority}, which is against {name} {version} (change it there)"
    )
}

impl Pin {
    /// Reports whether the pin counts for the package.
    fn is_for(&self, name: &str) -> bool {
        // A regular expression is not evaluated: its priority is what makes it the right one.
        self.words().any(|word| word.starts_with('/') || matches(word, name))
    }

    /// Reports whether the pin is for this package or for packages with such names, and not for all.
    fn names(&self, name: &str) -> bool {
        self.words().any(|word| !word.trim_matches('*').is_empty() && matches(word, name))
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        let words = self.packages.split([' ', ',', '\t']).filter(|word| !word.is_empty());
        words.map(|word| word.split(':').next().unwrap_or_default())
    }
}

/// Reads all pins.
fn pins() -> Vec<(PathBuf, Pin)> {
    let is_read = |path: &Path| path.extension().is_none_or(|end| end == "pref");
    let mut places = vec![PathBuf::from("/etc/apt/preferences")];
    places.extend(files("/etc/apt/preferences.d", is_read));
    let of = |place: PathBuf| {
        let text = fs::read_to_string(&place).unwrap_or_default();
        parse(&text).into_iter().map(move |pin| (place.clone(), pin)).collect::<Vec<_>>()
    };
    places.into_iter().flat_map(of).collect()
}

/// Reads one file of the preferences: fields in paragraphs, with comments.
fn parse(text: &str) -> Vec<Pin> {
    let mut pins = vec![Pin::default()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            pins.push(Pin::default());
        }
        let (Some((key, value)), Some(pin)) = (line.split_once(':'), pins.last_mut()) else { continue };
        let value = value.trim();
        match key.to_ascii_lowercase().as_str() {
            "package" => value.clone_into(&mut pin.packages),
            "pin" => value.clone_into(&mut pin.target),
            "pin-priority" => pin.priority = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    pins.retain(|pin| pin.priority != 0);
    pins
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins(text: &str) -> Vec<(PathBuf, Pin)> {
        parse(text).into_iter().map(|pin| (PathBuf::from("/etc/apt/preferences"), pin)).collect()
    }

    const KEEPS: &str = "# why\nExplanation: x\nPackage: fx fy\nPin: version 1*\nPin-Priority: 1001\n";

    /// A pin that is overlooked is a decision of the owner that is ignored.
    #[test]
    fn a_file_is_judged_by_the_pins_that_name_its_package() {
        let words = pin_of_file("fx", "2-1", &pins(KEEPS)).unwrap();
        assert!(words.starts_with("/etc/apt/preferences pins fx fy to version 1*"), "{words}");
        assert_eq!(pin_of_file("fx", "1-9", &pins(KEEPS)), None);
        assert_eq!(pin_of_file("fz", "2-1", &pins(KEEPS)), None);
        let never = "Package: f*\nPin: version 2*\nPin-Priority: -1\n";
        assert!(pin_of_file("fx", "2-1", &pins(never)).is_some());
        assert_eq!(pin_of_file("fx", "1-1", &pins(never)), None);
        let everything = "Package: *\nPin: release a=stable\nPin-Priority: 990\n";
        assert_eq!(pin_of_file("fx", "2-1", &pins(everything)), None, "not about this package");
    }

    #[test]
    fn what_apt_would_choose_is_judged_by_its_priorities() {
        let policy = |own: i64, other: i64, candidate: &str| {
            format!(
                "fx:\n  Installed: 1-1\n  Candidate: {candidate}\n  Version table:\n     2-1 {own}\n        \
                 {own} file:/repo ./ Packages\n *** 1-1 {other}\n        100 /var/lib/dpkg/status\n"
            )
        };
        let judge = |policy: &str, text: &str| pin_in_policy("fx", "2-1", policy, &pins(text));
        assert!(judge(&policy(500, 1001, "1-1"), KEEPS).is_some());
        assert!(judge(&policy(500, 500, "2-1"), KEEPS).is_none());
        assert!(judge(&policy(-1, 100, "1-1"), "").unwrap().contains("priority -1"));
        // A repository that is not automatic, such as backports, is not a decision of the owner.
        assert_eq!(judge(&policy(100, 500, "1-1"), ""), None);
        let release = "Package: *\nPin: release a=testing\nPin-Priority: 50\n";
        assert!(judge(&policy(50, 500, "1-1"), release).unwrap().contains("release a=testing"));
    }
}
