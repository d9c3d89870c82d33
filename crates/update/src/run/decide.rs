//! The rules of a run, in order of precedence.
//!
//! 1. A run that has ended does nothing except expire.
//! 2. A run that must not continue is ended: a run that is deleted, cancelled, not supported,
//!    or without a usable selector or baseline.
//! 3. Before the first node is started, the list of nodes is recorded, and that decision has
//!    no other effect. The run waits for missing objects until a deadline.
//! 4. Nodes are started in the order of their names, as many as `maxConcurrent` allows. No
//!    node is started before the network paths to it are open and its turn is recorded. A node
//!    is not started before its stage is open and those that the run's order puts before it have
//!    succeeded, nor while a partner is in flight. No node is started after a budget is passed. An
//!    order that contradicts itself ends a run that has not begun.
//! 5. When no work is left, the network paths are closed, and then the run ends.
//! 6. No run ends, and no list is recorded, because of an absence that only a cache shows.

use super::arrivals::is_baseline_unconfirmed;
use super::begin::Begin;
use super::conclude::{conclude, conclude_with_paths};
use super::progress::{Blocker, Fleet, NodeProgress, with_facts};
use super::select::{select, unconfirmed};
use super::state::State;
use super::stop::{self, Stop};
use super::waiting::{brake, held, in_flight, planned, waiting_on};
use super::{Decision, Desired, Effect, Intent, Observed, RunEnd, WaitingOn, Wake};
use crate::model::{Millis, NodeName};
use crate::reason::Reason;

/// Decides the next step of a run.
///
/// # Guarantees
///
/// The function is total and deterministic: every observation has exactly one decision. Every
/// node or run that has not ended has an entry in `waiting` or a condition that gives the
/// cause.
pub fn decide(observed: &Observed) -> Decision {
    let fleet = Fleet::of(observed);
    if let Some(end) = &observed.run.finished {
        return finished(observed, &fleet, end);
    }
    if let Some(stop) = Stop::of(observed) {
        return stop::decide(observed, &fleet, &stop);
    }
    let circular = Stop::of_order(observed, &fleet);
    if let Some(stop) = circular.as_ref().filter(|_| observed.arrivals.confirmed) {
        return stop::decide(observed, &fleet, stop);
    }
    let decision =
        if observed.run.targets_recorded { advance(observed, &fleet) } else { select(observed, &fleet) };
    // The user may have corrected the order, which a cache does not show yet.
    if circular.is_some() {
        return unconfirmed(observed, &fleet, decision.waiting);
    }
    if is_baseline_unconfirmed(observed) {
        if decision.status.end().is_some() {
            return unconfirmed(observed, &fleet, decision.waiting);
        }
        return Decision { confirm: true, effects: Vec::new(), ..decision };
    }
    decision
}

/// Rule 1.
fn finished(observed: &Observed, fleet: &Fleet<'_>, end: &RunEnd) -> Decision {
    if observed.run.deleting {
        return stop::release(observed, fleet, end);
    }
    let state = State::Ended(end.clone());
    let decision = conclude(observed, fleet, Vec::new(), Vec::new(), &state);
    let (Some(at), Some(ttl)) = (observed.run.finished_at, observed.run.ttl) else { return decision };
    let expires: Millis = at.after(ttl);
    if expires > observed.now {
        return Decision { wake: Wake::At(expires), ..decision };
    }
    Decision { effects: vec![Effect::DeleteRun], ..decision }
}

/// Rules 4 and 5.
fn advance(observed: &Observed, fleet: &Fleet<'_>) -> Decision {
    let brake = brake(observed);
    let mut begin = Begin::new(observed, fleet, brake.as_ref());
    let mut waiting = Vec::new();
    for (node, facts, progress) in with_facts(observed, &fleet.nodes) {
        let waiting_on = match progress {
            NodeProgress::Done(_)
            | NodeProgress::Skipped(_)
            | NodeProgress::Idle { planned: _, blocker: Some(Blocker::Gone) } => {
                continue;
            }
            NodeProgress::Active(update) => in_flight(update, observed),
            NodeProgress::Due { goal, planned } => begin.carry_out(node, facts, *goal, *planned),
            NodeProgress::Idle { planned: true, blocker: _ } if begin.goal == Intent::Plan => {
                planned(observed)
            }
            NodeProgress::Idle { planned: _, blocker: Some(Blocker::Held) } => held(node),
            NodeProgress::Idle { planned: _, blocker: Some(Blocker::Unfit(reason, message)) } => {
                waiting_on(*reason, message)
            }
            NodeProgress::Idle { planned: _, blocker: Some(Blocker::Claimed(run)) } => WaitingOn {
                reason: Reason::WaitingForNode,
                message: format!(
                    "run {run} is working on this node; the node is started when that run has finished with it"
                ),
                until: None,
            },
            NodeProgress::Idle { planned: _, blocker: Some(Blocker::Ordered(wait)) } => {
                begin.hold_back(node, wait)
            }
            NodeProgress::Idle { planned: _, blocker: Some(Blocker::Skipped(skip)) } => {
                waiting_on(skip.reason(), &skip.message(fleet.order.cycle.as_deref()))
            }
            NodeProgress::Idle { planned: _, blocker: None } => begin.take_turn(node, facts),
        };
        waiting.push((node.clone(), waiting_on));
    }
    let waits = begin.waits();
    let Begin { wants, begun, effects, .. } = begin.end();
    if effects.is_empty() && is_over(observed, fleet) {
        // Only a cache shows that a node is gone or still held, or that a manager is missing.
        if fleet.gone() + fleet.held() + fleet.without_manager() > 0 && !observed.arrivals.confirmed {
            return unconfirmed(observed, fleet, waiting);
        }
        return stop::complete(observed, fleet, waiting);
    }
    let state = progress_of(observed, fleet, brake, begun.len(), &waiting, &waits);
    conclude_with_paths(observed, fleet, effects, waiting, &state, wants)
}

