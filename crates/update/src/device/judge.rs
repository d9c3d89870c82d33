//! Rules about actions that are not over: removals, then work.

use super::action::{Action, Ending, State, Ticket, Verb, is_removed};
use super::decision::Next;
use super::inventory::{ArtifactKind, Inventory, Progress};
use super::observed::Followed;
use super::unanswered;
use super::verdict::{judge_install, judge_reset, keep_reading, wait_for_deadline};
use super::view::{View, adopt, settle};

/// Judges a removal whose answer is not known, by whether the thing is still there.
pub(super) fn removals(view: View<'_>) -> Option<Next> {
    let removal = view.actions().find(|action| action.is_open() && action.verb.is_inverse())?;
    let Some(reading) = view.latest_after(removal.at) else { return Some(view.read()) };
    let is_there = removal.of.is_some_and(|of| reading.artifact_of(of).is_some());
    // Removing something twice does no harm, so that this may be repeated.
    Some(settle(removal, if is_there { Ending::NotBegun } else { Ending::Done }))
}

/// Judges work that is not over, the oldest first.
pub(super) fn work(view: View<'_>) -> Option<Next> {
    let action = view.actions().find(|action| action.is_open() && action.verb.is_work())?;
    Some(match (action.state, action.verb.is_reset()) {
        (State::Begun, true) => match view.agreed_after(action.at) {
            Some(reading) => judge_reset(view, action, reading),
            None => keep_reading(view, action, action.at),
        },
        (State::Begun, false) if view.observed.withdrawn.contains(&action.id) => {
            settle(action, Ending::Refused)
        }
        (State::Begun, false) if is_never_fetched(view, action) => Next::Withdraw(action.id),
        (State::Begun, false) => match &action.ticket {
            Some(ticket) => begun(view, action, ticket),
            None => nameless(view, action),
        },
        // Nothing was requested of the device.
        (State::Intended, false) if action.verb.is_adoption() => settle(action, Ending::NotBegun),
        (State::Intended | State::Ended | State::Unknown, _) => unanswered::judge(view, action),
    })
}

/// Reports whether a device was told to fetch an image and has certainly not asked for it for so long that it will
/// not. The offer ends before that is recorded: otherwise the device could fetch the image in between.
fn is_never_fetched(view: View<'_>, action: &Action) -> bool {
    action.verb == Verb::Pull
        && view.observed.unfetched.contains(&action.id)
        && view.now() >= action.at.after(view.observed.limits.unseen)
}

/// Decides about work of which the device gave no name.
fn nameless(view: View<'_>, action: &Action) -> Next {
    let Some(reading) = view.latest_after(action.at) else { return keep_reading(view, action, action.at) };
    if let Some(task) = reading.task_of(action.id) {
        return adopt(action, &task.ticket);
    }
    if !action.is_install() && is_staged(action, reading) {
        return settle(action, Ending::Done);
    }
    match view.agreed_after(action.at) {
        Some(reading) if action.is_install() => judge_install(view, action, reading, None),
        Some(_) => wait_for_deadline(view, action),
        None => keep_reading(view, action, action.at),
    }
}

/// Decides about work that the device has a name for.
fn begun(view: View<'_>, action: &Action, ticket: &Ticket) -> Next {
    let followed = view.observed.followed.filter(|followed| followed.action == action.id);
    let Some(report) = followed else { return view.follow(action, ticket) };
    if let Some(next) = leave_queue(view, action, report) {
        return next;
    }
    match report.progress {
        Progress::WaitsForReset if action.is_install() => settle(action, Ending::ResetPending),
        // The device itself must have said so after the deadline: it may have been silent until then.
        Progress::Queued | Progress::Running | Progress::WaitsForReset
            if report.at >= view.deadline(action) =>
        {
            settle(action, Ending::Unverified)
        }
        Progress::Queued | Progress::Running | Progress::WaitsForReset => view.follow(action, ticket),
        Progress::Done if !action.is_install() => settle(action, Ending::Done),
        Progress::Failed if !action.is_install() => settle(action, Ending::Failed),
        Progress::Done | Progress::Failed | Progress::Interrupted | Progress::Gone => {
            match view.agreed_after(report.at) {
                // A controller that starts does not know its own tasks for a while.
                Some(reading) if is_active(action, reading) => view.follow(action, ticket),
                Some(reading) if action.is_install() => judge_install(view, action, reading, Some(report)),
                Some(reading) if is_staged(action, reading) => settle(action, Ending::Done),
                // The image is offered again.
                Some(_) if report.progress == Progress::Interrupted => settle(action, Ending::NotBegun),
                Some(_) => settle(action, Ending::Failed),
                // A device that says the same again does not delay the end.
                None => {
                    let latest = view.deadline(action).after(view.observed.limits.reading);
                    keep_reading(view, action, report.at.min(latest))
                }
            }
        }
    }
}

/// Reports whether the device still works on an action.
fn is_active(action: &Action, reading: &Inventory) -> bool {
    reading.task_of(action.id).is_some_and(|task| task.progress.is_active())
}

/// Removes an entry from the queue that has not begun: after a cancellation, or when its time is
/// over because something before it blocks the queue.
fn leave_queue(view: View<'_>, action: &Action, report: Followed) -> Option<Next> {
    let is_due = view.is_winding_down() || view.is_overdue(action);
    let can_leave = is_entry(view, action) && report.progress == Progress::Queued;
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

/// Reports whether an action is an entry in the queue: what was taken over may be one.
fn is_entry(view: View<'_>, action: &Action) -> bool {
    let artifact = view.latest().and_then(|reading| reading.artifact_of(action.id));
    let is_listed = artifact.is_some_and(|artifact| artifact.kind == ArtifactKind::QueueEntry);
    action.verb == Verb::Enqueue || action.verb == Verb::AdoptWork && is_listed
}

/// Reports whether the image of an action is on the device.
fn is_staged(action: &Action, reading: &Inventory) -> bool {
    reading.artifact_of(action.id).is_some_and(|artifact| artifact.whole)
}
