//! Verdicts about actions by what the inventory shows. The device's own report only explains it:
//! some devices report success and keep the version, others report failure and take it.

use super::action::{Action, Ending, Verb, is_removed};
use super::decision::{Next, Waiting};
use super::inventory::{Entry, Inventory, Progress};
use super::observed::Followed;
use super::reset::reset_of;
use super::view::{View, settle};
use crate::model::{Millis, RebootNeed};
use crate::version::{Scheme, compare_installed};
use std::cmp::Ordering;

/// Interval of readings, in polls, while readings agree and still say nothing.
const SLOW: u32 = 12;

/// Decides about an installation that the device does not work on any more, or that it may never
/// have begun. `reading` is believed.
pub(super) fn judge_install(
    view: View<'_>,
    action: &Action,
    reading: &Inventory,
    report: Option<Followed>,
) -> Next {
    let Some(entry) = reading.entries.get(&action.component) else { return wait_for_deadline(view, action) };
    let is_wanted = is_version(&entry.version, &action.to);
    let changes = !is_version(&action.follows, &action.to);
    if is_wanted && changes {
        return settle(action, Ending::Verified);
    }
    if entry.pending.is_some() {
        return settle(action, Ending::ResetPending);
    }
    let Some(report) = report.filter(|report| report.progress != Progress::Gone) else {
        return judge_without_report(view, action, entry);
    };
    let is_done = report.progress == Progress::Done;
    // Without the image nothing was installed: it is offered again.
    let is_untouched = report.progress == Progress::Interrupted && entry.version == action.follows;
    let failed = if is_untouched { Ending::NotBegun } else { Ending::NotVerified };
    if !changes {
        // The same version is installed again, so that only the report can tell.
        return settle(action, if is_done && is_wanted { Ending::Verified } else { failed });
    }
    if is_done && needs_reset(view, action) {
        return settle(action, Ending::ResetPending);
    }
    let limits = view.observed.limits;
    let patience = if is_done { limits.settle } else { limits.settle_failed };
    let settled = report.at.after(patience).min(view.deadline(action));
    if view.now() >= settled {
        return settle(action, failed);
    }
    read_slowly(view, settled)
}

/// Decides about an installation whose task the device has forgotten or never had.
fn judge_without_report(view: View<'_>, action: &Action, entry: &Entry) -> Next {
    if is_removed(view.observed.actions, action.id) && entry.version == action.follows {
        return settle(action, Ending::TakenBack);
    }
    wait_for_deadline(view, action)
}

/// Reports whether the plan says that the component takes effect only after a reset.
fn needs_reset(view: View<'_>, action: &Action) -> bool {
    let plan = view.observed.plan.map_or(&[][..], |plan| &plan.items);
    plan.iter()
        .any(|item| item.component.name == action.component && item.component.reboot == RebootNeed::Always)
}

/// Decides about a reset. `reading` is believed.
pub(super) fn judge_reset(view: View<'_>, action: &Action, reading: &Inventory) -> Next {
    if is_same_boot(action, reading) {
        return wait_for_deadline(view, action);
    }
    let is_there = |name: &str, to: &str| reading.version(name).is_some_and(|has| is_version(has, to));
    // All that it puts into effect.
    let waited = view.actions().filter(|install| {
        install.is_install()
            && install.ending == Some(Ending::ResetPending)
            && reset_of(view, install).is_some_and(|reset| reset.id == action.id)
    });
    let is_wanted = is_there(&action.component, &action.to);
    if is_wanted && waited.into_iter().all(|install| is_there(&install.component, &install.to)) {
        return settle(action, Ending::Verified);
    }
    if action.boot.is_empty() {
        return wait_for_deadline(view, action);
    }
    let settled = action.at.after(view.observed.limits.settle).min(view.deadline(action));
    if view.now() >= settled {
        return settle(action, Ending::NotVerified);
    }
    read_slowly(view, settled)
}

/// Reports whether it is certain that what the action is about was not restarted since.
pub(super) fn is_same_boot(action: &Action, reading: &Inventory) -> bool {
    let boot = if action.verb == Verb::ResetHost { &reading.boot.host } else { &reading.boot.manager };
    !boot.is_empty() && *boot == action.boot
}

/// Waits for the deadline of an action of which believed readings say nothing, reads once more after
/// it, and then gives up: it cannot be told.
pub(super) fn wait_for_deadline(view: View<'_>, action: &Action) -> Next {
    let deadline = view.deadline(action);
    if view.agreed_after(deadline).is_some() {
        return settle(action, Ending::Unverified);
    }
    read_until(view, action, deadline)
}

/// Reads slowly until a time, and then until three readings agree.
pub(super) fn read_until(view: View<'_>, action: &Action, time: Millis) -> Next {
    if view.now() < time { read_slowly(view, time) } else { keep_reading(view, action, time) }
}

/// Reads until three readings after an event agree, and gives up when they never do. `after` is the time of the
/// event, which must not move on forever.
pub(super) fn keep_reading(view: View<'_>, action: &Action, after: Millis) -> Next {
    let give_up =
        view.deadline(action).max(after).after(view.observed.limits.away).max(view.end_of_reading());
    if view.now() >= give_up { settle(action, Ending::Unverified) } else { view.read() }
}

/// Reads less often than usual, and at the given time.
fn read_slowly(view: View<'_>, at: Millis) -> Next {
    let Some(latest) = view.latest() else { return Next::Read };
    let due = latest
        .at
        .after(view.observed.limits.poll * SLOW)
        .min(at.max(latest.at.after(view.observed.limits.poll)));
    if due > view.now() { Next::Wait { until: due, on: Waiting::Reading } } else { Next::Read }
}

/// Reports whether an installed version is this one.
pub(super) fn is_version(installed: &str, wanted: &str) -> bool {
    installed == wanted || compare_installed(Scheme::Natural, installed, wanted) == Ordering::Equal
}
