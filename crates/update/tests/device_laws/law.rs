//! The laws: of each decision, of each record, of each conclusion, and of what the device has seen.

use crate::device::{EARLIER, Job};
use crate::reading::{self, NAMES, number};
use crate::world::World;
use farrier_update::device::{
    Action, ActionId, Change, ComponentEnd, Conclusion, DeviceEnd, Ending, Goal, KeptKind, Next, Observed,
    Obstacle, Part, Progress, Scope, Verb, next, prune,
};
use farrier_update::plan;

/// Checks a decision against the same question asked again, and with fewer actions.
pub(crate) fn decision(observed: &Observed<'_>, decision: &Next) -> Option<String> {
    let again = next(observed);
    if again != *decision {
        return Some(format!("not deterministic: {decision:?}, then {again:?}"));
    }
    let mut actions = observed.actions.to_vec();
    prune(&mut actions);
    let pruned = next(&Observed { actions: &actions, ..*observed });
    (pruned != *decision).then(|| format!("depends on pruned actions: {decision:?}, then {pruned:?}"))
}

/// Checks an intent that was recorded.
pub(crate) fn intent(world: &mut World, action: &Action, before: &[Action], goal: Goal) {
    let verb = action.verb;
    if verb.is_inverse() {
        let of = before.iter().find(|other| Some(other.id) == action.of);
        if of.and_then(|of| of.verb.inverse()) != Some(verb) {
            world.breaks(|| format!("removes what is not ours: {action:?}"));
        }
        return;
    }
    if verb == Verb::SignIn {
        return;
    }
    if world.api.cancelled || goal != Goal::Update {
        world.breaks(|| format!("begins something although nothing may begin: {action:?}"));
    }
    let is_held = world.order.holds.contains(&action.component) && !verb.is_adoption();
    if world.order.scope == Scope::Stage && (action.is_install() && !is_held || verb.is_reset()) {
        world.breaks(|| format!("installs although images are only staged: {action:?}"));
    }
    let obstacle = world.device.traits.obstacle;
    if matches!(obstacle, Some(Obstacle::Managed | Obstacle::Locked)) && !verb.is_preparation() {
        world.breaks(|| format!("begins something although the device shows {obstacle:?}: {action:?}"));
    }
    let same = before.iter().any(|other| {
        let is_same = other.component == action.component && !other.is_void();
        is_same && other.is_install() && action.is_install()
            || is_same && other.verb == verb && verb.is_reset()
    });
    if same {
        world.breaks(|| format!("repeats what may have begun: {action:?}"));
    }
    reset(world, action);
    order(world, action);
}

/// Checks that a reset is allowed.
fn reset(world: &mut World, action: &Action) {
    let part = world.device.firmware[component(action)].part;
    let is_allowed = match action.verb {
        Verb::ResetHost => world.order.resets.host && part == Part::Host,
        Verb::ResetManager => world.order.resets.manager,
        _ => true,
    };
    if !is_allowed {
        world.breaks(|| format!("a reset that is not allowed: {action:?}"));
    }
}

/// Checks that what a component requires is installed.
fn order(world: &mut World, action: &Action) {
    if !action.is_install() {
        return;
    }
    let required = &world.order.plan.items[component(action)].after;
    let is_missing = |index: &usize| {
        world.device.firmware[*index].version != wanted(world, *index) && is_seen(world, *index)
    };
    let missing =
        (0..NAMES.len()).filter(|index| required.iter().any(|name| name == NAMES[*index])).find(is_missing);
    if let Some(missing) = missing {
        world.breaks(|| format!("begins before {} is installed: {action:?}", NAMES[missing]));
    }
}

/// Checks a change that was recorded.
pub(crate) fn change(world: &mut World, actions: &[Action], id: ActionId, change: &Change) {
    let Some(action) = actions.iter().find(|action| action.id == id) else { return };
    let Change::Ended(ending) = change else { return };
    if !action.verb.is_work() {
        return;
    }
    match ending {
        Ending::NotBegun | Ending::Refused | Ending::AlreadyInstalled | Ending::TakenBack => {
            if world.device.begun.contains(&id) {
                world.breaks(|| format!("{ending:?}, but it began: {action:?}"));
            }
            world.void.push(id);
        }
        Ending::Verified => {
            let version = world.device.firmware[component(action)].version;
            if version != number(&action.to) && world.device.firmware[component(action)].replaced.is_none() {
                world.breaks(|| format!("verified, but the version is {version}: {action:?}"));
            }
        }
        _ => {}
    }
}

