//! zypper.

use super::{FETCH, Manager, Offers, Request, words};
use crate::command::{self, Errors, Output};
use crate::install::holds;
use crate::install::package_lock::Locks;
use crate::install::rpm;
use farrier_protocol::{Change, ChangeKind};
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// The directory of zypper's repositories.
const REPOSITORIES: &str = "/etc/zypp/repos.d";

/// What zypper calls the repository of installed packages.
const INSTALLED: &str = "(System Packages)";

/// zypper, with its own metadata or with metadata in another directory.
pub(super) struct Zypper<'a> {
    pub(super) cache: Option<&'a Path>,
}

/// Reports whether the machine has zypper, and repositories for it.
pub(super) fn is_in_use() -> bool {
    let is_repository = |path: &Path| path.extension().is_some_and(|end| end == "repo");
    let repositories = fs::read_dir(REPOSITORIES).into_iter().flatten().flatten();
    command::find("zypper").is_some() && repositories.into_iter().any(|entry| is_repository(&entry.path()))
}

impl Zypper<'_> {
    fn arguments_of(&self, words: &[&str]) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--non-interactive".into()];
        if let Some(cache) = self.cache {
            arguments.extend(["--cache-dir".into(), cache.join("zypp").into()]);
        }
        arguments.extend(words.iter().map(OsString::from));
        arguments
    }
}

impl Manager for Zypper<'_> {
    fn program(&self) -> &'static str {
        "zypper"
    }

    fn locks(&self) -> Locks {
        rpm::LOCKS
    }

    fn refresh(&self) -> Result<Vec<String>, String> {
        let output = command::capture("zypper", &self.arguments_of(&["refresh"]), Errors::Merge, FETCH)?;
        Ok(if output.status.success() { Vec::new() } else { vec![words::last(&output.text)] })
    }

    fn offers(&self, request: &Request<'_>) -> Result<Offers, String> {
        let search =
            ["--xmlout", "--no-refresh", "search", "-s", "--match-exact", "-t", "package", request.name];
        let output = command::capture("zypper", &self.arguments_of(&search), Errors::Merge, FETCH)?;
        let offered = |tag: &str| {
            let is_it = attribute(tag, "name") == request.name
                && attribute(tag, "repository") != INSTALLED
                && request.arch.is_none_or(|arch| attribute(tag, "arch") == arch);
            is_it.then(|| attribute(tag, "edition").to_owned())
        };
        let mut versions: Vec<String> = tags(&output.text, "solvable").filter_map(offered).collect();
        // The newest is first.
        versions.reverse();
        versions.dedup();
        let held = holds::rpm(request.name, request.version, request.arch.unwrap_or_default());
        Ok(Offers { versions, held, ..Offers::default() })
    }

    fn arguments(&self, request: &Request<'_>, trial: bool) -> Vec<OsString> {
        let arch = request.arch.map_or_else(String::new, |arch| format!(".{arch}"));
        let package = format!("{}{arch}={}", request.name, request.version);
        let mut words = if trial { vec!["--xmlout"] } else { Vec::new() };
        words.extend(["--no-refresh", "install", "--no-recommends", "--auto-agree-with-licenses"]);
        for (is_set, option) in
            [(trial, "--dry-run"), (request.downgrade, "--oldpackage"), (request.rewrite, "--force")]
        {
            words.extend(is_set.then_some(option));
        }
        words.push(&package);
        self.arguments_of(&words)
    }

    fn changes(&self, output: &Output) -> Option<Vec<Change>> {
        output.status.success().then(|| changes(&output.text)).flatten()
    }
}

/// Reads the summary of an installation: groups such as `<to-upgrade>`, and in them `<solvable …/>`.
fn changes(text: &str) -> Option<Vec<Change>> {
    if !text.contains("<install-summary") {
        return text.contains("Nothing to do.").then(Vec::new);
    }
    let groups = text.split("<to-").skip(1).filter_map(|rest| rest.split_once('>'));
    let changes = groups.flat_map(|(group, rest)| {
        let inner = rest.split_once("</to-").map_or("", |(inner, _)| inner);
        let kind = kind_of(group);
        tags(inner, "solvable").map(move |tag| Change {
            kind,
            name: attribute(tag, "name").into(),
            arch: attribute(tag, "arch").into(),
            version: attribute(tag, "edition").into(),
        })
    });
    Some(changes.collect())
}

fn kind_of(group: &str) -> ChangeKind {
    match group {
        "install" => ChangeKind::Install,
        "upgrade" => ChangeKind::Upgrade,
        "downgrade" => ChangeKind::Downgrade,
        "reinstall" => ChangeKind::Reinstall,
        "remove" => ChangeKind::Remove,
        _ => ChangeKind::Other,
    }
}

/// Returns the attributes of all elements of this name.
fn tags<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!("<{name} ");
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&start)?;
        let (tag, after) = after.split_once('>')?;
        rest = after;
        Some(tag)
    })
}

/// Returns the value of an attribute; empty if it is not there. Names and versions of packages have no
/// characters that XML escapes.
fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
    let start = format!("{name}=\"");
    let at = tag.match_indices(&start).find(|(at, _)| *at == 0 || tag[..*at].ends_with(' '));
    at.and_then(|(at, _)| tag.get(at + start.len()..)?.split('"').next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change that is overlooked is carried out.
    #[test]
    fn summaries_are_read() {
        let text = r#"<stream><install-summary download-size="0" packages-to-change="3">
<to-upgrade><solvable type="package" name="fx" edition="2-1" edition-old="1-1" arch="noarch" summary="x"/></to-upgrade>
<to-install><solvable type="package" name="libnew" edition="1-1" arch="noarch"/></to-install>
<to-remove><solvable type="package" name="gone" edition="1-1" arch="noarch"/></to-remove>
<to-change-arch><solvable type="package" name="odd" edition="1-1" arch="i586"/></to-change-arch>
</install-summary></stream>"#;
        let found = changes(text).unwrap();
        let found: Vec<_> = found.iter().map(|c| (c.kind, c.name.as_str(), c.version.as_str())).collect();
        let expected = [
            (ChangeKind::Upgrade, "fx", "2-1"),
            (ChangeKind::Install, "libnew", "1-1"),
            (ChangeKind::Remove, "gone", "1-1"),
            (ChangeKind::Other, "odd", "1-1"),
        ];
        assert_eq!(found, expected);
        assert_eq!(changes(r#"<message type="info">Nothing to do.</message>"#), Some(Vec::new()));
        assert_eq!(changes("<stream></stream>"), None);
    }
}
