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
    /// A command line for `/bin/sh -c`. Exit status 0: its first line of output, trimmed, is
    /// the version. Any other exit status: the component is not installed.
    Command(String),
    /// An absolute path. The first line of the file, trimmed, is the version; no such file:
    /// the component is not installed.
    File(String),
}

/// What a detection found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reading {
    /// Not on the machine.
    Absent,
    /// Installed and usable, in this version.
    Present {
        /// The version, as the machine writes it. Of a package that is installed several times,
        /// the version that was installed last.
        version: String,
        /// Of a package: everything that is installed under its name. Empty for other detections,
        /// and from engines that do not report it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        instances: Vec<Instance>,
    },
    /// There, but not in a usable state, such as a half-configured package.
    Broken {
        /// The version, as the machine writes it; may be empty.
        version: String,
        /// What is wrong, for instance dpkg's `half-configured`.
        detail: String,
        /// As in [`Reading::Present`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        instances: Vec<Instance>,
    },
    /// Could not be read; this is *not* the same as absent.
    Unreadable {
        /// Why not.
        detail: String,
    },
    /// Reported in a way that only a later version knows. It says as little as `Unreadable`.
    #[serde(other)]
    Unknown,
}

impl Reading {
    /// A usable version that is no package, or a package of which nothing else is known.
    pub fn present(version: impl Into<String>) -> Self {
        Self::Present { version: version.into(), instances: Vec::new() }
    }

    /// An unusable version of something of which nothing else is known.
    pub fn broken(version: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Broken { version: version.into(), detail: detail.into(), instances: Vec::new() }
    }

    /// Everything that is installed under the name of a package.
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
    /// Whether the running kernel or its modules belong to it. Determined only where a package is
    /// installed in several versions.
    #[serde(skip_serializing_if = "is_false")]
    pub booted: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// What a machine is. Empty string: not known.
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// An engine of the version before reports a reading without instances, and facts without
    /// dpkg's architecture. If they could not be read, no run would survive the operator's upgrade.
    #[test]
    fn readings_and_facts_of_an_older_engine_are_read() {
        let read = |value| serde_json::from_value::<Reading>(value).unwrap();
        assert_eq!(read(json!({"state": "present", "version": "1"})), Reading::present("1"));
        let broken = json!({"state": "broken", "version": "1", "detail": "unpacked"});
        assert_eq!(read(broken), Reading::broken("1", "unpacked"));
        let facts: Facts = serde_json::from_value(json!({"arch": "x86_64"})).unwrap();
        assert_eq!((facts.arch.as_str(), facts.dpkg_arch.as_str()), ("x86_64", ""));
    }

    /// The operator of the version before knows nothing but `state` and `version`. It takes no
    /// notice of what it does not know, as long as what it knows is where it was.
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
