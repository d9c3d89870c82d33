//! What the engine reports, as reasons and next steps.

use super::Reason;
use farrier_protocol::{FailureCode, Refusal};

impl From<FailureCode> for Reason {
    fn from(code: FailureCode) -> Self {
        match code {
            FailureCode::DiskFull => Self::DiskFull,
            FailureCode::DigestMismatch => Self::PayloadDigestMismatch,
            FailureCode::PayloadUnavailable => Self::PayloadUnavailable,
            FailureCode::PackageManagerBusy => Self::PackageManagerBusy,
            FailureCode::InstallerMissing => Self::InstallerMissing,
            FailureCode::Other => Self::EngineFailed,
        }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::OtherPackage => Self::PackageMismatch,
            Refusal::ArchitectureConflict => Self::ArchitectureConflict,
            Refusal::RemovesBooted => Self::BootedPackageKept,
            Refusal::NotForMachine => Self::ImageNotForMachine,
            Refusal::AmbiguousDevice => Self::DeviceAmbiguous,
            Refusal::ImageRefused => Self::ImageRefused,
            Refusal::OnBattery => Self::OnBattery,
            Refusal::TrustedModule => Self::OverrideRequired,
            Refusal::Held => Self::PackageHeld,
            Refusal::ChangesOthers => Self::OtherPackagesAffected,
            Refusal::VersionNotAvailable => Self::VersionNotAvailable,
            Refusal::RepositoryUnreachable => Self::RepositoryUnreachable,
            Refusal::RepositoryUntrusted => Self::RepositoryUntrusted,
            Refusal::Unknown => Self::InstallerFailed,
        }
    }
}

/// Returns what a user can do after the engine refused to start an installer.
pub const fn refusal_remedy(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::OtherPackage => {
            "correct the payload, or the name, version and detect (package, architecture, module) of the \
             component, in a new baseline"
        }
        Refusal::ArchitectureConflict => {
            "remove the other package from the machine, or bring both to the same version"
        }
        Refusal::Held => "lift that there, or allow the installation with spec.force.holds of a new run",
        Refusal::ChangesOthers => {
            "add these packages to the baseline with their versions, or change them on the machine"
        }
        Refusal::VersionNotAvailable => {
            "correct the version in a new baseline, or add a repository to the machine"
        }
        Refusal::RepositoryUnreachable => {
            "repair the repository or the way to it, or disable it on the machine"
        }
        Refusal::RepositoryUntrusted => {
            "find out what changed, or install the key of the repository on the machine"
        }
        Refusal::RemovesBooted => "boot the machine from another kernel and start a new run",
        Refusal::NotForMachine => {
            "use the firmware for this model, correct detect.firmware, or restrict the component with appliesTo"
        }
        Refusal::AmbiguousDevice => "name one of them with detect.firmware in a new baseline",
        Refusal::ImageRefused => "use the vendor's file for this installer in a new baseline",
        Refusal::OnBattery => "connect it to mains and start a new run",
        Refusal::TrustedModule => {
            "have the recovery keys of the disks at hand, and set spec.force.trustedModule of a new UpdateRun"
        }
        Refusal::Unknown => remedy(FailureCode::Other),
    }
}

/// Returns what a user can do about a failure of the engine.
pub const fn remedy(code: FailureCode) -> &'static str {
    match code {
        FailureCode::DiskFull => "make room there and start a new run",
        FailureCode::DigestMismatch => "find out what changed the payload in transit",
        FailureCode::PayloadUnavailable => "look at the operator's log",
        FailureCode::PackageManagerBusy => "wait until that process has ended, or terminate it",
        FailureCode::InstallerMissing => "restrict the component with appliesTo",
        FailureCode::Other => "look at the log on the machine, see status.logs",
    }
}
