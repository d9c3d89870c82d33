//! The journal of machines that keep none for us: `status.actions` of the NodeUpdate.
//!
//! A request that changes such a machine is sent only with an [`Intended`], and only the [`Logbook`] makes one,
//! after the API server has stored the action. So a successor knows of every request that may have been sent.

use farrier_update::device::{Action, ActionId, Change, Intent};
use std::fmt;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long before the end of the hold on the runner's Lease a request must have been sent.
const MARGIN: Duration = Duration::from_secs(1);

/// Records actions of one attempt. The runner writes them; every call waits until the API server has answered.
#[derive(Debug, Clone)]
pub struct Logbook {
    requests: mpsc::Sender<Request>,
}

/// Proof that an action is recorded, and the permission to send its request.
///
/// It cannot be made, copied or kept: it is consumed by the request. A process that was suspended finds it
/// expired.
#[derive(Debug)]
pub struct Intended {
    id: ActionId,
    until: Instant,
}

/// Why nothing may be sent to the machine any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The run was cancelled before the action was recorded.
    #[error("the run was cancelled")]
    Cancelled,
    /// Another runner has taken the machine over.
    #[error("another runner works on this machine now")]
    OtherRunner,
    /// This runner may not work at present: it has lost its Lease.
    #[error("this runner has lost its Lease")]
    LeaseLost,
    /// The NodeUpdate was deleted, or the attempt is over.
    #[error("the NodeUpdate is gone")]
    Gone,
}

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A new action.
    Intent(Intent),
    /// A change to an action.
    Change(ActionId, Change),
}

/// An entry and where its answer goes.
#[derive(Debug)]
pub struct Request {
    /// What is to be recorded.
    pub entry: Entry,
    /// Receives the end of the hold on the runner's Lease once the entry is stored.
    pub answer: oneshot::Sender<Result<Instant, Halt>>,
}

impl Entry {
    /// Reports whether the entry begins a part of an update.
    pub const fn is_work(&self) -> bool {
        matches!(self, Self::Intent(intent) if intent.verb.is_work())
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intent(intent) => {
                write!(f, "action {}, {:?}, is to be requested", intent.id.0, intent.verb)
            }
            Self::Change(id, Change::Begun(_)) => write!(f, "action {} has begun", id.0),
            Self::Change(id, Change::Ended(ending)) => write!(f, "action {} has ended: {ending:?}", id.0),
        }
    }
}

impl Logbook {
    /// Creates a logbook, and the receiver of its requests.
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(1);
        (Self { requests }, receiver)
    }

    /// Records an action that is about to be requested.
    ///
    /// # Errors
    /// [`Halt`]: the request must not be sent.
    pub async fn intend(&self, intent: Intent) -> Result<Intended, Halt> {
        let id = intent.id;
        let until = self.record(Entry::Intent(intent)).await?;
        Ok(Intended { id, until: until.checked_sub(MARGIN).unwrap_or(until) })
    }

    /// Records a change to an action. Tries until the API server has stored it.
    ///
    /// # Errors
    /// [`Halt`]: somebody else continues.
    pub async fn change(&self, id: ActionId, change: Change) -> Result<(), Halt> {
        self.record(Entry::Change(id, change)).await.map(|_| ())
    }

    async fn record(&self, entry: Entry) -> Result<Instant, Halt> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { entry, answer }).await.map_err(|_| Halt::Gone)?;
        answered.await.unwrap_or(Err(Halt::Gone))
    }
}

impl Intended {
    /// Returns the recorded action.
    pub const fn id(&self) -> ActionId {
        self.id
    }

    /// Returns the time that is left to send the request; `None` if it must not be sent any more.
    pub fn time_left(&self) -> Option<Duration> {
        self.until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }
}

/// Applies an entry to the recorded actions.
pub fn apply(actions: &mut Vec<Action>, entry: &Entry, by: &str, at: farrier_update::Millis) {
    match entry {
        Entry::Intent(intent) => actions.push(intent.clone().into_action(by.into(), at)),
        Entry::Change(id, change) => {
            farrier_update::device::record(actions, *id, change, &by.into(), at);
            farrier_update::device::prune(actions);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::Millis;
    use farrier_update::device::{State, Verb};

    fn sign_in(id: u32) -> Intent {
        Intent {
            id: ActionId(id),
            verb: Verb::SignIn,
            component: String::new(),
            of: None,
            follows: String::new(),
            to: String::new(),
            boot: String::new(),
            members: Vec::new(),
            until: None,
        }
    }

    /// A process that was suspended between the record and the request would act beside its successor.
    #[tokio::test]
    async fn the_permission_expires_before_the_lease() {
        for (held, may_send) in [(Duration::from_mins(1), true), (MARGIN, false)] {
            let (logbook, mut requests) = Logbook::new();
            let until = Instant::now() + held;
            let runner = async {
                let request = requests.recv().await.unwrap();
                assert_eq!(request.entry, Entry::Intent(sign_in(1)));
                request.answer.send(Ok(until)).unwrap();
            };
            let (intended, ()) = tokio::join!(logbook.intend(sign_in(1)), runner);
            let intended = intended.unwrap();
            assert_eq!((intended.id(), intended.time_left().is_some()), (ActionId(1), may_send));
            assert!(intended.time_left().is_none_or(|left| left <= held.saturating_sub(MARGIN)));
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_without_a_runner_that_records() {
        let (logbook, requests) = Logbook::new();
        drop(requests);
        assert_eq!(logbook.intend(sign_in(1)).await.unwrap_err(), Halt::Gone);
        assert_eq!(logbook.change(ActionId(1), Change::Begun(None)).await, Err(Halt::Gone));
    }

    #[test]
    fn entries_change_the_recorded_actions() {
        let mut actions = Vec::new();
        apply(&mut actions, &Entry::Intent(sign_in(1)), "a", Millis(1));
        apply(&mut actions, &Entry::Change(ActionId(1), Change::Begun(None)), "b", Millis(2));
        assert_eq!((actions.len(), actions[0].state, actions[0].at), (1, State::Begun, Millis(2)));
        assert_eq!(actions[0].by, "b".into());
    }
}
