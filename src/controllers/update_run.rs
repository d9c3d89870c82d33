//! Reconciles one run: observe, decide, act, publish.

mod act;
mod facts;
mod members;
mod observe;
mod rehearsed;
mod relations;
mod status;

pub(super) use facts::{all_with_facts, facts};
pub(crate) use rehearsed::{plans_of, rehearsed};

use super::Context;
use crate::api::update_run::UpdateRunStatus;
use crate::api::{ABANDON_ANNOTATION, UpdateRun, condition};
use crate::caches::Compared;
use crate::publish::{self, CONTROLLER};
use farrier_update::run::{Decision, Effect, Wake, decide};
use kube::ResourceExt;
use std::time::{Duration, Instant};

/// Minimum interval between status writes of a run. The counts change with every machine, and each machine
/// that ends gives a start to another machine. With a thousand machines that take two seconds each, the run
/// would be written ten times a second, and read by every client that watches it. Important changes are
/// written immediately: the list of machines, the state of the ports, the end.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// Starts are recorded immediately all the same if they are at least one in this many machines in progress.
/// So at most that part of the machines is idle to save writes, and a run of up to four machines at a time
/// loses no time.
const IDLE_PART: usize = 4;

/// How long a cache takes to catch up with a change, with a margin.
const CATCH_UP: Duration = Duration::from_millis(200);

/// Maximum time until caches that lagged behind the API server are compared with it again. A change that
/// arrives earlier triggers a decision immediately.
const COMPARE_INTERVAL: Duration = Duration::from_secs(1);

/// Reports whether the run has ended.
pub(super) fn is_finished(run: &UpdateRun) -> bool {
    run.status.as_ref().is_some_and(|s| {
        condition::is(&s.conditions, "Succeeded", "True")
            || condition::is(&s.conditions, "Succeeded", "False")
    })
}

