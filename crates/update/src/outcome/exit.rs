//! The meaning of an installer's exit code: one table per kind, because the kinds contradict each
//! other.
//!
//! Code 0 means "failed to install" for a Windows component and success for every other kind; code 1
//! means success for a Windows component and failure for an RPM. Sources: HPE's return codes for
//! components, Dell's for update packages, the manual pages of fwupd, dpkg, rpm and msiexec.

/// The meaning of an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitMeaning {
    /// Installed.
    Done,
    /// Installed; takes effect after a reboot.
    DoneRebootNeeded,
    /// Nothing was installed, and nothing needed to be.
    Nothing(&'static str),
    /// The installation was cancelled at the machine.
    Cancelled,
    /// Not installed.
    Failed(&'static str),
}

impl ExitMeaning {
    /// Reports whether the installer says that its work is done.
    pub const fn is_done(self) -> bool {
        match self {
            Self::Done | Self::DoneRebootNeeded => true,
            Self::Nothing(_) | Self::Cancelled | Self::Failed(_) => false,
        }
    }

    /// Returns the meaning in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "installed",
            Self::DoneRebootNeeded => "installed, reboot needed",
            Self::Nothing(why) | Self::Failed(why) => why,
            Self::Cancelled => "cancelled at the machine",
        }
    }
}

pub(crate) fn plain(code: i32) -> ExitMeaning {
    match code {
        0 => ExitMeaning::Done,
        126 => ExitMeaning::Failed("it cannot be executed"),
        127 => ExitMeaning::Failed("a command was not found"),
        _ => ExitMeaning::Failed("failed"),
    }
}

pub(crate) fn deb(code: i32) -> ExitMeaning {
    match code {
        0 => ExitMeaning::Done,
        1 => ExitMeaning::Failed("the package could not be installed"),
        2 => ExitMeaning::Failed("dpkg met a fatal error, such as a locked or damaged database"),
        100 => ExitMeaning::Failed("apt could not install the package"),
        _ => ExitMeaning::Failed("failed"),
    }
}

/// The exit code of rpm is the number of packages that failed. The codes from 100 are zypper's, from the
/// repositories of the machine.
pub(crate) fn rpm(code: i32) -> ExitMeaning {
    match code {
        0 | 103 => ExitMeaning::Done,
        1 => ExitMeaning::Failed("the package could not be installed"),
        9 => ExitMeaning::Failed("the package could not be verified"),
        102 => ExitMeaning::DoneRebootNeeded,
        107 => ExitMeaning::Failed("a script of the package failed"),
        _ => ExitMeaning::Failed("packages could not be installed"),
    }
}

pub(crate) fn fwupd(code: i32) -> ExitMeaning {
    match code {
        0 => ExitMeaning::Done,
        2 => ExitMeaning::Nothing("nothing to do"),
        3 => ExitMeaning::Failed("the device or file was not found"),
        4 => ExitMeaning::Failed("the device cannot be reached"),
        _ => ExitMeaning::Failed("failed"),
    }
}

pub(crate) fn dell_dup(code: i32) -> ExitMeaning {
    match code {
        0 => ExitMeaning::Done,
        2 | 6 => ExitMeaning::DoneRebootNeeded,
        3 => {
            ExitMeaning::Nothing("the same or a newer version is installed, or a soft dependency is not met")
        }
        4 => ExitMeaning::Failed("a dependency is not met that cannot be forced"),
        5 => ExitMeaning::Nothing("it does not apply to this machine"),
        9 => ExitMeaning::Failed("the package could not be verified"),
        _ => ExitMeaning::Failed("failed"),
    }
}

/// The codes of dkms 3, which the engine passes on.
pub(crate) fn dkms(code: i32) -> ExitMeaning {
    match code {
        0 => ExitMeaning::Done,
        6 => ExitMeaning::Failed("the kernel itself has the module in the same or a newer version"),
        10 => ExitMeaning::Failed("the module could not be compiled"),
        77 => ExitMeaning::Failed("the module is not for this kernel, says its dkms.conf"),
        _ => ExitMeaning::Failed("failed"),
    }
}

/// HPE smart components for Linux. The tables for single and for multiple devices disagree about 2 and
/// 3, but in neither table do these codes mean that something was installed.
pub(crate) fn hpe_linux(code: i32) -> ExitMeaning {
    match code {
        0 => ExitMeaning::Done,
        1 => ExitMeaning::DoneRebootNeeded,
        2 => ExitMeaning::Nothing("not attempted, or the same version is installed"),
        3 => ExitMeaning::Failed("failed, or an older version, no such hardware, or not supported"),
        4 => ExitMeaning::Failed("the remote target was not found"),
        5 => ExitMeaning::Cancelled,
        6 => ExitMeaning::Failed("a dependency or a tool is missing"),
        7 => ExitMeaning::Failed("the flash itself failed"),
        _ => ExitMeaning::Failed("failed"),
    }
}

