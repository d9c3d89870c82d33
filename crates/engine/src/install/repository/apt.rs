//! apt: `apt-get` and `apt-cache`.

use super::{FETCH, Manager, Offers, Request, words};
use crate::command::{self, Errors, Output, TOOL};
use crate::install::holds;
use crate::install::package_lock::Locks;
use farrier_protocol::{Change, ChangeKind};
use std::ffi::OsString;
use std::path::Path;

/// apt, with its own metadata or with metadata in another directory.
pub(super) struct Apt<'a> {
    pub(super) cache: Option<&'a Path>,
}

impl Apt<'_> {
    /// Returns the arguments of a command: it reads and writes metadata in the right place.
    fn arguments_of(&self, words: &[&str]) -> Vec<OsString> {
        let mut arguments = Vec::new();
        if let Some(cache) = self.cache {
            for (option, dir) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "apt"), ("Dir::Log", "log")]
            {
                let mut setting = OsString::from(format!("{option}="));
                setting.push(cache.join(dir));
                arguments.extend([OsString::from("-o"), setting]);
            }
        }
        arguments.extend(words.iter().map(OsString::from));
        arguments
    }

    fn ask(&self, program: &str, words: &[&str]) -> Result<String, String> {
        Ok(command::capture(program, &self.arguments_of(words), Errors::Discard, TOOL)?.text)
    }
}

impl Manager for Apt<'_> {
    fn program(&self) -> &'static str {
        "apt-get"
    }

    fn locks(&self) -> Locks {
        Locks {
            front_end: "/var/lib/dpkg/lock-frontend",
            own: &["/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock"],
            pid_files: &[],
        }
    }

    /// `apt-get update` succeeds if a repository cannot be read; its warnings tell.
    fn refresh(&self) -> Result<Vec<String>, String> {
        let output =
            command::capture("apt-get", &self.arguments_of(&["-q", "update"]), Errors::Merge, FETCH)?;
        let obstacles = words::obstacles(&output.text);
        if obstacles.is_empty() && !output.status.success() {
            return Err(output.text);
        }
        Ok(obstacles)
    }

    fn offers(&self, request: &Request<'_>) -> Result<Offers, String> {
        let target = target(request);
        let text = self.ask("apt-cache", &["madison", &target])?;
        let mut versions: Vec<String> = text.lines().filter_map(offered).collect();
        // The newest is first.
        versions.reverse();
        versions.dedup();
        let held = if request.respects_holds {
            let policy = self.ask("apt-cache", &["policy", &target])?;
            holds::deb_from_repository(request.name, request.version, &policy)?
        } else {
            None
        };
        Ok(Offers { versions, held, ..Offers::default() })
    }

    fn arguments(&self, request: &Request<'_>, trial: bool) -> Vec<OsString> {
        let version = format!("{}={}", target(request), request.version);
        let mut words = vec!["-q", "-y", "--no-install-recommends"];
        words.push(if trial { "--simulate" } else { "--no-remove" });
        // apt reads the pseudo-terminal that it gives to dpkg once more after dpkg has ended, which loses the last
        // output of a busy machine: why a script has failed, or that anything was installed at all.
        let own_terminal = "Dpkg::Use-Pty=0";
        for option in ["Dpkg::Options::=--force-confdef", "Dpkg::Options::=--force-confold", own_terminal] {
            words.extend(["-o", option]);
        }
        for (is_set, option) in [
            (request.downgrade, "--allow-downgrades"),
            (request.rewrite, "--reinstall"),
            (!request.respects_holds, "--allow-change-held-packages"),
            // Packages on hold that the requested one needs in another version.
            (!request.respects_holds, "--ignore-hold"),
        ] {
            words.extend(is_set.then_some(option));
        }
        words.extend(["install", &version]);
        self.arguments_of(&words)
    }

    fn changes(&self, output: &Output) -> Option<Vec<Change>> {
        output.status.success().then(|| output.text.lines().filter_map(change).collect())
    }
}

