//! Questions about the observed facts that several rules ask.

use super::action::{Action, ActionId, Change, Ending, Intent, Ticket, Verb, is_closed};
use super::decision::{Next, Waiting};
use super::inventory::Inventory;
use super::observed::{Goal, Observed};
use crate::model::Millis;
use crate::retry::backoff;

/// How many readings in a row must agree before they are believed. A controller that has just
/// started shows old versions, or none, for some readings.
const AGREEING: usize = 3;

/// The observed facts, with the questions that rules ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) observed: &'a Observed<'a>,
}

impl<'a> View<'a> {
    pub(super) const fn of(observed: &'a Observed<'a>) -> Self {
        Self { observed }
    }

    pub(super) const fn now(self) -> Millis {
        self.observed.now
    }

    /// Reports whether nothing new may begin.
    pub(super) fn is_winding_down(self) -> bool {
        self.observed.cancelled || self.observed.goal == Goal::CleanUp
    }

    pub(super) fn actions(self) -> impl Iterator<Item = &'a Action> {
        self.observed.actions.iter()
    }

    /// Returns the sessions that may be open, without the one of this attempt.
    pub(super) fn foreign_sessions(self) -> impl Iterator<Item = &'a Action> {
        self.actions().filter(move |action| {
            action.verb == Verb::SignIn
                && Some(action.id) != self.observed.session
                && action.is_open()
                && !is_closed(self.observed.actions, action)
        })
    }

    /// Returns the action that opened the session of this attempt.
    pub(super) fn session(self) -> Option<&'a Action> {
        let session = self.observed.session?;
        self.actions().find(|action| action.id == session)
    }

    pub(super) fn latest(self) -> Option<&'a Inventory> {
        self.observed.readings.last()
    }

    /// Returns the latest reading if it began after this time.
    pub(super) fn latest_after(self, time: Millis) -> Option<&'a Inventory> {
        self.latest().filter(|reading| reading.at > time)
    }

    /// Returns the latest reading if it is believed: the last three began after this time, and agree.
    pub(super) fn agreed_after(self, time: Millis) -> Option<&'a Inventory> {
        let readings = self.observed.readings;
        let recent = readings.get(readings.len().checked_sub(AGREEING)?..)?;
        let latest = recent.last()?;
        recent.iter().all(|reading| reading.at > time && reading.agrees_with(latest)).then_some(latest)
    }

    /// Reads the device again, not more often than the limits allow.
    pub(super) fn read(self) -> Next {
        match self.latest().map(|latest| latest.at.after(self.observed.limits.poll)) {
            Some(due) if due > self.now() => Next::Wait { until: due, on: Waiting::Reading },
            Some(_) | None => Next::Read,
        }
    }

    /// Asks the device about a task, not more often than the limits allow.
    pub(super) fn follow(self, action: &Action, ticket: &Ticket) -> Next {
        let followed = self.observed.followed.filter(|followed| followed.action == action.id);
        match followed.map(|followed| followed.at.after(self.observed.limits.poll)) {
            Some(due) if due > self.now() => {
                Next::Wait { until: due, on: Waiting::Task(action.id, self.deadline(action)) }
            }
            Some(_) | None => Next::Follow(action.id, ticket.clone()),
        }
    }

    /// Returns when an action is no longer followed.
    pub(super) fn deadline(self, action: &Action) -> Millis {
        // Without a deadline (a later version wrote the action) the usual patience applies.
        action.until.unwrap_or_else(|| action.at.after(self.observed.limits.away))
    }

    pub(super) fn is_overdue(self, action: &Action) -> bool {
        self.now() >= self.deadline(action)
    }

    /// Returns an intent of a new action that is about nothing else.
    pub(super) fn intent(self, verb: Verb) -> Intent {
        let last = self.actions().map(|action| action.id.0).max().unwrap_or(0);
        let empty = String::new;
        Intent {
            id: ActionId(last.saturating_add(1)),
            verb,
            component: empty(),
            of: None,
            follows: empty(),
            to: empty(),
            boot: empty(),
            until: None,
        }
    }

    /// Takes back what an action left; `None` if the device has refused that too often, or nothing
    /// can be taken back.
    pub(super) fn take_back(self, action: &Action) -> Option<Next> {
        let verb = action.verb.inverse()?;
        let refused = self.refused(|inverse| inverse.of == Some(action.id));
        if let Some(next) = self.again_after(verb, refused) {
            return next;
        }
        let intent = Intent { component: action.component.clone(), of: Some(action.id), ..self.intent(verb) };
        Some(Next::Intend(intent))
    }

    /// Returns how often requests of some kind were refused, and when the last time was.
    pub(super) fn refused(self, is_meant: impl Fn(&Action) -> bool) -> (u32, Millis) {
        let refused =
            self.actions().filter(|action| action.ending == Some(Ending::NotBegun) && is_meant(action));
        refused.fold((0, Millis(0)), |(count, last), action| (count + 1, last.max(action.at)))
    }

    /// Decides about a request that was refused: `None` if it may be made now, `Some(None)` if it may
    /// not be made any more.
    #[expect(clippy::option_option, reason = "may be made; must wait; may never be made")]
    pub(super) fn again_after(self, verb: Verb, (count, last): (u32, Millis)) -> Option<Option<Next>> {
        if count == 0 {
            return None;
        }
        if count >= self.observed.limits.tries {
            return Some(None);
        }
        let due = last.after(backoff(count, u64::from(count)));
        (due > self.now()).then_some(Some(Next::Wait { until: due, on: Waiting::Retry(verb) }))
    }
}

/// Records how an action ended.
pub(super) const fn settle(action: &Action, ending: Ending) -> Next {
    Next::Record(action.id, Change::Ended(ending))
}

/// Records that the device works on an action.
pub(super) fn adopt(action: &Action, ticket: &Ticket) -> Next {
    Next::Record(action.id, Change::Begun(Some(ticket.clone())))
}
