//! What the engine reads from a machine.

use serde::{Deserialize, Serialize};

/// How the installed version of a component is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Detect {
    /// Name of a package in the machine's package database (dpkg or rpm).
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
        /// The version, as the machine writes it.
        version: String,
    },
    /// There, but not in a usable state, such as a half-configured package.
    Broken {
        /// The version, as the machine writes it; may be empty.
        version: String,
        /// What is wrong, for instance dpkg's `half-configured`.
        detail: String,
    },
    /// Could not be read; this is *not* the same as absent.
    Unreadable {
        /// Why not.
        detail: String,
    },
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
