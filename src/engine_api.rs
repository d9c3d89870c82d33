//! The runner's side of the conversation with one engine, whatever the byte stream is.
//!
//! The engine is the HTTP client (see the protocol crate). This module answers it, keeps its
//! events, hands out tasks and payloads. It survives the loss of a stream: the next one goes on
//! where the last one ended. It knows neither Kubernetes nor SSH.

mod limits;
mod peer;
mod serve;

pub use crate::payload::PayloadFiles;
pub use peer::{Incompatible, Peer};
pub(crate) use serve::http;

use crate::token_bucket::TokenBucket;
use farrier_protocol::{Dial, DialOutcome, Event, EventBody, FailureCode, Hello, Lease, Task, Work};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The conversation of one NodeUpdate with its engine.
pub struct EngineApi {
    session: String,
    lease_seconds: u64,
    files: Box<dyn PayloadFiles>,
    state: Mutex<State>,
    changed: Notify,
    bucket: Mutex<TokenBucket>,
    /// How long one body may take.
    patience: Duration,
    /// Of the task that it belongs to: streams come in elsewhere, and their lines belong to it too.
    span: tracing::Span,
}

#[derive(Default)]
struct State {
    /// By sequence number from 1, without a gap, so that a duplicate changes nothing.
    events: BTreeMap<u64, Event>,
    /// What they took on the wire.
    bytes: usize,
    task: Option<Task>,
    cancel: bool,
    /// Number of the last event that the engine had when it said hello; `None` before.
    promised: Option<u64>,
    leases: BTreeMap<String, Lease>,
    /// What came of the engine's calls, as it said when it was last greeted.
    dials: Vec<Dial>,
    /// Who was greeted last.
    peer: Option<Peer>,
    /// The last engine that could not be greeted, because there is no version of the protocol that
    /// both sides speak.
    incompatible: Option<Incompatible>,
    /// Number of the last event when an engine greeted whose journal does not have it any more. What
    /// came until then says nothing about this engine.
    lost_journal: Option<u64>,
}

/// Why events are not taken.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// The one after this number is missing.
    Gap(u64),
    /// More than one machine has to say.
    TooMuch,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEnd {
    /// It was done; its events tell what came of it.
    Done,
    /// It could not be done at all.
    Failed {
        /// What kind of failure.
        code: FailureCode,
        /// Which component, or empty.
        component: String,
        /// The engine's words.
        message: String,
    },
}

impl EngineApi {
    /// A conversation that nobody has joined yet.
    pub fn new(session: &str, lease_seconds: u64, files: Box<dyn PayloadFiles>) -> Self {
        Self {
            session: session.to_owned(),
            lease_seconds,
            files,
            state: Mutex::default(),
            changed: Notify::new(),
            patience: serve::BODY_TIMEOUT,
            bucket: Mutex::new(limits::bucket(Instant::now())),
            span: tracing::Span::current(),
        }
    }

    /// Has the engine do a task, and waits for its end. A task that the engine did before (it
    /// says so by its events) ends at once.
    pub async fn perform(&self, task: Task) -> TaskEnd {
        self.lock().task = Some(task.clone());
        self.changed.notify_waiters();
        let end = self.wait(|state| state.end_of(&task)).await;
        // An engine that comes after one that has retired would be told to retire as well.
        self.lock().task.take_if(|current| *current == task);
        end
    }

    /// Tells the engine to begin no further step.
    pub fn cancel(&self) {
        self.lock().cancel = true;
        self.changed.notify_waiters();
    }

    /// What the engine could not take back, once it has retired.
    pub fn leftovers(&self) -> Vec<farrier_protocol::Leftover> {
        let state = self.lock();
        let retired = state.events.values().rev().find_map(|event| {
            let EventBody::Retired { leftovers } = &event.body else { return None };
            Some(leftovers.clone())
        });
        retired.unwrap_or_default()
    }

