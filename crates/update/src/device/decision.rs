//! What a decision about a device can be.

use super::action::{ActionId, Change, Intent, Ticket, Verb};
use super::inventory::Obstacle;
use crate::model::Millis;
use crate::outcome::Outcome;
use crate::reason::Reason;
use std::fmt;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Read the device. Changes nothing there.
    Read,
    /// Make the plan from the latest reading, and pass it in.
    Plan,
    /// Record the action, then send its request if the record is still valid, then record the
    /// change that follows from the answer.
    Intend(Intent),
    /// Record the change; the device is not asked.
    Record(ActionId, Change),
    /// Ask the device how far a task is. Changes nothing there.
    Follow(ActionId, Ticket),
    /// Stop to offer the image of a pull request, unless the device has asked for it meanwhile.
    Withdraw(ActionId),
    /// Do nothing before this time.
    Wait {
        /// When to decide again.
        until: Millis,
        /// What is waited for.
        on: Waiting,
    },
    /// The attempt is over.
    Conclude(Conclusion),
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The device does not answer; it is asked again until the given time.
    Device(Millis),
    /// A task that the device works on, until the given time at the latest.
    Task(ActionId, Millis),
    /// The time after which nothing can arrive that was sent before the device was fenced.
    Fence(ActionId),
    /// A further reading of the device.
    Reading,
    /// Another manager's task, until the given time.
    Other(Millis),
    /// The end of the host's power-on self-test, until the given time.
    Post(Millis),
    /// The time that the device has named in its last answer.
    Asked(Millis),
    /// The next try of a request that the device refused.
    Retry(Verb),
}

impl Waiting {
    /// Returns the cause as a reason.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Device(_) => Reason::ConnectionLost,
            Self::Other(_) => Reason::MachineBusy,
            Self::Post(_) => Reason::HostInPost,
            Self::Asked(_) => Reason::DeviceUnavailable,
            Self::Task(..) | Self::Fence(_) | Self::Reading | Self::Retry(_) => Reason::InProgress,
        }
    }
}

/// Follows the words "waiting for".
impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(until) => write!(f, "an answer of the device, which is asked again until {until}"),
            Self::Task(id, until) => {
                write!(f, "the end of action {} on the device, until {until} at the latest", id.0)
            }
            Self::Fence(id) => {
                write!(f, "the end of all requests that were sent before action {} is judged", id.0)
            }
            Self::Reading => f.write_str("another reading of the device"),
            Self::Other(until) => write!(f, "the end of another manager's work on the device, until {until}"),
            Self::Post(until) => write!(f, "the end of the host's power-on self-test, until {until}"),
            Self::Asked(until) => write!(f, "the time before which the device takes no request, {until}"),
            Self::Retry(verb) => write!(f, "the next request of {verb:?}, which the device has refused"),
        }
    }
}

/// The result of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// How the attempt ended.
    pub end: DeviceEnd,
    /// The result of each component of the plan, in the order of the plan.
    pub components: Vec<(String, ComponentEnd)>,
    /// What may still be on the device.
    pub leftovers: Vec<Leftover>,
    /// What stays on the device because the user wants it to.
    pub kept: Vec<Kept>,
}

/// Something that stays on the device because the user wants it to: it was only to be staged, or no restart is
/// allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Name of the component.
    pub component: String,
    /// What it is.
    pub kind: KeptKind,
    /// The action that it comes from; `None` if an earlier run has left it.
    pub action: Option<ActionId>,
    /// The device's name for it.
    pub ticket: Ticket,
}

/// What stays on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeptKind {
    /// An image that is installed when somebody asks for it.
    Image,
    /// Work that goes on at a reset, whoever requests that.
    Waiting,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceEnd {
    /// Everything was done and verified.
    Succeeded,
    /// At least one component did not succeed.
    Failed,
    /// The run was cancelled.
    Cancelled,
    /// The device does not answer any more.
    Away,
    /// The device refuses the credentials.
    Refused(Reason),
}

/// The result of one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComponentEnd {
    /// Nothing was to be done, according to the plan or to a later reading.
    NotNeeded,
    /// The last inventory shows the wanted version, which was not installed before.
    Updated,
    /// The image is on the device, or waits there for a reset.
    Staged,
    /// Installed; takes effect after a reset that was not allowed.
    ResetPending,
    /// The device refused a request each time.
    Refused,
    /// The device could not take or stage the image.
    StagingFailed,
    /// The device has another version than the wanted one after the installation.
    NotVerified,
    /// It cannot be told whether the version was installed.
    Unverified,
    /// A component that it requires was not installed.
    DependencyFailed,
    /// Another manager kept the device busy for too long.
    Busy,
    /// Not begun, because of what the device shows.
    Obstructed(Obstacle),
    /// There is no way to do what was asked, such as to stage without installing.
    NotSupported,
    /// Not begun, because an earlier component left the device in an unknown state, or the attempt
    /// ended.
    NotBegun,
    /// Not begun, because the run was cancelled.
    Cancelled,
}

impl ComponentEnd {
    /// Reports whether what was asked for this component is done.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::NotNeeded | Self::Updated | Self::Staged)
    }

    /// Returns the result as an outcome; `None` where the plan decides.
    pub const fn outcome(self) -> Option<Outcome> {
        match self {
            Self::NotNeeded => None,
            Self::Updated => Some(Outcome::Updated),
            Self::Staged => Some(Outcome::Staged),
            Self::ResetPending => Some(Outcome::RebootPending),
            Self::Refused | Self::StagingFailed | Self::NotVerified => Some(Outcome::Failed),
            Self::Unverified => Some(Outcome::Unverified),
            Self::DependencyFailed
            | Self::Busy
            | Self::Obstructed(_)
            | Self::NotSupported
            | Self::NotBegun => Some(Outcome::Skipped),
            Self::Cancelled => Some(Outcome::Cancelled),
        }
    }

    /// Returns the cause as a reason.
    pub const fn reason(self) -> Reason {
        match self {
            Self::NotNeeded => Reason::NotRequired,
            Self::Updated => Reason::Updated,
            Self::Staged => Reason::Staged,
            Self::ResetPending => Reason::RebootPending,
            Self::Refused | Self::StagingFailed => Reason::InstallerFailed,
            Self::NotVerified => Reason::VersionNotReached,
            Self::Unverified => Reason::NotVerified,
            Self::DependencyFailed | Self::NotBegun => Reason::DependencyFailed,
            Self::Busy => Reason::MachineBusy,
            Self::Obstructed(obstacle) => obstacle.reason(),
            Self::NotSupported => Reason::NotYetSupported,
            Self::Cancelled => Reason::Cancelled,
        }
    }
}

/// Something that may still be on the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The action that it comes from.
    pub action: ActionId,
    /// The verb of that action, which tells what it is.
    pub verb: Verb,
    /// The device's name for it, if it is known.
    pub ticket: Option<Ticket>,
    /// When the device ends it by itself, where it says so.
    pub expires: Option<Millis>,
}
