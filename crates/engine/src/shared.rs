//! State that the worker and the link share: the journal, and the requests of each to the other.
//!
//! The worker executes tasks and records events; the link communicates with the runner. Neither calls the
//! other: both wait for changes of this state.

mod for_dialler;
mod for_link;

pub(crate) use for_link::{Answer, Identity, LinkOrder, RequestTimes};

use crate::callback::{Stream, StreamCloser};
use crate::contact::Contact;
use crate::journal::{Journal, SessionState};
use crate::output::Output;
use crate::payload::{Download, FetchError};
use farrier_protocol::{Dial, EventBody, Task};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the engine waits until the last events are delivered. A reachable runner answers within this
/// time.
const FINAL_EVENTS_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the worker starts nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The run was cancelled; the engine continues to serve the runner.
    Cancelled,
    /// The engine must exit.
    Halt(Halt),
}

/// Why the engine must exit without a request of the runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// There was no contact with the operator for the duration of the lease.
    LeaseExpired,
    /// The process received SIGTERM.
    Terminated,
}

impl Halt {
    /// Returns the reason as text for users.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::LeaseExpired => "the engine had no contact with the operator until its lease expired",
            Self::Terminated => "the engine was terminated (SIGTERM)",
        }
    }
}

/// The state, and a condition variable for its changes.
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    contact: Arc<Contact>,
    /// The log; without one, events are recorded in the journal only.
    output: Option<Arc<Output>>,
}

struct State {
    journal: Journal,
    /// Number of the last event that the runner has.
    acked: u64,
    /// Number of bytes of the log that the runner has; `None`: it does not take logs.
    log_acked: Option<u64>,
    lease: Duration,
    cancelled: bool,
    terminated: bool,
    phase: Phase,
    fetch: Fetch,
    /// A connection that was accepted and is not being served yet.
    waiting: Option<Stream>,
    /// Closes the connection that is being served when a newer connection arrives.
    current: Option<StreamCloser>,
    /// Whether the engine has a configuration of the callback channel.
    has_callback: bool,
    /// The results of the last round of dialling.
    dials: Vec<Dial>,
    /// Untrusted servers that answered in place of the runner since the last report to the runner, one for
    /// each address.
    untrusted_peers: Vec<Dial>,
}

/// The state of the worker.
enum Phase {
    Busy,
    /// The worker waits for a task. The task that it has just done is reported with the next request.
    Idle {
        done: Option<String>,
    },
    /// The link has received a task that the worker has not picked up yet.
    Given(Task),
    /// The worker releases all leases; then the engine exits.
    Leaving,
}

/// The state of a payload download.
enum Fetch {
    None,
    /// The worker requests the payload.
    Wanted(Box<Download>),
    /// The link is downloading.
    Running,
    /// The link has ended the download.
    Ended(Result<(), FetchError>),
}

impl State {
    /// Reports whether there is a connection.
    fn is_served(&self) -> bool {
        self.waiting.is_some() || self.current.is_some()
    }
}

impl Shared {
    /// Creates the state at the start, when nothing is known of the runner.
    pub(crate) fn new(journal: Journal, lease: Duration) -> Self {
        let state = State {
            journal,
            acked: 0,
            log_acked: None,
            lease,
            cancelled: false,
            terminated: false,
            phase: Phase::Busy,
            fetch: Fetch::None,
            waiting: None,
            current: None,
            has_callback: false,
            dials: Vec::new(),
            untrusted_peers: Vec::new(),
        };
        let contact = Arc::new(Contact::new());
        Self { state: Mutex::new(state), changed: Condvar::new(), contact, output: None }
    }

    /// Sets the log, which gets a line for each event.
    pub(crate) fn with_output(self, output: Arc<Output>) -> Self {
        Self { output: Some(output), ..self }
    }

    /// Returns the time of the last contact, for the code that reads from the runner.
    pub(crate) fn contact(&self) -> Arc<Contact> {
        Arc::clone(&self.contact)
    }

    /// Records that SIGTERM was received.
    pub(crate) fn terminate(&self) {
        self.lock().terminated = true;
        self.changed.notify_all();
    }

    /// Records that the engine begins to release its leases.
    pub(crate) fn retire(&self) {
        self.lock().phase = Phase::Leaving;
        self.changed.notify_all();
    }

    /// Appends an event to the journal, without credentials in its messages; the link sends it. Errors are those of
    /// [`Journal::append`].
    pub(crate) fn record(&self, mut body: EventBody) -> io::Result<()> {
        if let Some(output) = &self.output {
            body = output.without_credentials(body);
            output.event(&body);
        }
        let result = self.lock().journal.append(body);
        self.changed.notify_all();
        result
    }

    /// Returns a value that `ask` computes from the journal's state.
    pub(crate) fn known<T>(&self, ask: impl FnOnce(&SessionState) -> T) -> T {
        ask(self.lock().journal.known())
    }

    /// Returns why nothing more may be started, if so.
    pub(crate) fn stop(&self) -> Option<Stop> {
        self.stop_of(&self.lock())
    }

    /// Waits for the next task. `done` is the task that has just ended.
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

    /// Lets the link fetch a payload, over several connections if necessary.
    pub(crate) fn fetch(&self, download: Download) -> Result<Result<(), FetchError>, Stop> {
        let mut state = self.lock();
        state.fetch = Fetch::Wanted(Box::new(download));
        self.changed.notify_all();
        loop {
            match std::mem::replace(&mut state.fetch, Fetch::None) {
                Fetch::Ended(result) => return Ok(result),
                // The fetch stays removed; the link notices when it ends.
                _ if self.stop_of(&state).is_some() => {}
                pending @ (Fetch::None | Fetch::Wanted(_) | Fetch::Running) => state.fetch = pending,
            }
            if let Some(stop) = self.stop_of(&state) {
                return Err(stop);
            }
            state = self.wait(state, None);
        }
    }

    /// Waits for `duration`, or until nothing more may be started.
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

    /// Waits for `duration` whether or not the run is cancelled. Returns early, with true, if the process
    /// received SIGTERM.
    pub(crate) fn wait_for_termination(&self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        let mut state = self.lock();
        while !state.terminated && Instant::now() < until {
            state = self.wait(state, Some(until));
        }
        state.terminated
    }

    /// Waits until the runner has all events and the log, if there is a runner.
    pub(crate) fn deliver_final_events(&self) {
        self.deliver(FINAL_EVENTS_TIMEOUT, |state| self.has_log(state));
    }

    /// Waits until the runner has all events, for at most `limit`, if there is a runner.
    pub(crate) fn deliver_events(&self, limit: Duration) {
        self.deliver(limit, |_| false);
    }

    fn deliver(&self, limit: Duration, lacks_more: impl Fn(&State) -> bool) {
        let until = Instant::now() + limit;
        let mut state = self.lock();
        while (state.acked < state.journal.last_seq() || lacks_more(&state)) && Instant::now() < until {
            if !state.is_served() && !state.has_callback {
                return;
            }
            state = self.wait(state, Some(until));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, at most until `until` and never beyond the end of the lease.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, until: Option<Instant>) -> MutexGuard<'a, State> {
        let now = Instant::now();
        // After the end of the lease, only `until` limits the wait.
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
