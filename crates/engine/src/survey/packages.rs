//! Reads the package databases, with one process for each, for any number of packages.

use crate::command::{self, Errors, TOOL};
use std::path::Path;
use std::sync::OnceLock;

const DPKG_FORMAT: &str =
    "${Package}\\t${Version}\\t${Architecture}\\t${db:Status-Status}\\t${db:Status-Eflag}\\n";

/// The empty first field distinguishes packages from rpm's messages about packages that are not installed.
const RPM_FORMAT: &str =
    "\\t%{NAME}\\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\t%{ARCH}\\t%{INSTALLTIME}\\n";

/// Directories of rpm's database on distributions that use rpm.
const RPM_DIRECTORIES: [&str; 2] = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"];

/// Files of rpm's database in its various formats.
const RPM_DATABASES: [&str; 3] = ["rpmdb.sqlite", "Packages", "Packages.db"];

/// The package managers of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Managers {
    /// dpkg, with a database.
    pub(crate) dpkg: bool,
    /// rpm, with a database.
    pub(crate) rpm: bool,
}

/// The packages to list.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// Every package.
    All,
    /// The packages of these names, if they are in the database.
    Named(&'a [&'a str]),
    /// The packages that own these files. For rpm only.
    Owning(&'a [String]),
}

/// A package in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) arch: String,
    /// `deb` or `rpm`.
    pub(crate) kind: &'static str,
    pub(crate) status: Status,
}

/// The state of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    Installed,
    /// Removed, or only its configuration is left.
    Absent,
    /// Any other state, in the package manager's word.
    Broken(String),
}

impl Managers {
    /// Detects the package managers.
    pub(super) fn present() -> Self {
        Self {
            dpkg: command::find("dpkg-query").is_some() && has_content(Path::new("/var/lib/dpkg/status")),
            rpm: command::find("rpm").is_some() && has_rpm_database(),
        }
    }

    /// Returns the names for [`farrier_protocol::Facts`].
    pub(super) fn names(self) -> &'static str {
        match (self.dpkg, self.rpm) {
            (true, true) => "dpkg rpm",
            (true, false) => "dpkg",
            (false, true) => "rpm",
            (false, false) => "",
        }
    }

    /// Lists the packages of all managers. Packages of the same name are in the order in which they were
    /// installed, if it is known.
    pub(super) fn list(self, wanted: Wanted<'_>) -> Result<Vec<Found>, String> {
        let mut found = Vec::new();
        if matches!(wanted, Wanted::Named([])) {
            return Ok(found);
        }
        if self.dpkg {
            found.append(&mut dpkg(wanted)?);
        }
        if self.rpm {
            found.append(&mut rpm(wanted)?);
        }
        Ok(found)
    }
}

fn has_content(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.len() > 0)
}

/// Reports whether rpm has a database. On systems that do not use rpm, such as Debian, only rpm knows its
/// path.
fn has_rpm_database() -> bool {
    let is_in = |dir: &str| RPM_DATABASES.iter().any(|name| has_content(&Path::new(dir).join(name)));
    RPM_DIRECTORIES.into_iter().any(is_in) || rpm_directory().is_some_and(is_in)
}

/// Where rpm keeps its database by its own account. Asked once for the life of the engine: a start
/// of rpm, which begins a shell for its macros, takes longer than a listing of all of dpkg's packages.
fn rpm_directory() -> Option<&'static str> {
    static DIRECTORY: OnceLock<Option<String>> = OnceLock::new();
    let asked = || command::capture("rpm", &["--eval", "%{_dbpath}"], Errors::Discard, TOOL).ok();
    DIRECTORY.get_or_init(|| asked().map(|output| output.text.trim().to_owned())).as_deref()
}

/// Splits `name:architecture`; the architecture is empty if there is none.
pub(super) fn split(name: &str) -> (&str, &str) {
    name.split_once(':').unwrap_or((name, ""))
}

/// Reports whether the text is the name of a package, and neither an option nor a pattern.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._:".contains(&byte);
    name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(plain)
}