/// HPE components for Windows (`cp*.exe`), where 0 means failure.
pub(crate) fn hpe_windows(code: i32) -> ExitMeaning {
    match code {
        0 => ExitMeaning::Failed("failed to install"),
        1 => ExitMeaning::Done,
        2 => ExitMeaning::DoneRebootNeeded,
        3 => ExitMeaning::Nothing("not attempted, because it is not needed"),
        _ => ExitMeaning::Failed("failed"),
    }
}

pub(crate) fn msi(code: i32) -> ExitMeaning {
    match code {
        0 => ExitMeaning::Done,
        1602 => ExitMeaning::Cancelled,
        1618 => ExitMeaning::Failed("another installation is in progress"),
        1638 => ExitMeaning::Nothing("another version of the product is installed"),
        1641 | 3010 => ExitMeaning::DoneRebootNeeded,
        _ => ExitMeaning::Failed("failed"),
    }
}

/// HP-UX's swinstall with one target, and with `-x return_warning_exitcode=true`, without which a warning is 0
/// (swinstall(1M), "Return Values").
pub(crate) fn swinstall(code: i32) -> ExitMeaning {
    match code {
        0 | 2 => ExitMeaning::Done,
        1 => ExitMeaning::Failed("swinstall ended with errors"),
        126 => ExitMeaning::Failed("swinstall cannot be executed"),
        127 => ExitMeaning::Failed("there is no swinstall"),
        _ => ExitMeaning::Failed("failed"),
    }
}

/// Returns the meaning of the result of a whole HP SUM run, on Windows and on Linux.
///
/// This function is for users of SUM who want to compare results: a shell on Linux shows -1 as 255.
pub const fn sum_result(code: i32) -> ExitMeaning {
    match code {
        0 => ExitMeaning::Done,
        1 => ExitMeaning::DoneRebootNeeded,
        3 => ExitMeaning::Nothing("not required"),
        -1 | 255 => ExitMeaning::Failed("general failure"),
        -2 | 254 => ExitMeaning::Failed("bad parameter"),
        -3 | 253 => ExitMeaning::Failed("a component failed"),
        _ => ExitMeaning::Failed("failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installer::InstallerKind;
    use ExitMeaning::{Cancelled, Done, DoneRebootNeeded};

    /// Compares a row of a table. `Nothing` and `Failed` are distinguished, their texts are not.
    fn row(installer: InstallerKind, codes: &[i32]) -> String {
        let letter = |&code: &i32| match installer.exit(code) {
            Done => 'd',
            DoneRebootNeeded => 'r',
            ExitMeaning::Nothing(_) => 'n',
            Cancelled => 'c',
            ExitMeaning::Failed(_) => 'f',
        };
        codes.iter().map(letter).collect()
    }

    /// The tables of domain.md 1.6. A wrong cell reports a failed firmware flash as success.
    #[test]
    fn the_documented_tables_hold() {
        assert_eq!(row(InstallerKind::WindowsComponent, &[0, 1, 2, 3, 4]), "fdrnf");
        assert_eq!(row(InstallerKind::HpeSmartComponent, &[0, 1, 2, 3, 4, 5, 6, 7, 8]), "drnffcfff");
        assert_eq!(row(InstallerKind::Rpm, &[0, 1, 2, 9, 102, 103, 107]), "dfffrdf");
        assert_eq!(row(InstallerKind::DellDup, &[0, 1, 2, 3, 4, 5, 6, 9]), "dfrnfnrf");
        assert_eq!(row(InstallerKind::Fwupd, &[0, 1, 2, 3]), "dfnf");
        assert_eq!(row(InstallerKind::Tar, &[0, 1, 6, 10, 77]), "dffff");
        assert_eq!(row(InstallerKind::Deb, &[0, 1, 2, 3, 100]), "dffff");
        assert_eq!(row(InstallerKind::Script, &[0, 1, 2, 3, 255, -1]), "dfffff");
        assert_eq!(row(InstallerKind::SwinstallDepot, &[0, 1, 2, 3, 127, -1]), "dfdfff");
        assert_eq!(row(InstallerKind::Msi, &[0, 1602, 1603, 1618, 1638, 1641, 3010]), "dcffnrr");
    }

    /// Users who migrate from SUM compare its results with ours.
    #[test]
    fn results_of_sum_are_known_on_both_systems() {
        assert_eq!(sum_result(0), Done);
        assert_eq!(sum_result(1), DoneRebootNeeded);
        assert_eq!(sum_result(-3), sum_result(253));
        assert_eq!(sum_result(-1), sum_result(255));
        assert_eq!(sum_result(-2), sum_result(254));
    }

    /// No kind of installer except Windows components may report "done, no reboot" with a code other
    /// than 0.
    #[test]
    fn zero_means_done_except_for_windows_components() {
        for &kind in InstallerKind::ALL {
            let done = kind.exit(0) == Done;
            assert_eq!(done, kind != InstallerKind::WindowsComponent, "{kind}");
        }
    }
}
