//! The firmware of the machine's devices, as its kernel and its tools list it.
//!
//! What cannot be read is left out: not every machine has every kind of device, driver or tool.

mod network;

use farrier_protocol::Firmware;
use std::fs;
use std::path::Path;

/// SMBIOS as the kernel's `dmi-id` shows it.
const DMI: &str = "/sys/class/dmi/id";

/// One directory for each controller, of the kernel's `nvme`.
const NVME: &str = "/sys/class/nvme";

/// Platform devices, among them one for each BMC, of the kernel's `ipmi_msghandler`.
const PLATFORM: &str = "/sys/bus/platform/devices";

/// Releases in SMBIOS that mean "not stated": 255.255 by the specification (type 0, offsets 14h to 17h), 0.0 in
/// virtual machines.
const NOT_STATED: [&str; 2] = ["255.255", "0.0"];

/// Reads the firmware of all devices, sorted by source and id.
pub(super) fn read() -> Vec<Firmware> {
    let mut all = dmi(Path::new(DMI));
    all.extend(bmcs(Path::new(PLATFORM)));
    all.extend(disks(Path::new(NVME)));
    all.extend(network::read());
    all.retain(|entry| !entry.version.is_empty());
    all.sort_by(|one, other| (&one.source, &one.id).cmp(&(&other.source, &other.id)));
    all
}

/// Returns the system firmware, and the embedded controller, by which some vendors state their BMC.
fn dmi(dir: &Path) -> Vec<Firmware> {
    let entry = |id: &str, name: String, version: String| Firmware {
        id: id.into(),
        name,
        version,
        source: "dmi".into(),
        ..Firmware::default()
    };
    let name = [value(dir, "bios_vendor"), "BIOS".into()].join(" ").trim().to_owned();
    let version = with_release(value(dir, "bios_version"), &release(dir, "bios_release"));
    vec![
        entry("bios", name, version),
        entry("ec", "Embedded controller".into(), release(dir, "ec_firmware_release")),
    ]
}

/// Adds the release to a version that does not contain it: HPE's version is the name of the family alone, for
/// instance `U30`.
fn with_release(version: String, release: &str) -> String {
    if version.contains(release) { version } else { format!("{version} {release}").trim().to_owned() }
}

fn release(dir: &Path, name: &str) -> String {
    let release = value(dir, name);
    if NOT_STATED.contains(&release.as_str()) { String::new() } else { release }
}

/// Returns the BMCs that the kernel has found. The kernel states the first two numbers of a version, which is
/// what IPMI's `Get Device ID` has in common for all vendors.
fn bmcs(dir: &Path) -> Vec<Firmware> {
    let bmc = |id: String| Firmware {
        version: value(&dir.join(&id), "firmware_revision"),
        name: "BMC".into(),
        source: "ipmi".into(),
        id,
        ..Firmware::default()
    };
    names(dir).into_iter().filter(|name| name.starts_with("ipmi_bmc.")).map(bmc).collect()
}

fn disks(dir: &Path) -> Vec<Firmware> {
    let disk = |name: String| {
        let dir = dir.join(&name);
        let address = value(&dir, "address");
        Firmware {
            id: if address.is_empty() { name } else { address },
            name: value(&dir, "model"),
            version: value(&dir, "firmware_rev"),
            source: "nvme".into(),
            ..Firmware::default()
        }
    };
    names(dir).into_iter().map(disk).collect()
}

/// Returns the names in a directory; none if it cannot be read.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Returns an attribute; empty if it cannot be read.
fn value(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `U30` is the version of every BIOS of one server model, so that an update would never be seen.
    #[test]
    fn a_version_without_its_release_gets_it() {
        for (version, release, whole) in [
            ("U30", "2.64", "U30 2.64"),
            ("2.12.2", "2.12", "2.12.2"),
            ("-[IVE160M-2.91]-", "2.91", "-[IVE160M-2.91]-"),
            ("1.16.2-debian", "", "1.16.2-debian"),
            ("", "", ""),
        ] {
            assert_eq!(with_release(version.into(), release), whole);
        }
    }
}
