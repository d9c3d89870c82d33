//! The runner's side of the HTTP API that one engine uses, over any byte stream.
//!
//! The engine is the HTTP client (see the protocol crate). This module answers its requests, stores its
//! events, and hands out tasks and payloads. The state survives the loss of a stream: the next stream
//! continues where the last one ended. The module knows neither Kubernetes nor SSH.

mod limits;
mod masked;
mod peer;
mod reboot;
mod serve;

pub use crate::payload::PayloadFiles;
pub use peer::{Incompatible, Peer};
pub(crate) use serve::http;

use crate::log_store::RunLog;
use crate::token_bucket::TokenBucket;
use farrier_protocol::{Dial, DialOutcome, Event, EventBody, FailureCode, Hello, Lease, Package, Task, Work};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The API that serves the engine of one NodeUpdate.
pub struct EngineApi {
    session: String,
    lease_seconds: u64,
    files: Box<dyn PayloadFiles>,
    state: Mutex<State>,
    changed: Notify,
    bucket: Mutex<TokenBucket>,
    /// The log of the session, if it is kept.
    log: Option<Arc<RunLog>>,
    /// Timeout for receiving one request body.
    timeout: Duration,
    /// Span of the task that created this object. Streams are accepted by other tasks, and their log lines
    /// belong to this span too.
    span: tracing::Span,
}

#[derive(Default)]
struct State {
    /// By sequence number from 1, without a gap, so that a duplicate changes nothing.
    events: BTreeMap<u64, Arc<Event>>,
    /// Total length of the events on the wire.
    bytes: usize,
    task: Option<Task>,
    cancel: bool,
    /// Number of the last event that the engine had when it sent its hello; `None` before.
    journal_end: Option<u64>,
    leases: BTreeMap<String, Lease>,
    /// The results of the engine's callback attempts, as of its last hello.
    dials: Vec<Dial>,
    /// The engine of the last accepted hello.
    peer: Option<Peer>,
    /// The last engine whose hello was rejected because the two sides have no protocol version in common.
    incompatible: Option<Incompatible>,
    /// Number of the last event at the time when an engine without these events in its journal sent its
    /// hello. Events up to this number say nothing about that engine.
    lost_journal: Option<u64>,
    /// Id of the boot that the reboot of this session ends, once it is decided.
    boot_to_end: Option<String>,
}

/// Why events are rejected.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// The event after this number is missing.
    Gap(u64),
    /// More events than one machine can have.
    TooMuch,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEnd {
    /// The task was done; its events contain the results.
    Done,
    /// The task could not be done at all.
    Failed {
        /// The kind of failure.
        code: FailureCode,
        /// The component, or empty.
        component: String,
        /// The engine's message.
        message: String,
    },
}

impl EngineApi {
    /// Creates the API before any engine has connected.
    pub fn new(session: &str, lease_seconds: u64, files: Box<dyn PayloadFiles>) -> Self {
        Self {
            session: session.to_owned(),
            lease_seconds,
            files,
            state: Mutex::default(),
            changed: Notify::new(),
            timeout: serve::BODY_TIMEOUT,
            bucket: Mutex::new(limits::bucket(Instant::now())),
            log: None,
            span: tracing::Span::current(),
        }
    }

    /// Takes the engine's log, and keeps credentials out of it and out of the engine's messages.
    #[must_use]
    pub fn with_log(self, log: Option<RunLog>) -> Self {
        Self { log: log.map(Arc::new), ..self }
    }

    /// Has the engine do a task, and waits for its end. A task that the engine has done before, according
    /// to its events, ends immediately.
    pub async fn perform(&self, task: Task) -> TaskEnd {
        self.lock().task = Some(task.clone());
        self.changed.notify_waiters();
        let end = self.wait(|state| state.end_of(&task)).await;
        // Otherwise an engine that follows one that has retired would be told to retire as well.
        self.lock().task.take_if(|current| *current == task);
        end
    }

    /// Tells the engine to begin no further step.
    pub fn cancel(&self) {
        self.lock().cancel = true;
        self.changed.notify_waiters();
    }

    /// Returns what the engine could not remove, once it has retired.
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

    /// Reports whether the engine has retired, that is, has removed everything.
    pub fn is_retired(&self) -> bool {
        self.lock().is_clean()
    }

    /// Waits until the engine has sent its hello and all events that its journal held at that time have
    /// arrived. Returns the number of the last event.
    pub async fn greeted(&self) -> u64 {
        self.wait(|state| Some(state.ack()).filter(|_| state.is_greeted())).await
    }

    /// Waits until the engine with this digest has sent its hello and the events of its journal.
    pub async fn greeted_by(&self, digest: &str) {
        let is_it = |state: &State| state.peer.as_ref().is_some_and(|p| p.digest.as_deref() == Some(digest));
        self.wait(|state| (state.is_greeted() && is_it(state)).then_some(())).await;
    }

    /// Returns the engine that last sent a hello.
    pub fn peer(&self) -> Option<Peer> {
        self.lock().peer.clone()
    }

    /// Returns the engine that last sent a hello, if the two sides have no protocol version in common.
    pub fn incompatible(&self) -> Option<Incompatible> {
        self.lock().incompatible.clone()
    }