    async fn cancelled(&self) {
        self.wait(|state| state.cancel.then_some(())).await;
    }

    /// The engine has taken everything back and said so.
    pub fn is_retired(&self) -> bool {
        self.lock().is_clean()
    }

    /// Waits until the engine has said hello and all that its journal held then has arrived.
    /// Returns the number of the last event.
    pub async fn greeted(&self) -> u64 {
        self.wait(|state| Some(state.ack()).filter(|_| state.is_greeted())).await
    }

    /// Waits until the engine with this digest has been greeted.
    pub async fn greeted_by(&self, digest: &str) {
        let is_it = |state: &State| state.peer.as_ref().is_some_and(|p| p.digest.as_deref() == Some(digest));
        self.wait(|state| (state.is_greeted() && is_it(state)).then_some(())).await;
    }

    /// The engine that was greeted last.
    pub fn peer(&self) -> Option<Peer> {
        self.lock().peer.clone()
    }

    /// The engine that greeted last, if there is no version of the protocol that both sides speak.
    pub fn incompatible(&self) -> Option<Incompatible> {
        self.lock().incompatible.clone()
    }

    /// Whether the engine's journal says that it has begun or done a task.
    pub fn knows_task(&self, id: &str) -> bool {
        #[expect(clippy::wildcard_enum_match_arm, reason = "exactly these begin or end a task")]
        let is_of = |event: &Event| match &event.body {
            EventBody::TaskStarted { task, .. }
            | EventBody::SurveyDone { task, .. }
            | EventBody::TaskDone { task }
            | EventBody::TaskFailed { task, .. } => task == id,
            _ => false,
        };
        self.lock().events.values().any(is_of)
    }

    /// Whether all that the engine's journal held has arrived.
    pub fn is_greeted(&self) -> bool {
        self.lock().is_greeted()
    }

    /// The events that a reader has not seen: those with a greater number.
    pub fn events_after(&self, seq: u64) -> Vec<Event> {
        self.lock().events.range(seq.saturating_add(1)..).map(|(_, e)| e.clone()).collect()
    }

    /// Waits until there are events with a greater number.
    pub async fn more_than(&self, seq: u64) {
        self.wait(|state| state.events.range(seq.saturating_add(1)..).next().map(|_| ())).await;
    }

    /// What came of the engine's last calls, if it talks through another channel.
    pub fn dials(&self) -> Vec<Dial> {
        self.lock().dials.clone()
    }

    /// Waits until the engine has said that somebody else answered in the runner's place.
    pub async fn untrusted_peer(&self) -> Dial {
        let untrusted = |dial: &&Dial| dial.result == DialOutcome::Untrusted;
        self.wait(|state| state.dials.iter().find(untrusted).cloned()).await
    }

    /// How many things of ours are on the machine.
    pub fn leases(&self) -> usize {
        self.lock().leases.len()
    }

