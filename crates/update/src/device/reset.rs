//! Which reset puts an installation into effect.

use super::action::{Action, Verb};
use super::inventory::Part;
use super::view::View;

/// Returns the reset that was requested for an installation: its own, or that of another component of the same
/// part of the machine, which puts into effect whatever waits for it.
pub(super) fn reset_of<'a>(view: View<'a>, install: &Action) -> Option<&'a Action> {
    let part =
        view.latest().and_then(|reading| reading.entries.get(&install.component)).map(|entry| entry.part);
    let is_meant = |reset: &&Action| {
        let is_own = reset.component == install.component;
        let is_shared = matches!(
            (reset.verb, part),
            (Verb::ResetHost, Some(Part::Host)) | (Verb::ResetManager, Some(Part::Manager))
        );
        reset.verb.is_reset() && !reset.is_void() && reset.id > install.id && (is_own || is_shared)
    };
    view.actions().find(is_meant)
}