/// Reports whether no work is left: every node has ended, is not begun because of another one, or is held by
/// the user.
///
/// Held nodes do not prevent the end of a run that is carried out, because a run that never
/// ends does not help the user. A run that is planned or paused waits for the user anyway.
fn is_over(observed: &Observed, fleet: &Fleet<'_>) -> bool {
    let left = fleet.nodes.len() - fleet.over();
    match observed.run.desired {
        Desired::Run => left == fleet.held() + fleet.plans_to_give_up(),
        Desired::Plan | Desired::Pause | Desired::Cancel => left == 0,
    }
}

/// Returns the state of the run while nodes are left. `waits` says which nodes wait for which others.
fn progress_of(
    observed: &Observed,
    fleet: &Fleet<'_>,
    brake: Option<(Reason, String)>,
    begun: usize,
    waiting: &[(NodeName, WaitingOn)],
    waits: &str,
) -> State {
    let total = fleet.nodes.len();
    let moving = fleet.active() + begun;
    if let Some((reason, message)) = brake {
        if moving == 0 {
            return State::Waiting { reason, message };
        }
        return State::Moving { reason, message: format!("{message}; nodes in progress continue: {moving}") };
    }
    let all = |reason: Reason| waiting.iter().all(|(_, waiting_on)| waiting_on.reason == reason);
    let some = |reason: Reason| waiting.iter().any(|(_, waiting_on)| waiting_on.reason == reason);
    let over = fleet.over();
    if moving > 0 {
        let slow =
            [Reason::WaitingForRunner, Reason::WaitingForRetry].into_iter().find(|&reason| some(reason));
        let is_named = |reason: Reason| reason.may_arrive() || reason == Reason::OutsideWindow;
        let works = begun > 0 || some(Reason::InProgress) || some(Reason::Cancelling);
        let stage = fleet.stages.current().map(|name| format!("stage {name}: ")).unwrap_or_default();
        let halt = fleet.stages.halt.map(|halt| format!("; {}", halt.message())).unwrap_or_default();
        let message = format!("{stage}{moving} of {total} nodes in progress, {over} ended{waits}{halt}");
        if works {
            return State::Moving { reason: Reason::InProgress, message };
        }
        if let Some((node, awaited)) = waiting.iter().find(|(_, on)| is_named(on.reason)) {
            let message = format!("{message}; {node}: {}", awaited.message);
            return State::Moving { reason: awaited.reason, message };
        }
        return State::Moving { reason: slow.unwrap_or(Reason::InProgress), message };
    }
    if observed.run.desired == Desired::Plan
        && fleet.planned() > 0
        && (all(Reason::PlanOnly) || some(Reason::Held))
    {
        let message = format!(
            "{} of {total} nodes are planned and nothing was changed; set spec.desiredState to Run to carry out the plan",
            fleet.planned()
        );
        return State::Waiting { reason: Reason::PlanOnly, message };
    }
    // What keeps the first nodes of the order also keeps those after them.
    let is_first = |reason: Reason| {
        !matches!(reason, Reason::PlanOnly | Reason::WaitingForPredecessor | Reason::WaitingForStage)
    };
    let first = waiting.iter().find(|(_, waiting_on)| is_first(waiting_on.reason));
    let other = || waiting.iter().find(|(_, waiting_on)| waiting_on.reason != Reason::PlanOnly);
    match first.or_else(other) {
        Some((node, waiting_on)) => State::Waiting {
            reason: waiting_on.reason,
            message: format!("{} nodes are left; {node}: {}", total - over, waiting_on.message),
        },
        None => State::Waiting { reason: Reason::PlanOnly, message: planned(observed).message },
    }
}
