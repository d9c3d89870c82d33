//! Rules about the end: everything of ours is removed, then the device is looked at again.

use super::action::{Action, Ending, State, Verb, is_closed, is_removed};
use super::component::end;
use super::decision::{ComponentEnd, Kept, KeptKind, Leftover, Next, Waiting};
use super::inventory::{Artifact, ArtifactKind, Earlier, Inventory, Progress, Task};
use super::observed::{Goal, Scope};
use super::reset::reset_of;
use super::view::View;
use crate::model::Millis;
use std::time::Duration;

/// Removes what is on the device, queue entries before the images that they use, and looks again.
/// `None` if only the session is left.
pub(super) fn take_back(view: View<'_>) -> Option<Next> {
    if view.observed.actions.is_empty() && view.is_winding_down() {
        return None;
    }
    let Some(reading) = view.latest_after(changed_at(view)) else { return look(view) };
    let mut artifacts: Vec<&Artifact> = removable(view, reading).collect();
    artifacts.sort_by_key(|artifact| artifact.kind);
    let origin = |artifact: &&Artifact| view.actions().find(|action| action.id == artifact.action);
    let removal = artifacts.iter().filter_map(origin).find_map(|action| view.take_back(action));
    removal.or_else(|| if last_look(view).is_some() { prove_lost(view, reading) } else { look(view) })
}

/// Waits until a session or a preparation whose answer was lost can be proven not to be there, and looks again.
fn prove_lost(view: View<'_>, reading: &Inventory) -> Option<Next> {
    let is_listed = |action: &Action| reading.lists_sessions || action.verb != Verb::SignIn;
    let lost = view
        .actions()
        .filter(|action| is_lost(action) && is_listed(action) && may_be_left(view, action, Some(reading)));
    let (until, id) = lost.map(|action| (arrived(view, action), action.id)).max()?;
    if until >= view.now() {
        return Some(Next::Wait { until: until.after(Duration::from_millis(1)), on: Waiting::Fence(id) });
    }
    if reading.at > until { None } else { look(view) }
}

/// Reports whether an action is a sign-in or a preparation whose answer was lost.
fn is_lost(action: &Action) -> bool {
    (action.verb == Verb::SignIn || action.verb.is_preparation()) && action.ending == Some(Ending::Unverified)
}

/// Returns when the request of an action has arrived at the latest.
fn arrived(view: View<'_>, action: &Action) -> Millis {
    action.at.after(view.observed.limits.proof).after(view.observed.limits.idle)
}

/// Ends the session of this attempt, which is the last thing to be removed.
pub(super) fn sign_out(view: View<'_>) -> Option<Next> {
    let session = view.session().filter(|session| !is_closed(view.observed.actions, session))?;
    view.take_back(session)
}

/// Returns what is to be removed.
fn removable<'a>(view: View<'a>, reading: &'a Inventory) -> impl Iterator<Item = &'a Artifact> {
    reading.artifacts.iter().filter(move |artifact| {
        let is_own_session = Some(artifact.action) == view.observed.session;
        // The own session is ended last, and may have been ended since the reading.
        let is_ended = is_own_session || is_removed(view.observed.actions, artifact.action);
        !is_ended && !is_kept(view, reading, artifact) && !is_in_use(view, reading, artifact)
    })
}

/// Reports whether something stays on the device: because it was only to be staged or waits for a restart that is not
/// allowed, or because an earlier run has staged it and this one did not come to install it.
fn is_kept(view: View<'_>, reading: &Inventory, artifact: &Artifact) -> bool {
    if !artifact.kind.is_of_update() {
        return false;
    }
    if is_untouched(view, artifact) {
        return true;
    }
    if view.observed.goal != Goal::Update || view.is_winding_down() {
        return false;
    }
    let Some(action) = view.actions().find(|action| action.id == artifact.action) else { return false };
    match end_in_plan(view, &action.component) {
        Some(ComponentEnd::Staged) => view.observed.scope == Scope::Stage,
        Some(ComponentEnd::ResetPending) => {
            reading.tasks.iter().any(|task| waits_for(view, task, &action.component))
        }
        _ => false,
    }
}

