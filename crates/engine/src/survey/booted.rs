//! Finds the packages that the running system was booted from: those of its kernel and its modules.
//!
//! The packages are found by the files that they own, because their names and versions follow no rule that
//! holds on all distributions.

use super::packages::{self, Found, Wanted};
use crate::command::{self, Errors, TOOL};

/// Files that only a kernel or its own modules have; `R` is the kernel's release. The directory of the modules
/// itself is not among them: packages with drivers own it too.
const FILES: [&str; 9] = [
    "/boot/vmlinuz-R",
    "/lib/modules/R/vmlinuz",
    "/lib/modules/R/modules.builtin",
    "/lib/modules/R/modules.order",
    "/lib/modules/R/kernel",
    "/usr/lib/modules/R/vmlinuz",
    "/usr/lib/modules/R/modules.builtin",
    "/usr/lib/modules/R/modules.order",
    "/usr/lib/modules/R/kernel",
];

/// Returns the packages in rpm's database.
///
/// # Errors
/// rpm did not answer, so any package may be one of them.
pub(crate) fn rpm() -> Result<Vec<Found>, String> {
    packages::rpm(Wanted::Owning(&files())).map_err(|message| unknown(&message))
}

/// Returns the names of the packages in dpkg's database.
///
/// # Errors
/// dpkg did not answer, so any package may be one of them.
pub(crate) fn deb() -> Result<Vec<String>, String> {
    let files = files();
    let mut arguments = vec!["-S", "--"];
    arguments.extend(files.iter().map(String::as_str));
    let output = command::capture("dpkg-query", &arguments, Errors::Discard, TOOL)
        .map_err(|message| unknown(&message))?;
    // Status 1 means that no package owns one of the files.
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(unknown(&format!("dpkg-query failed: {}", output.status)));
    }
    // `one, other:amd64: /lib/modules/6.1`; also `diversion by one from: …`.
    let owners = |line: &str| Some(line.split_once(": ")?.0.replace(' ', ""));
    let names = output.text.lines().filter_map(owners).collect::<Vec<_>>().join(",");
    Ok(names.split(',').map(|name| packages::split(name).0.to_owned()).collect())
}

fn unknown(message: &str) -> String {
    format!("the packages that this machine was booted from could not be determined: {message}")
}

fn files() -> Vec<String> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    FILES.iter().map(|file| file.replace('R', &release)).collect()
}
