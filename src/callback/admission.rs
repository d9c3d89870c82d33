//! Admission control: which connections are accepted, and how many at once.
//!
//! A connection whose peer has not authenticated as a session's engine counts against a limit per
//! source address and, during its handshake, against a limit for all addresses. When the limit of
//! an address is reached, the oldest handshake of that address is closed: an honest handshake takes
//! milliseconds and is complete before it is the oldest. When the overall limit is reached, the
//! oldest handshake of the address with the most handshakes is closed. Authenticated engines need
//! no limit because each session has one stream.

use super::counters::{Cause, Counters, Refusals};
use super::transfer::{MAX_TRANSFERS, Transfers};
use crate::token_bucket::TokenBucket;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Limits and timeouts of a callback server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Timeout from the first byte to the end of a TLS handshake.
    pub handshake: Duration,
    /// Timeout from the end of a request to the last header of the next request, for peers without
    /// a certificate.
    pub request: Duration,
    /// Total time that a reader may block the server until it has accepted 16 KiB.
    pub reader: Duration,
    /// Connections without an authenticated engine, per source address. The value is generous
    /// because several machines may share an address.
    pub per_source: usize,
    /// Connections that a source address may open at once after a pause, and per second after that.
    /// Connections beyond this are refused before anything is read.
    pub begins: (u32, u32),
    /// Concurrent handshakes.
    pub handshakes: usize,
    /// Concurrent connections, engines included, over all runs of the process.
    pub connections: usize,
}

impl Limits {
    /// Returns limits with which a process that has `descriptors` file descriptors keeps half of
    /// them for the rest of its work: SSH, the API server, payloads.
    pub fn for_descriptors(descriptors: usize) -> Self {
        let usual = Self::default();
        let handshakes = usual.handshakes.min(descriptors / 8);
        Self {
            per_source: usual.per_source.min(handshakes / 4).max(1),
            handshakes: handshakes.max(1),
            connections: usual.connections.min(descriptors / 2),
            ..usual
        }
    }
}

impl Default for Limits {
    /// One core does about 4,000 handshakes a second, so a fleet of thousands is connected before
    /// the first handshake times out. 128 connections per source are more than a site behind one
    /// address opens in the milliseconds that a handshake takes, and cost the victim of an attack
    /// two megabytes. A site of a thousand machines behind one address is completely reconnected
    /// five seconds after a runner was lost, and an attacker that only performs handshakes takes a
    /// fortieth of a core. A reader that accepts less than 550 bytes a second would need three
    /// weeks for a gigabyte.
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            request: Duration::from_secs(20),
            reader: Duration::from_secs(30),
            per_source: 128,
            begins: (512, 100),
            handshakes: 1024,
            connections: 16 * 1024,
        }
    }
}

/// With more addresses than this, the token buckets of addresses without recent connections are
/// dropped.
const PRUNE_THRESHOLD: usize = 1024;

/// What is known about the peer of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerState {
    /// The peer has not authenticated.
    Unauthenticated,
    /// The peer has no certificate and is served as a device.
    Device,
    /// The peer is a session's engine, or the connection is relayed to another runner.
    Authenticated,
}

/// Admission control of one run's server.
pub(super) struct Admission {
    limits: Limits,
    counters: Arc<Counters>,
    refusals: Arc<Refusals>,
    closed: CancellationToken,
    transfers: Transfers,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    all: HashMap<u64, Connection>,
    /// Numbers of the unauthenticated connections, oldest first.
    unauthenticated: BTreeMap<u64, IpAddr>,
    sources: HashMap<IpAddr, Source>,
    /// How many connections each address has opened recently. Only addresses of the run are
    /// entered.
    begins: HashMap<IpAddr, TokenBucket>,
    prune_threshold: usize,
}

struct Connection {
    source: IpAddr,
    runner: bool,
    state: PeerState,
    leave: CancellationToken,
}

/// The connections of one address that have not authenticated as engines.
#[derive(Default)]
struct Source {
    unauthenticated: VecDeque<u64>,
    devices: usize,
}

/// A connection's permit; dropping the permit releases it.
pub(super) struct Permit {
    admission: Arc<Admission>,
    number: u64,
    leave: CancellationToken,
}

