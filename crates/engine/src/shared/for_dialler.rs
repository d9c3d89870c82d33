//! The dialler's side of the shared state.

use super::{Phase, Shared};
use crate::callback::Stream;
use farrier_protocol::{Dial, DialOutcome};
use std::time::Instant;

impl Shared {
    /// Waits until nobody is served and it is `due`: true. Or until `look`: false.
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

    /// Whether there is a connection.
    pub(crate) fn is_served(&self) -> bool {
        self.lock().is_served()
    }

    /// Whether the engine is about to leave.
    pub(crate) fn is_retiring(&self) -> bool {
        matches!(self.lock().phase, Phase::Leaving)
    }

    /// A new configuration is there, or none any more. Whoever renewed it wants a connection by
    /// it: what an earlier one brought ends.
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

    /// A dial came through. Somebody who attached meanwhile stays.
    pub(crate) fn offer(&self, stream: Stream) {
        let mut state = self.lock();
        if !state.is_served() {
            state.waiting = Some(stream);
            self.changed.notify_all();
        }
    }

    /// A whole round of dialling was in vain.
    pub(crate) fn note_dials(&self, dials: Vec<Dial>) {
        let mut state = self.lock();
        for dial in dials.iter().filter(|dial| dial.result == DialOutcome::Untrusted) {
            if !state.impostors.iter().any(|known| known.address == dial.address) {
                state.impostors.push(dial.clone());
            }
        }
        state.dials = dials;
    }
}
