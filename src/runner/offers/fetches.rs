//! What this process knows of the images that machines fetch: who has connected, and how much was sent.

use crate::attempt::Fetch;
use crate::callback::{OpenOffer, Refusals};
use farrier_update::device::ActionId;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The sessions of this runner, with what their machines fetch.
#[derive(Default)]
pub(in crate::runner) struct Fetches {
    all: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    next: u64,
    by_session: HashMap<String, Session>,
}

/// One session of this runner.
#[derive(Default)]
struct Session {
    /// Number of the worker that works on it.
    worker: u64,
    /// Where and when its machine has connected last.
    seen: Option<(IpAddr, Instant)>,
    /// The offers that this process has made, by action.
    own: HashMap<u32, (NewFetch, Instant)>,
    /// Up to where files were sent, and when, by action.
    sent: HashMap<u32, (u64, Instant)>,
}

/// An offer that was just made.
pub(in crate::runner) struct NewFetch {
    pub(in crate::runner) offer: OpenOffer,
    pub(in crate::runner) size: u64,
    /// Where the machine was told to connect.
    pub(in crate::runner) place: (String, u16),
    /// The addresses of the machine.
    pub(in crate::runner) own: Vec<IpAddr>,
    /// Whether that place leads to this runner and to nobody else.
    pub(in crate::runner) is_ours: bool,
    /// Cancelled when the callback server has stopped listening.
    pub(in crate::runner) closed: CancellationToken,
    pub(in crate::runner) refusals: Arc<Refusals>,
}

impl Fetches {
    /// A worker begins to work on a session. Returns its number. What an earlier worker of this process has
    /// learned stays known.
    pub(in crate::runner) fn work_on(&self, session: &str) -> u64 {
        let mut all = self.lock();
        all.next += 1;
        let worker = all.next;
        all.by_session.entry(session.to_owned()).or_default().worker = worker;
        worker
    }

    /// A worker has left a session. Another worker of this process may have begun meanwhile.
    pub(in crate::runner) fn leave(&self, session: &str, worker: u64) {
        let mut all = self.lock();
        if all.by_session.get(session).is_some_and(|session| session.worker == worker) {
            all.by_session.remove(session);
        }
    }

    /// Records an offer.
    pub(in crate::runner) fn begin(&self, new: NewFetch) {
        let mut all = self.lock();
        if let Some(session) = all.by_session.get_mut(&new.offer.session) {
            session.own.insert(new.offer.action, (new, Instant::now()));
        }
    }

    /// Returns what is known of a fetch; `None` if nothing is, because another process has made the offer.
    pub(in crate::runner) fn of(&self, session: &str, action: ActionId) -> Option<Fetch> {
        let all = self.lock();
        let session = all.by_session.get(session)?;
        let sent = session.sent.get(&action.0);
        let (bytes, idle) = (sent.map_or(0, |(position, _)| *position), sent.map(|(_, at)| at.elapsed()));
        let Some((new, since)) = session.own.get(&action.0) else {
            let (from, _) = session.seen?;
            return Some(Fetch {
                seen: Some(from),
                is_certain: false,
                bytes,
                size: None,
                idle,
                age: Duration::ZERO,
                place: (String::new(), 0),
                own: Vec::new(),
                strangers: Vec::new(),
            });
        };
        let strangers = new.refusals.unknown_sources_since(*since);
        Some(Fetch {
            seen: session.seen.filter(|(_, at)| at >= since).map(|(from, _)| from),
            // A machine may hide behind an address that was rejected.
            is_certain: new.is_ours && !new.closed.is_cancelled() && strangers.is_empty(),
            bytes,
            size: Some(new.size),
            idle,
            age: since.elapsed(),
            place: new.place.clone(),
            own: new.own.clone(),
            strangers,
        })
    }

    /// Returns the offers of a session that this process has made.
    pub(in crate::runner) fn offers_of(&self, session: &str) -> Vec<OpenOffer> {
        let all = self.lock();
        let session = all.by_session.get(session);
        session.iter().flat_map(|session| session.own.values()).map(|(new, _)| new.offer.clone()).collect()
    }