    /// Reports whether the engine's journal shows that the task has begun or ended.
    pub fn knows_task(&self, id: &str) -> bool {
        #[expect(clippy::wildcard_enum_match_arm, reason = "exactly these begin or end a task")]
        let is_of = |event: &Arc<Event>| match &event.body {
            EventBody::TaskStarted { task, .. }
            | EventBody::RebootBegun { task, .. }
            | EventBody::SurveyDone { task, .. }
            | EventBody::TaskDone { task }
            | EventBody::TaskFailed { task, .. } => task == id,
            _ => false,
        };
        self.lock().events.values().any(is_of)
    }

    /// Reports whether all events that the engine's journal held at its hello have arrived.
    pub fn is_greeted(&self) -> bool {
        self.lock().is_greeted()
    }

    /// Reports whether the engine had recorded the event with this number before its last hello.
    pub fn is_replayed(&self, seq: u64) -> bool {
        self.lock().journal_end.is_some_and(|journal_end| seq <= journal_end)
    }

    /// Returns the events with a greater number, which the reader has not seen.
    pub fn events_after(&self, seq: u64) -> Vec<Arc<Event>> {
        self.lock().events.range(seq.saturating_add(1)..).map(|(_, e)| e.clone()).collect()
    }

    /// Removes the list of packages from the latest survey of a task and returns it; empty if there is no such
    /// survey. The list is by far the largest part of a session, and is read once.
    pub fn take_packages(&self, survey: &str) -> Vec<Package> {
        for event in self.lock().events.values_mut().rev() {
            if let EventBody::SurveyDone { task, .. } = &event.body
                && task == survey
                && let EventBody::SurveyDone { packages, .. } = &mut Arc::make_mut(event).body
            {
                return std::mem::take(packages);
            }
        }
        Vec::new()
    }

    /// Waits until there are events with a greater number.
    pub async fn wait_for_events_after(&self, seq: u64) {
        self.wait(|state| state.events.range(seq.saturating_add(1)..).next().map(|_| ())).await;
    }

    /// Returns the results of the engine's last callback attempts, if the engine uses another channel.
    pub fn dials(&self) -> Vec<Dial> {
        self.lock().dials.clone()
    }

    /// Waits until the engine reports that another peer answered in place of the runner.
    pub async fn untrusted_peer(&self) -> Dial {
        let untrusted = |dial: &&Dial| dial.result == DialOutcome::Untrusted;
        self.wait(|state| state.dials.iter().find(untrusted).cloned()).await
    }

    /// Returns the number of leases that the engine holds on the machine.
    pub fn leases(&self) -> usize {
        self.lock().leases.len()
    }

    async fn wait<T>(&self, ready: impl Fn(&State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the check, so that no change is missed.
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

    /// Processes a hello. Rejects the engine of another session. Returns the number of the last stored
    /// event and the protocol version.
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
            return Err(format!("a journal of {} events exceeds the limit", hello.last_seq));
        }
        let mut state = self.lock();
        state.leases = hello.leases.iter().map(|l| (l.id.clone(), l.clone())).collect();
        let ack = state.ack();
        if hello.last_seq < ack {
            state.lost_journal = Some(ack);
        }
        state.incompatible = None;
        state.peer = Some(Peer::of(hello));
        state.journal_end = Some(hello.last_seq);
        state.dials.clone_from(&hello.dials);
        limits::bound_dials(&mut state.dials);
        drop(state);
        self.changed.notify_waiters();
        Ok((ack, protocol))
    }

    /// Stores events whose length on the wire is `bytes`. Returns the number of the last event, and whether
    /// to cancel. Rejects events that leave a number out, which no engine does, and more events than one
    /// machine can have.
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
            // Before texts are truncated, which may leave half a password.
            if let Some(log) = &self.log {
                masked::mask(&mut event, log.secrets());
            }
            limits::bound(&mut event);
            state.apply(&event);
            state.events.insert(event.seq, Arc::new(event));
        }
        let answer = (state.ack(), state.cancel);
        drop(state);
        self.changed.notify_waiters();
        Ok(answer)
    }

    /// Returns how long an engine that exceeds its share of requests waits for the response to a request of
    /// this length.
    fn charge(&self, bytes: usize) -> Duration {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).charge(limits::cost(bytes), Instant::now())
    }

    /// Returns the task to hand out: the current task, unless it has ended.
    async fn next_task(&self, done: Option<String>) -> Task {
        let done: HashSet<String> = done.into_iter().collect();
        self.wait(|state| {
            let task = state.task.as_ref()?;
            let is_open = !done.contains(&task.id) && state.end_of(task).is_none();
            (is_open && state.may_get(task)).then(|| task.clone())
        })
        .await
    }
}

impl State {
    /// Returns the number of the last event. No event before it is missing.
    fn ack(&self) -> u64 {
        self.events.last_key_value().map_or(0, |(seq, _)| *seq)
    }

    fn is_greeted(&self) -> bool {
        self.journal_end.is_some_and(|journal_end| self.ack() >= journal_end)
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

    /// Reports whether the engine has retired and taken no lease since. An engine that was started again
    /// for the same session has leases again, and must retire again.
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