fn dpkg(wanted: Wanted<'_>) -> Result<Vec<Found>, String> {
    let mut arguments = vec!["-W", "-f", DPKG_FORMAT];
    if let Wanted::Named(names) = wanted {
        arguments.push("--");
        arguments.extend_from_slice(names);
    }
    let output = command::capture("dpkg-query", &arguments, Errors::Discard, TOOL)?;
    // Status 1 means that a requested package is not known.
    match (output.status.code(), wanted) {
        (Some(0), _) | (Some(1), Wanted::Named(_)) => {}
        _ => return Err(format!("dpkg-query failed: {}", output.status)),
    }
    Ok(output.text.lines().filter_map(dpkg_line).collect())
}

fn dpkg_line(line: &str) -> Option<Found> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [name, version, arch, status, flag] = fields.as_slice() else { return None };
    let status = match (*status, *flag) {
        ("not-installed" | "config-files", _) => Status::Absent,
        (_, "reinstreq") => Status::Broken(format!("{status}, must be installed again")),
        ("installed" | "triggers-awaited" | "triggers-pending", _) => Status::Installed,
        (other, _) => Status::Broken(other.to_owned()),
    };
    Some(Found {
        name: (*name).into(),
        version: (*version).into(),
        arch: (*arch).into(),
        kind: "deb",
        status,
    })
}

/// Queries rpm's database.
pub(crate) fn rpm(wanted: Wanted<'_>) -> Result<Vec<Found>, String> {
    let mut arguments = vec!["-q", "--qf", RPM_FORMAT];
    match wanted {
        Wanted::All => arguments.push("-a"),
        Wanted::Named(names) => {
            arguments.push("--");
            arguments.extend_from_slice(names);
        }
        Wanted::Owning(files) => {
            arguments.extend(["-f", "--"]);
            arguments.extend(files.iter().map(String::as_str));
        }
    }
    let output = command::capture("rpm", &arguments, Errors::Discard, TOOL)?;
    // The exit status is the number of packages that are not known.
    let is_complete =
        output.status.success() || (output.status.code().is_some() && !matches!(wanted, Wanted::All));
    if !is_complete {
        return Err(format!("rpm failed: {}", output.status));
    }
    let mut found: Vec<(u64, Found)> = output.text.lines().filter_map(rpm_line).collect();
    found.sort_by_key(|(installed, _)| *installed);
    Ok(found.into_iter().map(|(_, found)| found).collect())
}

fn rpm_line(line: &str) -> Option<(u64, Found)> {
    let fields: Vec<&str> = line.split('\t').collect();
    let ["", name, version, arch, installed] = fields.as_slice() else { return None };
    // Keys of repositories are in the database, but are not packages.
    if *name == "gpg-pubkey" {
        return None;
    }
    let status = Status::Installed;
    let found =
        Found { name: (*name).into(), version: (*version).into(), arch: (*arch).into(), kind: "rpm", status };
    Some((installed.parse().unwrap_or_default(), found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_dpkg_are_distinguished() {
        let status = |word: &str, flag: &str| {
            dpkg_line(&format!("a\t1\tall\t{word}\t{flag}")).map(|found| found.status)
        };
        assert_eq!(status("installed", "ok"), Some(Status::Installed));
        assert_eq!(status("triggers-pending", "ok"), Some(Status::Installed));
        assert_eq!(status("config-files", "ok"), Some(Status::Absent));
        assert_eq!(status("half-configured", "ok"), Some(Status::Broken("half-configured".into())));
        assert_eq!(
            status("unpacked", "reinstreq"),
            Some(Status::Broken("unpacked, must be installed again".into()))
        );
    }

    #[test]
    fn messages_of_rpm_are_not_packages() {
        assert!(rpm_line("package nothere is not installed").is_none());
        assert!(rpm_line("\tgpg-pubkey\t8-4\t(none)\t1").is_none());
        let (installed, found) = rpm_line("\tkernel\t1:5.14-362.el9\tx86_64\t1700000000").unwrap();
        assert_eq!((installed, found.version.as_str()), (1_700_000_000, "1:5.14-362.el9"));
    }

    /// A name that is interpreted as an option or a pattern would read something else.
    #[test]
    fn options_and_patterns_are_not_names() {
        for name in ["", "-i", "lib*", "a b", "[a]", "../x"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("libstdc++6:amd64"));
    }
}