/// Makes one decision about a run and carries it out. Returns the maximum time until the next decision.
pub(super) async fn reconcile(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<Duration>, kube::Error> {
    let Some(run) = context.own_writes.run(&context.caches, namespace, name) else { return Ok(None) };
    if run.metadata.deletion_timestamp.is_some() && run.annotations().contains_key(ABANDON_ANNOTATION) {
        act::abandon(context, &run, &observe::own_updates(context, &run)).await?;
        return Ok(None);
    }
    let (view, decision) = decide_run(context, &run).await?;
    // A replica that is no longer the leader starts nothing and writes no status.
    let run = match act::act(context, run, &decision.effects, &view.machines).await {
        Err(error) if publish::is_conflict(&error) => return Ok(Some(CATCH_UP)),
        acted => acted?,
    };
    let Some(run) = run else { return Ok(None) };
    status::announce_effects(context, &run, &decision.effects).await;
    let mut later = None;
    if !decision.effects.contains(&Effect::DeleteRun) {
        match publish_status(context, &run, &decision, &view).await {
            // The run was changed after it was observed. It is decided again when the cache shows the
            // change.
            Err(error) if publish::is_conflict(&error) => return Ok(Some(CATCH_UP)),
            written => later = written?,
        }
    }
    if decision.effects.contains(&Effect::ReleaseRun) {
        act::release(context, &run).await?;
    }
    let wake = match decision.wake {
        Wake::OnChange => None,
        Wake::At(at) => Some(at.since(view.observed.now)),
    };
    // Machines whose start was recorded are started immediately.
    let recorded = later.is_none() && recorded_starts(&decision) > 0;
    let again =
        recorded.then_some(Duration::ZERO).into_iter().chain(decision.confirm.then_some(COMPARE_INTERVAL));
    Ok(wake.into_iter().chain(later).chain(again).min())
}

/// Returns the number of machines whose start a decision records.
fn recorded_starts(decision: &Decision) -> usize {
    let recorded_starts = decision.effects.iter().map(|effect| match effect {
        Effect::RecordStarts { nodes } => nodes.len(),
        Effect::RecordTargets { .. }
        | Effect::Start { .. }
        | Effect::SetIntent { .. }
        | Effect::OpenPaths
        | Effect::ClosePaths
        | Effect::ReleaseRun
        | Effect::DeleteRun => 0,
    });
    recorded_starts.sum()
}

/// Reports whether the starts are so many that they are recorded immediately. `in_progress` includes them.
fn are_many(recorded_starts: usize, in_progress: u32) -> bool {
    let in_progress = usize::try_from(in_progress).unwrap_or(usize::MAX);
    recorded_starts > 0 && recorded_starts.saturating_mul(IDLE_PART) >= in_progress
}

/// Observes and decides. If the decision depends on the caches being complete, they are compared with
/// the API server and the decision is made again. If they lag behind, the run waits for them.
async fn decide_run(context: &Context, run: &UpdateRun) -> Result<(observe::View, Decision), kube::Error> {
    let (view, decision) = observe_and_decide(context, run, false);
    if !decision.confirm {
        return Ok((view, decision));
    }
    let recorded = run.status.as_ref().is_some_and(|s| s.nodes.is_some());
    let what = Compared {
        namespace: &namespace(run),
        // The labels of a recorded node may have changed since it was recorded, and named nodes have any labels.
        nodes: run.spec.selector.clone().filter(|_| !recorded).unwrap_or_default(),
        baseline: run.spec.baseline_ref.as_ref().map(|reference| reference.name.as_str()),
    };
    if !context.caches.shows(&context.client, &what).await? {
        tracing::info!("a cache is behind the API server; the decision waits for it");
        return Ok((view, decision));
    }
    Ok(observe_and_decide(context, run, true))
}

fn observe_and_decide(context: &Context, run: &UpdateRun, confirmed: bool) -> (observe::View, Decision) {
    let begun = Instant::now();
    let view = observe::observe(context, run, confirmed);
    let decision = decide(&view.observed);
    context.metrics.decision_duration.observe([], begun.elapsed());
    (view, decision)
}

/// Writes the status if it has changed, and reports important changes as events. Returns the remaining time
/// if the previous write was too recent.
async fn publish_status(
    context: &Context,
    run: &UpdateRun,
    decision: &Decision,
    view: &observe::View,
) -> Result<Option<Duration>, kube::Error> {
    let recorded = decision.effects.iter().find_map(|effect| match effect {
        Effect::RecordTargets { nodes, left_out, stages: _ } => Some((nodes.clone(), left_out.clone())),
        Effect::RecordStarts { .. }
        | Effect::Start { .. }
        | Effect::SetIntent { .. }
        | Effect::OpenPaths
        | Effect::ClosePaths
        | Effect::ReleaseRun
        | Effect::DeleteRun => None,
    });
    let status = status::render(run, decision, recorded.as_ref(), view);
    let before = run.status.clone().map(|old| UpdateRunStatus { listeners: Vec::new(), ..old });
    if before.as_ref() == Some(&status) {
        return Ok(None);
    }
    let many_starts = are_many(recorded_starts(decision), decision.status.counts.in_progress);
    let told = run.status.as_ref().and_then(|s| condition::find(&s.conditions, "Exposed"));
    // The next decisions depend on the state of the ports.
    let ports = told.is_none_or(|told| told.reason != decision.status.exposed.reason.as_str());
    let matters = recorded.is_some() || many_starts || ports || decision.status.end().is_some();
    if let Some(left) = context.own_writes.too_soon(run, WRITE_INTERVAL).filter(|_| !matters) {
        return Ok(Some(left));
    }
    // The write is conditional on the version that the status was computed from. A late write of a replica
    // that is no longer the leader, or of a decision that a change by the user has superseded, is rejected.
    match publish::status_of_version(&context.client, run, CONTROLLER, &status).await {
        Ok(written) => context.own_writes.remember_run(written),
        Err(error) if publish::is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    }
    status::announce(context, run, decision, is_finished(run)).await;
    Ok(None)
}

/// Returns the namespace of a run.
fn namespace(run: &UpdateRun) -> String {
    run.namespace().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::are_many;

    /// Otherwise a run of a few machines would wait a second before each of them, or a run of twenty at a
    /// time would write its status for each machine that ends.
    #[test]
    fn starts_are_recorded_at_once_when_many_machines_would_be_idle() {
        assert!((1..=4).all(|in_progress| are_many(1, in_progress)));
        assert!(are_many(5, 20) && are_many(20, 20));
        assert!(!are_many(1, 5) && !are_many(4, 20) && !are_many(0, 0));
    }
}