/// Checks what the device has seen.
pub(crate) fn device(world: &mut World) {
    for (index, name) in NAMES.iter().enumerate().take(world.device.firmware.len()) {
        let firmware = &world.device.firmware[index];
        let (installs, resets, uploads) = (firmware.installs, firmware.resets, firmware.double_uploads);
        if installs > 1 {
            world.breaks(|| format!("{name} was installed {installs} times"));
        }
        if resets > 1 {
            world.breaks(|| format!("{resets} resets for {name}"));
        }
        if uploads > 0 {
            world.breaks(|| format!("a second image of {name} was staged while the first one was there"));
        }
    }
    let began = world.void.iter().find(|id| world.device.begun.contains(id)).copied();
    if let Some(id) = began {
        world.breaks(|| format!("action {} began after it was judged never to have begun", id.0));
    }
}

/// Checks that several images of a host need one restart of it, unless one of them requires another one.
pub(crate) fn one_restart(world: &mut World) {
    let items = &world.order.plan.items;
    let hosts = world.device.firmware.iter().filter(|firmware| firmware.part == Part::Host);
    let resets: u32 = hosts.map(|firmware| firmware.resets).sum();
    if resets > 1 && items.iter().all(|item| item.after.is_empty()) {
        world.breaks(|| format!("{resets} restarts of the host"));
    }
}

/// Checks a conclusion.
pub(crate) fn conclusion(world: &mut World, conclusion: &Conclusion, goal: Goal) {
    for (name, end) in &conclusion.components {
        let index = NAMES.iter().position(|other| other == name).unwrap_or(0);
        let version = world.device.firmware[index].version;
        if *end == ComponentEnd::Updated && version != wanted(world, index) && is_seen(world, index) {
            world.breaks(|| format!("{name} counts as updated, but its version is {version}"));
        }
    }
    for (name, end) in &conclusion.components {
        waiting(world, name, *end);
    }
    if conclusion.end == DeviceEnd::Succeeded {
        succeeded(world, conclusion);
    }
    // Nobody asks for a session, an authority or a subscription to stay.
    let listed = |id: ActionId, what: &str| {
        conclusion.leftovers.iter().any(|leftover| leftover.action == id)
            || ![SESSION, PREPARED].contains(&what)
                && conclusion.kept.iter().any(|kept| kept.action == Some(id))
    };
    let hidden = left(world, goal).into_iter().find(|&(id, what)| !listed(id, what));
    if let Some((id, what)) = hidden {
        world.breaks(|| format!("{what} of action {} is left, and not listed", id.0));
    }
}

/// Checks that what the device installs at the next restart does not count as not begun, and that nobody needs a host
/// that is on to stage an image.
fn waiting(world: &mut World, name: &str, end: ComponentEnd) {
    let is_waiting = |action: &Action| {
        action.component == name && action.is_install() && action.ending == Some(Ending::ResetPending)
    };
    let is_begun = world.api.actions.iter().any(is_waiting);
    let is_denied = matches!(
        end,
        ComponentEnd::Obstructed(_) | ComponentEnd::Busy | ComponentEnd::NotBegun | ComponentEnd::Cancelled
    );
    if is_begun && is_denied {
        world.breaks(|| format!("{name} waits for a reset, and ended as {end:?}"));
    }
    if world.order.scope == Scope::Stage && end == ComponentEnd::Obstructed(Obstacle::HostOff) {
        world.breaks(|| format!("{name} was not staged because the host is off"));
    }
}

/// Checks that what earlier runs have left is named, however the attempt ended, if the device was read at the end: as
/// kept, or as what may be left.
pub(crate) fn earlier(world: &mut World, conclusion: &Conclusion) {
    let is_read = !matches!(conclusion.end, DeviceEnd::Away | DeviceEnd::Refused(_));
    if !is_read || !world.faults.are_none() || world.api.actions.is_empty() {
        return;
    }
    let (actions, device) = (&world.api.actions, &world.device);
    let images = device.uploads.iter().filter(|upload| upload.action.0 >= EARLIER && upload.whole);
    let images =
        images.filter(|upload| owner(world, upload.action, upload.component, Verb::AdoptImage).is_none());
    let works = device.jobs.iter().filter(|job| job.progress == Progress::WaitsForReset);
    let works = works.filter_map(|job| job.request).filter(|request| {
        reading::owner(actions, request.action, request.component, Verb::AdoptWork).is_none()
    });
    let images = images.map(|upload| (upload.component, KeptKind::Image));
    let works = works.map(|request| (request.component, KeptKind::Waiting));
    // Where the last readings do not agree, what was taken over may be left.
    let may_be_left = |index: usize, verb: Verb| {
        let left = conclusion.leftovers.iter().filter(|leftover| leftover.verb == verb);
        left.filter_map(|leftover| actions.iter().find(|action| action.id == leftover.action))
            .any(|action| component(action) == index)
    };
    let is_named = |&(index, kind): &(usize, KeptKind)| {
        let adoption = if kind == KeptKind::Image { Verb::AdoptImage } else { Verb::AdoptWork };
        conclusion.kept.iter().any(|kept| kept.component == NAMES[index] && kept.kind == kind)
            || may_be_left(index, adoption)
    };
    let hidden = images.chain(works).find(|left| !is_named(left));
    if let Some((index, kind)) = hidden {
        world.breaks(|| format!("{kind:?} of an earlier run for {} stays, and is not named", NAMES[index]));
    }
}

