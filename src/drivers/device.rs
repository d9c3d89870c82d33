//! Devices that flash themselves, such as BMCs: one attempt.
//!
//! ```text
//! actions of the status + readings + answers ──► update::device::next ──► read | record | request | wait | end
//! ```
//!
//! `next` decides, and the walk does what it says. A request that changes the device is recorded in the
//! [`Logbook`](crate::attempt::Logbook) first; what differs between devices is behind the trait [`Device`]. This
//! module knows neither Kubernetes nor the API types.

mod kept;
mod outcome;
mod parts;
mod walk;

pub use walk::DeviceDriver;

use crate::attempt::Job;
use crate::attempt::logbook::Intended;
use crate::attempt::{Offer, Place, Scheme, Survey, Tools};
use crate::failure::Failure;
use crate::ssh::connect::Milestone;
use farrier_protocol::Dial;
use farrier_update::device::{
    Action, ActionId, Answer, Intent, Inventory, Limits, Method, Obstacle, Preparation, Progress, Ticket,
};
use farrier_update::{NodePlan, Reason};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A device, for one attempt. Nothing is connected when it is made.
pub trait Device: Send + Sync + Sized {
    /// What is needed to connect: addresses, credentials, and what the device is trusted by.
    type Settings: Send + Sync;

    /// Creates the connection to a device.
    ///
    /// # Errors
    /// `InternalError`.
    fn new(settings: &Self::Settings, job: &Job, tools: &Tools) -> Result<Self, Failure>;

    /// Times and numbers of this device.
    fn limits(&self) -> Limits;

    /// Reads the device: versions, tasks, and what is ours on it. Changes nothing there. `actions` are the
    /// recorded actions, which tell what is ours.
    fn read(
        &mut self,
        actions: &[Action],
        report: impl FnMut(Contact) + Send,
    ) -> impl Future<Output = Result<Reading, Trouble>> + Send;

    /// Sends the request of a recorded action, unless the permission has expired, and returns what is known of
    /// it afterwards. The request is sent at most once. `actions` are the recorded actions.
    fn request(
        &mut self,
        permission: Intended,
        intent: &Intent,
        actions: &[Action],
        image: Option<Image>,
        report: impl FnMut(Contact) + Send,
    ) -> impl Future<Output = (Answer, Option<Trouble>)> + Send;

    /// Reports whether a request needs the image although its verb hands over none: the device may have lost what it was
    /// sent before.
    fn takes_image(&self, _intent: &Intent) -> bool {
        false
    }

    /// Takes note of the recorded actions: a successor follows work before it has read the device.
    fn note_actions(&mut self, _actions: &[Action]) {}

    /// Asks how far a task is. Words that are not known mean that it still runs.
    fn follow(&mut self, ticket: &Ticket) -> impl Future<Output = Result<Report, Trouble>> + Send;

    /// Returns how long the device wants to be left alone, if it has said so in its last answer.
    fn wants_rest(&self) -> Option<Duration> {
        None
    }

    /// Returns what is to be done on the device before it is told to fetch this. Changes nothing there.
    fn prepare(&mut self, _offer: &Offer) -> impl Future<Output = Result<Vec<Preparation>, Trouble>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// Reports whether such devices try the ways back to Farrier themselves, and need all that the table of ports
    /// lists, in an inventory too.
    fn tries_ways_back(&self) -> bool {
        false
    }

    /// Tries to reach these ports from the device, and takes note of what it can fetch by. Returns one result for each,
    /// in the same order; none if the device has nothing to try it with.
    fn reach(&mut self, _places: &[Place]) -> impl Future<Output = Result<Vec<Dial>, Trouble>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// Takes note of the URL to which the device may post its events, for the next subscription.
    fn note_destination(&mut self, _url: String) {}

    /// Ends the session of this attempt, because nobody else knows of it.
    fn close(&mut self) -> impl Future<Output = ()> + Send;

    /// Returns how the images of a plan are handed over, or why they cannot be, by component. A component that is
    /// absent cannot be either.
    fn methods(&self, plan: &NodePlan) -> BTreeMap<String, Result<Way, Failure>>;

    /// Returns the protocols by which the device fetches images, the best first.
    fn schemes(&self) -> Vec<Scheme>;

    /// Returns the only port at which the device looks for the server of a protocol; `None`: it is told one.
    fn fixed_port(&self, _scheme: Scheme) -> Option<u16> {
        None
    }

