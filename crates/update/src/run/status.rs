//! Renders the status of a run: counts and conditions, derived from its state.

use super::paths;
use super::progress::{Blocker, Fleet, NodeProgress};
use super::state::{State, Unstarted, cond};
use super::waiting::names;
use super::{Cond, CondStatus, Counts, Desired, Failing, Intent, NodeEnd, Observed, RunSummary};
use crate::model::NodeName;
use crate::reason::Reason;
use std::collections::BTreeSet;

/// The message of a run that is being closed.
const CLOSING: &str = "all nodes have ended; the network paths of the run are being closed";

/// Counts the nodes by progress.
pub(super) fn count(fleet: &Fleet<'_>, rest: Unstarted) -> Counts {
    let mut counts = Counts::default();
    for progress in fleet.nodes.values() {
        let number = match (progress, rest) {
            (NodeProgress::Done(NodeEnd::Succeeded), _) => &mut counts.succeeded,
            (
                NodeProgress::Done(NodeEnd::Failed { .. })
                | NodeProgress::Idle { planned: _, blocker: Some(Blocker::Gone) },
                _,
            ) => &mut counts.failed,
            (NodeProgress::Done(NodeEnd::Unreachable { .. }), _) => &mut counts.unreachable,
            (NodeProgress::Skipped(_), _) => &mut counts.skipped,
            (NodeProgress::Active(_) | NodeProgress::Due { .. }, _) => &mut counts.in_progress,
            (NodeProgress::Idle { planned: true, .. }, _)
            | (NodeProgress::Idle { .. }, Unstarted::Pending) => &mut counts.pending,
            (NodeProgress::Done(NodeEnd::Cancelled), _)
            | (NodeProgress::Idle { .. }, Unstarted::Cancelled) => &mut counts.cancelled,
        };
        *number = number.saturating_add(1);
        counts.total = counts.total.saturating_add(1);
    }
    counts
}

/// Renders the complete status.
pub(super) fn render(
    observed: &Observed,
    fleet: &Fleet<'_>,
    begun: &[NodeName],
    state: &State,
) -> RunSummary {
    let rest = match state {
        State::Waiting { .. } | State::Moving { .. } => Unstarted::Pending,
        State::Stopping { .. } | State::Closing | State::Ended(_) => Unstarted::Cancelled,
    };
    let is_plan = fleet.goal == Intent::Plan;
    let order = fleet.order.steps(observed);
    RunSummary {
        counts: count(fleet, rest),
        starting: turns(fleet, Intent::Run, if is_plan { &[] } else { begun }),
        planning: turns(fleet, Intent::Plan, if is_plan { begun } else { &[] }),
        failing: failing(fleet),
        arrival_deadline: match state {
            State::Waiting { .. } | State::Moving { .. } | State::Stopping { .. } | State::Closing => {
                begins_wait(observed).then(|| observed.arrivals.deadline(observed.now))
            }
            State::Ended(_) => observed.arrivals.deadline,
        },
        planned: planned(observed, fleet, state, order.len()),
        order,
        stages: if observed.run.targets_recorded {
            let ended = matches!(state, State::Ended(_));
            fleet.stages.summaries(observed, if is_plan { &[] } else { begun }, ended)
        } else {
            Vec::new()
        },
        progressing: progressing(state),
        exposed: paths::exposed(observed, state),
        halt: fleet.stages.halt.map(|halt| halt.in_words()),
        budget: budget(observed, fleet),
        succeeded: succeeded(state),
        ready: ready(state),
        reconciling: reconciling(state),
        stalled: stalled(state),
    }
}

/// Renders the condition `BudgetExceeded`.
fn budget(observed: &Observed, fleet: &Fleet<'_>) -> Cond {
    match fleet.stages.halt.filter(|halt| halt.reason() != Reason::StageIncomplete) {
        Some(halt) => cond(CondStatus::True, halt.reason(), &halt.message()),
        None => cond(CondStatus::False, Reason::WithinBudget, &fleet.stages.within(observed)),
    }
}

/// Whether the wait for missing objects has begun. A run that is applied as a plan or paused waits for its
/// user first, who may create the nodes at any later time.
fn begins_wait(observed: &Observed) -> bool {
    match observed.run.desired {
        Desired::Plan | Desired::Pause => observed.run.targets_recorded,
        Desired::Run | Desired::Cancel => true,
    }
}