/// Returns the result of a component of the plan, as far as it is known now.
fn end_in_plan(view: View<'_>, component: &str) -> Option<ComponentEnd> {
    let items = view.observed.plan.map_or(&[][..], |plan| &plan.items);
    items.iter().find(|item| item.component.name == component).map(|item| end(view, item))
}

/// Reports whether a task is work for a component that waits for a reset.
fn waits_for(view: View<'_>, task: &Task, component: &str) -> bool {
    let is_of = |id| view.actions().any(|action| action.id == id && action.component == component);
    task.progress == Progress::WaitsForReset && task.action.is_some_and(is_of)
}

/// Returns what stays on the device on purpose: what the user asks for, and, however the attempt ended, what earlier
/// runs have left and this one has not used. `reading` is the last one, if it was made after everything else was
/// removed.
pub(super) fn kept(view: View<'_>, reading: Option<&Inventory>) -> Vec<Kept> {
    let Some(reading) = reading else { return Vec::new() };
    // After a cancellation nothing counts as asked for.
    let is_asked_for = view.observed.goal == Goal::Update && !view.is_winding_down();
    let component = |id| view.actions().find(|action| action.id == id).map(|action| action.component.clone());
    let artifacts = reading.artifacts.iter().filter(|artifact| is_kept(view, reading, artifact));
    let artifacts = artifacts.filter_map(|artifact| {
        let kind = if artifact.kind == ArtifactKind::Upload { KeptKind::Image } else { KeptKind::Waiting };
        let (action, ticket) = (artifact.action, artifact.ticket.clone());
        Some(Kept { component: component(action)?, kind, action: Some(action), ticket })
    });
    let is_artifact =
        |task: &Task| reading.artifacts.iter().any(|artifact| Some(artifact.action) == task.action);
    let tasks = reading.tasks.iter().filter(|task| is_asked_for && !is_artifact(task)).filter_map(|task| {
        let component = component(task.action?)?;
        let is_waiting = waits_for(view, task, &component);
        let (action, ticket) = (task.action, task.ticket.clone());
        is_waiting.then_some(Kept { component, kind: KeptKind::Waiting, action, ticket })
    });
    let is_there = |earlier: &&Earlier| earlier.progress.is_none_or(Progress::is_open);
    let earlier = reading.earlier.iter().filter(is_there).map(|earlier| Kept {
        component: earlier.component.clone(),
        kind: if earlier.progress.is_some() { KeptKind::Waiting } else { KeptKind::Image },
        action: None,
        ticket: earlier.ticket.clone(),
    });
    let mut kept: Vec<Kept> = artifacts.chain(tasks).chain(earlier).collect();
    kept.sort_by(|one, other| (&one.component, one.kind).cmp(&(&other.component, other.kind)));
    kept
}

/// Reports whether something was taken over from an earlier run, and nothing was done with it.
fn is_untouched(view: View<'_>, artifact: &Artifact) -> bool {
    let Some(adoption) = view.actions().find(|action| action.id == artifact.action) else { return false };
    let is_used =
        |action: &Action| action.component == adoption.component && action.is_install() && !action.is_void();
    adoption.verb == Verb::AdoptImage && !view.actions().any(is_used)
}

/// Reports whether the device still works with something, although it is no longer followed.
fn is_in_use(view: View<'_>, reading: &Inventory, artifact: &Artifact) -> bool {
    if !artifact.kind.is_of_update() {
        return false;
    }
    let component = |id| view.actions().find(|action| action.id == id).map(|action| &action.component);
    reading.tasks.iter().any(|task| {
        task.progress.is_open()
            && task
                .action
                .is_some_and(|id| id == artifact.action || component(id) == component(artifact.action))
    })
}

