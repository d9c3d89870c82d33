//! The journal of a device: what was asked of it, and what came of that.
//!
//! The types are part of the status of a NodeUpdate. Words of a later version are read as
//! `Unknown`, which always means that the action may have begun.

use crate::model::{Millis, RunnerName};
use serde::{Deserialize, Serialize};

/// The number of an action in its NodeUpdate, from 1.
///
/// The driver puts it into the name of what it hands over (URL, file, queue entry), so that a
/// task on the device names its action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionId(pub u32);

/// The device's own name for something: the URI of a task or a session, the number of a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticket(pub String);

/// What is asked of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verb {
    /// Open a session.
    SignIn,
    /// Send an image to the device. With [`super::Method::Push`] the device installs it at once.
    Upload,
    /// Tell the device to fetch an image. With [`super::Method::Pull`] the device installs it at
    /// once.
    Pull,
    /// Add an entry for a staged image to the device's queue; the device installs it in turn.
    Enqueue,
    /// Install a staged image.
    Activate,
    /// Take over an image that an earlier run has staged. Changes nothing on the device.
    AdoptImage,
    /// Take over work that an earlier run has begun and that is not over, such as an image that waits for a
    /// reset. Changes nothing on the device.
    AdoptWork,
    /// Restart the device's management controller.
    ResetManager,
    /// Restart the host that the device manages.
    ResetHost,
    /// Add the authority of our server to those that the device trusts.
    ImportAuthority,
    /// Ask the device to post its events to us.
    Subscribe,
    /// End a session: the inverse of `SignIn`.
    SignOut,
    /// Remove a staged image: the inverse of `Upload`, `Pull` and `AdoptImage`.
    RemoveUpload,
    /// Remove an entry from the queue: the inverse of `Enqueue` and `AdoptWork`.
    RemoveQueueEntry,
    /// Remove an authority: the inverse of `ImportAuthority`.
    RemoveAuthority,
    /// End a subscription: the inverse of `Subscribe`.
    Unsubscribe,
    /// A verb of a later version.
    #[serde(other)]
    Unknown,
}

impl Verb {
    /// Returns the verb that removes what this verb leaves on the device.
    pub const fn inverse(self) -> Option<Self> {
        match self {
            Self::SignIn => Some(Self::SignOut),
            Self::Upload | Self::Pull | Self::AdoptImage => Some(Self::RemoveUpload),
            Self::Enqueue | Self::AdoptWork => Some(Self::RemoveQueueEntry),
            Self::ImportAuthority => Some(Self::RemoveAuthority),
            Self::Subscribe => Some(Self::Unsubscribe),
            Self::Activate
            | Self::ResetManager
            | Self::ResetHost
            | Self::SignOut
            | Self::RemoveUpload
            | Self::RemoveQueueEntry
            | Self::RemoveAuthority
            | Self::Unsubscribe
            | Self::Unknown => None,
        }
    }

    /// Reports whether the verb is the inverse of another one.
    pub const fn is_inverse(self) -> bool {
        matches!(
            self,
            Self::SignOut
                | Self::RemoveUpload
                | Self::RemoveQueueEntry
                | Self::RemoveAuthority
                | Self::Unsubscribe
        )
    }

    /// Reports whether the verb takes over what an earlier run has left.
    pub const fn is_adoption(self) -> bool {
        matches!(self, Self::AdoptImage | Self::AdoptWork)
    }

    /// Reports whether the verb brings an image to the device, or takes over one that is there.
    pub const fn is_staging(self) -> bool {
        matches!(self, Self::Upload | Self::Pull | Self::AdoptImage)
    }

    /// Reports whether the verb restarts something.
    pub const fn is_reset(self) -> bool {
        matches!(self, Self::ResetManager | Self::ResetHost)
    }

    /// Reports whether the verb is part of an update, in contrast to sessions, preparations and removals.
    pub const fn is_work(self) -> bool {
        !self.is_inverse() && !self.is_preparation() && !matches!(self, Self::SignIn)
    }

    /// Reports whether the verb prepares the device for an update. What it leaves stays until the end.
    pub const fn is_preparation(self) -> bool {
        matches!(self, Self::ImportAuthority | Self::Subscribe)
    }
}

