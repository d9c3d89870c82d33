//! Rules about actions that are not over: removals, then work.

use super::action::{Action, Ending, State, Ticket, Verb, is_removed};
use super::decision::Next;
use super::inventory::Progress;
use super::observed::Followed;
use super::unanswered;
use super::verdict::{judge_install, judge_reset, wait_for_deadline};
use super::view::{View, adopt, settle};

/// Judges a removal whose answer is not known, by whether the thing is still there.
pub(super) fn removals(view: View<'_>) -> Option<Next> {
    let removal = view.actions().find(|action| action.is_open() && action.verb.is_inverse())?;
    let Some(reading) = view.latest_after(removal.at) else { return Some(view.read()) };
    let is_there = removal.of.is_some_and(|of| reading.trace_of(of).is_some());
    // Removing something twice does no harm, so that this may be repeated.
    Some(settle(removal, if is_there { Ending::NotBegun } else { Ending::Done }))
}

/// Judges work that is not over, the oldest first.
pub(super) fn work(view: View<'_>) -> Option<Next> {
    let action = view.actions().find(|action| action.is_open() && action.verb.is_work())?;
    Some(match (action.state, action.verb.is_reset()) {
        (State::Begun, true) => match view.agreed_after(action.at) {
            Some(reading) => judge_reset(view, action, reading),
            None => wait_for_deadline(view, action),
        },
        (State::Begun, false) => match &action.ticket {
            Some(ticket) => begun(view, action, ticket),
            None => nameless(view, action),
        },
        (State::Intended | State::Ended | State::Unknown, _) => unanswered::judge(view, action),
    })
}

/// Decides about work of which the device gave no name.
fn nameless(view: View<'_>, action: &Action) -> Next {
    if let Some(task) = view.latest_after(action.at).and_then(|reading| reading.task_of(action.id)) {
        return adopt(action, &task.ticket);
    }
    match view.agreed_after(action.at) {
        Some(reading) => judge_install(view, action, reading, None),
        None => wait_for_deadline(view, action),
    }
}

/// Decides about work that the device has a name for.
fn begun(view: View<'_>, action: &Action, ticket: &Ticket) -> Next {
    let Some(report) = report(view, action) else { return view.follow(action, ticket) };
    if let Some(next) = leave_queue(view, action, report) {
        return next;
    }
    match report.progress {
        Progress::Queued | Progress::Running if view.is_overdue(action) => settle(action, Ending::Unverified),
        Progress::Queued | Progress::Running => view.follow(action, ticket),
        Progress::Done | Progress::Failed | Progress::Gone if action.is_install() => {
            match view.agreed_after(report.at) {
                Some(reading) => judge_install(view, action, reading, Some(report)),
                None => wait_for_deadline(view, action),
            }
        }
        Progress::Done => settle(action, Ending::Done),
        Progress::Failed => settle(action, Ending::Failed),
        Progress::Gone => judge_staged(view, action, report),
    }
}

/// Returns the latest that the device said about an action.
fn report(view: View<'_>, action: &Action) -> Option<Followed> {
    let followed = view.observed.followed.filter(|followed| followed.action == action.id);
    let read = view.latest_after(followed.map_or(action.at, |followed| followed.at)).and_then(|reading| {
        let task = reading.task_of(action.id)?;
        Some(Followed { action: action.id, at: reading.at, progress: task.progress })
    });
    read.or(followed)
}

/// Removes an entry from the queue that has not begun: after a cancellation, or when its time is
/// over because something before it blocks the queue.
fn leave_queue(view: View<'_>, action: &Action, report: Followed) -> Option<Next> {
    let is_due = view.is_winding_down() || view.is_overdue(action);
    let can_leave = action.verb == Verb::Enqueue && report.progress == Progress::Queued;
    let is_left = is_removed(view.observed.actions, action.id);
    if !(is_due && can_leave) {
        return None;
    }
    if is_left {
        action.ticket.as_ref().map(|ticket| view.follow(action, ticket))
    } else {
        view.take_back(action)
    }
}

/// Decides about an image that was being staged when the device forgot the task.
fn judge_staged(view: View<'_>, action: &Action, report: Followed) -> Next {
    let Some(reading) = view.agreed_after(report.at) else { return wait_for_deadline(view, action) };
    let is_staged = reading.trace_of(action.id).is_some_and(|trace| trace.whole);
    settle(action, if is_staged { Ending::Done } else { Ending::Failed })
}
