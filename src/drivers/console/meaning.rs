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
    /// A password was refused: for HTTPS, or for a mode with more rights.
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
            Self::AgreementMissing => Reason::AgreementMissing,
            Self::UnknownCommand => Reason::DeviceRefused,
            Self::SessionLimit => Reason::SessionLimitReached,
            Self::PasswordChange => Reason::PasswordChangeRequired,
            Self::Failed => Reason::InstallerFailed,
        }
    }

    /// Returns what the user does about words of a device.
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::AlreadyInstalled => "nothing is to be done",
            Self::ImageRefused => "use the vendor's image for this device",
            Self::WrongMachine => {
                "use the image for this model, or restrict the component with appliesTo in a new baseline"
            }
            Self::StepMissing => "install the version in between first, by a run with a baseline of its own",
            Self::NoRoom => "remove images that are not needed from the device",
            Self::FetchFailed => "check that the device reaches the ports of the run (`farrier ports`)",
            Self::Busy => {
                "it is tried again for some minutes; end the other work or session, or wait for its end"
            }
            Self::Locked => "change the setting of the device that locks it, or unlock the account",
            Self::NotReady => {
                "it is tried again for some minutes; repair what the device names, then start a new UpdateRun"
            }
            Self::RightsMissing => "give the account the rights of an administrator",
            Self::CredentialsRefused => "check the account and its passwords in the Secret",
            Self::LicenceMissing => "install the licence on the device",
            Self::AgreementMissing => {
                "read the licence agreement, and set spec.acceptEula of a new UpdateRun if you accept it"
            }
            Self::SessionLimit => "end the other session, or wait until it expires; Farrier tries again",
            Self::PasswordChange => "set a new password on the device, and store it in the Secret",
            Self::UnknownCommand => {
                "check spec.product of the ManagedNode, or correct the command in a product file of your own"
            }
            Self::Failed => "look at the log of the device",
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
