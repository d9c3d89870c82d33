//! The result of an attempt.

use super::decision::{ComponentEnd, Conclusion, DeviceEnd, Next};
use super::observed::Goal;
use super::teardown::{kept, last_look, leftovers};
use super::view::View;
use super::work::result;
use crate::reason::Reason;

/// Concludes an attempt in which nothing is left to do.
pub(super) fn conclude(view: View<'_>) -> Next {
    let look = last_look(view);
    // Readings that never agree prove no version.
    let components = if look.is_some() { components(view) } else { unproven(view) };
    let leftovers = leftovers(view, look);
    let is_good = match view.observed.goal {
        Goal::Inventory => look.is_some(),
        Goal::Plan => look.is_some() && view.observed.plan.is_some(),
        Goal::Update => {
            let all_good = components.iter().all(|(_, end)| end.is_good());
            look.is_some() && view.observed.plan.is_some() && all_good
        }
        Goal::CleanUp => leftovers.is_empty(),
    };
    let end = match (is_good, view.observed.cancelled) {
        (true, _) => DeviceEnd::Succeeded,
        (false, true) => DeviceEnd::Cancelled,
        (false, false) => DeviceEnd::Failed,
    };
    Next::Conclude(Conclusion { end, components, leftovers, kept: kept(view, look) })
}

/// Concludes an attempt because the device does not answer any more.
pub(super) fn conclude_away(view: View<'_>) -> Next {
    unreached(view, DeviceEnd::Away)
}

/// Concludes an attempt because the device refuses the credentials.
pub(super) fn conclude_refused(view: View<'_>, reason: Reason) -> Next {
    unreached(view, DeviceEnd::Refused(reason))
}

/// Concludes an attempt whose last inventory is missing: nothing counts as updated.
fn unreached(view: View<'_>, end: DeviceEnd) -> Next {
    Next::Conclude(Conclusion {
        end,
        components: unproven(view),
        leftovers: leftovers(view, None),
        kept: Vec::new(),
    })
}

/// Returns the result of each component where there is no last inventory.
fn unproven(view: View<'_>) -> Vec<(String, ComponentEnd)> {
    let mut components = components(view);
    for (_, result) in components.iter_mut().filter(|(_, result)| *result == ComponentEnd::Updated) {
        *result = ComponentEnd::Unverified;
    }
    components
}

/// Returns the result of each component of the plan.
fn components(view: View<'_>) -> Vec<(String, ComponentEnd)> {
    if view.observed.goal != Goal::Update {
        return Vec::new();
    }
    let items = view.observed.plan.map_or(&[][..], |plan| &plan.items);
    items.iter().map(|item| (item.component.name.clone(), result(view, item, items))).collect()
}