impl Admission {
    pub(super) fn new(limits: Limits, counters: Arc<Counters>, closed: CancellationToken) -> Arc<Self> {
        let refusals = Arc::default();
        let transfers = Transfers::new(MAX_TRANSFERS);
        Arc::new(Self { limits, counters, refusals, closed, transfers, connections: Mutex::default() })
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns the transfers to peers without a certificate.
    pub(super) fn transfers(&self) -> &Transfers {
        &self.transfers
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(super) fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// Counts a refusal and records it for the run's events.
    pub(super) fn refuse(&self, cause: Cause, source: IpAddr) {
        self.counters.count_refused(cause);
        self.refusals.gather(cause, source);
    }

    /// Returns a permit for a connection from an allowed address, or `None` if a limit is reached.
    /// The relayed connections of another runner come from many machines, so a runner has no limit
    /// of its own.
    pub(super) fn enter(self: &Arc<Self>, source: IpAddr, runner: bool) -> Option<Permit> {
        let is_full = self.counters.open() >= self.limits.connections as u64;
        let mut connections = self.lock();
        let (evicted, room) = if runner || connections.may_begin(source, &self.limits) {
            connections.make_room(source, runner, is_full, &self.limits)
        } else {
            (None, false)
        };
        let permit = room.then(|| {
            let (number, leave) = (connections.next, self.closed.child_token());
            connections.next += 1;
            let connection =
                Connection { source, runner, state: PeerState::Unauthenticated, leave: leave.clone() };
            connections.add(number, connection);
            Permit { admission: self.clone(), number, leave }
        });
        drop(connections);
        if let Some((source, leave)) = evicted {
            self.refuse(Cause::TooMany, source);
            leave.cancel();
        }
        if permit.is_some() {
            self.counters.count_opened();
        } else {
            self.refuse(Cause::TooMany, source);
        }
        permit
    }

    /// Closes all connections whose peer is no longer allowed.
    pub(super) fn keep(&self, may_stay: impl Fn(IpAddr, bool) -> bool) {
        let connections = self.lock();
        for connection in
            connections.all.values().filter(|connection| !may_stay(connection.source, connection.runner))
        {
            connection.leave.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    /// Reports whether this address has not opened too many connections recently.
    fn may_begin(&mut self, source: IpAddr, limits: &Limits) -> bool {
        let now = Instant::now();
        if self.begins.len() > self.prune_threshold {
            self.begins.retain(|_, bucket| !bucket.is_full(now));
            // If all buckets are still needed, pruning again for each connection would cost more
            // than it frees.
            self.prune_threshold = PRUNE_THRESHOLD.max(self.begins.len() * 2);
        }
        let (at_once, per_second) = limits.begins;
        self.begins.entry(source).or_insert_with(|| TokenBucket::new(at_once, per_second, now)).take(now)
    }

    /// Makes room for one more connection. Returns the connection to close for it, and whether
    /// there is room.
    fn make_room(
        &mut self,
        source: IpAddr,
        runner: bool,
        is_full: bool,
        limits: &Limits,
    ) -> (Option<(IpAddr, CancellationToken)>, bool) {
        let of_source = self.sources.get(&source);
        let held = of_source.map_or(0, |s| s.unauthenticated.len() + s.devices);
        let over_budget = !runner && held >= limits.per_source;
        let over_all = self.unauthenticated.len() >= limits.handshakes || is_full;
        if !over_budget && !over_all {
            return (None, true);
        }
        let own = of_source.and_then(|s| s.unauthenticated.front().copied());
        let oldest = if over_budget { own } else { self.oldest_of_the_greediest() };
        let evicted = oldest.and_then(|number| self.remove(number));
        let room = evicted.is_some();
        (evicted.map(|connection| (connection.source, connection.leave)), room)
    }

    /// Returns the oldest handshake of the address with the most handshakes: however many addresses
    /// take part in a flood, an address with a single handshake keeps it. The search is bounded by
    /// the limit on concurrent handshakes and takes some microseconds.
    fn oldest_of_the_greediest(&self) -> Option<u64> {
        let greediest = self.sources.values().max_by_key(|source| source.unauthenticated.len())?;
        greediest.unauthenticated.front().copied()
    }

    fn add(&mut self, number: u64, connection: Connection) {
        self.unauthenticated.insert(number, connection.source);
        self.sources.entry(connection.source).or_default().unauthenticated.push_back(number);
        self.all.insert(number, connection);
    }

    fn set_state(&mut self, number: u64, state: PeerState) {
        let Some(connection) = self.all.get_mut(&number) else { return };
        let before = std::mem::replace(&mut connection.state, state);
        let source = connection.source;
        self.account(number, source, before);
        if state == PeerState::Device {
            self.sources.entry(source).or_default().devices += 1;
        }
    }

    fn remove(&mut self, number: u64) -> Option<Connection> {
        let connection = self.all.remove(&number)?;
        self.account(number, connection.source, connection.state);
        Some(connection)
    }

    /// Removes a connection in this state from the limits that it counts against.
    fn account(&mut self, number: u64, address: IpAddr, state: PeerState) {
        let Some(source) = self.sources.get_mut(&address) else { return };
        match state {
            PeerState::Unauthenticated => {
                source.unauthenticated.retain(|n| *n != number);
                self.unauthenticated.remove(&number);
            }
            PeerState::Device => source.devices = source.devices.saturating_sub(1),
            PeerState::Authenticated => {}
        }
        if source.unauthenticated.is_empty() && source.devices == 0 {
            self.sources.remove(&address);
        }
    }
}

impl Permit {
    /// Sets the state of the peer.
    pub(super) fn set_state(&self, state: PeerState) {
        self.admission.lock().set_state(self.number, state);
    }

    /// Releases the permit for a reason. The reason is counted unless the permit was revoked
    /// before.
    pub(super) fn refuse(&self, cause: Cause) {
        let removed = self.admission.lock().remove(self.number);
        if let Some(connection) = removed {
            self.admission.refuse(cause, connection.source);
        }
    }

    /// Returns the token that is cancelled when the connection has to end: the run closed, its
    /// address is no longer part of the run, or it was evicted for a newer connection.
    pub(super) fn leave(&self) -> CancellationToken {
        self.leave.clone()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.lock().remove(self.number);
        self.admission.counters.count_closed();
    }
}
