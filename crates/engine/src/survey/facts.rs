//! Facts about the machine.

use super::packages::{Found, Managers};
use crate::boot;
use farrier_protocol::Facts;
use std::ffi::CStr;
use std::fs;
use std::path::Path;

/// The packages whose architecture is the one that dpkg and rpm install by default.
pub(super) const MANAGERS: [&str; 2] = ["dpkg", "rpm"];

/// Reads the facts. Facts that cannot be read are empty. `packages` are the packages that were listed.
pub(super) fn read(managers: Managers, packages: &[Found]) -> Facts {
    let release =
        fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
    let release = release.unwrap_or_default();
    let uname = rustix::system::uname();
    let text = |text: &CStr| text.to_string_lossy().into_owned();
    Facts {
        os: value(&release, "ID"),
        os_version: value(&release, "VERSION_ID"),
        os_like: value(&release, "ID_LIKE"),
        os_name: value(&release, "PRETTY_NAME"),
        arch: text(uname.machine()),
        kernel: text(uname.release()),
        hostname: text(uname.nodename()),
        vendor: smbios("sys_vendor"),
        model: smbios("product_name"),
        serial: smbios("product_serial"),
        bios_version: smbios("bios_version"),
        package_managers: managers.names().into(),
        dpkg_arch: arch_of("dpkg", "deb", packages),
        rpm_arch: arch_of("rpm", "rpm", packages),
        kernel_headers: kernel_headers(uname.release()),
        boot_id: boot::id().unwrap_or_default(),
    }
}

/// Returns the architecture of a package; empty if it is not installed.
fn arch_of(name: &str, kind: &str, packages: &[Found]) -> String {
    let found = packages.iter().find(|found| found.name == name && found.kind == kind);
    found.map_or_else(String::new, |found| found.arch.clone())
}

/// Returns the directory in which modules for this kernel are built; empty if its headers are not there.
fn kernel_headers(release: &CStr) -> String {
    let dir = format!("/lib/modules/{}/build", release.to_string_lossy());
    // Packages of modules own the directory too, and a link may lead to headers that were removed.
    let has_headers = Path::new(&dir).join("Makefile").exists();
    if has_headers { dir } else { String::new() }
}

fn smbios(name: &str) -> String {
    let text = fs::read_to_string(format!("/sys/class/dmi/id/{name}")).unwrap_or_default();
    text.trim().to_owned()
}

/// Returns one value of os-release, plain or in shell quotes.
fn value(release: &str, key: &str) -> String {
    let raw = release.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
    let raw = raw.unwrap_or_default().trim();
    for quote in ['"', '\''] {
        if let Some(inner) = raw.strip_prefix(quote).and_then(|raw| raw.strip_suffix(quote)) {
            return inner.replace("\\\"", "\"").replace("\\$", "$").replace("\\\\", "\\");
        }
    }
    raw.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_os_release_are_read_with_and_without_quotes() {
        let release = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\nID=debian\n";
        assert_eq!(value(release, "ID"), "debian");
        assert_eq!(value(release, "VERSION_ID"), "12");
        assert_eq!(value(release, "PRETTY_NAME"), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(value(release, "ID_LIKE"), "");
    }
}
