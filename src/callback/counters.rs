//! What the callback server counts, and what it tells the run about refusals.
//!
//! Counting is for metrics and belongs to the process. Telling is for the run's events: refusals
//! are gathered by cause, so that ten thousand of them are one event.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};
use tokio::sync::Notify;

/// Why a connection or a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The source address is not one of the run's.
    Source,
    /// What came was no TLS 1.3, was recorded earlier, or was tampered with on the way.
    Handshake,
    /// No client certificate, or not one that the run's CA signed for an engine.
    Certificate,
    /// A certificate of the run, for another session than the one that was asked for.
    WrongSession,
    /// A certificate that is no longer, or not yet, valid.
    Expired,
    /// A session that no runner answers for.
    UnknownSession,
    /// The runner that answers for the session could not be reached.
    Relay,
    /// Handshake, request or reader was too slow.
    TooSlow,
    /// More connections at once than one address, or all of them, may have.
    TooMany,
    /// A path, method or request that is not offered.
    Path,
    /// An engine that has proven who it is asked for what nobody has, sent what cannot be read, or
    /// more than one machine has to say.
    Request,
    /// Connected and went away without a word, or with that of a preflight: a scan from one of the
    /// run's machines, or a preflight. Counted, not told.
    Silent,
}

impl Cause {
    /// All of them, in a fixed order.
    pub const ALL: [Self; 12] = [
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
        Self::Request,
        Self::Silent,
    ];

    /// A name for labels of metrics.
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
            Self::Request => "request",
            Self::Silent => "silent",
        }
    }

    /// What happened, for people; goes after "connections were refused: ".
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
            Self::Request => "an engine with the right certificate that asks what no engine of ours does",
            Self::Silent => "the other side went away without a word",
        }
    }
}

/// Totals of one process, over all runs. Only ever growing, but for `open`.
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
    /// TCP connections that were accepted and let in by their source address.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Streams of engines that proved who they are.
    pub fn engines(&self) -> u64 {
        self.engines.load(Ordering::Relaxed)
    }

    /// Streams that were passed on to another runner.
    pub fn relayed(&self) -> u64 {
        self.relayed.load(Ordering::Relaxed)
    }

    /// Bytes written to sockets, TLS included.
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Connections that are open now.
    pub fn open(&self) -> u64 {
        let closed = self.closed.load(Ordering::Relaxed);
        self.opened.load(Ordering::Relaxed).saturating_sub(closed)
    }

    /// Refusals for this cause.
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

/// Refusals of one cause since they were last asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub cause: Cause,
    /// How many.
    pub count: u64,
    /// Where the last one came from.
    pub source: IpAddr,
    /// When the last one was.
    pub at: SystemTime,
}

/// How many strangers are remembered. A preflight asks for those of the last seconds; during a scan
/// the answer would be worth nothing anyway.
const MAX_UNKNOWN_SOURCES: usize = 64;

/// The refusals of one run that nobody has been told of yet: at most one entry per cause.
#[derive(Debug, Default)]
pub struct Refusals {
    gathered: Mutex<BTreeMap<Cause, Refusal>>,
    /// Addresses that are not the run's, and when each was refused last; the newest at the end.
    unknown_sources: Mutex<VecDeque<(IpAddr, Instant)>>,
    news: Notify,
}

impl Refusals {
    /// Addresses that were refused since then because they are not the run's. Not all of them if
    /// there were very many.
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

    /// Waits until there is one whose cause is not among those that are to wait.
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

    /// Takes what there is, but for causes that are to wait: those go on being gathered. At most one
    /// for each cause.
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
        // The others of its kind are found with it.
        if first {
            self.news.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Cause, Refusal>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
