//! Renders a decision as the status of a run. Pure, except for the events.

mod stages;

use super::super::Context;
use super::observe::View;
use crate::api::update_run::{Counts, NodeNote, OrderStep, OrderedNode, RecordedBaseline, UpdateRunStatus};
use crate::api::{UpdateRun, condition};
use crate::publish::Action;
use farrier_update::run::{
    self, BaselineId, Cond, CondStatus, Decision, Effect, Failing, RunSummary, WaitingOn,
};
use farrier_update::{Millis, NodeName, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;

/// Maximum number of machines that a status names; details are in the NodeUpdates.
const MAX_NAMES: usize = 50;

/// Maximum length of a message about a machine: with two lists of 50 machines, a status stays well below 64 KiB.
const MAX_MESSAGE: usize = 400;

/// Maximum number of machines that one event names.
const NAMES_IN_EVENT: usize = 10;

/// Returns the status that shows a decision.
pub(super) fn render(
    run: &UpdateRun,
    decision: &Decision,
    recorded: Option<&(Vec<NodeName>, Vec<NodeName>)>,
    view: &View,
) -> UpdateRunStatus {
    let old = run.status.clone().unwrap_or_default();
    let summary = &decision.status;
    let generation = run.meta().generation;
    let now = condition::now();
    let mut conditions = old.conditions.clone();
    for (type_, cond) in conditions_of(summary) {
        let status = match cond.status {
            CondStatus::True => "True",
            CondStatus::False => "False",
            CondStatus::Unknown => "Unknown",
        };
        condition::set(&mut conditions, type_, status, cond.reason.as_str(), &cond.message, generation, &now);
    }
    let (nodes, left_out) = match recorded {
        Some((nodes, left_out)) => (Some(names(nodes)), names(left_out)),
        None => (old.nodes, old.left_out),
    };
    let ended = summary.end().is_some();
    let in_progress = nodes.is_some() && !ended;
    let baseline = old.baseline.or_else(|| view.baseline.as_ref().filter(|_| in_progress).map(record));
    let started = decision.effects.iter().any(|e| matches!(e, Effect::Start { .. }));
    UpdateRunStatus {
        observed_generation: generation,
        conditions,
        plan_digest: stages::plan_digest(run, summary, view),
        counts: counts(summary),
        arrival_deadline: summary.arrival_deadline.map(time),
        nodes,
        baseline,
        starting: names(&summary.starting),
        planning: names(&summary.planning),
        order: summary.order.iter().map(step).collect(),
        stages: stages::render(summary, decision, &run.spec.strategy.stages),
        stage: stages::current(summary),
        left_out,
        failing: summary
            .failing
            .iter()
            .take(MAX_NAMES)
            .map(|f| NodeNote {
                node: f.node.0.clone(),
                reason: f.reason.as_str().into(),
                message: cut(&f.message),
                since: None,
            })
            .collect(),
        waiting: decision
            .waiting
            .iter()
            .take(MAX_NAMES)
            .map(|(node, on)| waits(&node.0, on, &old.waiting, &now))
            .collect(),
        callback: old.callback,
        // Each runner writes its own listeners.
        listeners: Vec::new(),
        started_at: old.started_at.or_else(|| started.then(|| now.clone())),
        finished_at: old.finished_at.or_else(|| ended.then_some(now)),
    }
}

/// Cuts a message. The NodeUpdate of the machine has all of it.
fn cut(message: &str) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}

/// Returns what a machine waits for. If it waited for the same reason before, the time stays.
fn waits(node: &str, on: &WaitingOn, before: &[NodeNote], now: &Time) -> NodeNote {
    let reason = on.reason.as_str();
    let same = before.iter().find(|note| note.node == node && note.reason == reason);
    let since = same.map_or_else(|| Some(now.clone()), |note| note.since.clone());
    NodeNote { node: node.to_owned(), reason: reason.into(), message: cut(&on.message), since }
}

fn step(step: &run::OrderStep) -> OrderStep {
    let node = |node: &run::OrderedNode| OrderedNode {
        node: node.node.0.clone(),
        after: node.after.clone(),
        not_with: node.not_with.clone(),
    };
    let count = u32::try_from(step.count).unwrap_or(u32::MAX);
    OrderStep { count, nodes: step.nodes.iter().map(node).collect() }
}

/// Records a baseline, together with the list of machines; of a run of an earlier version, with the first
/// status.
fn record(baseline: &BaselineId) -> RecordedBaseline {
    let BaselineId { uid, digest } = baseline.clone();
    RecordedBaseline { uid, digest }
}

