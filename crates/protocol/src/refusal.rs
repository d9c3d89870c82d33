//! Why the engine does not start an installer that it could start.

use serde::{Deserialize, Serialize};

/// Why an installer was not started although it could have been started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// The payload is a different package than the one that the step names, or is for a different
    /// architecture.
    OtherPackage,
    /// The package would replace a package of the same name for another architecture, or make both
    /// unusable.
    ArchitectureConflict,
    /// The package would remove a package that the running system was booted from.
    RemovesBooted,
    /// The machine's owner has decided against it: a hold, a pin, a version lock, an excluded package.
    Held,
    /// The package manager would upgrade, downgrade or remove packages that nobody asked for.
    ChangesOthers,
    /// No repository of the machine has the package in the version of the step.
    VersionNotAvailable,
    /// A repository of the machine could not be reached, and the others do not have the package.
    RepositoryUnreachable,
    /// The signature of a repository or of a package could not be verified.
    RepositoryUntrusted,
    /// The firmware is for no device of this machine, or not for the one that the step names.
    NotForMachine,
    /// The firmware is for several devices of this machine, and the step names none of them.
    AmbiguousDevice,
    /// The payload is not the kind of file that it should be, or its signature is not valid.
    ImageRefused,
    /// The machine or the device runs on a battery, or its battery is too low.
    OnBattery,
    /// The key of an encrypted disk may be bound to the firmware by a trusted module (TPM).
    TrustedModule,
    /// A reason of a later version.
    #[serde(other)]
    Unknown,
}
