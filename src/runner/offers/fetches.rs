//! What this process knows of the images that machines fetch: who has connected, and how much was sent.

use crate::attempt::Fetch;
use crate::callback::{OpenOffer, Refusals};
use crate::token_bucket::TokenBucket;
use farrier_update::device::ActionId;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Posts of one machine at once after a pause, and per second after that. A device posts a few for each step of an
/// update; more of them would tell nothing new.
const POSTS: (u32, u32) = (20, 5);

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
    /// Where and when its machine has connected last. Not known of a machine that has no address of its own.
    seen: Option<(IpAddr, Instant)>,
    /// When a machine has connected from an address that other machines have too.
    maybe: Option<Instant>,
    /// How and when a machine has rejected the server's certificate last.
    rejected: Option<(String, Instant)>,
    /// Where and when the image of an action was asked for last.
    asked: HashMap<u32, (IpAddr, Instant)>,
    /// How the machine's posts are counted, by action.
    posts: HashMap<u32, TokenBucket>,
    posted: watch::Sender<u64>,
    /// The offers that this process has made or watches, by action.
    own: HashMap<u32, (NewFetch, Instant)>,
    /// The actions whose offers have ended before the actions have.
    withdrawn: HashSet<u32>,
    /// What was sent, by action.
    sent: HashMap<u32, Sent>,
}

/// What was sent of an offer.
struct Sent {
    /// Up to where each of its files was sent, by number.
    positions: HashMap<u32, u64>,
    at: Instant,
}

