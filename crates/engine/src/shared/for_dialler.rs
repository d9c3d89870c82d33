//! The part of the shared state that the dialler uses.

use super::{Phase, Shared};
use crate::callback::Stream;
use farrier_protocol::{Dial, DialOutcome};
use std::time::Instant;

impl Shared {
    /// Waits until there is no connection and `due` has passed, and returns true; or until `look`, and
    /// returns false.
    pub(crate) fn await_turn(&self, due: Option<Instant>, look: Instant) -> bool {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let due = due.filter(|_| !state.is_served());
            if due.is_some_and(|due| due <= now) {
                return true;
            }
            if look <= now {
                return false;
            }
            state = self.wait(state, Some(due.map_or(look, |due| due.min(look))));
        }
    }

    /// Reports whether there is a connection.
    pub(crate) fn is_served(&self) -> bool {
        self.lock().is_served()
    }

    /// Reports whether the engine is about to exit.
    pub(crate) fn is_retiring(&self) -> bool {
        matches!(self.lock().phase, Phase::Leaving)
    }

    /// Notes that the configuration was replaced, or removed. The sender of a new configuration expects
    /// a connection that uses it, so a connection of the previous configuration ends.
    pub(crate) fn renew_callback(&self, is_there: bool) {
        let mut state = self.lock();
        state.has_callback = is_there;
        state.dials.clear();
        state.waiting = state.waiting.take().filter(|stream| stream.route().is_none());
        if let Some(current) = state.current.as_ref().filter(|current| current.is_dialled()) {
            current.now();
        }
        self.changed.notify_all();
    }

    /// Offers the stream of a successful dial. An attached connection that came first has precedence.
    pub(crate) fn offer(&self, stream: Stream) {
        let mut state = self.lock();
        if !state.is_served() {
            state.waiting = Some(stream);
            self.changed.notify_all();
        }
    }

    /// Records the results of a round in which every dial failed.
    pub(crate) fn note_dials(&self, dials: Vec<Dial>) {
        let mut state = self.lock();
        for dial in dials.iter().filter(|dial| dial.result == DialOutcome::Untrusted) {
            if !state.untrusted_peers.iter().any(|known| known.address == dial.address) {
                state.untrusted_peers.push(dial.clone());
            }
        }
        state.dials = dials;
    }
}
