//! The part of the shared state that the link uses.

use super::{Fetch, Phase, Shared, State};
use crate::callback::{Route, Stream, failed_dial};
use crate::clock;
use crate::engine::failed;
use crate::payload::{Download, FetchError};
use farrier_protocol::{
    Ack, Dial, FailureCode, HEARTBEAT_SECONDS, Hello, LOG_CHUNK_BYTES, LeaseKind, LogAck, Next,
    OLDEST_VERSION, Task, VERSION, Welcome,
};
use std::io;
use std::time::{Duration, Instant};

/// Limits the memory that one request needs, and the time that a slow connection needs for it.
const BATCH_BYTES: usize = 256 * 1024;

/// Minimum interval between two requests for a task if the runner does not hold them; prevents a busy loop.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// The identity that the engine sends to the runner.
#[derive(Default)]
pub(crate) struct Identity {
    /// Id of the session.
    pub(crate) session: String,
    /// The machine's boot id.
    pub(crate) boot_id: String,
    /// Digest of the engine's binary, if it can be read.
    pub(crate) digest: Option<String>,
}

/// The next action of the link.
pub(crate) enum LinkOrder {
    /// `POST /v1/events`.
    Post {
        /// A JSON array of events.
        events: Vec<u8>,
        /// Number of the last event.
        last: u64,
    },
    /// `POST /v1/log`.
    Log {
        /// Offset of the first byte.
        from: u64,
        /// Lines of the log.
        lines: Vec<u8>,
    },
    /// `POST /v1/next`.
    Ask(Next),
    /// `GET /v1/payloads/…`.
    Fetch(Box<Download>),
    /// Leave this connection, because there is a newer one or the journal cannot be read.
    Leave,
}

/// The runner's answer to a request for a task.
pub(crate) enum Answer {
    /// No task yet.
    Nothing,
    /// A task.
    Task(Task),
    /// A task of a later version of the protocol.
    Unintelligible {
        /// Id of the task.
        id: String,
        /// Why the task cannot be parsed.
        message: String,
    },
}

/// The times of the last requests on this connection.
pub(crate) struct RequestTimes {
    /// The last `POST /v1/events`.
    pub(crate) posted: Option<Instant>,
    /// The last request for a task that was answered without a task.
    pub(crate) asked: Option<Instant>,
}

impl Shared {
    /// Accepts a connection, which replaces the current one. The runner that opened it knows that it needs
    /// a new connection, and the engine cannot distinguish a dead connection from a silent one.
    pub(crate) fn accept(&self, stream: Stream) {
        let mut state = self.lock();
        if let Some(current) = &state.current {
            current.now();
        }
        // Replacing a connection that is not being served yet closes it.
        state.waiting = Some(stream);
        self.changed.notify_all();
    }

    /// Waits for a connection to serve.
    pub(crate) fn next_stream(&self) -> io::Result<Stream> {
        let mut state = self.lock();
        state.current = None;
        self.changed.notify_all();
        loop {
            if let Some(stream) = state.waiting.take() {
                state.current = Some(stream.cut()?);
                return Ok(stream);
            }
            state = self.wait(state, None);
        }
    }

    /// Returns the first message of a connection.
    pub(crate) fn hello(&self, who: &Identity, route: Option<&Route>) -> Hello {
        let state = self.lock();
        let known = state.journal.known();
        let is_unknown = |kind: LeaseKind| kind == LeaseKind::Unknown;
        Hello {
            protocol: VERSION,
            oldest: Some(OLDEST_VERSION),
            engine: env!("CARGO_PKG_VERSION").into(),
            digest: who.digest.clone(),
            now: Some(clock::now_millis()),
            session: who.session.clone(),
            boot_id: who.boot_id.clone(),
            last_seq: state.journal.last_seq(),
            tasks: known.records(),
            leases: known.leases.iter().filter(|lease| !is_unknown(lease.kind)).cloned().collect(),
            dials: route.map_or_else(|| state.dials.clone(), |route| state.failed_dials(route)),
        }
    }

    /// Records the runner's answer to [`Hello`].
    pub(crate) fn welcome(&self, welcome: &Welcome) {
        // Before the state is locked: the log may be locked for as long as the pump copies.
        if let (Some(output), Some(had)) = (&self.output, welcome.log) {
            output.skip_to(had);
        }
        let mut state = self.lock();
        state.journal.skip_to(welcome.ack);
        state.acked = welcome.ack;
        state.lease = Duration::from_secs(welcome.lease_seconds);
        state.log_acked = welcome.log;
        self.changed.notify_all();
    }