/// How far an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It is about to be requested, or was requested and the answer is not known.
    Intended,
    /// The device accepted it. A session or a preparation is in this state as long as it is open.
    Begun,
    /// It is over; [`Action::ending`] has the result.
    Ended,
    /// A state of a later version.
    #[serde(other)]
    Unknown,
}

/// How an action ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Proven never to have begun, or that the device could not fetch its image while nobody offered it, so that the
    /// same may be intended again.
    NotBegun,
    /// Refused for good; nothing began.
    Refused,
    /// The device says that it has this version already; nothing began.
    AlreadyInstalled,
    /// Done, as far as the device's answer tells: an image is staged, something is removed.
    Done,
    /// The device reported a failure, and nothing was to be installed yet.
    Failed,
    /// The inventory shows the wanted version.
    Verified,
    /// The device says that it is done, and the inventory does not show the wanted version.
    NotVerified,
    /// Installed; takes effect after a reset.
    ResetPending,
    /// It cannot be told whether it happened. Never repeated.
    Unverified,
    /// Removed again: an entry of the queue before it began, or an image that was cut off.
    TakenBack,
    /// An ending of a later version.
    #[serde(other)]
    Unknown,
}

/// One request that changes a device, as recorded in the status of a NodeUpdate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// The number of the action.
    pub id: ActionId,
    /// What is asked of the device.
    pub verb: Verb,
    /// Name of the component; empty for sessions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub component: String,
    /// How far the action is.
    pub state: State,
    /// For an inverse: the action that it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<ActionId>,
    /// The installed version that the action is based on; of a preparation, what identifies its content.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub follows: String,
    /// The version that the action installs or puts into effect; empty if it only stages.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// The boot mark that the action is based on: the host's for a reset of the host, else the
    /// management controller's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot: String,
    /// The things that must all have the version afterwards, as they showed before; empty if it is one thing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// The device's own name for the work or for the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Ticket>,
    /// When the action is no longer followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
    /// Who recorded the present state.
    pub by: RunnerName,
    /// When the present state was recorded.
    pub at: Millis,
    /// How the action ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
}

/// An action that is to be recorded and then requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The number of the new action.
    pub id: ActionId,
    /// What is asked of the device.
    pub verb: Verb,
    /// Name of the component; empty for sessions.
    pub component: String,
    /// For an inverse: the action that it takes back.
    pub of: Option<ActionId>,
    /// The installed version that the action is based on.
    pub follows: String,
    /// The version that the action installs; empty if it only stages.
    pub to: String,
    /// The boot mark that the action is based on.
    pub boot: String,
    /// The things that must all have the version afterwards.
    pub members: Vec<String>,
    /// When the action is no longer followed.
    pub until: Option<Millis>,
}

impl Intent {
    /// Returns the action to be recorded before the request is sent.
    #[must_use]
    pub fn into_action(self, by: RunnerName, at: Millis) -> Action {
        let Self { id, verb, component, of, follows, to, boot, members, until } = self;
        let (state, ticket, ending) = (State::Intended, None, None);
        Action { id, verb, component, state, of, follows, to, boot, members, ticket, until, by, at, ending }
    }
}

/// What the device answered to the request of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Accepted; the work, or the session, has this name.
    Began(Ticket),
    /// Accepted, without a name for the work.
    Done,
    /// Certainly not begun: the connection could not be opened, or the device refused for now.
    NotBegun,
    /// Refused, and will be again: the device does not take this image, or does not know the request.
    Rejected,
    /// Refused, because the device says that it has this version already.
    AlreadyInstalled,
    /// No answer after the request was sent. Nothing is recorded.
    Unknown,
}

/// A change to a recorded action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The device accepted the action.
    Begun(Option<Ticket>),
    /// The action is over.
    Ended(Ending),
}

