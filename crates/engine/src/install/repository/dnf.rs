//! dnf, also where it is called yum.

use super::{FETCH, Manager, Offers, Request, words};
use crate::command::{self, Errors, Output};
use crate::install::holds;
use crate::install::package_lock::Locks;
use crate::install::rpm;
use farrier_protocol::{Change, ChangeKind};
use std::ffi::OsString;
use std::path::Path;

/// What switches the owner's decisions off.
const WITHOUT_HOLDS: [&str; 2] = ["--disableexcludes=all", "--disableplugin=versionlock"];

/// One package of a query. The line break is part of it, because dnf 5 adds none.
const FORMAT: &str = "%{name} %{epoch}:%{version}-%{release} %{arch}\n";

/// dnf, with its own metadata or with metadata in another directory.
pub(super) struct Dnf<'a> {
    pub(super) cache: Option<&'a Path>,
}

impl Dnf<'_> {
    fn arguments_of(&self, words: &[&str]) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        if let Some(cache) = self.cache {
            // dnf creates its history, and logs, also for a transaction that it only shows.
            for option in ["cachedir", "persistdir", "logdir"] {
                let mut setting = OsString::from(format!("--setopt={option}="));
                setting.push(cache.join("dnf").join(option));
                arguments.insert(0, setting);
            }
        }
        arguments
    }

    /// Queries the versions. A repository that cannot be read may be skipped by its configuration, which dnf says
    /// if it is not told to be quiet.
    fn query(&self, request: &Request<'_>, more: &[&str]) -> Result<Offers, String> {
        let mut arguments = vec!["repoquery", "--showduplicates", "--qf", FORMAT];
        arguments.extend(more);
        arguments.push(request.name);
        let output = command::capture("dnf", &self.arguments_of(&arguments), Errors::Merge, FETCH)?;
        if !output.status.success() {
            return Err(output.text);
        }
        let version = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [name, version, arch] = fields[..] else { return None };
            let is_it = name == request.name && request.arch.is_none_or(|wanted| wanted == arch);
            is_it.then(|| version.strip_prefix("0:").unwrap_or(version).to_owned())
        };
        let mut versions: Vec<String> = output.text.lines().filter_map(version).collect();
        versions.dedup();
        Ok(Offers { versions, obstacles: words::obstacles(&output.text), held: None })
    }
}

impl Manager for Dnf<'_> {
    fn program(&self) -> &'static str {
        "dnf"
    }

    fn locks(&self) -> Locks {
        rpm::LOCKS
    }

    /// Only marks the metadata as old: the next command fetches it, and fails if it cannot.
    fn refresh(&self) -> Result<Vec<String>, String> {
        let output = command::capture(
            "dnf",
            &self.arguments_of(&["-q", "clean", "expire-cache"]),
            Errors::Merge,
            FETCH,
        )?;
        if output.status.success() { Ok(Vec::new()) } else { Err(output.text) }
    }

    fn offers(&self, request: &Request<'_>) -> Result<Offers, String> {
        if !request.respects_holds {
            return self.query(request, &WITHOUT_HOLDS);
        }
        let visible = self.query(request, &[])?;
        let held = holds::rpm(request.name, request.version, request.arch.unwrap_or_default());
        let has = |offers: &Offers| offers.versions.iter().any(|version| request.is_version(version));
        if has(&visible) {
            return Ok(Offers { held, ..visible });
        }
        let all = self.query(request, &WITHOUT_HOLDS)?;
        if !has(&all) {
            return Ok(Offers { held, ..visible });
        }
        let (name, version) = (request.name, request.version);
        let held =
            held.unwrap_or_else(|| format!("{name} {version} is excluded in the configuration of dnf"));
        Ok(Offers { held: Some(held), ..all })
    }

    fn arguments(&self, request: &Request<'_>, trial: bool) -> Vec<OsString> {
        let Request { name, version, .. } = request;
        let arch = request.arch.map_or_else(String::new, |arch| format!(".{arch}"));
        let package = format!("{name}-{version}{arch}");
        let mut words = vec![if trial { "--assumeno" } else { "-y" }, "--setopt=install_weak_deps=False"];
        if !request.respects_holds {
            words.extend(WITHOUT_HOLDS);
        }
        words.extend([if request.rewrite { "reinstall" } else { "install" }, &package]);
        self.arguments_of(&words)
    }

    fn changes(&self, output: &Output) -> Option<Vec<Change>> {
        changes(&output.text)
    }
}

/// Reads the table of a transaction: headings such as `Upgrading:`, and below them indented rows with name,
/// architecture, version, repository and size. A long row goes on in the next line. What a package replaces
/// besides its own older version is in a row that begins with `replacing`.
///
/// Below headings that are not about packages (`Enabling module streams:`, `Installing Groups:`) rows have other
/// columns. Each of their lines, and a row that is not complete, is a change of its own, which nobody asks for.
fn changes(text: &str) -> Option<Vec<Change>> {
    if text.lines().any(|line| line.trim() == "Nothing to do.") {
        return Some(Vec::new());
    }
    let (table, _) = text.split_once("Transaction Summary")?;
    let mut changes: Vec<Change> = Vec::new();
    let (mut heading, mut kind, mut row) = ("", None, Vec::new());
    for line in table.lines() {
        if let Some(next) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            changes.extend(other(heading, &row));
            (heading, kind, row) = (next, kind_of(next), Vec::new());
            continue;
        }
        let Some(kind) = kind.filter(|_| line.starts_with(' ')) else { continue };
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["replacing", rest @ ..] = words.as_slice() {
            changes.extend(replaced(rest, changes.last()));
            continue;
        }
        if kind == ChangeKind::Other {
            changes.extend(other(heading, &words));
            continue;
        }
        row.extend(words);
        if let [name, arch, version, _, _, ..] = row[..] {
            changes.push(Change { kind, name: name.into(), arch: arch.into(), version: version.into() });
            row.clear();
        }
    }
    changes.extend(other(heading, &row));
    Some(changes)
}

