//! Reads the installed version of one component.

use super::booted;
use super::packages::{self, Found, Managers, Status};
use crate::command::{self, Bounds, Errors};
use farrier_protocol::{Instance, Reading};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

/// Limits of a detection command, which prints a version.
const BOUNDS: Bounds = Bounds { time: Duration::from_secs(30), bytes: 64 * 1024 };

/// Finds a package in the list of packages.
pub(super) fn package(name: &str, managers: Managers, found: Result<&[Found], &String>) -> Reading {
    if !packages::is_name(name) {
        return unreadable(format!("{name:?} is not the name of a package"));
    }
    if managers.names().is_empty() {
        return unreadable("this machine has neither dpkg nor rpm with a database".into());
    }
    let found = match found {
        Ok(found) => found,
        Err(message) => return unreadable(message.clone()),
    };
    let (plain, arch) = packages::split(name);
    let is_meant = |found: &&Found| {
        found.name == plain && (arch.is_empty() || found.arch == arch) && found.status != Status::Absent
    };
    let found: Vec<&Found> = found.iter().filter(is_meant).collect();
    // The last entry was installed last; a usable package is preferred to a broken one.
    let Some(best) = found.iter().max_by_key(|found| found.status == Status::Installed) else {
        return Reading::Absent;
    };
    let version = best.version.clone();
    let instances = instances(&found);
    match &best.status {
        Status::Broken(detail) => Reading::Broken { version, detail: detail.clone(), instances },
        Status::Installed | Status::Absent => Reading::Present { version, instances, pending: None },
    }
}

fn instances(found: &[&Found]) -> Vec<Instance> {
    // Not determined for a single version, because it needs another process. It is for the message only, so
    // a failure does not matter.
    let booted = if found.len() > 1 { booted::rpm().unwrap_or_default() } else { Vec::new() };
    let instance = |found: &&Found| Instance {
        version: found.version.clone(),
        arch: found.arch.clone(),
        kind: found.kind.into(),
        broken: match &found.status {
            Status::Broken(detail) => detail.clone(),
            Status::Installed | Status::Absent => String::new(),
        },
        booted: booted.contains(found),
    };
    found.iter().map(instance).collect()
}

/// Runs a detection command.
pub(super) fn command(line: &str) -> Reading {
    let output = match command::capture("sh", &["-c", line], Errors::Discard, BOUNDS) {
        Ok(output) => output,
        Err(message) => return unreadable(message),
    };
    match output.status.code() {
        Some(0) => first_line(&output.text, "the command"),
        Some(_) => Reading::Absent,
        None => unreadable(format!("the command did not exit by itself: {}", output.status)),
    }
}

/// Reads a file.
pub(super) fn file(path: &Path) -> Reading {
    if !path.is_absolute() {
        return unreadable(format!("{} is not an absolute path", path.display()));
    }
    match head(path) {
        Ok(text) => first_line(&text, "the file"),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Reading::Absent
        }
        Err(error) => unreadable(format!("{}: {error}", path.display())),
    }
}

fn head(path: &Path) -> io::Result<String> {
    // Without this flag, opening a pipe without a writer would block forever.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(BOUNDS.bytes).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn first_line(text: &str, whose: &str) -> Reading {
    match text.lines().next().map(str::trim) {
        None | Some("") => unreadable(format!("the first line of {whose} is empty, so there is no version")),
        Some(version) => Reading::present(version),
    }
}

fn unreadable(detail: String) -> Reading {
    Reading::Unreadable { detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present(version: &str) -> Reading {
        Reading::present(version)
    }

    #[test]
    fn commands_say_a_version_or_that_there_is_none() {
        assert_eq!(command("echo ' 2.1 '; echo more"), present("2.1"));
        assert_eq!(command("exit 3"), Reading::Absent);
        assert_eq!(command("no-such-program-here"), Reading::Absent);
        assert!(matches!(command("true"), Reading::Unreadable { .. }));
        assert!(matches!(command("kill -9 $$"), Reading::Unreadable { .. }));
    }

    #[test]
    fn files_say_a_version_or_are_not_there() {
        assert_eq!(file(Path::new("/no/such/file")), Reading::Absent);
        assert!(matches!(file(Path::new("/etc")), Reading::Unreadable { .. }));
        assert!(matches!(file(Path::new("etc/passwd")), Reading::Unreadable { .. }));
        assert!(matches!(file(Path::new("/proc/sys/kernel/osrelease")), Reading::Present { .. }));
    }

    /// Operators of the previous version do not know instances.
    #[test]
    fn the_package_that_was_installed_last_is_the_version_unless_it_is_broken() {
        let found = |version: &str, arch: &str, status| Found {
            name: "kernel".into(),
            version: version.into(),
            arch: arch.into(),
            kind: "rpm",
            status,
        };
        let managers = Managers { dpkg: false, rpm: true };
        let list = [
            found("1", "x86_64", Status::Installed),
            found("2", "x86_64", Status::Installed),
            found("3", "x86_64", Status::Broken("unpacked".into())),
            found("4", "i686", Status::Absent),
        ];
        let Reading::Present { version, instances, pending: None } = package("kernel", managers, Ok(&list))
        else {
            panic!("it is there")
        };
        assert_eq!(version, "2");
        let seen: Vec<_> = instances.iter().map(|one| (one.version.as_str(), one.broken.as_str())).collect();
        assert_eq!(seen, [("1", ""), ("2", ""), ("3", "unpacked")]);
        assert_eq!(package("kernel:i686", managers, Ok(&list)), Reading::Absent);
        let none = Managers { dpkg: false, rpm: false };
        assert!(matches!(package("kernel", none, Ok(&[])), Reading::Unreadable { .. }));
    }
}
