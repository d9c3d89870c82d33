//! How a run ends: after all its work is done, or earlier.

use super::arrivals::is_baseline_unconfirmed;
use super::conclude::conclude;
use super::order::cycle_message;
use super::progress::{Fleet, NodeProgress};
use super::state::{State, Unstarted};
use super::status::count;
use super::waiting::{no_runner, waiting_on};
use super::{
    BaselineFacts, Counts, Decision, Desired, Effect, Intent, Observed, PathState, RunEnd, WaitingOn,
};
use crate::model::NodeName;
use crate::reason::Reason;

/// Why a run must not continue.
#[derive(Debug)]
pub(super) struct Stop {
    reason: Reason,
    message: String,
}

impl Stop {
    /// Returns why this run must not continue; `None` if it may.
    pub(super) fn of(observed: &Observed) -> Option<Self> {
        let run = &observed.run;
        if run.deleting || run.desired == Desired::Cancel {
            let by = if run.deleting { "the deletion of the run" } else { "spec.desiredState" };
            return Some(Self { reason: Reason::Cancelled, message: format!("cancelled by {by}") });
        }
        if !run.not_supported.is_empty() {
            let message = format!(
                "not supported in this version: {}; start a run without these fields, or wait for a later version",
                run.not_supported.join(", ")
            );
            return Some(Self { reason: Reason::NotYetSupported, message });
        }
        if let (Some(error), false) = (&run.selector_error, run.targets_recorded) {
            let message = format!("{error}; start a run with a corrected selector");
            return Some(Self { reason: Reason::SelectorInvalid, message });
        }
        if let (Some(message), false) = (&run.window_error, run.targets_recorded) {
            return Some(Self { reason: Reason::WindowInvalid, message: message.clone() });
        }
        if let PathState::Refused { reason, message, .. } = &observed.paths.back {
            return Some(Self { reason: *reason, message: message.clone() });
        }
        match &observed.baseline {
            BaselineFacts::Invalid { message } if !is_baseline_unconfirmed(observed) => {
                Some(Self { reason: Reason::BaselineInvalid, message: message.clone() })
            }
            BaselineFacts::NotNeeded
            | BaselineFacts::Missing { .. }
            | BaselineFacts::Replaced { .. }
            | BaselineFacts::Ready
            | BaselineFacts::Invalid { .. } => None,
        }
    }
}

impl Stop {
    /// Returns that the order of the nodes contradicts itself, if nothing has begun yet. Later, only the nodes in
    /// the cycle are not begun.
    pub(super) fn of_order(observed: &Observed, fleet: &Fleet<'_>) -> Option<Self> {
        let run = &observed.run;
        let has_begun = !(run.starting.is_empty() && run.planning.is_empty())
            || observed.targets.values().any(|facts| facts.update.is_some());
        let cycle = fleet.order.cycle.as_ref().filter(|_| !has_begun)?;
        Some(Self { reason: Reason::OrderCycle, message: cycle_message(cycle) })
    }
}

/// Starts no nodes, cancels started nodes, and ends the run when all machines are clean.
pub(super) fn decide(observed: &Observed, fleet: &Fleet<'_>, stop: &Stop) -> Decision {
    let (effects, waiting) = wind_down(observed, fleet);
    if !waiting.is_empty() {
        let message = format!("{}; nodes that are still being cleaned up: {}", stop.message, waiting.len());
        let state = State::Stopping { message };
        return conclude(observed, fleet, effects, waiting, &state);
    }
    let end = if stop.reason == Reason::Cancelled && was_complete(observed, fleet) {
        verdict(observed, fleet)
    } else {
        let counts = count(fleet, Unstarted::Cancelled);
        let message = if counts.total == 0 {
            stop.message.clone()
        } else {
            format!("{}: {}", stop.message, tally(observed, counts))
        };
        RunEnd { succeeded: false, reason: stop.reason, message }
    };
    release(observed, fleet, &end)
}

/// Ends a run whose nodes have all ended; if the run is being deleted, also releases it.
pub(super) fn release(observed: &Observed, fleet: &Fleet<'_>, end: &RunEnd) -> Decision {
    let (effects, waiting) = wind_down(observed, fleet);
    let state = State::Ended(end.clone());
    if !waiting.is_empty() {
        return conclude(observed, fleet, effects, waiting, &state);
    }
    let effects = if observed.run.deleting { vec![Effect::ReleaseRun] } else { Vec::new() };
    conclude(observed, fleet, effects, Vec::new(), &state)
}

