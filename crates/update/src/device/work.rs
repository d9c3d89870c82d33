//! Rules about new work: components in the order of the plan, one verb after the other.

use super::action::{Action, Intent, Verb};
use super::component::{ComponentState, end, refusals, state_of};
use super::decision::{ComponentEnd, Next, Waiting};
use super::inventory::{Inventory, Obstacle, Part};
use super::observed::{Goal, Scope};
use super::prepare;
use super::view::{Again, View};
use crate::model::{Millis, RebootNeed};
use crate::plan::PlanItem;

/// Decides what to begin next; `None` if nothing is left, or nothing may begin any more.
pub(super) fn advance(view: View<'_>) -> Option<Next> {
    if view.is_winding_down() {
        return None;
    }
    let Some(reading) = view.versions() else {
        return (view.now() < view.end_of_reading()).then(|| view.read());
    };
    let Some(plan) = view.observed.plan else {
        return if view.observed.goal == Goal::Inventory { None } else { Some(Next::Plan) };
    };
    if view.observed.goal != Goal::Update || is_device_unknown(view) {
        return None;
    }
    let due = due(view, &plan.items, reading);
    // Other components may not be concerned.
    let obstacle = |(item, _): &(&PlanItem, Verb)| obstacle_of(view, item, reading);
    let (due, obstructed): (Vec<_>, Vec<_>) = due.into_iter().partition(|due| obstacle(due).is_none());
    let Some(first @ (item, verb)) = due.first() else {
        let until = obstructed.iter().filter_map(obstacle).find_map(|obstacle| post_until(view, obstacle));
        return until.map(|until| view.read_for(Waiting::Post(until)));
    };
    match blocked_until(view, reading) {
        // What is taken over may be what keeps the device busy.
        Some(_) if verb.is_adoption() => Some(begin(view, item, *verb, reading)),
        Some(until) => (until > view.now()).then(|| view.read_for(Waiting::Other(until))),
        None => {
            // A device may take no other image before a reset.
            let reset = due.iter().find(|(_, verb)| verb.is_reset());
            let reset = reset.filter(|_| refusals(view, item, *verb).is_repeated());
            let (item, verb) = reset.unwrap_or(first);
            Some(begin(view, item, *verb, reading))
        }
    }
}

/// Returns what can begin, in the order in which it is done: what concerns the management controller, whose restart
/// may drop images and tasks; then everything for the host; then one restart for all that waits for it.
fn due<'a>(view: View<'_>, items: &'a [PlanItem], reading: &Inventory) -> Vec<(&'a PlanItem, Verb)> {
    let due = items.iter().filter_map(|item| {
        let ComponentState::Due(verb) = state_of(view, item) else { return None };
        let entry = reading.entries.get(&item.component.name)?;
        is_ready(view, item, items).then_some((item, verb, entry.part))
    });
    let mut due: Vec<(&PlanItem, Verb, Part)> = due.collect();
    due.sort_by_key(|(_, verb, part)| match (part, verb) {
        (_, Verb::AdoptImage | Verb::AdoptWork) => Turn::Adoption,
        (Part::Manager, verb) if verb.is_reset() => Turn::ManagerReset,
        (Part::Manager, _) => Turn::Manager,
        (Part::Host, verb) if verb.is_reset() => Turn::Reset,
        (Part::Host, _) => Turn::Host,
    });
    due.into_iter().map(|(item, verb, _)| (item, verb)).collect()
}

/// The order of work for different components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// What earlier runs have left is taken over, which changes nothing.
    Adoption,
    Manager,
    ManagerReset,
    Host,
    Reset,
}

/// Reports whether an earlier action may still be at work on the device. Nothing else is begun then.
fn is_device_unknown(view: View<'_>) -> bool {
    view.actions().any(Action::is_unresolved)
}

/// Reports whether everything that a component requires was installed. Where images are only staged, it is enough
/// that they are, unless the next reset puts this one into effect: then nobody would keep to the order.
fn is_ready(view: View<'_>, item: &PlanItem, items: &[PlanItem]) -> bool {
    let is_held = view.observed.scope == Scope::Stage && view.observed.holds.contains(&item.component.name);
    let is_enough = |end: ComponentEnd| end.is_good() && !(is_held && end == ComponentEnd::Staged);
    let required = items.iter().filter(|other| item.after.contains(&other.component.name));
    required.map(|other| end(view, other)).all(is_enough)
}

