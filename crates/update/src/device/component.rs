//! How far a component is, by the recorded actions and the latest reading.

use super::action::{Action, Ending, State, Verb, is_removed};
use super::decision::ComponentEnd;
use super::inventory::{Entry, Obstacle, Part, ResetTarget};
use super::observed::{Goal, Scope};
use super::reset::reset_of;
use super::verdict::is_version;
use super::view::{Again, Refusals, View};
use crate::model::RebootNeed;
use crate::plan::{Action as Planned, PlanItem};
use crate::version::compare_installed;
use std::cmp::Ordering;

/// How far a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ComponentState {
    /// Nothing more is done for it.
    Ended(ComponentEnd),
    /// An action for it is open.
    Open,
    /// This is to be requested next.
    Due(Verb),
}

/// Returns how far a component is. Dependencies and other managers are not considered.
pub(super) fn state_of(view: View<'_>, item: &PlanItem) -> ComponentState {
    let name = item.component.name.as_str();
    let ours = || view.actions().filter(move |action| action.component == name && !action.is_void());
    if ours().any(|action| action.verb == Verb::Unknown || action.state == State::Unknown) {
        return ComponentState::Ended(ComponentEnd::Unverified);
    }
    if ours().any(|action| action.is_open() && action.verb.is_work()) {
        return ComponentState::Open;
    }
    if let Some(install) = ours().rfind(|action| action.is_install()) {
        return after_install(view, item, install);
    }
    before_install(view, item, ours)
}

/// Returns what follows from an installation that is over.
fn after_install(view: View<'_>, item: &PlanItem, install: &Action) -> ComponentState {
    if install.ending != Some(Ending::ResetPending) {
        return ComponentState::Ended(end_of(install.ending));
    }
    let version = view.versions().and_then(|reading| reading.version(&item.component.name));
    let is_wanted = version.map(|version| is_version(version, &install.to));
    if let Some(reset) = reset_of(view, install) {
        return after_reset(reset, is_wanted);
    }
    let changes = !is_version(&install.follows, &install.to);
    // Somebody else has reset it.
    if changes && is_wanted == Some(true) {
        return ComponentState::Ended(ComponentEnd::Updated);
    }
    if view.observed.scope == Scope::Stage {
        return ComponentState::Ended(ComponentEnd::Staged);
    }
    if view.is_winding_down() {
        return ComponentState::Ended(ComponentEnd::ResetPending);
    }
    let entry = view.latest().and_then(|reading| reading.entries.get(&item.component.name));
    match entry.and_then(|entry| allowed_reset(view, item, entry)) {
        Some(verb) if !is_refused(view, item, verb) && can_reset(view, verb) => ComponentState::Due(verb),
        Some(_) | None => ComponentState::Ended(ComponentEnd::ResetPending),
    }
}

/// Reports whether there is something to reset: a host that is off takes the version when it is powered on.
fn can_reset(view: View<'_>, verb: Verb) -> bool {
    let is_off = view.latest().is_some_and(|reading| reading.obstacles.contains(&Obstacle::HostOff));
    verb != Verb::ResetHost || !is_off
}

/// Returns what follows from the reset after an installation. `is_wanted` is whether the inventory shows the
/// version, if it is known.
const fn after_reset(reset: &Action, is_wanted: Option<bool>) -> ComponentState {
    if reset.is_open() {
        return ComponentState::Open;
    }
    ComponentState::Ended(match (reset.ending, is_wanted) {
        (Some(Ending::Verified | Ending::NotVerified), Some(true)) => ComponentEnd::Updated,
        (Some(Ending::Verified | Ending::NotVerified), Some(false)) => ComponentEnd::NotVerified,
        (Some(Ending::Verified | Ending::NotVerified), None) => ComponentEnd::Unverified,
        (ending, _) => end_of(ending),
    })
}