    async fn wait<T>(&self, ready: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change falls in between.
            changed.as_mut().enable();
            if let Some(value) = ready(&self.lock()) {
                return value;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a hello. Refuses the engine of another session.
    /// Returns the number of the last event that is here, and the version of the protocol.
    fn greet(&self, hello: &Hello) -> Result<(u64, u32), String> {
        if hello.session != self.session {
            return Err(format!("this is session {}, not {}", self.session, hello.session));
        }
        let protocol = Incompatible::check(hello).map_err(|incompatible| {
            let why = incompatible.to_string();
            self.lock().incompatible = Some(incompatible);
            self.changed.notify_waiters();
            why
        })?;
        if hello.last_seq > limits::MAX_EVENTS as u64 {
            return Err(format!("a journal of {} events is longer than any may be", hello.last_seq));
        }
        let mut state = self.lock();
        state.leases = hello.leases.iter().map(|l| (l.id.clone(), l.clone())).collect();
        let ack = state.ack();
        if hello.last_seq < ack {
            state.lost_journal = Some(ack);
        }
        state.incompatible = None;
        state.peer = Some(Peer::of(hello));
        state.promised = Some(hello.last_seq);
        state.dials.clone_from(&hello.dials);
        limits::bound_dials(&mut state.dials);
        drop(state);
        self.changed.notify_waiters();
        Ok((ack, protocol))
    }

    /// Takes events that took so many bytes; returns the number of the last one, and whether to
    /// cancel. Refuses those that leave a number out, which no engine does, and more than one
    /// machine has to say.
    fn take(&self, events: Vec<Event>, bytes: usize) -> Result<(u64, bool), Refused> {
        let mut state = self.lock();
        let mut fresh = events.into_iter().filter(|event| event.seq > state.ack()).peekable();
        if fresh.peek().is_none() {
            return Ok((state.ack(), state.cancel));
        }
        let fresh: Vec<Event> = fresh.collect();
        let numbers = state.ack().saturating_add(1)..;
        if fresh.iter().zip(numbers).any(|(event, number)| event.seq != number) {
            return Err(Refused::Gap(state.ack()));
        }
        if state.bytes + bytes > limits::MAX_BYTES || state.events.len() + fresh.len() > limits::MAX_EVENTS {
            return Err(Refused::TooMuch);
        }
        state.bytes += bytes;
        for mut event in fresh {
            limits::bound(&mut event);
            state.apply(&event);
            state.events.insert(event.seq, event);
        }
        let answer = (state.ack(), state.cancel);
        drop(state);
        self.changed.notify_waiters();
        Ok(answer)
    }

    /// How long an engine that asks for more than its share waits for the answer to a request with
    /// so many bytes.
    fn charge(&self, bytes: usize) -> Duration {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).charge(limits::cost(bytes), Instant::now())
    }

    /// The task to hand out now: the current one unless it has ended.
    async fn next_task(&self, done: Option<String>) -> Task {
        let done: HashSet<String> = done.into_iter().collect();
        self.wait(|state| {
            let task = state.task.as_ref()?;
            (!done.contains(&task.id) && state.end_of(task).is_none()).then(|| task.clone())
        })
        .await
    }
}

impl State {
    /// Number of the last event; none before it is missing.
    fn ack(&self) -> u64 {
        self.events.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    fn is_greeted(&self) -> bool {
        self.promised.is_some_and(|promised| self.ack() >= promised)
    }

    fn apply(&mut self, event: &Event) {
        if let EventBody::LeaseTaken { lease } = &event.body {
            self.leases.insert(lease.id.clone(), lease.clone());
        } else if let EventBody::LeaseReturned { id } = &event.body {
            self.leases.remove(id);
        }
    }

    fn end_of(&self, wanted: &Task) -> Option<TaskEnd> {
        if wanted.work == Work::Retire {
            return self.is_clean().then_some(TaskEnd::Done);
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "exactly these kinds end a task")]
        self.events.values().rev().find_map(|event| match &event.body {
            EventBody::SurveyDone { task, .. } | EventBody::TaskDone { task } if *task == wanted.id => {
                Some(TaskEnd::Done)
            }
            EventBody::TaskFailed { task, code, component, message } if *task == wanted.id => {
                Some(TaskEnd::Failed { code: *code, component: component.clone(), message: message.clone() })
            }
            _ => None,
        })
    }

    /// Whether the engine has retired and taken nothing since: one that was started anew for the
    /// same session has leases again, and must retire again.
    fn is_clean(&self) -> bool {
        self.events
            .values()
            .rev()
            .find(|e| matches!(e.body, EventBody::Retired { .. } | EventBody::LeaseTaken { .. }))
            .filter(|e| self.lost_journal.is_none_or(|lost| e.seq > lost))
            .is_some_and(|e| matches!(e.body, EventBody::Retired { .. }))
    }
}

#[cfg(test)]
mod tests;
