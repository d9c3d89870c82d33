//! What the worker and the link share: the journal, and what each asks of the other.
//!
//! The worker executes tasks and records events; the link talks to the runner. Neither calls
//! the other: both look at this state and wait for it to change.

mod for_dialler;
mod for_link;

pub(crate) use for_link::{Answer, Identity, LinkOrder, Pace};

use crate::callback::{Stream, StreamCloser};
use crate::contact::Contact;
use crate::journal::{Journal, SessionState};
use crate::payload::{Download, FetchError};
use farrier_protocol::{Dial, EventBody, Task};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the last events are waited for: the runner is there and answers, or it is not.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why the worker begins nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The run was cancelled; the engine stays.
    Cancelled,
    /// The engine has to go.
    Halt(Halt),
}

/// Why the engine has to go without having been asked by the runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// No contact for as long as the lease lasts.
    LeaseExpired,
    /// SIGTERM.
    Terminated,
}

impl Halt {
    /// For people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::LeaseExpired => "the engine had no contact with the operator until its lease expired",
            Self::Terminated => "the engine was told to end (SIGTERM)",
        }
    }
}

/// The state and its bell.
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    contact: Arc<Contact>,
}

struct State {
    journal: Journal,
    /// Number of the last event that the runner has.
    acked: u64,
    lease: Duration,
    cancelled: bool,
    terminated: bool,
    phase: Phase,
    fetch: Fetch,
    /// A connection that was accepted and is not served yet.
    waiting: Option<Stream>,
    /// The connection that is being served, to be cut when a newer one comes.
    current: Option<StreamCloser>,
    /// The engine was told where to dial.
    has_callback: bool,
    /// What came of the last round of dialling.
    dials: Vec<Dial>,
    /// Who answered in the runner's place since the runner last heard of it, once for each address.
    impostors: Vec<Dial>,
}

/// What the worker does.
enum Phase {
    Busy,
    /// It waits for a task. The one it has just done is reported with the next request.
    Idle {
        done: Option<String>,
    },
    /// The link has brought a task that the worker has not picked up yet.
    Given(Task),
    /// It takes everything back; the engine ends after that.
    Leaving,
}

/// A payload on its way.
enum Fetch {
    None,
    /// The worker asks for it.
    Wanted(Box<Download>),
    /// The link is at it.
    Running,
    /// The link is done with it.
    Ended(Result<(), FetchError>),
}

impl State {
    /// Whether there is a connection.
    fn is_served(&self) -> bool {
        self.waiting.is_some() || self.current.is_some()
    }
}

impl Shared {
    /// The state at the start: nothing is known of the runner.
    pub(crate) fn new(journal: Journal, lease: Duration) -> Self {
        let state = State {
            journal,
            acked: 0,
            lease,
            cancelled: false,
            terminated: false,
            phase: Phase::Busy,
            fetch: Fetch::None,
            waiting: None,
            current: None,
            has_callback: false,
            dials: Vec::new(),
            impostors: Vec::new(),
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), contact: Arc::new(Contact::new()) }
    }

    /// The time of the last contact, for whoever reads from the runner.
    pub(crate) fn contact(&self) -> Arc<Contact> {
        Arc::clone(&self.contact)
    }

    /// SIGTERM came.
    pub(crate) fn terminate(&self) {
        self.lock().terminated = true;
        self.changed.notify_all();
    }

    /// The engine begins to take everything back.
    pub(crate) fn retire(&self) {
        self.lock().phase = Phase::Leaving;
        self.changed.notify_all();
    }

    /// Writes an event down; the link sends it. Errors as [`Journal::append`].
    pub(crate) fn record(&self, body: EventBody) -> io::Result<()> {
        let result = self.lock().journal.append(body);
        self.changed.notify_all();
        result
    }

    /// Asks the journal.
    pub(crate) fn known<T>(&self, ask: impl FnOnce(&SessionState) -> T) -> T {
        ask(self.lock().journal.known())
    }

    /// Why nothing more may be begun, if so.
    pub(crate) fn stop(&self) -> Option<Stop> {
        self.stop_of(&self.lock())
    }

    /// Waits for the next task. `done` is the one that has just ended.
    pub(crate) fn next_task(&self, done: Option<String>) -> Result<Task, Halt> {
        let mut state = self.lock();
        state.phase = Phase::Idle { done };
        self.changed.notify_all();
        loop {
            if let Some(halt) = self.halt_of(&state) {
                state.phase = Phase::Busy;
                return Err(halt);
            }
            match std::mem::replace(&mut state.phase, Phase::Busy) {
                Phase::Given(task) => return Ok(task),
                other @ (Phase::Busy | Phase::Idle { .. } | Phase::Leaving) => state.phase = other,
            }
            state = self.wait(state, None);
        }
    }

    /// Has the link fetch a payload, over as many connections as it takes.
    pub(crate) fn fetch(&self, download: Download) -> Result<Result<(), FetchError>, Stop> {
        let mut state = self.lock();
        state.fetch = Fetch::Wanted(Box::new(download));
        self.changed.notify_all();
        loop {
            match std::mem::replace(&mut state.fetch, Fetch::None) {
                Fetch::Ended(result) => return Ok(result),
                // What was asked for stays forgotten; the link notices when it is done.
                _ if self.stop_of(&state).is_some() => {}
                pending @ (Fetch::None | Fetch::Wanted(_) | Fetch::Running) => state.fetch = pending,
            }
            if let Some(stop) = self.stop_of(&state) {
                return Err(stop);
            }
            state = self.wait(state, None);
        }
    }

    /// Waits for `duration`, or until nothing more may be begun.
    pub(crate) fn pause(&self, duration: Duration) -> Option<Stop> {
        let until = Instant::now() + duration;
        let mut state = self.lock();
        loop {
            let stop = self.stop_of(&state);
            if stop.is_some() || Instant::now() >= until {
                return stop;
            }
            state = self.wait(state, Some(until));
        }
    }

    /// Waits until the runner has every event, if there is a runner.
    pub(crate) fn deliver_last_words(&self) {
        let until = Instant::now() + LAST_WORDS;
        let mut state = self.lock();
        while state.acked < state.journal.last_seq() && Instant::now() < until {
            if !state.is_served() && !state.has_callback {
                return;
            }
            state = self.wait(state, Some(until));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, at most until `until`, and never past the end of the lease.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, until: Option<Instant>) -> MutexGuard<'a, State> {
        let now = Instant::now();
        // Once the lease has ended there is nothing to be woken for but `until`.
        let lease_end = self.lease_end(&state).filter(|end| *end > now);
        let until = [until, lease_end].into_iter().flatten().min();
        match until {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let span = until.saturating_duration_since(now);
                self.changed.wait_timeout(state, span).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn lease_end(&self, state: &State) -> Option<Instant> {
        self.contact.last()?.checked_add(state.lease)
    }

    fn halt_of(&self, state: &State) -> Option<Halt> {
        if state.terminated {
            return Some(Halt::Terminated);
        }
        let expired = self.lease_end(state).is_some_and(|end| end <= Instant::now());
        expired.then_some(Halt::LeaseExpired)
    }

    fn stop_of(&self, state: &State) -> Option<Stop> {
        let cancelled = state.cancelled.then_some(Stop::Cancelled);
        self.halt_of(state).map(Stop::Halt).or(cancelled)
    }
}
