//! What the engine reads from a machine.

use serde::{Deserialize, Serialize};

/// How the installed version of a component is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Detect {
    /// Name of a package in the machine's package database (dpkg or rpm), as `name` or
    /// `name:architecture`. Without an architecture, every package of that name is read, and the
    /// reading's instances say which architecture each one is for.
    Package(String),
    /// A command line for `/bin/sh -c`. If it exits with status 0, the first line of its output, trimmed,
    /// is the version. With any other status, the component is not installed.
    Command(String),
    /// An absolute path. The first line of the file, trimmed, is the version. If the file does not exist,
    /// the component is not installed.
    File(String),
    /// An entry of the machine's firmware list, by its id, its name or a GUID of its firmware, exactly. If
    /// the machine has no such entry, or several, the reading is `Unreadable`.
    Firmware(String),
    /// A module of DKMS, by the `PACKAGE_NAME` of its `dkms.conf`. Its version is the one that is installed for
    /// the running kernel.
    Module(String),
}

/// What a detection found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reading {
    /// The component is not on the machine.
    Absent,
    /// The component is installed and usable.
    Present {
        /// The version, as the machine writes it. If a package is installed in several versions, the
        /// version that was installed last.
        version: String,
        /// For a package: everything that is installed under its name. Empty for other detections, and from
        /// engines that do not report it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        instances: Vec<Instance>,
        /// For firmware: another version that is on the device and not in effect yet. For a module of DKMS: the
        /// version itself, if the kernel has loaded another build of the module. `None` for other
        /// detections, and from engines that do not report it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pending: Option<Pending>,
    },
    /// The component is installed but not usable, for instance a half-configured package.
    Broken {
        /// The version, as the machine writes it; may be empty.
        version: String,
        /// What is wrong with it, for instance dpkg's `half-configured`.
        detail: String,
        /// As in [`Reading::Present`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        instances: Vec<Instance>,
    },
    /// The version could not be read; this is *not* the same as absent.
    Unreadable {
        /// Why it could not be read.
        detail: String,
    },
    /// A kind of a later version. It is treated as `Unreadable`.
    #[serde(other)]
    Unknown,
}

impl Reading {
    /// As [`crate::EventBody::quotations`].
    pub(crate) fn quotation(&mut self) -> Option<&mut String> {
        match self {
            Self::Broken { version: _, detail, instances: _ } | Self::Unreadable { detail } => Some(detail),
            Self::Absent | Self::Present { .. } | Self::Unknown => None,
        }
    }

    /// Returns a reading of a usable version without package instances.
    pub fn present(version: impl Into<String>) -> Self {
        Self::Present { version: version.into(), instances: Vec::new(), pending: None }
    }

    /// Returns a reading of an unusable version without package instances.
    pub fn broken(version: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Broken { version: version.into(), detail: detail.into(), instances: Vec::new() }
    }

    /// Returns everything that is installed under the name of a package.
    pub fn instances(&self) -> &[Instance] {
        match self {
            Self::Present { instances, .. } | Self::Broken { instances, .. } => instances,
            Self::Absent | Self::Unreadable { .. } | Self::Unknown => &[],
        }
    }
}

/// One installed version of a package, for one architecture.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Instance {
    /// Full version: epoch, version, release.
    pub version: String,
    /// Architecture, as the package manager writes it.
    pub arch: String,
    /// `deb` or `rpm`.
    pub kind: String,
    /// What is wrong with it, for instance dpkg's `half-configured`; empty if it is usable.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub broken: String,
    /// Whether the running kernel or its modules belong to this version. Determined only if a package is
    /// installed in several versions.
    #[serde(skip_serializing_if = "is_false")]
    pub booted: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A version that is on the machine and not in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The version.
    pub version: String,
    /// What puts it into effect.
    pub until: PendingUntil,
}

/// What puts a version into effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PendingUntil {
    /// A reboot of the machine.
    Reboot,
    /// Switching the machine off and on again.
    PowerCycle,
    /// A command to the device, which fwupd gives when the machine shuts down.
    Activation,
    /// A reboot of the machine, or that the module is unloaded and loaded again.
    ModuleLoad,
    /// Something of a later version. It is treated as `Reboot`.
    #[serde(other)]
    Unknown,
}

