//! Rules about contact: silence, sessions, and the fence against earlier runners.
//!
//! A runner that was frozen may wake with a request in its hand. Its session is ended before
//! anything is judged that it may have requested, so that the device refuses such a request.

use super::action::{Action, Ending, State, Verb};
use super::conclude::{conclude_away, conclude_refused};
use super::decision::{Next, Waiting};
use super::observed::Silence;
use super::view::{View, adopt, settle};
use crate::model::Millis;
use crate::retry::backoff;
use std::time::Duration;

/// Time between two sign-ins after the device refused the credentials. Accounts are locked after a
/// few failures within some minutes.
const REFUSED_DELAY: Duration = Duration::from_mins(5);

/// Waits for a device that does not answer, and signs in.
pub(super) fn connect(view: View<'_>) -> Option<Next> {
    if let Some(silence) = view.observed.silence
        && let Some(next) = wait_for_device(view, silence)
    {
        return Some(next);
    }
    let signed_in = !view.observed.limits.has_sessions || view.observed.session.is_some();
    (!signed_in).then(|| sign_in(view))
}

/// Opens a session.
pub(super) fn sign_in(view: View<'_>) -> Next {
    Next::Intend(view.intent(Verb::SignIn))
}

/// Leaves a device alone until the time that it has named.
pub(super) fn postponed(view: View<'_>) -> Option<Next> {
    let until = named(view).filter(|until| *until > view.now())?;
    Some(Next::Wait { until, on: Waiting::Asked(until) })
}

/// Returns the time that the device has named. One that names times again and again is asked once more before it is
/// given up.
fn named(view: View<'_>) -> Option<Millis> {
    let refused = view.observed.limits.refused;
    let latest = view.observed.silence.map(|silence| silence.since.after(refused));
    view.observed.not_before.map(|named| latest.map_or(named, |latest| named.min(latest)))
}

/// Decides when a silent device is asked again, and when it is given up.
fn wait_for_device(view: View<'_>, silence: Silence) -> Option<Next> {
    let is_idle = !view.actions().any(Action::is_open);
    if let Some(reason) = silence.refused.filter(|_| is_idle) {
        return Some(conclude_refused(view, reason));
    }
    let give_up = give_up_at(view, silence);
    // A device that has named a time is asked at that time, whenever it would be given up.
    if named(view).is_some_and(|named| named > silence.last) {
        return None;
    }
    if view.now() >= give_up {
        return Some(match silence.refused {
            Some(reason) => conclude_refused(view, reason),
            None => conclude_away(view),
        });
    }
    let delay = backoff(silence.times, u64::from(silence.times));
    let delay = if silence.refused.is_some() { delay.max(REFUSED_DELAY) } else { delay };
    let due = silence.last.after(delay).min(give_up);
    (due > view.now()).then_some(Next::Wait { until: due, on: Waiting::Device(give_up) })
}

/// Returns when a silent device is given up: not before the deadline of work that it may be doing. A device that
/// has done work in this attempt may be starting with it.
fn give_up_at(view: View<'_>, silence: Silence) -> Millis {
    let limits = view.observed.limits;
    let has_worked = view.actions().any(|action| action.verb.is_work() && action.at >= view.observed.since);
    let patience = if has_worked { limits.away.max(limits.reset) } else { limits.away };
    let usual = silence.since.after(patience);
    let work = view.actions().filter(|action| action.is_open() && action.verb.is_work());
    work.map(|action| view.deadline(action)).fold(usual, Millis::max)
}

/// Ends the sessions of earlier runners, and earlier sessions of this one.
pub(super) fn fence(view: View<'_>) -> Option<Next> {
    view.foreign_sessions().find_map(|session| match session.state {
        State::Begun => view.take_back(session),
        State::Intended | State::Ended | State::Unknown => Some(find_lost(view, session)),
    })
}

/// Looks for a session whose answer was lost. Nobody can use it; it only has to be removed.
fn find_lost(view: View<'_>, session: &Action) -> Next {
    let opened = view.session().map_or(session.at, |own| own.at.max(session.at));
    let Some(reading) = view.latest_after(opened.min(view.now())) else { return view.read() };
    match reading.artifact_of(session.id) {
        Some(artifact) => adopt(session, &artifact.ticket),
        None => settle(session, Ending::Unverified),
    }
}

/// What is known about requests that were sent before.
pub(super) enum Fence {
    /// The session that sent them is open, and is ours: another one must replace it.
    SignInAgain,
    /// An earlier session cannot be ended.
    Open,
    /// Nothing that was sent before can arrive after this time.
    After(Millis),
}

/// Decides when a request whose answer is not known can no longer arrive at the device.
pub(super) fn fence_of(view: View<'_>, action: &Action) -> Fence {
    let limits = view.observed.limits;
    if !limits.has_sessions {
        let sent = view.observed.since.max(action.at.min(view.now()));
        return Fence::After(sent.after(limits.proof).after(limits.idle));
    }
    let Some(session) = view.session().filter(|session| session.id > action.id) else {
        return Fence::SignInAgain;
    };
    if view.foreign_sessions().next().is_some() {
        return Fence::Open;
    }
    let sign_outs = view.actions().filter(|other| other.verb == Verb::SignOut && other.id > session.id);
    let closed = sign_outs.map(|sign_out| sign_out.at).fold(session.at, Millis::max);
    Fence::After(closed.after(limits.idle))
}
