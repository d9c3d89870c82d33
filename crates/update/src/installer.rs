//! The kinds of installers and what the update logic knows about each: one table.
//!
//! Which machines can use an installer is not in this table: each class of machine states its own, see [`Installers`].

use crate::outcome::ExitMeaning;
use crate::outcome::exit;
use crate::version::Scheme;
use farrier_protocol::Installer;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A package database on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackageManager {
    /// What a package of this database is called.
    pub(crate) title: &'static str,
    /// Its program, as in [`Facts::package_managers`](farrier_protocol::Facts::package_managers).
    pub(crate) program: &'static str,
    /// Its name in [`Instance::manager`](farrier_protocol::Instance::manager).
    pub(crate) database: &'static str,
}

const DPKG: PackageManager = PackageManager { title: "Debian", program: "dpkg", database: "deb" };
const RPM: PackageManager = PackageManager { title: "RPM", program: "rpm", database: "rpm" };

/// A row of the table.
struct Row {
    name: &'static str,
    versions: Scheme,
    exit: fn(i32) -> ExitMeaning,
    packages: Option<PackageManager>,
    engine: Option<Installer>,
    firmware: Firmware,
}

/// What an installer has to do with firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Firmware {
    /// It installs software.
    No,
    /// It installs firmware, whose version the machine may list or not.
    Flashes,
    /// It installs firmware, and the machine itself lists the installed version.
    Listed,
}

/// Declares the kinds, and for each kind: how versions are compared, the table of its exit codes, the package
/// database that it installs into, the engine's installer for it, and what it has to do with firmware.
macro_rules! installers {
    ($($(#[doc = $doc:literal])+ $name:ident: $versions:ident, $exit:ident, $packages:expr, $engine:expr, $firmware:ident;)+) => {
        /// How a component is installed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum InstallerKind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl InstallerKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            const fn row(self) -> Row {
                match self {
                    $(Self::$name => Row {
                        name: stringify!($name),
                        versions: Scheme::$versions,
                        exit: exit::$exit,
                        packages: $packages,
                        engine: $engine,
                        firmware: Firmware::$firmware,
                    },)+
                }
            }
        }
    };
}

installers! {
    /// A Debian package.
    Deb: Deb, deb, Some(DPKG), Some(Installer::Deb), No;
    /// An RPM package.
    Rpm: Rpm, rpm, Some(RPM), Some(Installer::Rpm), No;
    /// An executable file that installs something.
    Script: Natural, plain, None, Some(Installer::Script), No;
    /// A firmware cabinet for fwupd.
    Fwupd: Natural, fwupd, None, Some(Installer::Fwupd), Listed;
    /// A Dell update package.
    DellDup: Natural, dell_dup, None, Some(Installer::DellDup), Flashes;
    /// An HPE smart component for Linux.
    HpeSmartComponent: Natural, hpe_linux, None, Some(Installer::HpeSmartComponent), Flashes;
    /// The source tree of a kernel module, for DKMS.
    Tar: Natural, dkms, None, Some(Installer::Tar), No;
    /// An HPE component for Windows.
    WindowsComponent: Natural, hpe_windows, None, None, No;
    /// A Windows installer package.
    Msi: Natural, msi, None, None, No;
    /// A firmware image that a BMC installs over Redfish.
    RedfishImage: Natural, plain, None, None, Listed;
    /// An HP-UX software depot.
    SwinstallDepot: Sd, swinstall, None, None, No;
    /// An ESXi bundle.
    Vib: Natural, plain, None, None, No;
    /// An image for a switch or chassis manager.
    DeviceImage: Natural, plain, None, None, Listed;
}

impl InstallerKind {
    /// Returns the name as users write it in `installer`.
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// Returns the rules by which versions of such components are compared.
    pub const fn versions(self) -> Scheme {
        self.row().versions
    }

    /// Returns the meaning of an exit code of such an installer.
    pub fn exit(self, code: i32) -> ExitMeaning {
        (self.row().exit)(code)
    }

    /// Returns the engine's installer for this kind; `None` if the engine of this version has none.
    pub const fn engine(self) -> Option<Installer> {
        self.row().engine
    }

    /// Reports whether the machine itself lists the installed version as firmware.
    pub(crate) const fn is_firmware(self) -> bool {
        matches!(self.row().firmware, Firmware::Listed)
    }

    /// Reports whether such components are products of HP-UX's Software Distributor, which lists what is installed.
    pub(crate) const fn is_depot(self) -> bool {
        matches!(self, Self::SwinstallDepot)
    }

    /// Reports whether such components are kernel modules that are compiled on the machine.
    pub(crate) const fn compiles_modules(self) -> bool {
        matches!(self, Self::Tar)
    }

    /// Reports whether such an installer writes firmware, so that it must never be terminated.
    pub const fn flashes(self) -> bool {
        match self.row().firmware {
            Firmware::No => false,
            Firmware::Flashes | Firmware::Listed => true,
        }
    }

    /// Returns the database that such packages are installed into; `None` if components of this kind are not
    /// packages.
    pub(crate) const fn packages(self) -> Option<PackageManager> {
        self.row().packages
    }
}

/// The installers that this version of Farrier has.
#[derive(Debug, Clone, Copy)]
pub struct Installers<'a> {
    /// The installers for machines of one class.
    pub machine: &'a [InstallerKind],
    /// The installers for machines of any class.
    pub any: &'a [InstallerKind],
}

impl fmt::Display for InstallerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kind whose name differs between the API and the messages confuses users.
    #[test]
    fn installer_names_are_the_ones_of_the_api() {
        for kind in InstallerKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), serde_json::json!(kind.as_str()));
        }
    }
}