/// Returns the nodes whose turn for this is recorded, or is with this decision.
fn turns(fleet: &Fleet<'_>, goal: Intent, begun: &[NodeName]) -> Vec<NodeName> {
    fleet.due(goal).chain(begun).cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Returns the nodes that failed, then those that were not begun because of others.
fn failing(fleet: &Fleet<'_>) -> Vec<Failing> {
    let cycle = fleet.order.cycle.as_deref();
    let skipped = fleet.nodes.iter().filter_map(|(&node, progress)| match progress {
        NodeProgress::Skipped(why) => {
            Some(Failing { node: node.clone(), reason: why.reason(), message: why.message(cycle) })
        }
        NodeProgress::Done(_)
        | NodeProgress::Active(_)
        | NodeProgress::Due { .. }
        | NodeProgress::Idle { .. } => None,
    });
    fleet
        .nodes
        .iter()
        .filter_map(|(&node, progress)| match progress {
            NodeProgress::Done(
                NodeEnd::Failed { reason, message } | NodeEnd::Unreachable { reason, message },
            ) => Some(Failing { node: node.clone(), reason: *reason, message: message.clone() }),
            NodeProgress::Idle { planned: _, blocker: Some(Blocker::Gone) } => Some(Failing {
                node: node.clone(),
                reason: Reason::NodeNotFound,
                message: format!("ManagedNode {node} does not exist; it was deleted before work on it started, or never created"),
            }),
            NodeProgress::Done(NodeEnd::Succeeded | NodeEnd::Cancelled)
            | NodeProgress::Skipped(_)
            | NodeProgress::Active(_)
            | NodeProgress::Due { .. }
            | NodeProgress::Idle {
                planned: _,
                blocker:
                    Some(
                        Blocker::Held
                        | Blocker::Unfit(..)
                        | Blocker::Claimed(_)
                        | Blocker::Ordered(_)
                        | Blocker::Skipped(_),
                    )
                    | None,
            } => None,
        })
        .chain(skipped)
        .collect()
}

fn planned(observed: &Observed, fleet: &Fleet<'_>, state: &State, steps: usize) -> Cond {
    let total = fleet.nodes.len();
    if !observed.run.targets_recorded {
        return match state {
            State::Waiting { reason, message } => cond(CondStatus::False, *reason, message),
            State::Moving { reason, message } => cond(CondStatus::Unknown, *reason, message),
            State::Stopping { message } => cond(CondStatus::False, Reason::Cancelling, message),
            State::Closing => cond(CondStatus::False, Reason::Closing, CLOSING),
            State::Ended(end) => cond(CondStatus::False, end.reason, &end.message),
        };
    }
    let held = match observed.run.left_out.as_slice() {
        [] => String::new(),
        held => format!("; left out because of spec.hold: {}", names(held)),
    };
    let is_plan = fleet.goal == Intent::Plan && !matches!(state, State::Ended(_));
    let ready = fleet.planned() + fleet.over();
    if is_plan && ready < total {
        let message = format!("{ready} of {total} nodes planned{held}");
        return cond(CondStatus::Unknown, Reason::InProgress, &message);
    }
    let steps = if steps > 1 { format!(" in {steps} steps, see status.order") } else { String::new() };
    let reason = if is_plan { Reason::PlanOnly } else { Reason::Planned };
    cond(CondStatus::True, reason, &format!("the run has {total} nodes{steps}{held}"))
}

fn progressing(state: &State) -> Cond {
    match state {
        State::Waiting { reason, message } => cond(CondStatus::False, *reason, message),
        State::Moving { reason, message } => cond(CondStatus::True, *reason, message),
        State::Stopping { message } => cond(CondStatus::True, Reason::Cancelling, message),
        State::Closing => cond(CondStatus::True, Reason::Closing, CLOSING),
        State::Ended(end) => cond(CondStatus::False, end.reason, &end.message),
    }
}

fn succeeded(state: &State) -> Cond {
    match state {
        State::Waiting { reason, message } | State::Moving { reason, message } => {
            cond(CondStatus::Unknown, *reason, message)
        }
        State::Stopping { message } => cond(CondStatus::Unknown, Reason::Cancelling, message),
        State::Closing => cond(CondStatus::Unknown, Reason::Closing, CLOSING),
        State::Ended(end) => {
            let status = if end.succeeded { CondStatus::True } else { CondStatus::False };
            cond(status, end.reason, &end.message)
        }
    }
}

/// `Ready` of kstatus: the run has ended and succeeded.
fn ready(state: &State) -> Cond {
    let ended = succeeded(state);
    match ended.status {
        CondStatus::Unknown => Cond { status: CondStatus::False, ..ended },
        CondStatus::True | CondStatus::False => ended,
    }
}

/// `Reconciling` of kstatus: the run is in progress, or continues after an external event.
fn reconciling(state: &State) -> Cond {
    let status = match state {
        State::Waiting { .. } | State::Moving { .. } | State::Stopping { .. } | State::Closing => {
            CondStatus::True
        }
        State::Ended(_) => CondStatus::False,
    };
    Cond { status, ..progressing(state) }
}

/// `Stalled` of kstatus: the run has ended and did not succeed.
fn stalled(state: &State) -> Cond {
    match state {
        State::Waiting { reason, message } | State::Moving { reason, message } => {
            cond(CondStatus::False, *reason, message)
        }
        State::Stopping { message } => cond(CondStatus::False, Reason::Cancelling, message),
        State::Closing => cond(CondStatus::False, Reason::Closing, CLOSING),
        State::Ended(end) => {
            let status = if end.succeeded { CondStatus::False } else { CondStatus::True };
            cond(status, end.reason, &end.message)
        }
    }
}