/// Rule 5: ends a run whose work is done. The plans of nodes that are held or not begun are given up first.
pub(super) fn complete(
    observed: &Observed,
    fleet: &Fleet<'_>,
    mut waiting: Vec<(NodeName, WaitingOn)>,
) -> Decision {
    let (effects, ending) = wind_down(observed, fleet);
    if ending.is_empty() {
        return conclude(observed, fleet, Vec::new(), Vec::new(), &State::Ended(verdict(observed, fleet)));
    }
    for (node, waiting_on) in &mut waiting {
        if let Some((_, cancelling)) = ending.iter().find(|(other, _)| other == node) {
            waiting_on.clone_from(cancelling);
        }
    }
    let message = "all other nodes have ended; the plans of nodes that are not begun are given up".to_owned();
    let reason = match fleet.stages.halt {
        Some(halt) => halt.reason(),
        None if fleet.held() > 0 => Reason::Held,
        None => Reason::Skipped,
    };
    conclude(observed, fleet, effects, waiting, &State::Moving { reason, message })
}

/// Cancels every node that has not ended.
fn wind_down(observed: &Observed, fleet: &Fleet<'_>) -> (Vec<Effect>, Vec<(NodeName, WaitingOn)>) {
    let mut runners = observed.runners.clone();
    let mut effects = Vec::new();
    let mut waiting = Vec::new();
    for (&node, progress) in &fleet.nodes {
        let intent = Intent::Cancel;
        let mut waits =
            waiting_on(Reason::Cancelling, "components in progress finish, and machines are cleaned up");
        match progress {
            NodeProgress::Done(_)
            | NodeProgress::Skipped(_)
            | NodeProgress::Idle { planned: false, blocker: _ } => continue,
            // A creation by an earlier leader may still arrive. The NodeUpdate is therefore created
            // first, with the intent to cancel.
            NodeProgress::Due { goal: _, planned: false } => match runners.pick(|_| true) {
                Some(runner) => effects.push(Effect::Start { node: node.clone(), intent, runner }),
                None => waits = no_runner(),
            },
            NodeProgress::Due { goal: _, planned: true }
            | NodeProgress::Idle { planned: true, blocker: _ } => {
                effects.push(Effect::SetIntent { node: node.clone(), intent });
            }
            NodeProgress::Active(update) => {
                if update.intent != intent {
                    effects.push(Effect::SetIntent { node: node.clone(), intent });
                }
                waits = observed.runners.missing(update).unwrap_or(waits);
            }
        }
        waiting.push((node.clone(), waits));
    }
    (effects, waiting)
}

/// Reports whether every node had ended by itself before the run was cancelled.
fn was_complete(observed: &Observed, fleet: &Fleet<'_>) -> bool {
    let counts = count(fleet, Unstarted::Cancelled);
    observed.run.targets_recorded && counts.total > 0 && counts.cancelled == 0
}

/// Returns the result of a run whose nodes have all ended.
fn verdict(observed: &Observed, fleet: &Fleet<'_>) -> RunEnd {
    let counts = count(fleet, Unstarted::Cancelled);
    let succeeded = counts.succeeded == counts.total;
    let reason = if succeeded {
        Reason::AllSucceeded
    } else if counts.failed + counts.unreachable + counts.skipped > 0 {
        Reason::SomeFailed
    } else if fleet.held() > 0 {
        Reason::Held
    } else {
        Reason::Cancelled
    };
    if let Some(halt) = fleet.stages.halt {
        let message = format!("{}: {}", halt.message(), tally(observed, counts));
        return RunEnd { succeeded: false, reason: halt.reason(), message };
    }
    let message =
        if succeeded { format!("all {} nodes succeeded", counts.total) } else { tally(observed, counts) };
    RunEnd { succeeded, reason, message }
}

/// Formats the counts, as `38 of 40 nodes succeeded, 1 failed, 1 unreachable`, and where to find
/// details.
fn tally(observed: &Observed, counts: Counts) -> String {
    let mut parts = vec![format!("{} of {} nodes succeeded", counts.succeeded, counts.total)];
    for (count, what) in [
        (counts.failed, "failed"),
        (counts.unreachable, "unreachable"),
        (counts.cancelled, "cancelled"),
        (counts.skipped, "skipped"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let run = &observed.run.name;
    format!("{}; see status.failing, or: kubectl get nodeupdates -l farrier.dev/run={run}", parts.join(", "))
}
