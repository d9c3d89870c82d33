//! Why a request has no usable answer.

use super::link::NotALink;
use super::message::Messages;
use super::words::Meaning;
use crate::drivers::https::{NotOpen, handshake_reason, handshake_words};
use crate::failure::Failure;
use crate::tls::HandshakeProblem;
use farrier_update::Reason;
use std::fmt;
use std::time::Duration;

/// A request without a usable answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", .kind.words(.node, .asked))]
pub struct Trouble {
    /// Name of the machine.
    pub node: String,
    /// Method and path of the request, for messages.
    pub asked: String,
    /// What happened.
    pub kind: Kind,
}

/// What happened to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// No address of the device was connected to.
    Unreachable(Failure),
    /// The TLS handshake failed.
    Handshake(HandshakeProblem),
    /// The connection ended before the answer was complete.
    Lost {
        /// Whether the device may have begun to carry out the request.
        begun: bool,
        /// The error of the connection.
        cause: String,
    },
    /// There was no complete answer in time.
    TimedOut {
        /// Whether the device may have begun to carry out the request.
        begun: bool,
        /// The timeout.
        limit: Duration,
    },
    /// The answer cannot be read; the text says why.
    Unreadable(String),
    /// A link or a redirect must not be followed.
    Elsewhere(NotALink),
    /// The device answered with the status of an error.
    Refused(Refusal),
    /// The sign-in failed, so that the request was not sent.
    SignIn(Failure),
}

/// An answer with the status of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What the device says about it.
    pub messages: Messages,
    /// When the device wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl Trouble {
    /// Reports whether the device may have begun to carry out the request. If not, nothing has changed there.
    pub fn may_have_begun(&self) -> bool {
        match &self.kind {
            Kind::Unreachable(_) | Kind::Handshake(_) | Kind::SignIn(_) => false,
            Kind::Lost { begun, .. } | Kind::TimedOut { begun, .. } => *begun,
            // Of what was begun, errors of the server itself prove nothing.
            Kind::Refused(refusal) => refusal.status >= 500,
            Kind::Unreadable(_) | Kind::Elsewhere(_) => true,
        }
    }

    /// Returns the status of an answer that is an error.
    pub fn status(&self) -> Option<u16> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// Returns the answer of a device that is an error.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match &self.kind {
            Kind::Refused(refusal) => Some(refusal),
            Kind::Unreachable(_)
            | Kind::Handshake(_)
            | Kind::Lost { .. }
            | Kind::TimedOut { .. }
            | Kind::Unreadable(_)
            | Kind::Elsewhere(_)
            | Kind::SignIn(_) => None,
        }
    }

    /// Reports whether the device has answered about this very resource, so that others may be well.
    pub fn is_about_resource(&self) -> bool {
        match &self.kind {
            Kind::Refused(refusal) => !matches!(refusal.status, 401 | 429 | 503),
            Kind::Unreadable(_) | Kind::Elsewhere(_) => true,
            Kind::Unreachable(_)
            | Kind::Handshake(_)
            | Kind::Lost { .. }
            | Kind::TimedOut { .. }
            | Kind::SignIn(_) => false,
        }
    }
}

impl From<NotOpen> for Kind {
    fn from(not_open: NotOpen) -> Self {
        match not_open {
            NotOpen::Unreachable(failure) => Self::Unreachable(failure),
            NotOpen::Handshake(problem) => Self::Handshake(problem),
            NotOpen::TimedOut(limit) => Self::TimedOut { begun: false, limit },
            NotOpen::Failed(cause) => Self::Lost { begun: false, cause },
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::new(trouble.kind.reason(), trouble.to_string())
    }
}

impl Kind {
    /// Returns the status of an answer that is an error, and when the device wants to be asked again.
    pub(super) fn retry_after(&self) -> (Option<u16>, Option<Duration>) {
        match self {
            Self::Refused(refusal) => (Some(refusal.status), refusal.retry_after),
            Self::Unreachable(_)
            | Self::Handshake(_)
            | Self::Lost { .. }
            | Self::TimedOut { .. }
            | Self::Unreadable(_)
            | Self::Elsewhere(_)
            | Self::SignIn(_) => (None, None),
        }
    }

    /// Returns the kind of failure.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Unreachable(failure) | Self::SignIn(failure) => failure.reason,
            Self::Handshake(problem) => handshake_reason(problem).unwrap_or(Reason::NotARedfishService),
            Self::Lost { .. } => Reason::ConnectionLost,
            Self::TimedOut { .. } => Reason::ConnectionTimedOut,
            Self::Unreadable(_) | Self::Elsewhere(_) => Reason::DeviceAnswerInvalid,
            Self::Refused(refusal) => refusal.reason(),
        }
    }

    fn words(&self, node: &str, asked: &str) -> String {
        match self {
            Self::Unreachable(failure) | Self::SignIn(failure) => failure.message.clone(),
            Self::Handshake(problem) => handshake_words(node, problem),
            Self::Lost { cause, .. } => format!(
                "{node} ended the connection before it had answered {asked} ({cause}); check that the device is healthy"
            ),
            Self::TimedOut { limit, .. } => format!(
                "{node} did not answer {asked} within {} s; check that the device is healthy",
                limit.as_secs()
            ),
            Self::Unreadable(why) => format!(
                "the answer of {node} to {asked} cannot be used: {why}; check that this is the address of the device itself, and update its firmware by hand if it is"
            ),
            Self::Elsewhere(link) => {
                format!("{asked} of {node} was not followed: {link}; use the address of the device itself")
            }
            Self::Refused(refusal) => {
                format!("{node} answered {asked} with {refusal}; {}", refusal.next_step())
            }
        }
    }
}

impl Refusal {
    /// Returns what the device's words mean; `None` if they are not known.
    pub(super) fn meaning(&self) -> Option<Meaning> {
        Meaning::of_messages(&self.messages)
    }

    /// Identifiers with which devices demand a new password before anything else.
    pub(super) const NEW_PASSWORD: &[&str] = &["PasswordChangeRequired"];

    /// Returns the kind of failure, for a request of an account that is signed in.
    fn reason(&self) -> Reason {
        if self.messages.has(Self::NEW_PASSWORD) {
            return Reason::PasswordChangeRequired;
        }
        match self.status {
            403 => Reason::RightsMissing,
            // 401: the session is new, so a device that is starting or being updated rejects everything.
            401 | 408 | 409 | 423 | 425 | 429 | 500 | 502..=504 => Reason::DeviceUnavailable,
            _ => Reason::DeviceRefused,
        }
    }

    fn next_step(&self) -> String {
        let reason = self.reason();
        if reason == Reason::PasswordChangeRequired {
            "set a new password on the device, then store it in the Secret".to_owned()
        } else if reason == Reason::RightsMissing {
            "give the account the rights of an administrator".to_owned()
        } else if reason == Reason::DeviceUnavailable {
            match self.retry_after {
                Some(after) => format!("the device wants to be asked again in {} s", after.as_secs()),
                None => "it may be starting or busy; if this lasts, look at its log".to_owned(),
            }
        } else {
            "look at the log of the device".to_owned()
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if self.messages.is_empty() { Ok(()) } else { write!(f, " ({})", self.messages) }
    }
}