/// Returns the reset that puts a component into effect, if it is allowed. An update of the
/// management controller never restarts the host.
fn allowed_reset(view: View<'_>, item: &PlanItem, entry: &Entry) -> Option<Verb> {
    if item.component.reboot == RebootNeed::Never {
        return None;
    }
    let target = entry.pending.unwrap_or(match entry.part {
        Part::Manager => ResetTarget::Manager,
        Part::Host => ResetTarget::Host,
    });
    match target {
        ResetTarget::Manager => view.observed.resets.manager.then_some(Verb::ResetManager),
        ResetTarget::Host => {
            (view.observed.resets.host && entry.part == Part::Host).then_some(Verb::ResetHost)
        }
    }
}

/// Returns the first verb that is not done, or why there is none.
fn before_install<'a, I: DoubleEndedIterator<Item = &'a Action> + Clone>(
    view: View<'_>,
    item: &PlanItem,
    ours: impl Fn() -> I,
) -> ComponentState {
    let Planned::Install { to, .. } = &item.action else {
        return ComponentState::Ended(ComponentEnd::NotNeeded);
    };
    let Some(method) = view.observed.methods.get(&item.component.name) else {
        return ComponentState::Ended(ComponentEnd::NotSupported);
    };
    let Some((last, staging)) = method.verbs().split_last() else {
        return ComponentState::Ended(ComponentEnd::NotSupported);
    };
    if view.observed.scope == Scope::Stage
        && staging.is_empty()
        && !view.observed.holds.contains(&item.component.name)
    {
        return ComponentState::Ended(ComponentEnd::NotSupported);
    }
    if is_there_already(view, item, to) {
        return ComponentState::Ended(ComponentEnd::NotNeeded);
    }
    if is_said_to_be_there(view, item, to) {
        return ComponentState::Ended(ComponentEnd::NotNeeded);
    }
    // Its staged image is removed at the end, which must not make it due again.
    if is_refused(view, item, *last) {
        return ComponentState::Ended(ComponentEnd::Refused);
    }
    let image = view.latest().filter(|_| !staging.is_empty());
    let image = image.and_then(|reading| reading.earlier_image(&item.component.name));
    let work = view.earlier_work(&item.component.name);
    let has_staged = ours().any(|action| action.verb.is_staging() && !action.is_install());
    if view.observed.scope == Scope::Stage && !has_staged && (image.is_some() || work.is_some()) {
        return ComponentState::Ended(ComponentEnd::Staged);
    }
    for &verb in staging {
        let mut staged = ours().filter(|action| stages_like(action, verb));
        let is_removed = |action: &&Action| is_removed(view.observed.actions, action.id);
        // What was removed in this attempt was removed at its end. A later attempt stages it again.
        if staged.clone().any(|action| is_removed(&action) && action.at >= view.observed.since) {
            return ComponentState::Ended(ComponentEnd::NotBegun);
        }
        match staged.rfind(|action| !is_removed(action)).and_then(|action| action.ending) {
            None if image.is_some() => return due(view, item, Verb::AdoptImage),
            // Whatever it needs is with it.
            None if work.is_some() => {}
            None => return due(view, item, verb),
            Some(Ending::Done) => {}
            Some(Ending::Failed) => return ComponentState::Ended(ComponentEnd::StagingFailed),
            Some(ending) => return ComponentState::Ended(end_of(Some(ending))),
        }
    }
    match view.observed.scope {
        Scope::Install if work.is_some() => due(view, item, Verb::AdoptWork),
        Scope::Stage if !staging.is_empty() => ComponentState::Ended(ComponentEnd::Staged),
        Scope::Install | Scope::Stage => due(view, item, *last),
    }
}

/// Reports whether an action stages an image, as this verb does: the device may be given an image in
/// another way in a later attempt.
const fn stages_like(action: &Action, verb: Verb) -> bool {
    action.verb.is_staging() && verb.is_staging()
}

