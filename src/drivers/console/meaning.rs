//! What a device means by words that refuse a command or end it.

use farrier_update::Reason;
use serde::Deserialize;

/// What a device means by its words. A product file has them in this spelling: `already-installed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meaning {
    /// The device has this version already.
    AlreadyInstalled,
    /// The image is damaged, unsigned, or not an image.
    ImageRefused,
    /// The image is for another model.
    WrongMachine,
    /// A version in between has to be installed first.
    StepMissing,
    /// There is no room for the image.
    NoRoom,
    /// The device could not fetch the image: server, path, sign-in or network.
    FetchFailed,
    /// Other work is under way, or another administrator has the device.
    Busy,
    /// The device is locked by its configuration: a mode, a policy, a setting.
    Locked,
    /// The device, its standby or its partner is not in a state in which it can be updated.
    NotReady,
    /// The account may not do this.
    RightsMissing,
    /// The sign-in over HTTPS was refused.
    CredentialsRefused,
    /// A licence key is missing.
    LicenceMissing,
    /// The licence agreement is not accepted.
    AgreementMissing,
    /// There is no session left.
    SessionLimit,
    /// The account needs a new password first.
    PasswordChange,
    /// The device does not know the command.
    UnknownCommand,
    /// The installation failed.
    Failed,
}

impl Meaning {
    /// Returns the reason that users see.
    pub const fn reason(self) -> Reason {
        match self {
            Self::AlreadyInstalled => Reason::AlreadyCurrent,
            Self::ImageRefused => Reason::ImageRefused,
            Self::WrongMachine => Reason::ImageNotForMachine,
            Self::StepMissing => Reason::PrerequisiteMissing,
            Self::NoRoom => Reason::DeviceFull,
            Self::FetchFailed => Reason::FetchFailed,
            Self::Busy => Reason::MachineBusy,
            Self::Locked => Reason::DeviceLocked,
            Self::NotReady => Reason::DeviceUnavailable,
            Self::RightsMissing => Reason::RightsMissing,
            Self::CredentialsRefused => Reason::AuthenticationFailed,
            Self::LicenceMissing => Reason::LicenceMissing,
            Self::AgreementMissing | Self::UnknownCommand => Reason::DeviceRefused,
            Self::SessionLimit => Reason::SessionLimitReached,
            Self::PasswordChange => Reason::PasswordChangeRequired,
            Self::Failed => Reason::InstallerFailed,
        }
    }

    /// Reports whether the same command may succeed later without anybody's help.
    pub const fn passes(self) -> bool {
        match self {
            Self::Busy | Self::NotReady | Self::SessionLimit => true,
            Self::AlreadyInstalled
            | Self::ImageRefused
            | Self::WrongMachine
            | Self::StepMissing
            | Self::NoRoom
            | Self::FetchFailed
            | Self::Locked
            | Self::RightsMissing
            | Self::CredentialsRefused
            | Self::LicenceMissing
            | Self::AgreementMissing
            | Self::PasswordChange
            | Self::UnknownCommand
            | Self::Failed => false,
        }
    }
}