fn succeeded(world: &mut World, conclusion: &Conclusion) {
    if conclusion.components.iter().any(|(_, end)| !end.is_good()) {
        world.breaks(|| format!("success with a component that is not good: {conclusion:?}"));
    }
    for (index, name) in NAMES.iter().enumerate().take(world.order.plan.items.len()) {
        let is_install = world.order.plan.items[index].action.is_install();
        let is_meant = !conclusion.components.is_empty() && world.order.scope == Scope::Install && is_install;
        if is_meant && world.device.firmware[index].version < wanted(world, index) && is_seen(world, index) {
            world.breaks(|| format!("success without {name}"));
        }
    }
}

/// Reports whether the present version was there when the device was last read.
fn is_seen(world: &World, index: usize) -> bool {
    world.device.firmware[index].replaced.is_none_or(|replaced| replaced < world.last_read)
}

/// Checks that nothing is left on a device that has answered again, and was cleaned.
pub(crate) fn cleaned(world: &mut World) {
    // Nobody can find a session that the device neither lists nor ends, and whose answer was lost.
    let traits = &world.device.traits;
    let is_found = traits.lists_sessions || traits.session_timeout.is_some();
    let finds_sessions = is_found && !traits.locks_sessions;
    // The device needs it for what goes on at the reset. It is listed.
    let waits = |id: ActionId| {
        let component = world.api.actions.iter().find(|action| action.id == id).map(component);
        world.device.jobs.iter().any(|job| {
            job.progress == Progress::WaitsForReset && job.request.map(|job| job.component) == component
        })
    };
    let hidden = left(world, Goal::CleanUp)
        .into_iter()
        .find(|&(id, what)| if what == SESSION { finds_sessions } else { what == PREPARED || !waits(id) });
    if let Some((id, what)) = hidden {
        world.breaks(|| format!("{what} of action {} is left after the cleaning", id.0));
    }
}

const SESSION: &str = "a session";
const PREPARED: &str = "an authority or a subscription";

/// Returns what of ours is on the device, apart from images that were to be staged.
fn left(world: &World, goal: Goal) -> Vec<(ActionId, &'static str)> {
    let device = &world.device;
    let is_meant = world.order.scope == Scope::Stage && !world.api.cancelled && goal == Goal::Update;
    let uploads = device.uploads.iter().filter(|upload| !(is_meant && upload.whole)).filter_map(|upload| {
        Some((owner(world, upload.action, upload.component, Verb::AdoptImage)?, "an image"))
    });
    let entries = device.jobs.iter().filter(|job| job.is_entry).filter_map(|job| job.request);
    let entries = entries.filter_map(|request| {
        Some((owner(world, request.action, request.component, Verb::AdoptWork)?, "a queue entry"))
    });
    // It goes on at the next reset, whether or not it has an entry in the queue.
    let is_waiting = |job: &&Job| {
        job.progress == Progress::WaitsForReset && !job.is_entry && job.listed <= world.last_read
    };
    let waiting = device.jobs.iter().filter(is_waiting).filter_map(|job| job.request);
    let waiting = waiting.filter_map(|request| {
        Some((
            owner(world, request.action, request.component, Verb::AdoptWork)?,
            "work that waits for a reset",
        ))
    });
    let sessions = device.sessions.iter().map(|(id, _)| (*id, SESSION));
    let prepared = device.prepared.iter().map(|(id, _)| (*id, PREPARED));
    uploads.chain(entries).chain(waiting).chain(prepared).chain(sessions).collect()
}

/// Returns the action that something on the device belongs to; `None` if it is an earlier run's and nothing was done
/// with it.
fn owner(world: &World, action: ActionId, index: usize, verb: Verb) -> Option<ActionId> {
    let actions = &world.api.actions;
    let is_used = |other: &Action| {
        component(other) == index && other.is_install() && !other.is_void() && !other.verb.is_inverse()
    };
    if action.0 >= EARLIER && verb == Verb::AdoptImage && !actions.iter().any(is_used) {
        return None;
    }
    reading::owner(actions, action, index, verb)
}

/// Returns the version that a component is updated to.
fn wanted(world: &World, index: usize) -> u8 {
    let item = &world.order.plan.items[index];
    match &item.action {
        plan::Action::Install { to, .. } => number(to),
        _ => world.device.firmware[index].version,
    }
}

fn component(action: &Action) -> usize {
    NAMES.iter().position(|name| *name == action.component).unwrap_or(0)
}
