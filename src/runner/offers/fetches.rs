//! What this process knows of the images that it has offered: who has connected, and how much was sent.

use crate::attempt::Fetch;
use crate::callback::{OpenOffer, Refusals};
use farrier_update::device::ActionId;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// The offers that attempts of this process have made, by session and action.
#[derive(Default)]
pub(in crate::runner) struct Fetches {
    all: Mutex<HashMap<(String, u32), OwnOffer>>,
}

/// An offer that was just made.
pub(in crate::runner) struct NewFetch {
    /// UID of the run.
    pub(in crate::runner) run: String,
    pub(in crate::runner) offer: OpenOffer,
    pub(in crate::runner) size: u64,
    /// Where the machine was told to connect.
    pub(in crate::runner) place: (String, u16),
    pub(in crate::runner) own: Vec<IpAddr>,
    /// Whether that place leads to this runner and to nobody else.
    pub(in crate::runner) is_ours: bool,
    /// Cancelled when the callback server has stopped listening.
    pub(in crate::runner) closed: CancellationToken,
    pub(in crate::runner) refusals: Arc<Refusals>,
}

struct OwnOffer {
    new: NewFetch,
    since: Instant,
    seen: Option<IpAddr>,
    position: u64,
    sent_at: Option<Instant>,
}

impl Fetches {
    /// Records an offer.
    pub(in crate::runner) fn begin(&self, new: NewFetch) {
        let key = (new.offer.session.clone(), new.offer.action);
        let (since, seen, position, sent_at) = (Instant::now(), None, 0, None);
        self.lock().insert(key, OwnOffer { new, since, seen, position, sent_at });
    }

    /// Returns what is known of an offer; `None` if this process has not made it.
    pub(in crate::runner) fn of(&self, session: &str, action: ActionId) -> Option<Fetch> {
        let all = self.lock();
        let OwnOffer { new, since, seen, position, sent_at } = all.get(&(session.to_owned(), action.0))?;
        let strangers = new.refusals.unknown_sources_since(*since);
        Some(Fetch {
            seen: *seen,
            // A machine may hide behind an address that was rejected.
            is_certain: new.is_ours && !new.closed.is_cancelled() && strangers.is_empty(),
            bytes: *position,
            size: new.size,
            idle: sent_at.map(|at| at.elapsed()),
            age: since.elapsed(),
            place: new.place.clone(),
            own: new.own.clone(),
            strangers,
        })
    }

    /// Returns the offers of a session.
    pub(in crate::runner) fn offers_of(&self, session: &str) -> Vec<OpenOffer> {
        let all = self.lock();
        all.iter().filter(|((of, _), _)| of == session).map(|(_, own)| own.new.offer.clone()).collect()
    }

    /// Ends all offers of a session but these.
    pub(in crate::runner) fn keep(&self, session: &str, actions: &[ActionId]) {
        self.lock().retain(|(of, action), _| of != session || actions.contains(&ActionId(*action)));
    }

    /// Notes that a machine with this address has connected to the ports of a run.
    pub(in crate::runner) fn note_connection(&self, run: &str, source: IpAddr) {
        for own in self.lock().values_mut().filter(|own| own.new.run == run) {
            if own.new.own.contains(&source) {
                own.seen = Some(source);
            }
        }
    }

    /// Notes that a file was sent up to this position.
    pub(in crate::runner) fn note_sent(&self, session: &str, action: u32, position: u64) {
        if let Some(own) = self.lock().get_mut(&(session.to_owned(), action)) {
            own.position = own.position.max(position);
            own.sent_at = Some(Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, u32), OwnOffer>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn new(session: &str, action: u32, own: u8) -> NewFetch {
        let (session, name, digest) = (session.to_owned(), "a.bin".to_owned(), "sha256:0".to_owned());
        NewFetch {
            run: "r1".to_owned(),
            offer: OpenOffer { session, action, name, digest },
            size: 100,
            place: ("192.0.2.9".to_owned(), 63001),
            own: vec![address(own)],
            is_ours: true,
            closed: CancellationToken::new(),
            refusals: Arc::default(),
        }
    }

    /// A request that "cannot have begun" would be sent again although the machine has the image.
    #[test]
    fn a_fetch_is_seen_from_the_addresses_of_its_machine_only() {
        let fetches = Fetches::default();
        fetches.begin(new("a", 4, 1));
        fetches.begin(new("b", 4, 2));
        fetches.note_connection("r1", address(2));
        fetches.note_connection("r2", address(1));
        let of = |session: &str| fetches.of(session, ActionId(4)).unwrap();
        assert_eq!((of("a").seen, of("b").seen), (None, Some(address(2))));
        assert!(of("a").is_certain && of("a").idle.is_none());
        fetches.note_sent("b", 4, 70);
        fetches.note_sent("b", 4, 30);
        assert_eq!((of("b").bytes, of("b").size, of("b").idle.is_some()), (70, 100, true));
        fetches.keep("a", &[]);
        assert!(fetches.of("a", ActionId(4)).is_none() && fetches.of("b", ActionId(4)).is_some());
        assert_eq!(fetches.offers_of("b").len(), 1);
    }

    /// Otherwise another runner may have served the machine, or a port that was closed meanwhile.
    #[test]
    fn what_others_may_have_served_is_not_certain() {
        let fetches = Fetches::default();
        let closed = CancellationToken::new();
        fetches.begin(NewFetch { closed: closed.clone(), ..new("a", 1, 1) });
        fetches.begin(NewFetch { is_ours: false, ..new("a", 2, 1) });
        let is_certain = |action| fetches.of("a", ActionId(action)).unwrap().is_certain;
        assert_eq!((is_certain(1), is_certain(2)), (true, false));
        closed.cancel();
        assert!(!is_certain(1));
    }
}