/// Returns when the device was last changed by an action that may not have ended with a reading, or something on it
/// was taken over.
fn changed_at(view: View<'_>) -> Millis {
    let changes = view.actions().filter(|action| {
        let is_prepared = action.verb.is_preparation() && action.state == State::Begun;
        let is_ended = matches!(
            action.ending,
            Some(Ending::Done | Ending::Failed | Ending::Unverified | Ending::ResetPending)
        );
        let is_of_session = matches!(action.verb, Verb::SignIn | Verb::SignOut);
        is_prepared || !is_of_session && (is_ended || action.verb.is_adoption())
    });
    changes.map(|action| action.at).fold(Millis(0), Millis::max)
}

/// Returns the last reading if it is believed, and was made after everything was removed. One reading is enough
/// for an inventory of a device that was asked for nothing but sessions.
pub(super) fn last_look(view: View<'_>) -> Option<&Inventory> {
    let has_worked = view.actions().any(|action| !matches!(action.verb, Verb::SignIn | Verb::SignOut));
    if has_worked || view.observed.goal != Goal::Inventory {
        view.agreed_after(changed_at(view))
    } else {
        view.latest_after(Millis(0))
    }
}

/// Reads the device for the last time; `None` if its readings never agree.
fn look(view: View<'_>) -> Option<Next> {
    (view.now() < view.end_of_reading()).then(|| view.read())
}

/// Returns what may still be on the device.
/// `reading` is the last one, if it was made after everything was removed.
pub(super) fn leftovers(view: View<'_>, reading: Option<&Inventory>) -> Vec<Leftover> {
    let kept = kept(view, reading);
    let kept = |action: &Action| kept.iter().any(|kept| kept.action == Some(action.id));
    let left = view.actions().filter(|action| may_be_left(view, action, reading) && !kept(action));
    left.map(|action| Leftover {
        action: action.id,
        verb: action.verb,
        ticket: action.ticket.clone(),
        expires: expires(view, action),
    })
    .collect()
}

/// Reports whether something of an action may be on the device.
fn may_be_left(view: View<'_>, action: &Action, reading: Option<&Inventory>) -> bool {
    if action.is_void() {
        return false;
    }
    if may_install(view, action, reading) {
        return true;
    }
    if action.verb.inverse().is_none() || is_removed(view.observed.actions, action.id) {
        return false;
    }
    if action.verb == Verb::SignIn {
        let is_proven = |reading: &Inventory| {
            reading.lists_sessions
                && reading.at > arrived(view, action)
                && reading.artifact_of(action.id).is_none()
        };
        if is_lost(action) && reading.is_some_and(is_proven) {
            return false;
        }
        return expires(view, action).is_none_or(|expires| expires > view.now());
    }
    let Some(reading) = reading else { return true };
    if is_lost(action) && reading.at <= arrived(view, action) {
        return true;
    }
    // A session that could not be ended may still send it.
    if action.ending == Some(Ending::Unverified) && view.foreign_sessions().next().is_some() {
        return true;
    }
    let is_working = reading.task_of(action.id).is_some_and(|task| task.progress.is_active());
    is_working || reading.artifact_of(action.id).is_some()
}

/// Reports whether the device may still install what an action gave it, now or at a reset, whoever requests that.
/// Its image and its entry in the queue may be gone.
fn may_install(view: View<'_>, action: &Action, reading: Option<&Inventory>) -> bool {
    if !action.is_install() {
        return false;
    }
    if let Some(reading) = reading {
        return reading.tasks.iter().any(|task| task.action == Some(action.id) && task.progress.is_open());
    }
    let is_over = matches!(action.ending, Some(Ending::Verified | Ending::NotVerified));
    // Without boot marks, a reset of the same version is verified although it may not have happened.
    let is_proven = |reset: &Action| reset.ending == Some(Ending::Verified) && !reset.boot.is_empty();
    !is_over && !reset_of(view, action).is_some_and(is_proven)
}

/// Returns when the device ends a session whose answer was lost, so that nobody has used it since.
fn expires(view: View<'_>, action: &Action) -> Option<Millis> {
    let limits = view.observed.limits;
    let timeout = limits.session_timeout.filter(|_| is_lost(action) && action.verb == Verb::SignIn)?;
    // The request may have arrived that much later.
    Some(action.at.after(timeout).after(limits.idle))
}