    /// Records that a dialled connection received the runner's first answer, or ended with `error` before.
    pub(crate) fn greeted(&self, route: Route, error: Option<&io::Error>) {
        let mut state = self.lock();
        match error {
            None => {
                state.dials.clear();
                state.untrusted_peers.clear();
            }
            // Closed in favour of a newer connection, which says nothing about the return path.
            Some(_) if state.waiting.is_some() => {}
            Some(error) => {
                let last = failed_dial(&route.address, route.from, error);
                state.dials = route.before;
                state.dials.push(last);
            }
        }
    }

    /// Waits until there is something to do on this connection.
    pub(crate) fn link_order(&self, pace: &RequestTimes) -> LinkOrder {
        let mut state = self.lock();
        loop {
            if let Some(order) = self.log_order(&state, pace) {
                return order;
            }
            match order(&mut state, pace) {
                Ok(order) => return order,
                Err(until) => state = self.wait(state, until),
            }
        }
    }

    /// Returns the next lines of the log, if the runner lacks some and they are next. Events go first, because
    /// statuses follow from them, and so does the request by which a cancellation arrives. But the last event
    /// ends the connection, and the log is complete before it.
    fn log_order(&self, state: &State, pace: &RequestTimes) -> Option<LinkOrder> {
        let output = self.output.as_ref().filter(|_| self.has_log(state))?;
        let others_first = match state.phase {
            Phase::Leaving => false,
            Phase::Busy | Phase::Given(_) => {
                state.acked < state.journal.last_seq()
                    || next_beat(pace).is_none_or(|at| at <= Instant::now())
            }
            Phase::Idle { .. } => state.acked < state.journal.last_seq(),
        };
        if state.waiting.is_some() || others_first {
            return None;
        }
        // If the log cannot be read now, the connection goes on without it.
        let (from, lines) = output.read(state.log_acked?, LOG_CHUNK_BYTES).ok()?;
        (!lines.is_empty()).then_some(LinkOrder::Log { from, lines })
    }

    /// Reports whether the runner takes logs and lacks a part of this one.
    pub(super) fn has_log(&self, state: &State) -> bool {
        let length = self.output.as_ref().map(|output| output.length()).unwrap_or_default();
        state.log_acked.is_some_and(|acked| acked < length)
    }

