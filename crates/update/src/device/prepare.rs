//! Rules about preparations: what is done on the device before it is told to fetch an image, and stays until the
//! end.

use super::action::{Action, Ending, Intent, State, Verb, is_removed};
use super::decision::{Next, Waiting};
use super::observed::Preparation;
use super::view::{Again, View, adopt, settle};

/// Decides what to do before a verb for a component; `None` if nothing is left to prepare.
pub(super) fn before(view: View<'_>, verb: Verb, component: &str) -> Option<Next> {
    let wanted = if verb == Verb::Pull { view.observed.preparations } else { &[] };
    wanted.iter().find_map(|preparation| prepare(view, preparation, component))
}

fn prepare(view: View<'_>, preparation: &Preparation, component: &str) -> Option<Next> {
    let Preparation { verb, mark } = preparation;
    let is_it = |action: &Action| action.verb == *verb && action.follows == *mark;
    if view.actions().any(|action| is_it(action) && is_prepared(view, action)) {
        return None;
    }
    match view.refusals(is_it).again(view) {
        // The update goes on without it.
        Again::Never => None,
        Again::At(until) => Some(Next::Wait { until, on: Waiting::Retry(*verb) }),
        Again::Now => Some(Next::Intend(Intent {
            component: component.to_owned(),
            follows: mark.clone(),
            ..view.intent(*verb)
        })),
    }
}

/// Reports whether a preparation is on the device, or was tried in this attempt with a result that is not known.
fn is_prepared(view: View<'_>, action: &Action) -> bool {
    let is_there = action.state == State::Begun || action.ending == Some(Ending::Done);
    let is_tried = action.ending == Some(Ending::Unverified) && action.at >= view.observed.since;
    (is_there || is_tried) && !is_removed(view.observed.actions, action.id)
}

/// Looks for what a preparation has left whose answer was lost. Nothing depends on it but the cleaning.
pub(super) fn find_lost(view: View<'_>) -> Option<Next> {
    let action =
        view.actions().find(|action| action.verb.is_preparation() && action.state == State::Intended)?;
    let Some(reading) = view.latest_after(action.at) else { return Some(view.read()) };
    Some(match reading.artifact_of(action.id) {
        Some(artifact) => adopt(action, &artifact.ticket),
        None => settle(action, Ending::Unverified),
    })
}