/// Returns the kind of change below a heading; `None` if nothing below it is changed.
fn kind_of(heading: &str) -> Option<ChangeKind> {
    match heading {
        "Installing"
        | "Installing dependencies"
        | "Installing weak dependencies"
        | "Installing group/module packages" => Some(ChangeKind::Install),
        "Upgrading" => Some(ChangeKind::Upgrade),
        "Downgrading" => Some(ChangeKind::Downgrade),
        "Reinstalling" => Some(ChangeKind::Reinstall),
        "Removing" | "Removing dependent packages" | "Removing unused dependencies" => {
            Some(ChangeKind::Remove)
        }
        _ if heading.starts_with("Skipping") => None,
        _ => Some(ChangeKind::Other),
    }
}

/// Returns the change of a row that is not a package: `nodejs 18 (Enabling module streams)`.
fn other(heading: &str, row: &[&str]) -> Option<Change> {
    let name = format!("{} ({heading})", row.join(" "));
    (!row.is_empty()).then(|| Change { kind: ChangeKind::Other, name, ..Change::default() })
}

/// Returns what a package replaces: `old.noarch 1-1`, in dnf 5 `old noarch 1-1`. `None` for its own older
/// version.
fn replaced(words: &[&str], by: Option<&Change>) -> Option<Change> {
    let (name, version) = match words {
        [name, version] | [name, _, version, ..] => (*name, *version),
        _ => return Some(Change::default()),
    };
    let name = if words.len() == 2 { name.rsplit_once('.').map_or(name, |(name, _)| name) } else { name };
    let is_own = by.is_some_and(|by| by.name == name);
    let (name, version) = (name.to_owned(), version.to_owned());
    (!is_own).then_some(Change { kind: ChangeKind::Remove, name, arch: String::new(), version })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Vec<String>> {
        let describe = |change: &Change| {
            let Change { kind, name, arch, version } = change;
            format!("{kind:?} {name} {arch} {version}").trim_end().to_owned()
        };
        changes(text).map(|changes| changes.iter().map(describe).collect())
    }

    /// A change that is overlooked is carried out.
    #[test]
    fn transactions_are_read() {
        let text = "\
Dependencies resolved.
========================================
 Package   Arch     Version  Repo  Size
========================================
Upgrading:
 fx        noarch   1:2-1    local 6.0 k
     replacing  old.noarch 1-1
Installing dependencies:
 a-package-with-a-very-long-name-indeed
           x86_64   9-1      local 6.0 k
Downgrading:
 libc      x86_64   1-1      local 6.0 k
Removing dependent packages:
 gone      noarch   1-1      @System 0

Transaction Summary
========================================
Upgrade  1 Package
Operation aborted.
";
        let expected = [
            "Upgrade fx noarch 1:2-1",
            "Remove old  1-1",
            "Install a-package-with-a-very-long-name-indeed x86_64 9-1",
            "Downgrade libc x86_64 1-1",
            "Remove gone noarch 1-1",
        ];
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read("Package fx-2-1.noarch is already installed.\nNothing to do.\n"), Some(Vec::new()));
        assert_eq!(read("Error: Unable to find a match: fx-2-1\n"), None);
    }

    /// A module stream that is enabled decides about every later update of its packages.
    #[test]
    fn what_is_not_a_package_is_a_change_too() {
        let text = "Installing:\n fx noarch 2-1 local 6 k\nEnabling module streams:\n nodejs 18\n ruby 3.0\n\
                    Installing module profiles:\n nodejs/common\nInstalling Groups:\n A B\n C D E\n\
                    Upgrading:\n odd noarch\nSkipping packages with conflicts:\n no noarch 1 local 6 k\n\n\
                    Transaction Summary\n";
        let expected = [
            "Install fx noarch 2-1",
            "Other nodejs 18 (Enabling module streams)",
            "Other ruby 3.0 (Enabling module streams)",
            "Other nodejs/common (Installing module profiles)",
            "Other A B (Installing Groups)",
            "Other C D E (Installing Groups)",
            "Other odd noarch (Upgrading)",
        ];
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(
            read("Resetting modules:\n nodejs\n\nTransaction Summary\n").unwrap(),
            ["Other nodejs (Resetting modules)"]
        );
    }

    /// dnf 5 lists the older version of an upgraded package as replaced.
    #[test]
    fn the_older_version_of_a_package_is_not_another_package() {
        let text = "Upgrading:\n fx noarch 0:2-1 local 6.0 KiB\n   replacing fx noarch 0:1-1 local 6.0 KiB\n\n\
                    Transaction Summary:\n";
        assert_eq!(read(text).unwrap(), ["Upgrade fx noarch 0:2-1"]);
    }
}
