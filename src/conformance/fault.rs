//! What may go wrong with a machine.

use std::fmt;

/// A fault of a machine that the kit can ask for. A machine for which it makes no sense says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The machine ends the session in the middle of the work, as with 401, or the connection.
    SessionLost,
    /// The machine restarts by itself in the middle of the work.
    ResetsItself,
    /// The machine forgets the work that it was told to do, and does it.
    WorkVanishes,
    /// The machine reports success, and nothing has changed.
    SuccessThatIsNone,
    /// The machine reports a failure, and has installed the version.
    FailureThatIsNone,
    /// The machine does what it is told, and its answer is lost.
    AnswerLost,
    /// The machine does not answer for a while when the attempt begins.
    Unavailable,
    /// The machine refuses the work for a while, because it does something else.
    Busy,
    /// The machine refuses the image for good.
    ImageRefused,
    /// Something else answers in place of the machine: its certificate or host key is another one.
    AnotherIdentity,
    /// The machine has to connect to Farrier, and cannot.
    WayBackShut,
}

/// When a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// It is there when the attempt begins.
    Before,
    /// It happens while the machine installs.
    AtWork,
}

/// How an update must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The version is installed, exactly once, and the result says so.
    Updated,
    /// The version is installed at most once. If nobody can tell whether it is, the result says so.
    AtMostOnce,
    /// Nothing is installed, and the result says so.
    NotUpdated,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 11] = [
        Self::SessionLost,
        Self::ResetsItself,
        Self::WorkVanishes,
        Self::SuccessThatIsNone,
        Self::FailureThatIsNone,
        Self::AnswerLost,
        Self::Unavailable,
        Self::Busy,
        Self::ImageRefused,
        Self::AnotherIdentity,
        Self::WayBackShut,
    ];

    pub(super) const fn when(self) -> When {
        match self {
            Self::SessionLost | Self::ResetsItself => When::AtWork,
            Self::WorkVanishes
            | Self::SuccessThatIsNone
            | Self::FailureThatIsNone
            | Self::AnswerLost
            | Self::Unavailable
            | Self::Busy
            | Self::ImageRefused
            | Self::AnotherIdentity
            | Self::WayBackShut => When::Before,
        }
    }

    /// How an update must end in spite of the fault.
    pub const fn expected(self) -> Expected {
        match self {
            Self::SessionLost | Self::FailureThatIsNone | Self::Unavailable | Self::Busy => Expected::Updated,
            Self::ResetsItself | Self::WorkVanishes | Self::AnswerLost => Expected::AtMostOnce,
            Self::SuccessThatIsNone | Self::ImageRefused | Self::AnotherIdentity | Self::WayBackShut => {
                Expected::NotUpdated
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SessionLost => "session lost",
            Self::ResetsItself => "resets itself",
            Self::WorkVanishes => "work vanishes",
            Self::SuccessThatIsNone => "success that is none",
            Self::FailureThatIsNone => "failure that is none",
            Self::AnswerLost => "answer lost",
            Self::Unavailable => "unavailable",
            Self::Busy => "busy",
            Self::ImageRefused => "image refused",
            Self::AnotherIdentity => "another identity",
            Self::WayBackShut => "way back shut",
        })
    }
}
