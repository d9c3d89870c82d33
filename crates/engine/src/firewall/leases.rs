//! Keeps the opening of one session open: takes the leases, repairs rules that somebody removed, renews them
//! before they expire, and closes everything.

use super::place::Place;
use super::{Opening, Tag, close, lease_text, restricting};
use crate::args::Session;
use crate::clock;
use crate::shared::Shared;
use farrier_protocol::{EventBody, Firewall, FirewallState, Lease, LeaseKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Interval between two checks of the rules while the runner is not connected: a reload of the firewall
/// removes them.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The same while the runner is connected: firewalls let established connections pass.
const CHECK_INTERVAL_WHILE_SERVED: Duration = Duration::from_mins(1);

/// Minimum time after which a rule counts as expired.
const MIN_SPAN: Duration = Duration::from_mins(10);

/// Keeps the rules of one session.
pub(crate) struct FirewallLeases {
    shared: Arc<Shared>,
    tag: Tag,
    /// How long after its creation a rule counts as expired.
    span: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The opening that is to be open.
    open: Option<Opened>,
    /// Whether the engine retires: nothing is opened any more.
    has_ended: bool,
    /// Whether the machine is about to go down: what is to be open is closed.
    is_suspended: bool,
    checked: Option<Instant>,
}

struct Opened {
    opening: Opening,
    places: Vec<Place>,
    /// When the rules are renewed.
    renewal: Instant,
}

impl FirewallLeases {
    /// Creates it without a rule. The leases of an earlier engine of the session are in the journal.
    pub(crate) fn new(shared: Arc<Shared>, session: &Session) -> Self {
        let tag = Tag { session: session.id.clone(), run: session.run.clone() };
        let span = MIN_SPAN.max(session.lease * 2);
        Self { shared, tag, span, state: Mutex::default() }
    }

    /// Adds the rule wherever the machine may reject the connections of `opening`, and removes any other. `may`: whether the
    /// firewall may be changed; otherwise it is only looked at.
    pub(crate) fn open(&self, opening: Opening, may: bool) -> Vec<Firewall> {
        let mut state = self.lock();
        if state.has_ended {
            return Vec::new();
        }
        let places = self.restricting(opening);
        if !may {
            self.close_but(&[]);
            state.open = None;
            let report = |place: &Place| firewall(place, opening, FirewallState::Untouched, String::new());
            return places.iter().map(report).collect();
        }
        if state.is_suspended {
            let problem = "the machine is about to be rebooted";
            let report = |place: &Place| firewall(place, opening, FirewallState::Failed, problem.into());
            let reports = places.iter().map(report).collect();
            state.open = Some(Opened { opening, places, renewal: self.renewal() });
            return reports;
        }
        let wanted: Vec<String> = places.iter().map(|place| lease_text(place, opening)).collect();
        self.close_but(&wanted);
        let opened = places.iter().map(|place| {
            let result = self.ensure(place, opening, false);
            let state = if result.is_ok() { FirewallState::Opened } else { FirewallState::Failed };
            firewall(place, opening, state, result.err().unwrap_or_default())
        });
        let opened = opened.collect();
        state.open = Some(Opened { opening, places, renewal: self.renewal() });
        state.checked = Some(Instant::now());
        opened
    }

    /// Closes everything that is open.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.open = None;
        self.close_but(&[]);
    }

    /// Closes everything until [`Self::resume`] is called.
    pub(crate) fn suspend(&self) {
        let mut state = self.lock();
        state.is_suspended = true;
        self.close_but(&[]);
    }

    /// Opens again what [`Self::suspend`] has closed.
    pub(crate) fn resume(&self) {
        let mut state = self.lock();
        if !std::mem::take(&mut state.is_suspended) {
            return;
        }
        if let Some(open) = &state.open {
            for place in &open.places {
                // A failure is repeated at the next check.
                self.ensure(place, open.opening, false).ok();
            }
        }
    }

    /// Opens nothing from now on. The leases stay; whoever retires the engine releases them.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        (state.open, state.has_ended) = (None, true);
    }

    /// Checks the rules if it is time for that: makes those again that are gone, and renews them before they
    /// expire. `is_served`: whether the runner is connected.
    pub(crate) fn check(&self, is_served: bool) {
        let mut state = self.lock();
        if state.is_suspended {
            return;
        }
        let interval = if is_served { CHECK_INTERVAL_WHILE_SERVED } else { CHECK_INTERVAL };
        if state.checked.is_some_and(|at| at.elapsed() < interval) {
            return;
        }
        state.checked = Some(Instant::now());
        let renewal = self.renewal();
        let Some(open) = &mut state.open else { return };
        if !is_served {
            // A firewall may have been started meanwhile.
            open.places = self.restricting(open.opening);
        }
        let renews = open.renewal <= Instant::now();
        for place in &open.places {
            // A failure is repeated at the next check; the runner learns from its own connection.
            self.ensure(place, open.opening, renews).ok();
        }
        if renews {
            open.renewal = renewal;
        }
    }

    /// Returns the places that may reject the opening's connections. Where the owner has opened the port by the
    /// rule that we would make, it stays the owner's.
    fn restricting(&self, opening: Opening) -> Vec<Place> {
        let mut places = restricting(opening);
        places.retain(|place| !self.is_opened_by_owner(place, opening));
        places
    }

    fn is_opened_by_owner(&self, place: &Place, opening: Opening) -> bool {
        place.is_opened_by_owner(opening, self.is_leased(&lease_text(place, opening)))
    }

    fn is_leased(&self, what: &str) -> bool {
        let is_it = |lease: &Lease| lease.kind == LeaseKind::Firewall && lease.what == what;
        self.shared.known(|known| known.leases.iter().any(is_it))
    }

    /// Makes the rule if it is not there, or makes it again if it is to be renewed.
    fn ensure(&self, place: &Place, opening: Opening, renews: bool) -> Result<(), String> {
        let mark = Tag::mark(&self.tag.session);
        // Also what the owner has opened since the places were determined.
        let is_there = !renews && place.has(opening, &mark);
        if is_there || self.is_opened_by_owner(place, opening) {
            return Ok(());
        }
        self.take(lease_text(place, opening))?;
        let until =
            clock::now_millis().saturating_add(u64::try_from(self.span.as_millis()).unwrap_or_default());
        let comment = self.tag.comment(&clock::utc(until));
        if renews && place.has_one_rule() {
            place.close(opening, &mark, None)?;
        }
        place.open(opening, &comment, self.span)?;
        if renews && !place.has_one_rule() {
            place.close(opening, &mark, Some(&comment))?;
        }
        Ok(())
    }

    /// Writes the lease to the journal, unless it is there.
    fn take(&self, what: String) -> Result<(), String> {
        if self.is_leased(&what) {
            return Ok(());
        }
        let lease = self.shared.known(|known| known.new_lease(LeaseKind::Firewall, what));
        self.shared
            .record(EventBody::LeaseTaken { lease })
            .map_err(|error| format!("the journal cannot be written: {error}"))
    }

    /// Removes the rules of all leases but these. What cannot be removed keeps its lease.
    fn close_but(&self, wanted: &[String]) {
        let leases = self.shared.known(|known| known.leases.clone());
        let leases = leases.into_iter().filter(|lease| lease.kind == LeaseKind::Firewall);
        for lease in leases.filter(|lease| !wanted.contains(&lease.what)) {
            if close(&lease.what, &self.tag.session).is_ok() {
                // If the disk does not take it, the rule is looked for once more at the end.
                self.shared.record(EventBody::LeaseReturned { id: lease.id }).ok();
            }
        }
    }

    fn renewal(&self) -> Instant {
        Instant::now() + self.span / 2
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn firewall(place: &Place, opening: Opening, state: FirewallState, problem: String) -> Firewall {
    Firewall { name: place.name(), state, command: place.command(opening), problem }
}