impl Action {
    /// Returns the change that follows from the device's answer; `None` if nothing is known.
    pub fn answered(&self, answer: &Answer) -> Option<Change> {
        match answer {
            Answer::Began(ticket) => Some(Change::Begun(Some(ticket.clone()))),
            // With the answer, an image is there and a removal is done; other work goes on after it.
            Answer::Done if self.is_install() || self.goes_on() => Some(Change::Begun(None)),
            Answer::Done => Some(Change::Ended(Ending::Done)),
            Answer::NotBegun => Some(Change::Ended(Ending::NotBegun)),
            Answer::Rejected => Some(Change::Ended(Ending::Refused)),
            Answer::AlreadyInstalled => Some(Change::Ended(Ending::AlreadyInstalled)),
            Answer::Unknown => None,
        }
    }

    /// Reports whether the device may still be at it after it has answered.
    const fn goes_on(&self) -> bool {
        self.verb.is_work() && !matches!(self.verb, Verb::Upload | Verb::AdoptImage)
    }

    /// Reports whether the action installs something, in contrast to staging and resets.
    pub fn is_install(&self) -> bool {
        !self.to.is_empty() && !self.verb.is_reset()
    }

    /// Reports whether the result of the action is still open.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Intended | State::Begun)
    }

    /// Reports whether the action has taken over what an earlier run had left.
    pub fn has_adopted(&self) -> bool {
        self.verb.is_adoption() && self.state != State::Intended && !self.is_void()
    }

    /// Reports whether it is proven that the action has no effect, now or later.
    pub fn is_void(&self) -> bool {
        let void = [Ending::NotBegun, Ending::Refused, Ending::AlreadyInstalled, Ending::TakenBack];
        self.state == State::Ended && self.ending.is_some_and(|ending| void.contains(&ending))
    }

    /// Reports whether the action may still be at work on the device although nobody follows it.
    pub fn is_unresolved(&self) -> bool {
        let is_unknown = self.verb == Verb::Unknown || self.state == State::Unknown;
        let is_unverified = matches!(self.ending, Some(Ending::Unverified | Ending::Unknown));
        is_unknown || (self.verb.is_work() && is_unverified)
    }

    /// Returns the action with a change.
    fn changed(&mut self, change: &Change, by: &RunnerName, at: Millis) {
        match change {
            Change::Begun(ticket) => {
                self.state = State::Begun;
                self.ticket.clone_from(ticket);
            }
            Change::Ended(ending) => {
                self.state = State::Ended;
                self.ending = Some(*ending);
            }
        }
        self.by.clone_from(by);
        self.at = at;
    }
}

/// Records a change to an action.
pub fn record(actions: &mut [Action], id: ActionId, change: &Change, by: &RunnerName, at: Millis) {
    for action in actions.iter_mut().filter(|action| action.id == id) {
        action.changed(change, by, at);
    }
}

/// Drops the actions that no decision depends on any more: sessions that were closed before the
/// open session was opened.
///
/// Keeps the last action, because the next number follows from it.
pub fn prune(actions: &mut Vec<Action>) {
    let Some(last) = actions.iter().map(|action| action.id).max() else { return };
    let is_session = |action: &&Action| action.verb == Verb::SignIn;
    let (closed, open): (Vec<_>, Vec<_>) =
        actions.iter().filter(is_session).partition(|session| is_closed(actions, session));
    let bound = open.iter().map(|session| session.id).min().unwrap_or(last);
    let closed: Vec<ActionId> = closed.iter().map(|session| session.id).collect();
    // A session that was closed later is needed to tell since when the device is fenced.
    let is_late = |id: ActionId| actions.iter().any(|action| action.of == Some(id) && action.id >= bound);
    let dropped: Vec<ActionId> = closed.into_iter().filter(|&id| id < bound && !is_late(id)).collect();
    actions
        .retain(|action| !dropped.contains(&action.id) && !action.of.is_some_and(|of| dropped.contains(&of)));
}

/// Reports whether nothing is left of a session.
pub(super) fn is_closed(actions: &[Action], session: &Action) -> bool {
    session.is_void() || is_removed(actions, session.id)
}

/// Reports whether what an action left on the device was removed.
pub(super) fn is_removed(actions: &[Action], id: ActionId) -> bool {
    actions.iter().any(|action| {
        action.of == Some(id) && action.state == State::Ended && action.ending == Some(Ending::Done)
    })
}
