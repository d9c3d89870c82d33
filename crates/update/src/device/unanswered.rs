//! Judges an action that is recorded as intended, and of which nobody knows whether it began.
//!
//! | the device's tasks | its inventory | then |
//! | --- | --- | --- |
//! | one names the action | any | it began, and is followed |
//! | none, tasks are kept for longer than since then, same boot mark, image not fetched | version as before, nothing pending | proven not to have begun |
//! | none, or they may be forgotten | wanted version | it happened |
//! | none, or they may be forgotten | version as before | cannot be told: after the deadline, never repeated |
//!
//! Nothing but the first row is judged before all sessions that may have sent the request are
//! ended, what is under way has expired, and three readings in a row agree.

use super::action::{Action, Ending, Verb, is_removed};
use super::decision::{Next, Waiting};
use super::inventory::{ArtifactKind, Inventory};
use super::session::{Fence, fence_of, sign_in};
use super::verdict::{
    is_same_boot, is_version, judge_install, judge_reset, keep_reading, read_until, wait_for_deadline,
};
use super::view::{View, adopt, settle};
use crate::model::Millis;

/// Decides about an action whose answer is not known.
pub(super) fn judge(view: View<'_>, action: &Action) -> Next {
    let removals = view.actions().filter(|other| other.of == Some(action.id)).map(|other| other.at);
    let Some(reading) = view.latest_after(removals.fold(action.at, Millis::max)) else { return view.read() };
    if let Some(next) = recognise(view, action, reading) {
        return next;
    }
    let quiet = match fence_of(view, action) {
        Fence::SignInAgain => return sign_in(view),
        Fence::Open => return judge_unfenced(view, action),
        Fence::After(quiet) => quiet,
    };
    if quiet > view.now() {
        return Next::Wait { until: quiet, on: Waiting::Fence(action.id) };
    }
    let Some(reading) = view.agreed_after(quiet) else { return keep_reading(view, action, quiet) };
    if action.verb.is_reset() {
        // A reset that the device had accepted would have happened by then: a runner that was frozen may have sent the
        // request at any time before.
        let late = view.deadline(action).max(quiet.after(view.observed.limits.reset));
        return match view.agreed_after(late) {
            Some(reading) if is_same_boot(action, reading) => settle(action, Ending::NotBegun),
            None if is_same_boot(action, reading) => read_until(view, action, late),
            Some(_) | None => judge_reset(view, action, reading),
        };
    }
    if !action.is_install() && is_removed(view.observed.actions, action.id) {
        return settle(action, Ending::TakenBack);
    }
    if is_proven_not_begun(view, action, reading) {
        return settle(action, Ending::NotBegun);
    }
    if action.is_install() {
        return judge_install(view, action, reading, None);
    }
    wait_for_deadline(view, action)
}

/// Decides about an action whose request may still arrive, because a session cannot be ended: after
/// the deadline, by the versions alone.
fn judge_unfenced(view: View<'_>, action: &Action) -> Next {
    let deadline = view.deadline(action);
    match view.agreed_after(deadline) {
        Some(reading) if action.verb.is_reset() => judge_reset(view, action, reading),
        Some(reading) if action.is_install() => judge_install(view, action, reading, None),
        Some(_) => settle(action, Ending::Unverified),
        None => keep_reading(view, action, deadline),
    }
}

/// Looks for what the action left on the device: a task, or a staged image.
fn recognise(view: View<'_>, action: &Action, reading: &Inventory) -> Option<Next> {
    if let Some(task) = reading.task_of(action.id) {
        return Some(adopt(action, &task.ticket));
    }
    let artifact = reading.artifact_of(action.id)?;
    match artifact.kind {
        ArtifactKind::QueueEntry => Some(adopt(action, &artifact.ticket)),
        ArtifactKind::Upload if action.is_install() => None,
        ArtifactKind::Upload if artifact.whole => Some(settle(action, Ending::Done)),
        // An image that was cut off is removed, and then the action is proven to have no effect.
        ArtifactKind::Upload => view.take_back(action).or_else(|| Some(settle(action, Ending::Failed))),
        ArtifactKind::Session | ArtifactKind::Authority | ArtifactKind::Subscription => None,
    }
}

/// Reports whether the device would show it if the action had begun.
fn is_proven_not_begun(view: View<'_>, action: &Action, reading: &Inventory) -> bool {
    let fetched = action.verb == Verb::Pull && !view.observed.unfetched.contains(&action.id);
    if fetched {
        return false;
    }
    // An image that is being staged or is staged would be listed, whatever the device forgets.
    if !action.is_install() {
        return true;
    }
    // The margin is for clocks of runners that differ.
    let limits = view.observed.limits;
    let elapsed = view.now().since(action.at) + limits.proof + limits.idle;
    let remembers = reading.keeps_tasks.is_some_and(|kept| kept > elapsed);
    // If the same version is installed again, no version tells anything.
    let changes = !is_version(&action.follows, &action.to);
    let is_unchanged = reading
        .entries
        .get(&action.component)
        .is_some_and(|entry| entry.version == action.follows && entry.pending.is_none());
    remembers && is_same_boot(action, reading) && changes && is_unchanged
}
