//! Every fact that a decision about a device depends on.

use super::action::{Action, ActionId, Verb};
use super::inventory::{Inventory, Progress};
use crate::model::Millis;
use crate::plan::NodePlan;
use crate::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The facts about one device and one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The current time.
    pub now: Millis,
    /// When this attempt began.
    pub since: Millis,
    /// What the attempt is for.
    pub goal: Goal,
    /// How much of an update is carried out.
    pub scope: Scope,
    /// Whether the run was cancelled.
    pub cancelled: bool,
    /// The plan; `None` until it was made in this attempt.
    pub plan: Option<&'a NodePlan>,
    /// How each component of the plan is handed over. A component that is absent cannot be.
    pub methods: &'a BTreeMap<String, Method>,
    /// Components whose image the device takes without installing it before a reset, and is told to.
    pub holds: &'a BTreeSet<String>,
    /// The recorded actions of this attempt and all attempts before it, in the order of their ids.
    pub actions: &'a [Action],
    /// The session of this attempt. Always `None` if the device has no sessions.
    pub session: Option<ActionId>,
    /// The readings of this attempt since the device last did not answer, the latest last. Three are
    /// enough.
    pub readings: &'a [Inventory],
    /// Since when every reading has shown an obstacle that goes away by itself; `None` if the latest one does not.
    pub obstructed_since: Option<Millis>,
    /// The device's last answer about a task, in this attempt.
    pub followed: Option<Followed>,
    /// Set while the device does not answer; cleared by a complete reading or an answer about a
    /// task.
    pub silence: Option<Silence>,
    /// Pull requests of which it is certain that the device has not asked for the image.
    pub unfetched: &'a BTreeSet<ActionId>,
    /// Pull requests whose image is not offered any more, and was certainly never asked for.
    pub withdrawn: &'a BTreeSet<ActionId>,
    /// What is to be done on the device before it is told to fetch an image.
    pub preparations: &'a [Preparation],
    /// Before this time the device does not want to be asked anything: it has said so in its last answer.
    pub not_before: Option<Millis>,
    /// What may be restarted.
    pub resets: ResetPolicy,
    /// Times and numbers.
    pub limits: &'a Limits,
}

/// What an attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Read what is installed.
    Inventory,
    /// Make the plan.
    Plan,
    /// Carry out the plan.
    Update,
    /// Remove what is left of earlier attempts. There may be no plan any more.
    CleanUp,
}

/// How much of an update is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Images are staged, and stay on the device; those that it can only install wait for a reset that is not
    /// requested.
    Stage,
    /// Images are staged and installed.
    Install,
}

/// How an image gets to the device, and what makes the device install it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// We send the image, and the device installs it at once.
    Push,
    /// We send the image, and a second request installs it.
    PushThenActivate,
    /// We send the image, and the device installs it from its queue.
    PushThenEnqueue,
    /// The device fetches the image and installs it at once.
    Pull,
    /// The device fetches the image, and a second request installs it.
    PullThenActivate,
    /// The device fetches the image and installs it from its queue.
    PullThenEnqueue,
}

impl Method {
    /// Returns the verbs in their order. The last one installs; the others only stage.
    pub const fn verbs(self) -> &'static [Verb] {
        match self {
            Self::Push => &[Verb::Upload],
            Self::PushThenActivate => &[Verb::Upload, Verb::Activate],
            Self::PushThenEnqueue => &[Verb::Upload, Verb::Enqueue],
            Self::Pull => &[Verb::Pull],
            Self::PullThenActivate => &[Verb::Pull, Verb::Activate],
            Self::PullThenEnqueue => &[Verb::Pull, Verb::Enqueue],
        }
    }
}

/// What is to be done on a device before it is told to fetch an image. The update goes on without it if the device
/// refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preparation {
    /// What is requested.
    pub verb: Verb,
    /// Identifies the content, such as the digest of a certificate.
    pub mark: String,
}

/// What may be restarted. The host is restarted only for components that are part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetPolicy {
    /// Whether the management controller may be restarted.
    pub manager: bool,
    /// Whether the host may be restarted.
    pub host: bool,
}

/// The device's answer about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    /// The action that the task belongs to.
    pub action: ActionId,
    /// When the device was asked.
    pub at: Millis,
    /// The answer.
    pub progress: Progress,
}

/// The device does not answer, or not usefully.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// When the device was first asked in vain.
    pub since: Millis,
    /// When it was last asked in vain.
    pub last: Millis,
    /// How many times it was asked in vain.
    pub times: u32,
    /// Set if it refused the credentials the last time. A controller that starts does so for some
    /// minutes.
    pub refused: Option<Reason>,
}

/// Times and numbers, which depend on the product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Whether the device has sessions that can be ended.
    pub has_sessions: bool,
    /// How long a device that was told to fetch an image may take until it connects, before that is reported.
    pub seen: Duration,
    /// How long a device may take until it connects, before it is given up.
    pub unseen: Duration,
    /// Time between two readings, and between two questions about a task.
    pub poll: Duration,
    /// Maximum time between the record of an intent and the begin of its request: how long a
    /// runner's Lease holds.
    pub proof: Duration,
    /// Maximum time between two bytes of a request before the device drops the connection.
    pub idle: Duration,
    /// After this time without use, the device ends a session; `None` if it never does.
    pub session_timeout: Option<Duration>,
    /// How long a device may be silent. Longer than a management controller needs to start.
    pub away: Duration,
    /// How long a device may refuse a request for now.
    pub refused: Duration,
    /// How long a device may take until its readings agree.
    pub reading: Duration,
    /// How long a device that says it is done may take to show it.
    pub settle: Duration,
    /// How long a device that says it has failed may take to show the version all the same.
    pub settle_failed: Duration,
    /// How long a reset may take.
    pub reset: Duration,
    /// How long another manager's task is waited for.
    pub busy: Duration,
    /// How long a host may be in its power-on self-test.
    pub post: Duration,
    /// How much longer than its timeout a component is followed that must not be interrupted.
    pub overdue: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            has_sessions: true,
            seen: Duration::from_mins(1),
            unseen: Duration::from_mins(5),
            poll: Duration::from_secs(10),
            proof: Duration::from_secs(15),
            idle: Duration::from_mins(2),
            session_timeout: Some(Duration::from_mins(30)),
            away: Duration::from_mins(30),
            refused: Duration::from_mins(30),
            reading: Duration::from_mins(30),
            settle: Duration::from_mins(10),
            settle_failed: Duration::from_secs(20),
            reset: Duration::from_mins(20),
            busy: Duration::from_hours(1),
            post: Duration::from_mins(15),
            overdue: Duration::from_hours(6),
        }
    }
}