    /// Ends all offers of a session but these.
    pub(in crate::runner) fn keep(&self, session: &str, actions: &[ActionId]) {
        if let Some(session) = self.lock().by_session.get_mut(session) {
            session.own.retain(|action, _| actions.contains(&ActionId(*action)));
            session.sent.retain(|action, _| actions.contains(&ActionId(*action)));
        }
    }

    /// Notes that the machine of a session has connected.
    pub(in crate::runner) fn note_connection(&self, session: &str, source: IpAddr) {
        if let Some(session) = self.lock().by_session.get_mut(session) {
            session.seen = Some((source, Instant::now()));
        }
    }

    /// Notes that a file was sent up to this position.
    pub(in crate::runner) fn note_sent(&self, session: &str, action: u32, position: u64) {
        if let Some(session) = self.lock().by_session.get_mut(session) {
            let before = session.sent.get(&action).map_or(0, |(position, _)| *position);
            session.sent.insert(action, (before.max(position), Instant::now()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn new(action: u32) -> NewFetch {
        let (session, name, digest) = ("a".to_owned(), "a.bin".to_owned(), "sha256:0".to_owned());
        NewFetch {
            offer: OpenOffer { session, action, name, digest },
            size: 100,
            place: ("192.0.2.9".to_owned(), 63001),
            own: vec![HERE],
            is_ours: true,
            closed: CancellationToken::new(),
            refusals: Arc::default(),
        }
    }

    /// A request that "cannot have begun" would be sent again although the machine has the image.
    #[test]
    fn a_connection_counts_for_the_offers_before_it() {
        let fetches = Fetches::default();
        fetches.work_on("a");
        let of = |action| fetches.of("a", ActionId(action)).unwrap();
        fetches.begin(new(4));
        fetches.note_connection("b", HERE);
        assert_eq!((of(4).seen, of(4).is_certain, of(4).idle), (None, true, None));
        fetches.note_connection("a", HERE);
        fetches.begin(new(7));
        assert_eq!((of(4).seen, of(7).seen), (Some(HERE), None));
        fetches.note_sent("a", 4, 70);
        fetches.note_sent("a", 4, 30);
        assert_eq!((of(4).bytes, of(4).size, of(4).idle.is_some()), (70, Some(100), true));
        fetches.keep("a", &[ActionId(7)]);
        assert_eq!(fetches.offers_of("a").len(), 1);
        assert_eq!((of(7).bytes, of(7).idle), (0, None));
    }

    /// Otherwise another runner may have served the machine, or a port that was closed meanwhile.
    #[test]
    fn what_others_may_have_served_is_not_certain() {
        let fetches = Fetches::default();
        fetches.work_on("a");
        let closed = CancellationToken::new();
        fetches.begin(NewFetch { closed: closed.clone(), ..new(1) });
        fetches.begin(NewFetch { is_ours: false, ..new(2) });
        let is_certain = |action| fetches.of("a", ActionId(action)).unwrap().is_certain;
        assert_eq!((is_certain(1), is_certain(2)), (true, false));
        closed.cancel();
        assert!(!is_certain(1));
        assert_eq!(fetches.of("a", ActionId(3)), None, "another process has made the offer");
        fetches.note_connection("a", HERE);
        let other = fetches.of("a", ActionId(3)).unwrap();
        assert_eq!((other.seen, other.is_certain), (Some(HERE), false));
    }

    /// A runner that has lost its Lease for a moment begins again before the old worker is gone.
    #[test]
    fn what_one_worker_has_learned_the_next_one_knows() {
        let fetches = Fetches::default();
        let first = fetches.work_on("a");
        fetches.begin(new(4));
        let second = fetches.work_on("a");
        fetches.leave("a", first);
        assert!(fetches.of("a", ActionId(4)).is_some());
        fetches.leave("a", second);
        assert!(fetches.of("a", ActionId(4)).is_none() && fetches.offers_of("a").is_empty());
    }
}
