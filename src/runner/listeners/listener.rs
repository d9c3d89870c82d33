//! One listener, and the state of the attempts to open it.

use super::service::{self, ServiceListener};
use crate::api::update_run::{ListenerState, ListenerStatus};
use crate::callback::{AddressSet, BindError, BindErrorKind, Pair, Server};
use crate::runner::offers::FetchingMachine;
use farrier_network::FileService;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::DropGuard;

/// How long a port that was found taken is considered taken.
const TAKEN_TTL: Duration = Duration::from_secs(30);

/// Time after which the same ports are tried again after a failure that is not a conflict.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// How long the data behind the ports may be missing before it is reported: a single failed read is not
/// worth a report.
const FAILURE_GRACE: Duration = Duration::from_secs(10);

/// One listener, open or not.
pub(super) struct Listener {
    /// The ports that were assigned last.
    pub(super) pair: Pair,
    pub(super) active: Option<ActiveListener>,
    pub(super) sources: watch::Sender<Arc<AddressSet>>,
    pub(super) peers: watch::Sender<Arc<[IpAddr]>>,
    pub(super) fetching: watch::Sender<Arc<[FetchingMachine]>>,
    pub(super) names: watch::Sender<Arc<BTreeSet<String>>>,
    /// The file services that were assigned ports.
    pub(super) services: BTreeMap<FileService, ServiceListener>,
    /// The file services that are open, with their ports.
    pub(super) open_services: watch::Sender<BTreeMap<FileService, u16>>,
    /// Result of the last attempt to bind these ports.
    found: Option<BindOutcome>,
    /// Ports that were found taken, each with the time.
    taken: Vec<(u16, Instant)>,
    /// Since when the data behind the ports is missing.
    trouble: Option<Instant>,
    /// The status that was written last.
    pub(super) written: Option<ListenerStatus>,
}

/// A listener that is open.
pub(super) struct ActiveListener {
    pub(super) server: Server,
    /// Dropping it makes the reporters of rejected connections send their last report.
    pub(super) reporter: DropGuard,
}

struct BindOutcome {
    state: ListenerState,
    message: String,
    at: Instant,
}

impl Listener {
    /// Creates a closed listener. `reported` is the status that this runner has written for the run's
    /// ports, perhaps in an earlier process.
    pub(super) fn new(pair: Pair, reported: Option<&ListenerStatus>, now: Instant) -> Self {
        Self {
            pair,
            active: None,
            sources: watch::channel(Arc::default()).0,
            peers: watch::channel(Arc::from([])).0,
            fetching: watch::channel(Arc::from([])).0,
            names: watch::channel(Arc::default()).0,
            services: BTreeMap::new(),
            open_services: watch::channel(BTreeMap::new()).0,
            found: None,
            taken: reported.iter().flat_map(|reported| &reported.taken).map(|port| (*port, now)).collect(),
            trouble: None,
            written: None,
        }
    }

    /// Sets new ports. The listener must be closed.
    pub(super) fn move_to(&mut self, pair: Pair) {
        (self.pair, self.found, self.trouble) = (pair, None, None);
    }

