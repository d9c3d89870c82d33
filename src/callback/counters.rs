//! Counters of the callback server, and the refusals that it reports to the run.
//!
//! The counters are for metrics and belong to the process. The refusals are for the run's events:
//! they are aggregated by cause, so that ten thousand refusals are one event.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};
use tokio::sync::Notify;

/// Why a connection or a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The source address is not an address of the run.
    Source,
    /// The data was not TLS of a version that the peer may use, was a replay, or was tampered with in
    /// transit.
    Handshake,
    /// The peer sent no client certificate, or a certificate that the run's CA did not sign for an
    /// engine.
    Certificate,
    /// The certificate is of the run, but for another session than the requested one.
    WrongSession,
    /// The certificate is no longer, or not yet, valid.
    Expired,
    /// No runner serves the session.
    UnknownSession,
    /// The runner that serves the session could not be reached.
    Relay,
    /// The handshake, the request or the reader was too slow.
    TooSlow,
    /// The limit of concurrent connections of one address, or of all addresses, was reached.
    TooMany,
    /// The path, method or request is not offered.
    Path,
    /// A wrong name or password at a file service (SFTP, SCP, FTP).
    Account,
    /// An authenticated engine requested something that does not exist, sent data that cannot be
    /// parsed, or sent more than one machine has to report.
    Request,
    /// The peer connected and closed without sending anything, or sent only the preflight message:
    /// a port scan from one of the run's machines, or a preflight. This is counted but not
    /// reported.
    Silent,
}

impl Cause {
    /// All causes, in a fixed order.
    pub const ALL: [Self; 13] = [
        Self::Source,
        Self::Handshake,
        Self::Certificate,
        Self::WrongSession,
        Self::Expired,
        Self::UnknownSession,
        Self::Relay,
        Self::TooSlow,
        Self::TooMany,
        Self::Path,
        Self::Account,
        Self::Request,
        Self::Silent,
    ];

    /// Returns the value for metric labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Handshake => "handshake",
            Self::Certificate => "certificate",
            Self::WrongSession => "wrong_session",
            Self::Expired => "expired",
            Self::UnknownSession => "unknown_session",
            Self::Relay => "relay",
            Self::TooSlow => "too_slow",
            Self::TooMany => "too_many",
            Self::Path => "path",
            Self::Account => "account",
            Self::Request => "request",
            Self::Silent => "silent",
        }
    }

    /// Describes the cause for users; follows "connections were refused: ".
    pub fn describe(self) -> &'static str {
        match self {
            Self::Source => "the source address is not one of the run's machines",
            Self::Handshake => "no TLS 1.3 handshake came about",
            Self::Certificate => "no client certificate of this run",
            Self::WrongSession => "a client certificate of another machine of this run",
            Self::Expired => "an expired client certificate",
            Self::UnknownSession => "a session that no runner answers for",
            Self::Relay => "the runner that answers for the session could not be reached",
            Self::TooSlow => "the other side was too slow",
            Self::TooMany => "too many connections at once",
            Self::Path => "a path or request that is not offered",
            Self::Account => "a wrong name or password for the run's files by SFTP, SCP or FTP",
            Self::Request => "an engine with the right certificate that asks what no engine of ours does",
            Self::Silent => "the peer closed the connection without sending anything",
        }
    }
}

/// Totals of one process, over all runs. All values except `open` only increase.
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    engines: AtomicU64,
    relayed: AtomicU64,
    sent: AtomicU64,
    opened: AtomicU64,
    closed: AtomicU64,
    refused: [AtomicU64; Cause::ALL.len()],
}

impl Counters {
    /// Returns the number of TCP connections that were admitted by their source address.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Returns the number of streams of authenticated engines.
    pub fn engines(&self) -> u64 {
        self.engines.load(Ordering::Relaxed)
    }

    /// Returns the number of streams that were relayed to another runner.
    pub fn relayed(&self) -> u64 {
        self.relayed.load(Ordering::Relaxed)
    }