    /// Reports whether the device fetches a folder, or a file; `None`: what the baseline says is not questioned.
    fn fetches_folders(&self) -> Option<bool> {
        None
    }
}

/// How the image of a component is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// What is requested, and in which order.
    pub method: Method,
    /// Whether the device is told not to install the image before a reset, and says that it can do so.
    pub holds: bool,
}

impl From<Method> for Way {
    /// The device installs the image when it is told to.
    fn from(method: Method) -> Self {
        Self { method, holds: false }
    }
}

/// One reading of a device.
#[derive(Debug, Clone)]
pub struct Reading {
    /// What decisions depend on. Its entries are by the id of the device's own firmware inventory.
    pub inventory: Inventory,
    /// What is shown to users.
    pub survey: Survey,
    /// What the device does for others.
    pub others: Vec<Other>,
    /// What keeps the device from taking work, in words with the next step.
    pub obstacles: BTreeMap<Obstacle, String>,
    /// What its tasks say about the parts of the machine that an image is for, by action.
    pub parts: BTreeMap<ActionId, Vec<Part>>,
}

/// Work of another manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// What it is, in words.
    pub words: String,
    /// Why it is in the way: `ManagedElsewhere`, `QueueBlocked` if it waits in the queue of the device, or
    /// `PackageManagerBusy`.
    pub reason: Reason,
}

impl Reading {
    /// Describes what the device does for others; `None` if that is nothing.
    pub fn for_others(&self) -> Option<(Reason, String)> {
        let words: Vec<&str> = self.others.iter().map(|other| other.words.as_str()).collect();
        let blocks = self.others.iter().find(|other| other.reason == Reason::QueueBlocked);
        let first = blocks.or(self.others.first())?;
        Some((first.reason, words.join("; ")))
    }
}

/// How far a task is, as the device says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How far it is.
    pub progress: Progress,
    /// Why it failed, if the device says so.
    pub reason: Option<Reason>,
    /// The device's own words; empty if it has none.
    pub words: String,
    /// What became of the parts of the machine that the image is for, as far as the device tells.
    pub parts: Vec<Part>,
}

/// What a device says about one part of the machine that an image is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The id of its entry in the firmware inventory.
    pub entry: String,
    /// Whether the device says that it was not updated.
    pub failed: bool,
}

impl From<Progress> for Report {
    /// Without words.
    fn from(progress: Progress) -> Self {
        Self { progress, reason: None, words: String::new(), parts: Vec::new() }
    }
}

/// What became known while a connection was established, or a request was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// The device answered.
    Reached {
        /// The address at which it answered.
        address: String,
    },
    /// The certificate is accepted.
    CertificateAccepted {
        /// The fingerprint to record, if it was trusted on first use.
        first: Option<String>,
    },
    /// The host key is accepted.
    HostKeyAccepted {
        /// The key to record, if it was trusted on first use.
        first: Option<String>,
    },
    /// The host key of the manager is accepted that the device is reached through.
    ManagerKeyAccepted {
        /// Name of the manager.
        manager: String,
        /// The key to record, if it was trusted on first use.
        first: Option<String>,
    },
    /// Algorithms are agreed on; reported where old ones are allowed.
    Negotiated {
        /// The old ones among them, each with its kind.
        old: Vec<String>,
    },
    /// The device accepted the credentials.
    SignedIn,
    /// A question about a licence agreement was answered with yes, as the user of the run has said.
    AgreementAccepted {
        /// The question.
        question: String,
    },
}

impl From<Milestone> for Contact {
    fn from(milestone: Milestone) -> Self {
        match milestone {
            Milestone::Reached { address } => Self::Reached { address },
            Milestone::HostKeyAccepted { first } => Self::HostKeyAccepted { first },
            Milestone::Negotiated { old } => Self::Negotiated { old },
            Milestone::SignedIn => Self::SignedIn,
        }
    }
}

/// Why the device did not do what it was asked.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// What happened, and the next step.
    pub failure: Failure,
    /// Whether the device refused the credentials or the session.
    pub is_refused: bool,
    /// Whether the device answered, and refused nothing but this request.
    pub is_answer: bool,
}

/// An image to be handed over.
#[derive(Debug, Clone)]
pub struct Image {
    /// The file with the content.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// Name for the device: it carries the action's number, and ends as the payload's own name does.
    pub name: String,
    /// Files with its signatures: one, or one for each section.
    pub signatures: Vec<PathBuf>,
    /// Where the device fetches it, for a pull.
    pub offer: Option<Offer>,
}
