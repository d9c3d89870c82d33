//! Finds the packages that the running system was booted from: those of its kernel and its modules.
//!
//! The packages are found by the files that they own, because their names and versions follow no rule that
//! holds on all distributions.

use super::packages::{self, Found, Wanted};
use crate::command::{self, Errors, TOOL};

/// Paths of a kernel's image and modules; the kernel's release is appended.
const PLACES: [&str; 3] = ["/boot/vmlinuz-", "/lib/modules/", "/usr/lib/modules/"];

/// Paths below the directory of the modules. Not every package with modules owns the directory itself.
const BELOW: [&str; 3] = ["", "/kernel", "/vmlinuz"];

/// Returns the packages in rpm's database. Empty if the query fails.
pub(crate) fn rpm() -> Vec<Found> {
    packages::rpm(Wanted::Owning(&files())).unwrap_or_default()
}

/// Returns the names of the packages in dpkg's database. Empty if the query fails.
pub(crate) fn deb() -> Vec<String> {
    let files = files();
    let mut arguments = vec!["-S", "--"];
    arguments.extend(files.iter().map(String::as_str));
    let found = command::capture("dpkg-query", &arguments, Errors::Discard, TOOL);
    // `one, other:amd64: /lib/modules/6.1`; also `diversion by one from: …`.
    let owners = |line: &str| Some(line.split_once(": ")?.0.replace(' ', ""));
    let found = found.map(|output| output.text.lines().filter_map(owners).collect::<Vec<_>>().join(","));
    found.unwrap_or_default().split(',').map(|name| packages::split(name).0.to_owned()).collect()
}

fn files() -> Vec<String> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    PLACES.iter().flat_map(|place| BELOW.map(|below| format!("{place}{release}{below}"))).collect()
}
