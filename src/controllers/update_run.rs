//! One run: observe, decide, act, say so.

mod act;
mod observe;
mod status;

use super::Context;
use crate::api::{ABANDON_ANNOTATION, UpdateRun, condition};
use crate::publish::{self, CONTROLLER};
use farrier_update::run::{Effect, Wake, decide};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::time::Duration;

/// Whether nothing follows any more.
pub(super) fn is_finished(run: &UpdateRun) -> bool {
    run.status.as_ref().is_some_and(|s| {
        condition::is(&s.conditions, "Succeeded", "True")
            || condition::is(&s.conditions, "Succeeded", "False")
    })
}

/// Carries a run forward by one decision. Returns when to decide again at the latest.
pub(super) async fn reconcile(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<Duration>, kube::Error> {
    let Some(run) = context.world.runs.get(&ObjectRef::new(name).within(namespace)) else { return Ok(None) };
    if run.metadata.deletion_timestamp.is_some() && run.annotations().contains_key(ABANDON_ANNOTATION) {
        act::abandon(context, &run, &observe::own_updates(context, &run)).await?;
        return Ok(None);
    }
    let view = observe::observe(context, &run);
    let decision = decide(&view.observed);
    // Intent before effect: the list of machines is written, and nothing else happens, until it
    // comes back by the cache.
    let recorded = decision.effects.iter().find_map(|effect| match effect {
        Effect::RecordTargets { nodes, left_out } => Some((nodes.clone(), left_out.clone())),
        Effect::Start { .. } | Effect::SetIntent { .. } | Effect::ReleaseRun | Effect::DeleteRun => None,
    });
    let was_finished = is_finished(&run);
    act::act(context, &run, &decision.effects).await?;
    let status = status::render(&run, &decision, recorded.as_ref(), &view);
    if run.status.as_ref() != Some(&status) && !decision.effects.contains(&Effect::DeleteRun) {
        match publish::status(&context.client, &*run, CONTROLLER, &status).await {
            Ok(_) => status::announce(context, &run, &decision, was_finished).await,
            Err(error) if publish::is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    if decision.effects.contains(&Effect::ReleaseRun) {
        act::release(context, &run).await?;
    }
    Ok(match decision.wake {
        Wake::OnChange => None,
        Wake::At(at) => Some(at.since(view.observed.now)),
    })
}

/// Namespace of a run.
fn namespace(run: &UpdateRun) -> String {
    run.namespace().unwrap_or_default()
}