/// Facts about a machine. An empty string means that the fact is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// `ID` of os-release, for instance `debian`.
    pub os: String,
    /// `VERSION_ID` of os-release, for instance `12`.
    pub os_version: String,
    /// `ID_LIKE` of os-release, separated by blanks.
    pub os_like: String,
    /// `PRETTY_NAME` of os-release.
    pub os_name: String,
    /// Machine hardware name as `uname -m` prints it, for instance `x86_64`.
    pub arch: String,
    /// Kernel release as `uname -r` prints it.
    pub kernel: String,
    /// Host name.
    pub hostname: String,
    /// System vendor from SMBIOS.
    pub vendor: String,
    /// Product name from SMBIOS.
    pub model: String,
    /// Product serial number from SMBIOS.
    pub serial: String,
    /// BIOS version from SMBIOS.
    pub bios_version: String,
    /// `dpkg`, `rpm`, both separated by a blank, or empty.
    pub package_managers: String,
    /// The architecture that dpkg installs by default, for instance `amd64`. It differs from `arch`
    /// on a 32-bit system with a 64-bit kernel.
    pub dpkg_arch: String,
    /// The architecture of the installed package `rpm`. It differs from `arch` on a 32-bit system with a
    /// 64-bit kernel. Empty if there is no such package, or the engine's version does not report it.
    pub rpm_arch: String,
    /// Directory of the headers for modules of the running kernel. Empty if they are not installed, or the
    /// engine's version does not report it.
    pub kernel_headers: String,
    /// Boot id of the machine. Empty if the engine's version does not report it.
    pub boot_id: String,
}

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Full version: epoch, version, release.
    pub version: String,
    /// Architecture, as the package manager writes it.
    pub arch: String,
    /// `deb` or `rpm`.
    pub kind: String,
}

/// The firmware of one device, as the machine lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Firmware {
    /// Id of the entry, unique among the entries of its source: `bios`, the address of a device on its bus, or
    /// what a tool names it.
    pub id: String,
    /// Name of the device, for people.
    pub name: String,
    /// Installed version, as the source writes it; empty if the source does not state it.
    pub version: String,
    /// Where the entry was read: `dmi`, `ethtool`, `nvme`, `ipmi`, or another word of a later version.
    pub source: String,
    /// Identifies the firmware rather than the device, for instance a GUID of fwupd; empty if the source states
    /// none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub software_id: String,
    /// Whether the source says that it can update the device.
    #[serde(skip_serializing_if = "is_false")]
    pub updateable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// An engine of the previous version reports readings without instances, and facts without dpkg's
    /// architecture. If they could not be read, no run would survive an upgrade of the operator.
    #[test]
    fn readings_and_facts_of_an_older_engine_are_read() {
        let read = |value| serde_json::from_value::<Reading>(value).unwrap();
        assert_eq!(read(json!({"state": "present", "version": "1"})), Reading::present("1"));
        let broken = json!({"state": "broken", "version": "1", "detail": "unpacked"});
        assert_eq!(read(broken), Reading::broken("1", "unpacked"));
        let facts: Facts = serde_json::from_value(json!({"arch": "x86_64"})).unwrap();
        assert_eq!((facts.arch.as_str(), facts.dpkg_arch.as_str()), ("x86_64", ""));
    }

    /// An operator of the previous version knows only `state` and `version`. It ignores new fields as long
    /// as the known fields are unchanged.
    #[test]
    fn an_older_operator_finds_what_it_knows() {
        let instance = |version: &str, booted| Instance {
            version: version.into(),
            arch: "x86_64".into(),
            kind: "rpm".into(),
            broken: String::new(),
            booted,
        };
        let reading = Reading::Present {
            version: "2".into(),
            instances: vec![instance("1", true), instance("2", false)],
            pending: None,
        };
        let written = json!({
            "state": "present",
            "version": "2",
            "instances": [
                {"version": "1", "arch": "x86_64", "kind": "rpm", "booted": true},
                {"version": "2", "arch": "x86_64", "kind": "rpm"},
            ],
        });
        assert_eq!(serde_json::to_value(&reading).unwrap(), written);
        assert_eq!(serde_json::from_value::<Reading>(written).unwrap(), reading);
        assert_eq!(
            serde_json::to_value(Reading::present("1")).unwrap(),
            json!({"state": "present", "version": "1"})
        );
    }
}