    /// Records that the log has new lines.
    pub(crate) fn log_grew(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Records the runner's acknowledgement of a part of the log. Returns an error if it made no progress.
    pub(crate) fn log_taken(&self, ack: &LogAck) -> io::Result<()> {
        let mut state = self.lock();
        let stuck = state.log_acked.is_none_or(|acked| ack.next <= acked);
        state.log_acked = Some(ack.next);
        self.changed.notify_all();
        if stuck { Err(io::Error::other("the runner does not take the log")) } else { Ok(()) }
    }

    /// Records the runner's acknowledgement of events up to `last`. Returns an error if it made no
    /// progress.
    pub(crate) fn acknowledge(&self, ack: &Ack, last: u64) -> io::Result<()> {
        let mut state = self.lock();
        let stuck = last > state.acked && ack.ack <= state.acked;
        state.acked = state.acked.max(ack.ack.min(last));
        state.cancelled |= ack.cancel;
        self.changed.notify_all();
        if stuck { Err(io::Error::other("the runner does not acknowledge the events")) } else { Ok(()) }
    }

    /// Records the runner's answer to a request for a task.
    pub(crate) fn answer(&self, answer: Answer) {
        let mut state = self.lock();
        // The worker may have stopped meanwhile; the runner learns that from the events.
        if let Phase::Idle { .. } = state.phase {
            state.phase = match answer {
                Answer::Nothing => Phase::Idle { done: None },
                Answer::Task(task) => Phase::Given(task),
                Answer::Unintelligible { id, message } => {
                    // The event is kept in memory if the disk does not take it.
                    state.journal.append(failed(&id, FailureCode::Other, "", message)).ok();
                    Phase::Idle { done: Some(id) }
                }
            };
        }
        self.changed.notify_all();
    }

    /// Records that a payload was fetched or cannot be fetched.
    pub(crate) fn fetched(&self, result: Result<(), FetchError>) {
        self.end_fetch(Fetch::Ended(result));
    }

    /// Records that the connection was lost during the download of a payload.
    pub(crate) fn fetch_again(&self, download: Box<Download>) {
        self.end_fetch(Fetch::Wanted(download));
    }

    fn end_fetch(&self, next: Fetch) {
        let mut state = self.lock();
        // Any state other than `Running` means that the worker no longer wants the payload.
        if matches!(state.fetch, Fetch::Running) {
            state.fetch = next;
        }
        self.changed.notify_all();
    }
}

impl State {
    /// Returns the failed dials before this route was found: those of the same round, and the addresses
    /// where an untrusted server answered at any time before.
    fn failed_dials(&self, route: &Route) -> Vec<Dial> {
        let earlier = self.untrusted_peers.iter().filter(|dial| !route.before.contains(dial));
        route.before.iter().chain(earlier).cloned().collect()
    }
}

/// Returns when a busy engine posts events at the latest. `None`: at once.
fn next_beat(pace: &RequestTimes) -> Option<Instant> {
    pace.posted.map(|at| at + Duration::from_secs(HEARTBEAT_SECONDS))
}

/// Returns the next action, or the time until which there is nothing to do.
fn order(state: &mut State, pace: &RequestTimes) -> Result<LinkOrder, Option<Instant>> {
    if state.waiting.is_some() {
        return Ok(LinkOrder::Leave);
    }
    let beat = next_beat(pace);
    let busy = !matches!(state.phase, Phase::Idle { .. });
    let beat_due = busy && beat.is_none_or(|at| at <= Instant::now());
    if state.acked < state.journal.last_seq() || beat_due {
        return Ok(match state.journal.batch(state.acked, BATCH_BYTES) {
            Ok((events, last)) => LinkOrder::Post { events, last },
            Err(_) => LinkOrder::Leave,
        });
    }
    match std::mem::replace(&mut state.fetch, Fetch::Running) {
        // The worker drops a download that is no longer wanted as soon as it wakes up.
        Fetch::Wanted(download) if !state.cancelled && !state.terminated => {
            return Ok(LinkOrder::Fetch(download));
        }
        other @ (Fetch::None | Fetch::Wanted(_) | Fetch::Running | Fetch::Ended(_)) => state.fetch = other,
    }
    match &state.phase {
        Phase::Idle { done } => {
            let ask = pace.asked.map(|at| at + ASK_INTERVAL);
            match ask {
                Some(at) if at > Instant::now() => Err(Some(at)),
                _ => Ok(LinkOrder::Ask(Next { done: done.clone() })),
            }
        }
        Phase::Busy | Phase::Given(_) | Phase::Leaving => Err(beat),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_protocol::DialOutcome;

    /// An untrusted server that answers in place of the runner and then disappears would never be reported.
    #[test]
    fn untrusted_servers_are_reported_once_the_runner_answers() {
        let path = std::env::temp_dir().join(format!("farrier-impostor-{}", std::process::id()));
        let shared = Shared::new(Journal::open(&path).unwrap(), Duration::from_mins(1));
        let dial = |result| Dial { address: "10.0.0.1:1".into(), result, message: String::new(), from: None };
        for result in [DialOutcome::Untrusted, DialOutcome::TimedOut, DialOutcome::Untrusted] {
            shared.note_dials(vec![dial(result)]);
        }
        let route = Route { address: "10.0.0.1:1".into(), from: None, before: Vec::new() };
        let reported = |shared: &Shared| shared.hello(&Identity::default(), Some(&route)).dials;
        assert_eq!(reported(&shared), [dial(DialOutcome::Untrusted)]);
        assert_eq!(reported(&shared), [dial(DialOutcome::Untrusted)], "until the runner has answered");
        shared.greeted(route.clone(), None);
        assert_eq!(reported(&shared), []);
        std::fs::remove_file(path).unwrap();
    }
    use crate::digest::Digest;
    use crate::journal::Journal;

    /// A download occupies the connection until it ends, and would delay the end of a cancelled run.
    #[test]
    fn a_cancelled_run_begins_no_download() {
        let name = |what: &str| std::env::temp_dir().join(format!("farrier-{what}-{}", std::process::id()));
        let (journal, file) = (name("journal"), name("payload"));
        let shared = Shared::new(Journal::open(&journal).unwrap(), Duration::from_mins(1));
        let digest = Digest::of_reader(&b""[..]).unwrap();
        let mut state = shared.lock();
        let pace = RequestTimes { posted: Some(Instant::now()), asked: None };
        for cancelled in [true, false] {
            let download = Download::create(&file, digest.clone(), 1).unwrap();
            state.fetch = Fetch::Wanted(Box::new(download));
            state.cancelled = cancelled;
            let fetches = matches!(order(&mut state, &pace), Ok(LinkOrder::Fetch(_)));
            assert_eq!(fetches, !cancelled);
        }
        for path in [journal, file] {
            std::fs::remove_file(path).unwrap();
        }
    }
}