/// Returns the package as apt names it. Packages for all architectures are found under the machine's own.
fn target(request: &Request<'_>) -> String {
    match request.arch.filter(|arch| *arch != "all") {
        Some(arch) => format!("{}:{arch}", request.name),
        None => request.name.to_owned(),
    }
}

/// Returns the version in a line of `apt-cache madison`: `fx | 2-1 | http://x bookworm/main amd64 Packages`.
fn offered(line: &str) -> Option<String> {
    let mut fields = line.split('|').map(str::trim);
    let (_, version, source) = (fields.next()?, fields.next()?, fields.next()?);
    source.ends_with("Packages").then(|| version.to_owned())
}

/// Parses a line of a simulation: `Inst fx [1-1] (2-1 Debian:12/stable [amd64])`, without the brackets if the
/// package is not installed; `Remv fx [1-1]`. Lines that begin with `Conf` repeat the others.
fn change(line: &str) -> Option<Change> {
    let (verb, rest) = line.split_once(' ')?;
    let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (name, mut arch) = name.split_once(':').map_or((name, ""), |(name, arch)| (name, arch));
    let old = rest.strip_prefix('[').and_then(|rest| rest.split(']').next());
    let new = rest.split_once('(').and_then(|(_, rest)| rest.split([' ', ')']).next());
    if arch.is_empty() {
        let inner = rest.split_once('(').map_or("", |(_, inner)| inner.split(')').next().unwrap_or_default());
        arch = inner.rsplit_once('[').map_or("", |(_, arch)| arch.trim_end_matches(']'));
    }
    let (kind, version) = match (verb, old, new) {
        ("Inst", None, Some(new)) => (ChangeKind::Install, new),
        ("Inst", Some(old), Some(new)) => (compared(old, new), new),
        ("Remv" | "Purg", Some(old), _) => (ChangeKind::Remove, old),
        ("Inst" | "Remv" | "Purg", ..) => (ChangeKind::Other, ""),
        _ => return None,
    };
    Some(Change { kind, name: name.into(), arch: arch.into(), version: version.into() })
}

/// Returns what the replacement of a version is, as dpkg compares them.
fn compared(old: &str, new: &str) -> ChangeKind {
    if old == new {
        return ChangeKind::Reinstall;
    }
    let lower = command::capture("dpkg", &["--compare-versions", new, "lt", old], Errors::Discard, TOOL);
    match lower {
        Ok(output) if output.status.success() => ChangeKind::Downgrade,
        Ok(_) => ChangeKind::Upgrade,
        Err(_) => ChangeKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(line: &str, kind: ChangeKind, name: &str, arch: &str, version: &str) {
        let (name, arch, version) = (name.into(), arch.into(), version.into());
        assert_eq!(change(line), Some(Change { kind, name, arch, version }), "{line}");
    }

    /// A change that is overlooked is carried out.
    #[test]
    fn simulations_are_read() {
        is("Inst fx (2-1 localhost [all])", ChangeKind::Install, "fx", "all", "2-1");
        is("Inst fx [1-1] (2-1 Debian:12.1/stable [amd64]) []", ChangeKind::Upgrade, "fx", "amd64", "2-1");
        is("Inst fx:i386 [2] (1 x [i386])", ChangeKind::Downgrade, "fx", "i386", "1");
        is("Inst fx [2] (2 x [all])", ChangeKind::Reinstall, "fx", "all", "2");
        is("Remv old [1-1]", ChangeKind::Remove, "old", "", "1-1");
        is("Remv old [1-1] [fx:amd64 ]", ChangeKind::Remove, "old", "", "1-1");
        is("Inst odd", ChangeKind::Other, "odd", "", "");
        assert_eq!(change("Conf fx (2-1 localhost [all])"), None);
        assert_eq!(change("Reading package lists..."), None);
    }

    #[test]
    fn sources_are_not_offers() {
        assert_eq!(offered("        fx |        2-1 | file:/mnt/repo ./ Packages"), Some("2-1".into()));
        assert_eq!(offered("        fx |        2-1 | http://x bookworm/main Sources"), None);
        assert_eq!(offered(""), None);
    }
}