/// Reports whether the device has the version before anything began, because someone else
/// installed it.
fn is_there_already(view: View<'_>, item: &PlanItem, to: &str) -> bool {
    let reading = view.latest();
    let Some(version) = reading.and_then(|reading| reading.version(&item.component.name)) else {
        return false;
    };
    let scheme = item.component.installer.versions();
    match compare_installed(scheme, version, to) {
        Ordering::Equal => !item.force.rewrite,
        Ordering::Greater => !item.force.downgrade,
        Ordering::Less => false,
    }
}

/// Reports whether the device refused to install the version that it has, in this attempt. Its inventory must
/// show that version.
fn is_said_to_be_there(view: View<'_>, item: &PlanItem, to: &str) -> bool {
    let name = item.component.name.as_str();
    let is_said = view.actions().any(|action| {
        let is_recent = action.component == name && action.at >= view.observed.since;
        is_recent && action.ending == Some(Ending::AlreadyInstalled)
    });
    is_said && view.latest().and_then(|reading| reading.version(name)).is_some_and(|has| is_version(has, to))
}

/// Requests a verb, unless the device has refused it for too long.
fn due(view: View<'_>, item: &PlanItem, verb: Verb) -> ComponentState {
    if is_refused(view, item, verb) {
        ComponentState::Ended(ComponentEnd::Refused)
    } else {
        ComponentState::Due(verb)
    }
}

/// Returns how often the device has refused a verb for a component.
pub(super) fn refusals(view: View<'_>, item: &PlanItem, verb: Verb) -> Refusals {
    // A device that has no room for a second image before a reset may take it afterwards.
    let is_reset = |action: &&Action| action.verb.is_reset() && action.ending == Some(Ending::Verified);
    let reset = view.actions().filter(is_reset).map(|action| action.id).max();
    view.refusals(|action| {
        let is_old = action.ending == Some(Ending::NotBegun) && Some(action.id) < reset;
        action.verb == verb && action.component == item.component.name && !is_old
    })
}

/// Reports whether the device has refused a verb for too long in this attempt.
fn is_refused(view: View<'_>, item: &PlanItem, verb: Verb) -> bool {
    refusals(view, item, verb).again(view) == Again::Never
}

/// Returns the end of a component whose deciding action ended so.
const fn end_of(ending: Option<Ending>) -> ComponentEnd {
    match ending {
        Some(Ending::Verified) => ComponentEnd::Updated,
        Some(Ending::NotVerified | Ending::Failed) => ComponentEnd::NotVerified,
        Some(Ending::ResetPending) => ComponentEnd::ResetPending,
        Some(Ending::NotBegun | Ending::Refused | Ending::AlreadyInstalled | Ending::TakenBack) => {
            ComponentEnd::NotBegun
        }
        Some(Ending::Unverified | Ending::Done | Ending::Unknown) | None => ComponentEnd::Unverified,
    }
}

/// Returns the result of a component, as far as it is known now.
pub(super) fn end(view: View<'_>, item: &PlanItem) -> ComponentEnd {
    let end = match state_of(view, item) {
        ComponentState::Ended(ComponentEnd::Updated) if !is_still_there(view, item) => {
            ComponentEnd::NotVerified
        }
        ComponentState::Ended(end) => end,
        ComponentState::Open => ComponentEnd::Unverified,
        // Whatever kept it from being restarted, the device installs it at the next restart.
        ComponentState::Due(verb) if verb.is_reset() => ComponentEnd::ResetPending,
        ComponentState::Due(_) if view.observed.cancelled || view.observed.goal == Goal::CleanUp => {
            ComponentEnd::Cancelled
        }
        ComponentState::Due(_) => ComponentEnd::NotBegun,
    };
    if end == ComponentEnd::NotBegun && view.observed.cancelled { ComponentEnd::Cancelled } else { end }
}

/// Reports whether the last reading shows the version that was verified.
fn is_still_there(view: View<'_>, item: &PlanItem) -> bool {
    let reading = view.latest().and_then(|reading| reading.version(&item.component.name));
    reading.is_some_and(|version| is_version(version, item.component.version.trim()))
}