fn conditions_of(summary: &RunSummary) -> Vec<(&'static str, &Cond)> {
    // The pattern has no `..`: a condition that was forgotten here would never appear in the status.
    let RunSummary {
        counts: _,
        starting: _,
        planning: _,
        order: _,
        stages: _,
        failing: _,
        halt: _,
        arrival_deadline: _,
        planned,
        progressing,
        exposed,
        budget,
        succeeded,
        ready,
        reconciling,
        stalled,
    } = summary;
    vec![
        ("Ready", ready),
        ("Reconciling", reconciling),
        ("Stalled", stalled),
        ("Planned", planned),
        ("Exposed", exposed),
        ("Progressing", progressing),
        ("BudgetExceeded", budget),
        ("Succeeded", succeeded),
    ]
}

fn counts(summary: &RunSummary) -> Counts {
    let farrier_update::run::Counts {
        total,
        pending,
        in_progress,
        succeeded,
        failed,
        unreachable,
        cancelled,
        skipped,
    } = summary.counts;
    Counts { total, pending, in_progress, succeeded, failed, unreachable, cancelled, skipped }
}

/// Converts a time for the API. A time beyond its range becomes the last time that it can represent.
fn time(at: Millis) -> Time {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    Time(jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX))
}

fn names(nodes: &[NodeName]) -> Vec<String> {
    nodes.iter().map(|n| n.0.clone()).collect()
}

/// Emits events about the effects of a decision: the list of machines, and each batch of starts.
pub(super) async fn announce_effects(context: &Context, run: &UpdateRun, effects: &[Effect]) {
    let about = run.object_ref(&());
    let mut started = Vec::new();
    for effect in effects {
        match effect {
            Effect::RecordTargets { nodes, .. } => {
                let note = format!("{} machines: {}", nodes.len(), some_names(nodes));
                context.events.normal(&about, Reason::Planned, Action::Plan, &note).await;
            }
            Effect::Start { node, .. } => started.push(node.clone()),
            Effect::RecordStarts { .. }
            | Effect::SetIntent { .. }
            | Effect::OpenPaths
            | Effect::ClosePaths
            | Effect::ReleaseRun
            | Effect::DeleteRun => {}
        }
    }
    if !started.is_empty() {
        let note = format!("started {}: {}", started.len(), some_names(&started));
        context.events.normal(&about, Reason::Started, Action::Start, &note).await;
    }
}

/// Emits events about the state of the run: that it waits, that it has ended.
pub(super) async fn announce(context: &Context, run: &UpdateRun, decision: &Decision, was_finished: bool) {
    let about = run.object_ref(&());
    let summary = &decision.status;
    let before = run.status.as_ref().and_then(|s| condition::find(&s.conditions, "Progressing"));
    let stopped = summary.progressing.status == CondStatus::False && summary.end().is_none();
    if stopped && before.is_none_or(|b| b.reason != summary.progressing.reason.as_str()) {
        let Cond { reason, message, .. } = &summary.progressing;
        context.events.normal(&about, *reason, Action::Wait, message).await;
    }
    let was_exceeded =
        run.status.as_ref().is_some_and(|s| condition::is(&s.conditions, "BudgetExceeded", "True"));
    if summary.budget.status == CondStatus::True && !was_exceeded {
        let Cond { reason, message, .. } = &summary.budget;
        context.events.warning(&about, *reason, Action::Wait, message).await;
    }
    let skipped = run.status.as_ref().map_or(0, |status| status.counts.skipped);
    if summary.counts.skipped > skipped {
        let why = summary.failing.iter().find(|failing| failing.reason == Reason::Skipped);
        if let Some(Failing { node, reason, message }) = why {
            let note = format!("{} skipped; {node}: {message}", summary.counts.skipped);
            context.events.warning(&about, *reason, Action::Skip, &note).await;
        }
    }
    if let Some(end) = summary.end().filter(|_| !was_finished) {
        if end.succeeded {
            context.events.normal(&about, end.reason, Action::Finish, &end.message).await;
        } else {
            context.events.warning(&about, end.reason, Action::Finish, &end.message).await;
        }
    }
}

fn some_names(nodes: &[NodeName]) -> String {
    let shown: Vec<&str> = nodes.iter().take(NAMES_IN_EVENT).map(|n| n.0.as_str()).collect();
    let more = nodes.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
