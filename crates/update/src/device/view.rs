//! Questions about the observed facts that several rules ask.

use super::action::{Action, ActionId, Change, Ending, Intent, Ticket, Verb, is_closed};
use super::decision::{Next, Waiting};
use super::inventory::{Earlier, Inventory};
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

    pub(super) fn actions(self) -> impl DoubleEndedIterator<Item = &'a Action> + Clone {
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
        let [.., latest] = self.last_readings()? else { return None };
        let mut readings = self.last_readings()?.iter();
        readings.all(|reading| reading.at > time && reading.agrees_with(latest)).then_some(latest)
    }

    /// Returns the latest reading if its versions are believed.
    pub(super) fn versions(self) -> Option<&'a Inventory> {
        let [.., latest] = self.last_readings()? else { return None };
        self.last_readings()?.iter().all(|reading| reading.has_versions_of(latest)).then_some(latest)
    }

    /// Returns the work for a component that an earlier run has begun: if any of the last readings shows it, since
    /// a task that could not be read is missing in a reading.
    pub(super) fn earlier_work(self, component: &str) -> Option<&'a Earlier> {
        let mut readings = self.observed.readings.iter().rev().take(AGREEING);
        readings.find_map(|reading| reading.earlier_work(component))
    }

    fn last_readings(self) -> Option<&'a [Inventory]> {
        let readings = self.observed.readings;
        readings.get(readings.len().checked_sub(AGREEING)?..)
    }

    /// Returns when a device is given up whose readings never agree.
    pub(super) fn end_of_reading(self) -> Millis {
        let is_session = |action: &&Action| matches!(action.verb, Verb::SignIn | Verb::SignOut);
        let active = self.actions().filter(|action| !is_session(action)).chain(self.session());
        let active = active.map(|action| action.at).fold(self.observed.since, Millis::max);
        active.after(self.observed.limits.reading)
    }

    /// Reads the device again, not more often than the limits allow.
    pub(super) fn read(self) -> Next {
        self.read_for(Waiting::Reading)
    }

    /// Reads the device again because of something that is waited for.
    pub(super) fn read_for(self, on: Waiting) -> Next {
        match self.latest().map(|latest| latest.at.after(self.observed.limits.poll)) {
            Some(due) if due > self.now() => Next::Wait { until: due, on },
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
            members: Vec::new(),
            until: None,
        }
    }

    /// Takes back what an action left; `None` if the device has refused that for too long, or nothing
    /// can be taken back.
    pub(super) fn take_back(self, action: &Action) -> Option<Next> {
        let verb = action.verb.inverse()?;
        match self.refusals(|inverse| inverse.of == Some(action.id)).again(self) {
            Again::Never => None,
            Again::At(due) => Some(Next::Wait { until: due, on: Waiting::Retry(verb) }),
            Again::Now => {
                let component = action.component.clone();
                Some(Next::Intend(Intent { component, of: Some(action.id), ..self.intent(verb) }))
            }
        }
    }

    /// Returns how often requests of some kind were refused in this attempt.
    pub(super) fn refusals(self, is_meant: impl Fn(&Action) -> bool) -> Refusals {
        let mut refusals = Refusals { count: 0, first: Millis(u64::MAX), last: Millis(0), is_final: false };
        for action in self.actions().filter(|action| action.at >= self.observed.since && is_meant(action)) {
            refusals.is_final |= matches!(action.ending, Some(Ending::Refused | Ending::AlreadyInstalled));
            if action.ending == Some(Ending::NotBegun) {
                refusals.count += 1;
                refusals.first = refusals.first.min(action.at);
                refusals.last = refusals.last.max(action.at);
            }
        }
        refusals
    }
}

/// The refusals of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusals {
    count: u32,
    first: Millis,
    last: Millis,
    is_final: bool,
}

/// When a request that was refused may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Now,
    At(Millis),
    Never,
}

impl Refusals {
    /// Reports whether the device has refused the request again and again.
    pub(super) const fn is_repeated(&self) -> bool {
        self.count >= 3
    }

    /// Decides when the request may be made again: with growing delays, for as long as a device may
    /// need to start.
    pub(super) fn again(self, view: View<'_>) -> Again {
        if self.is_final {
            return Again::Never;
        }
        if self.count == 0 {
            return Again::Now;
        }
        let due = self.last.after(backoff(self.count, u64::from(self.count)));
        if due > self.first.after(view.observed.limits.refused) {
            return Again::Never;
        }
        if due > view.now() { Again::At(due) } else { Again::Now }
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