    /// Reports whether the ports should be tried now. A pair that was taken is not tried again before
    /// it may have become free: the controller assigns another pair meanwhile.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        match &self.found {
            None => true,
            Some(BindOutcome { state: ListenerState::Bound | ListenerState::Conflict, .. }) => {
                ![self.pair.http, self.pair.https].into_iter().any(|port| self.is_taken(port))
            }
            Some(BindOutcome { state: ListenerState::NotPermitted | ListenerState::Failed, at, .. }) => {
                now.duration_since(*at) >= RETRY_INTERVAL
            }
        }
    }

    pub(super) fn opened(&mut self, active: ActiveListener, now: Instant) {
        self.active = Some(active);
        self.trouble = None;
        self.find(ListenerState::Bound, String::new(), now);
    }

    /// Records that the ports could not be bound.
    pub(super) fn refused(&mut self, error: &BindError, now: Instant) {
        let state = match error.kind {
            BindErrorKind::InUse(_) => {
                self.note_taken(error.port, now);
                ListenerState::Conflict
            }
            BindErrorKind::NotPermitted => ListenerState::NotPermitted,
            BindErrorKind::NoFamily | BindErrorKind::Other(_) => ListenerState::Failed,
        };
        self.find(state, error.to_string(), now);
    }

    /// Notes that a port was found taken.
    pub(super) fn note_taken(&mut self, taken: u16, now: Instant) {
        self.taken.retain(|(port, _)| *port != taken);
        self.taken.push((taken, now));
    }

    /// Reports whether a port was found taken lately.
    pub(super) fn is_taken(&self, port: u16) -> bool {
        self.taken.iter().any(|(taken, _)| *taken == port)
    }

    /// Records that the ports could be bound, but no request can be served. The listener fails if this
    /// state lasts.
    pub(super) fn failed(&mut self, message: String, now: Instant) {
        let since = *self.trouble.get_or_insert(now);
        if now.duration_since(since) >= FAILURE_GRACE {
            self.find(ListenerState::Failed, message, now);
        }
    }

    /// Notes that no ports are assigned at the moment. Returns whether there are taken ports to
    /// remember: without them the same ports would be assigned again immediately.
    pub(super) fn without_ports(&mut self, now: Instant) -> bool {
        self.forget_old(now);
        if let Some(found) = &mut self.found {
            found.state = ListenerState::Conflict;
        }
        !self.taken.is_empty()
    }

    pub(super) fn forget_old(&mut self, now: Instant) {
        self.taken.retain(|(_, at)| now.duration_since(*at) < TAKEN_TTL);
    }

    /// Returns the status of the ports; `None` if nothing is known yet.
    pub(super) fn report(&self, runner: &str) -> Option<ListenerStatus> {
        let found = self.found.as_ref()?;
        let taken: BTreeSet<u16> = self.taken.iter().map(|(port, _)| *port).collect();
        Some(ListenerStatus {
            runner: runner.to_owned(),
            http_port: self.pair.http,
            https_port: self.pair.https,
            state: found.state,
            message: found.message.clone(),
            taken: taken.into_iter().collect(),
            services: service::reports(&self.services),
        })
    }

    fn find(&mut self, state: ListenerState, message: String, at: Instant) {
        self.found = Some(BindOutcome { state, message, at });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callback::{Family, bind};
    use std::net::TcpListener;

    /// Regression test: a taken pair was assigned and found taken many times a second.
    #[test]
    fn a_taken_port_is_remembered_for_half_a_minute_whether_or_not_another_is_given() {
        let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = foreign.local_addr().unwrap().port();
        let now = Instant::now();
        let mut listener = Listener::new(Pair { http: port, https: 1 }, None, now);
        let error = bind(listener.pair, &[Family::V4]).map(|_| ()).unwrap_err();
        listener.refused(&error, now);
        assert!(!listener.is_due(now));
        assert!(listener.without_ports(now));
        let reported = listener.report("r").unwrap();
        assert_eq!((reported.state, reported.taken.clone()), (ListenerState::Conflict, vec![port]));
        let mut after_restart = Listener::new(listener.pair, Some(&reported), now);
        let soon = now + TAKEN_TTL.saturating_sub(Duration::from_secs(1));
        assert!(listener.without_ports(soon) && after_restart.without_ports(soon));
        assert!(!listener.without_ports(now + TAKEN_TTL) && !after_restart.without_ports(now + TAKEN_TTL));
        assert!(listener.is_due(now + TAKEN_TTL));
    }

    /// Regression test: a single failed read of a Secret disabled a runner until the end of the run.
    #[test]
    fn a_failure_is_reported_when_it_lasts_and_retried() {
        let now = Instant::now();
        let mut listener = Listener::new(Pair { http: 1, https: 2 }, None, now);
        listener.failed("no answer".into(), now);
        assert!(listener.is_due(now));
        assert_eq!(listener.report("r"), None);
        let later = now + FAILURE_GRACE;
        listener.failed("no answer".into(), later);
        assert_eq!(listener.report("r").map(|reported| reported.state), Some(ListenerState::Failed));
        assert!(!listener.is_due(later));
        assert!(listener.is_due(later + RETRY_INTERVAL));
    }
}