    /// Returns the bytes written to sockets, TLS included.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Returns the number of connections that are open now.
    pub fn open(&self) -> u64 {
        let closed = self.closed.load(Ordering::Relaxed);
        self.opened.load(Ordering::Relaxed).saturating_sub(closed)
    }

    /// Returns the number of refusals for this cause.
    pub fn refused(&self, cause: Cause) -> u64 {
        self.of(cause).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    pub(super) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_engine(&self) {
        self.engines.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_relayed(&self) {
        self.relayed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_closed(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self, cause: Cause) {
        if let Some(counter) = self.of(cause) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn of(&self, cause: Cause) -> Option<&AtomicU64> {
        let index = Cause::ALL.iter().position(|c| *c == cause)?;
        self.refused.get(index)
    }
}

/// The refusals of one cause since they were last taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The cause.
    pub cause: Cause,
    /// The number of refusals.
    pub count: u64,
    /// The source address of the last refusal.
    pub source: IpAddr,
    /// The time of the last refusal.
    pub at: SystemTime,
}

/// How many unknown source addresses are remembered. A preflight asks for the addresses of the last
/// seconds; during a scan the answer would be worth nothing anyway.
const MAX_UNKNOWN_SOURCES: usize = 64;

/// The refusals of one run that have not been reported yet: at most one entry per cause.
#[derive(Debug, Default)]
pub struct Refusals {
    gathered: Mutex<BTreeMap<Cause, Refusal>>,
    /// Addresses that are not the run's, and when each was last refused; the newest is at the end.
    unknown_sources: Mutex<VecDeque<(IpAddr, Instant)>>,
    news: Notify,
}

impl Refusals {
    /// Returns the addresses that were refused since `since` because they are not the run's. The
    /// list is incomplete if there were very many.
    pub fn unknown_sources_since(&self, since: Instant) -> Vec<IpAddr> {
        let unknown_sources = self.unknown_sources.lock().unwrap_or_else(PoisonError::into_inner);
        unknown_sources.iter().filter(|(_, at)| *at >= since).map(|(address, _)| *address).collect()
    }

    fn remember(&self, stranger: IpAddr) {
        let mut unknown_sources = self.unknown_sources.lock().unwrap_or_else(PoisonError::into_inner);
        unknown_sources.retain(|(address, _)| *address != stranger);
        if unknown_sources.len() >= MAX_UNKNOWN_SOURCES {
            unknown_sources.pop_front();
        }
        unknown_sources.push_back((stranger, Instant::now()));
    }

    /// Waits until there is a refusal whose cause is not in `waiting`.
    pub async fn gathered(&self, waiting: &BTreeSet<Cause>) {
        loop {
            let news = self.news.notified();
            let any = self.lock().keys().any(|cause| !waiting.contains(cause));
            if any {
                return;
            }
            news.await;
        }
    }

    /// Takes all refusals except those whose cause is in `waiting`, which continue to be
    /// aggregated. Returns at most one refusal per cause.
    pub fn take(&self, waiting: &BTreeSet<Cause>) -> Vec<Refusal> {
        self.lock().extract_if(.., |cause, _| !waiting.contains(cause)).map(|(_, refusal)| refusal).collect()
    }

    pub(super) fn gather(&self, cause: Cause, source: IpAddr) {
        if cause == Cause::Silent {
            return;
        }
        if cause == Cause::Source {
            self.remember(source);
        }
        let at = SystemTime::now();
        let mut gathered = self.lock();
        let entry = gathered.entry(cause).or_insert(Refusal { cause, count: 0, source, at });
        *entry = Refusal { cause, count: entry.count.saturating_add(1), source, at };
        let first = entry.count == 1;
        drop(gathered);
        // The notification for the first refusal of a cause covers all later ones.
        if first {
            self.news.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Cause, Refusal>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