/// An offer that was just made.
pub(in crate::runner) struct NewFetch {
    pub(in crate::runner) offer: OpenOffer,
    /// Its length in bytes; `None` if it was offered by an earlier process, or is a folder, of which a machine may
    /// fetch what it needs.
    pub(in crate::runner) size: Option<u64>,
    /// For an offer of an earlier process: whether the machine had connected to that one.
    pub(in crate::runner) resumed: Option<bool>,
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
        let (bytes, idle) =
            (sent.map_or(0, |sent| sent.positions.values().sum()), sent.map(|sent| sent.at.elapsed()));
        let Some((new, since)) = session.own.get(&action.0) else {
            let seen = session.asked.get(&action.0).or(session.seen.as_ref());
            let (from, _) = seen?;
            return Some(Fetch {
                seen: Some(*from),
                rejected: None,
                is_shared: false,
                resumed: None,
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
        let is_withdrawn = session.withdrawn.contains(&action.0);
        let strangers = new.refusals.unknown_sources_since(*since);
        let is_shared = session.maybe.is_some_and(|at| at >= *since);
        let asked = session.asked.get(&action.0).copied();
        let connected = asked.or(session.seen.filter(|(_, at)| at >= since));
        let rejected = session.rejected.as_ref().filter(|(_, at)| at >= since);
        // What was withdrawn was not asked for, and is not served since.
        let seen = connected.filter(|_| !is_withdrawn).map(|(from, _)| from);
        // A machine may hide behind an address that was rejected, or that it shares with others.
        let is_sole = new.is_ours && strangers.is_empty() && !is_shared && !new.closed.is_cancelled();
        Some(Fetch {
            seen,
            rejected: rejected.filter(|_| asked.is_none()).map(|(how, _)| how.clone()),
            is_shared,
            resumed: new.resumed,
            is_certain: is_withdrawn || is_sole,
            bytes,
            size: new.size,
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

    /// Reports whether the offer of an action has ended although the action has not.
    pub(in crate::runner) fn is_withdrawn(&self, session: &str, action: u32) -> bool {
        self.lock().by_session.get(session).is_some_and(|session| session.withdrawn.contains(&action))
    }

    /// Ends the offer of an action, unless its machine may have connected. Returns whether it has ended.
    pub(in crate::runner) fn withdraw(&self, session: &str, action: ActionId) -> bool {
        let fetch = self.of(session, action);
        let mut all = self.lock();
        let Some(session) = all.by_session.get_mut(session) else { return false };
        // A machine that has connected in between is noted under the same lock.
        let since = session.own.get(&action.0).map(|(_, since)| *since);
        let is_later = |at: Instant| since.is_none_or(|since| at >= since);
        let is_seen = session.asked.contains_key(&action.0)
            || session.seen.is_some_and(|(_, at)| is_later(at))
            || session.maybe.is_some_and(is_later);
        if is_seen || !fetch.is_some_and(|fetch| fetch.is_certain) {
            return false;
        }
        session.withdrawn.insert(action.0);
        true
    }

    /// Lets the machine of a session post its events for an action.
    pub(in crate::runner) fn take_posts(&self, session: &str, action: ActionId) {
        if let Some(session) = self.lock().by_session.get_mut(session) {
            let (at_once, per_second) = POSTS;
            let bucket = || TokenBucket::new(at_once, per_second, Instant::now());
            session.posts.entry(action.0).or_insert_with(bucket);
        }
    }

    /// Returns the actions for which the machine of a session may post its events.
    pub(in crate::runner) fn posts_of(&self, session: &str) -> Vec<u32> {
        let all = self.lock();
        all.by_session.get(session).iter().flat_map(|session| session.posts.keys()).copied().collect()
    }

    /// Counts the posts of the machine of a session.
    pub(in crate::runner) fn posted(&self, session: &str) -> watch::Receiver<u64> {
        let mut all = self.lock();
        all.by_session.entry(session.to_owned()).or_default().posted.subscribe()
    }

    /// Notes a post. Returns false if there are too many of them.
    pub(in crate::runner) fn note_post(&self, session: &str, action: u32) -> bool {
        self.take_posts(session, ActionId(action));
        let mut all = self.lock();
        // The runner that works on the machine asks it anyway.
        let Some(session) = all.by_session.get_mut(session) else { return true };
        let is_taken = session.posts.get_mut(&action).is_some_and(|bucket| bucket.take(Instant::now()));
        if is_taken {
            session.posted.send_modify(|count| *count += 1);
        }
        is_taken
    }

    /// Ends all offers of a session but these.
    pub(in crate::runner) fn keep(&self, session: &str, actions: &[ActionId]) {
        if let Some(session) = self.lock().by_session.get_mut(session) {
            session.own.retain(|action, _| actions.contains(&ActionId(*action)));
            session.sent.retain(|action, _| actions.contains(&ActionId(*action)));
            session.asked.retain(|action, _| actions.contains(&ActionId(*action)));
            session.posts.retain(|action, _| actions.contains(&ActionId(*action)));
            session.withdrawn.retain(|action| actions.contains(&ActionId(*action)));
        }
    }

    /// Notes that the machine of a session has connected, or another one with the same address.
    pub(in crate::runner) fn note_connection(&self, session: &str, source: IpAddr, is_shared: bool) {
        if let Some(session) = self.lock().by_session.get_mut(session) {
            let now = Instant::now();
            if is_shared {
                session.maybe = Some(now);
            } else {
                session.seen = Some((source, now));
            }
        }
    }

    /// Notes that the machine of a session, or another one with the same address, has rejected the server's
    /// certificate.
    pub(in crate::runner) fn note_rejection(&self, session: &str, how: &str) {
        if let Some(session) = self.lock().by_session.get_mut(session) {
            session.rejected = Some((how.to_owned(), Instant::now()));
        }
    }

    /// Notes that the image of an action was asked for.
    pub(in crate::runner) fn note_request(&self, session: &str, action: u32, source: IpAddr) {
        if let Some(session) = self.lock().by_session.get_mut(session) {
            session.asked.insert(action, (source, Instant::now()));
        }
    }

    /// Notes that the file with this number in an offer was sent up to this position.
    pub(in crate::runner) fn note_sent(&self, session: &str, action: u32, number: u32, position: u64) {
        if let Some(session) = self.lock().by_session.get_mut(session) {
            let new = || Sent { positions: HashMap::new(), at: Instant::now() };
            let sent = session.sent.entry(action).or_insert_with(new);
            let before = sent.positions.entry(number).or_default();
            *before = (*before).max(position);
            sent.at = Instant::now();
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
            offer: OpenOffer { session, action, name, digest, unpack: false },
            size: Some(100),
            resumed: None,
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
        fetches.note_connection("b", HERE, false);
        assert_eq!((of(4).seen, of(4).is_certain, of(4).idle), (None, true, None));
        fetches.note_connection("a", HERE, false);
        fetches.begin(new(7));
        assert_eq!((of(4).seen, of(7).seen), (Some(HERE), None));
        fetches.note_sent("a", 4, 0, 70);
        fetches.note_sent("a", 4, 0, 30);
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
        fetches.note_connection("a", HERE, false);
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

    /// Two machines behind one address: one of them would be taken for the other, and a firewall in its way would not be
    /// named.
    #[test]
    fn machines_with_one_address_are_told_apart_by_what_they_ask_for() {
        let fetches = Fetches::default();
        fetches.work_on("a");
        fetches.begin(new(4));
        let of = |action| fetches.of("a", ActionId(action)).unwrap();
        fetches.note_connection("a", HERE, true);
        assert_eq!((of(4).seen, of(4).is_shared, of(4).is_certain), (None, true, false));
        assert!(!fetches.withdraw("a", ActionId(4)), "it may be the one that has connected");
        fetches.note_request("a", 5, HERE);
        assert_eq!(of(4).seen, None, "another action");
        fetches.note_request("a", 4, HERE);
        assert_eq!(of(4).seen, Some(HERE));
    }

    /// Otherwise the machine could fetch the image after it was decided that it never will.
    #[test]
    fn an_offer_that_was_withdrawn_is_certainly_not_fetched() {
        let fetches = Fetches::default();
        fetches.work_on("a");
        fetches.begin(new(4));
        fetches.begin(new(5));
        assert!(fetches.withdraw("a", ActionId(4)));
        fetches.note_connection("a", HERE, false);
        let of = |action| fetches.of("a", ActionId(action)).unwrap();
        assert_eq!((of(4).seen, of(4).is_certain, fetches.is_withdrawn("a", 4)), (None, true, true));
        assert!(!fetches.withdraw("a", ActionId(5)), "it has connected");
        assert_eq!((of(5).seen, fetches.is_withdrawn("a", 5)), (Some(HERE), false));
    }

    /// A machine that cannot verify the server would look as if a firewall were in its way, or as if it were slow.
    #[test]
    fn a_rejected_certificate_is_forgotten_once_the_image_is_asked_for() {
        let fetches = Fetches::default();
        fetches.work_on("a");
        fetches.note_rejection("a", "before the offer");
        fetches.begin(new(4));
        let rejected = || fetches.of("a", ActionId(4)).unwrap().rejected;
        assert_eq!(rejected(), None);
        fetches.note_rejection("a", "unknown CA");
        assert_eq!(rejected().as_deref(), Some("unknown CA"));
        fetches.note_request("a", 4, HERE);
        assert_eq!(rejected(), None);
    }

    /// A device that floods us with posts must not cost more than one that does not.
    #[test]
    fn posts_are_counted_and_limited() {
        let fetches = Fetches::default();
        fetches.work_on("a");
        let posted = fetches.posted("a");
        fetches.take_posts("a", ActionId(4));
        assert_eq!(fetches.posts_of("a"), [4]);
        let taken = (0..100).filter(|_| fetches.note_post("a", 4)).count();
        assert!((20..30).contains(&taken), "{taken}");
        assert_eq!(*posted.borrow(), taken as u64);
        fetches.keep("a", &[]);
        assert_eq!(fetches.posts_of("a"), [0; 0]);
    }
}
