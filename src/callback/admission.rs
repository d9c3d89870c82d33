//! Who is let in, and how many at once.
//!
//! Whoever has not proven to be a session's engine counts against a budget per source address, and
//! while its handshake lasts, against one for all. Where a budget is used up, the oldest handshake
//! of that address goes: an honest one takes milliseconds and is through before it is the oldest.
//! Where that of all is used up, it is the oldest one of the address that has the most.
//! Engines that have proven who they are need no budget, as each session has one stream.

use super::counters::{Cause, Counters, Refusals};
use crate::token_bucket::TokenBucket;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Budgets and patience.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the first byte to the end of a TLS handshake.
    pub handshake: Duration,
    /// From one request's end to the next one's last header, for those without a certificate.
    pub request: Duration,
    /// How long a reader may keep the server waiting, all in all, until it has taken 16 KiB.
    pub reader: Duration,
    /// Connections without a proven engine, per source address. Generous, since several machines
    /// may share an address.
    pub per_source: usize,
    /// Connections that a source address may begin at once, without having been there for a while,
    /// and in each second after that. Who begins more is refused before anything is read.
    pub begins: (u32, u32),
    /// Handshakes at once.
    pub handshakes: usize,
    /// Connections at once, engines included, over all runs of the process.
    pub connections: usize,
}

impl Limits {
    /// So that a process with so many descriptors always has half of them left for the rest of its
    /// work: SSH, the API server, payloads.
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
    /// One core does some 4,000 handshakes a second, so that a fleet of thousands is through before
    /// the first one's patience ends. A hundred and twenty-eight is more than a site behind one
    /// address begins in the milliseconds that a handshake takes, and costs an attacker's victim
    /// two megabytes. A site of a thousand machines behind one address has all of them back five
    /// seconds after a runner was lost, and an attacker who does nothing but shake hands takes a
    /// fortieth of a core. A reader that takes less than 550 bytes a second would need three weeks for a
    /// gigabyte.
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

/// Above so many addresses, those that have begun nothing of late are forgotten.
const PRUNE_THRESHOLD: usize = 1024;

/// What a connection is, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerState {
    /// Has said nothing that proves anything.
    Unauthenticated,
    /// Without a certificate, and served.
    Device,
    /// A session's engine, or a stream on its way to another runner.
    Authenticated,
}

/// The server of one run.
pub(super) struct Admission {
    limits: Limits,
    counters: Arc<Counters>,
    refusals: Arc<Refusals>,
    closed: CancellationToken,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    all: HashMap<u64, Connection>,
    /// Numbers of those that have proven nothing, oldest first.
    unauthenticated: BTreeMap<u64, IpAddr>,
    sources: HashMap<IpAddr, Source>,
    /// Who has begun how many of late. Only addresses of the run get here.
    begins: HashMap<IpAddr, TokenBucket>,
    prune_threshold: usize,
}

struct Connection {
    source: IpAddr,
    runner: bool,
    state: PeerState,
    leave: CancellationToken,
}

/// Those of one address that have not proven to be engines.
#[derive(Default)]
struct Source {
    unauthenticated: VecDeque<u64>,
    devices: usize,
}

/// A connection's place; dropping it frees the place.
pub(super) struct Permit {
    admission: Arc<Admission>,
    number: u64,
    leave: CancellationToken,
}

impl Admission {
    pub(super) fn new(limits: Limits, counters: Arc<Counters>, closed: CancellationToken) -> Arc<Self> {
        let refusals = Arc::default();
        Arc::new(Self { limits, counters, refusals, closed, connections: Mutex::default() })
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub(super) fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// Counts a refusal, and remembers it for the run's events.
    pub(super) fn refuse(&self, cause: Cause, source: IpAddr) {
        self.counters.count_refused(cause);
        self.refusals.gather(cause, source);
    }

    /// A place for a connection from an address that may connect, or `None` if there is none.
    /// Another runner passes on the connections of many machines, and has no budget of its own.
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

    /// Closes the connections of all who may not be here any more.
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
    /// Whether this address has not begun too many of late.
    fn may_begin(&mut self, source: IpAddr, limits: &Limits) -> bool {
        let now = Instant::now();
        if self.begins.len() > self.prune_threshold {
            self.begins.retain(|_, bucket| !bucket.is_full(now));
            // Where all are needed, looking again each time would cost more than it frees.
            self.prune_threshold = PRUNE_THRESHOLD.max(self.begins.len() * 2);
        }
        let (at_once, per_second) = limits.begins;
        self.begins.entry(source).or_insert_with(|| TokenBucket::new(at_once, per_second, now)).take(now)
    }

    /// Sees to it that one more has a place. Returns who has to go for it, and whether there is
    /// one.
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

    /// The oldest handshake of the address that has the most of them: however many addresses flood
    /// together, one that has a single handshake keeps it. As many are looked through as there may
    /// be handshakes at once, which takes some microseconds.
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

    /// Takes one of this standing off its budgets.
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
    /// What the connection turned out to be.
    pub(super) fn set_state(&self, state: PeerState) {
        self.admission.lock().set_state(self.number, state);
    }

    /// Gives the place up for a reason, which is counted unless the place was taken away before.
    pub(super) fn refuse(&self, cause: Cause) {
        let removed = self.admission.lock().remove(self.number);
        if let Some(connection) = removed {
            self.admission.refuse(cause, connection.source);
        }
    }

    /// When the connection has to end: the run closed, its address is not the run's any more, or
    /// it was in the way of a newer one.
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