/// Returns what keeps the device from taking work for a component.
fn obstacle_of(view: View<'_>, item: &PlanItem, reading: &Inventory) -> Option<Obstacle> {
    let entry = reading.entries.get(&item.component.name)?;
    let is_restartable = entry.part == Part::Host && item.component.reboot != RebootNeed::Never;
    let restarts = view.observed.scope == Scope::Install && view.observed.resets.host && is_restartable;
    reading.obstacles.iter().copied().min().filter(|obstacle| match obstacle {
        Obstacle::Managed | Obstacle::Locked | Obstacle::HostInPost | Obstacle::ClusterNode => true,
        // An image takes effect when somebody powers the host on, unless the run is to see to that.
        Obstacle::HostOff => restarts,
    })
}

/// Returns until when an obstacle is waited for, if it goes away by itself and that is not over.
///
/// It is counted from its first reading: another manager's work, which was waited for before, may have restarted the
/// host. A host that alternates between both is waited for no longer than one of each.
fn post_until(view: View<'_>, obstacle: Obstacle) -> Option<Millis> {
    let limits = view.observed.limits;
    let last_work = last_work(view);
    let until = view.observed.obstructed_since.unwrap_or(last_work).after(limits.post);
    let until = until.min(last_work.after(limits.busy).after(limits.post));
    (obstacle.passes() && until > view.now()).then_some(until)
}

/// Returns when work was last requested, or when the attempt began.
fn last_work(view: View<'_>) -> Millis {
    let worked = view.actions().filter(|action| action.verb.is_work()).map(|action| action.at);
    worked.fold(view.observed.since, Millis::max)
}

/// Returns until when another manager's task is waited for, if there is one.
fn blocked_until(view: View<'_>, reading: &Inventory) -> Option<Millis> {
    reading.is_busy_for_others().then(|| last_work(view).after(view.observed.limits.busy))
}

/// Intends a verb for a component.
fn begin(view: View<'_>, item: &PlanItem, verb: Verb, reading: &Inventory) -> Next {
    let component = &item.component;
    if let Again::At(due) = refusals(view, item, verb).again(view) {
        return Next::Wait { until: due, on: Waiting::Retry(verb) };
    }
    if let Some(next) = prepare::before(view, verb, &component.name) {
        return next;
    }
    let limits = view.observed.limits;
    let method = view.observed.methods.get(&component.name);
    let is_last = method.and_then(|method| method.verbs().last()) == Some(&verb);
    let is_install = is_last || verb == Verb::AdoptWork;
    let time = match (verb.is_reset(), component.interruptible) {
        (true, _) => limits.reset,
        (false, true) => component.timeout,
        (false, false) => component.timeout.saturating_add(limits.overdue),
    };
    let boot = if verb == Verb::ResetHost { &reading.boot.host } else { &reading.boot.manager };
    let members = reading.entries.get(&component.name).map(|entry| entry.members.clone());
    let to = if is_install || verb.is_reset() { component.version.trim() } else { "" };
    Next::Intend(Intent {
        component: component.name.clone(),
        follows: reading.version(&component.name).unwrap_or_default().to_owned(),
        to: to.to_owned(),
        boot: boot.clone(),
        members: members.unwrap_or_default(),
        until: Some(view.now().after(time)),
        ..view.intent(verb)
    })
}

/// Returns the result of a component at the end of an attempt.
pub(super) fn result(view: View<'_>, item: &PlanItem, items: &[PlanItem]) -> ComponentEnd {
    let end = end(view, item);
    if end != ComponentEnd::NotBegun {
        return end;
    }
    let obstacle = view.latest().and_then(|reading| obstacle_of(view, item, reading));
    if let Some(obstacle) = obstacle.filter(|_| is_ready(view, item, items)) {
        return ComponentEnd::Obstructed(obstacle);
    }
    let is_busy = view.latest().is_some_and(Inventory::is_busy_for_others);
    match (is_ready(view, item, items), is_busy) {
        (false, _) => ComponentEnd::DependencyFailed,
        (true, true) => ComponentEnd::Busy,
        (true, false) => ComponentEnd::NotBegun,
    }
}
