//! The rules of a run, in their order.
//!
//! 1. A run at its end does nothing but disappear.
//! 2. A run that must not go on is brought to its end: deleted, cancelled, not supported, or
//!    without a usable selector or baseline.
//! 3. Before the first node is begun, the list of nodes is recorded, and nothing else is
//!    done in that decision. What is missing for it is waited for until a deadline.
//! 4. Nodes are begun in the order of their names, as many as `maxConcurrent` allows, and none
//!    before the ways to it are open, nor before it is recorded that its turn has come.
//! 5. When nothing is left to do, what was opened is closed, and then the run is at its end.
//! 6. Nothing ends, and no list is recorded, because of an absence that only a cache shows.

use super::arrivals::doubts_baseline;
use super::begin::Begin;
use super::paths;
use super::progress::{Blocker, Fleet, NodeProgress};
use super::select::{select, unconfirmed};
use super::status::{State, render};
use super::stop::{self, Stop};
use super::{
    BaselineFacts, Decision, Desired, Effect, Intent, Observed, RunEnd, UpdateFacts, UpdatePhase, WaitingOn,
    Wake,
};
use crate::model::{Millis, NodeName};
use crate::reason::Reason;
use std::time::Duration;

/// Decides what a run does next.
///
/// # Guarantees
///
/// Total and deterministic: any observation has one decision. Whatever is not at its end
/// has an entry in `waiting` or a condition that says why.
pub fn decide(observed: &Observed) -> Decision {
    let fleet = Fleet::of(observed);
    if let Some(end) = &observed.run.finished {
        return finished(observed, &fleet, end);
    }
    if let Some(stop) = Stop::of(observed) {
        return stop::decide(observed, &fleet, &stop);
    }
    let decision =
        if observed.run.targets_recorded { advance(observed, &fleet) } else { select(observed, &fleet) };
    if doubts_baseline(observed) {
        return Decision { confirm: true, effects: Vec::new(), ..decision };
    }
    decision
}

/// How often a run looks again that waits for another run. It does not watch that run's
/// NodeUpdates; half a minute is little beside an update, and nothing for the API server.
const RESYNC_INTERVAL: Duration = Duration::from_secs(30);

/// Puts a decision together; the status and the time to wake follow from the rest.
pub(super) fn conclude(
    observed: &Observed,
    fleet: &Fleet<'_>,
    effects: Vec<Effect>,
    waiting: Vec<(NodeName, WaitingOn)>,
    state: &State,
) -> Decision {
    conclude_wanting(observed, fleet, effects, waiting, state, false)
}

/// The same; `wants`: a node would be begun if the ways to it were open.
fn conclude_wanting(
    observed: &Observed,
    fleet: &Fleet<'_>,
    mut effects: Vec<Effect>,
    waiting: Vec<(NodeName, WaitingOn)>,
    state: &State,
    wants: bool,
) -> Decision {
    let records = effects.iter().any(|effect| matches!(effect, Effect::RecordTargets { .. }));
    let paths = paths::effect(observed, fleet, &effects, wants).filter(|_| !records);
    if paths == Some(Effect::CloseWays) {
        // Whoever lets go of the run lets go of what is open for it.
        effects.retain(|effect| !matches!(effect, Effect::ReleaseRun | Effect::DeleteRun));
    }
    let ends_open = matches!(state, State::Ended(_)) && observed.run.finished.is_none();
    let state = if ends_open && !observed.paths.are_closed() { &State::Closing } else { state };
    // What a name means may change without anybody saying so.
    let tends = paths == Some(Effect::OpenWays);
    if let Some(paths) = paths {
        effects.insert(0, paths);
    }
    let look_again = |waiting_on: &WaitingOn| {
        (waiting_on.reason == Reason::WaitingForNode).then(|| observed.now.after(RESYNC_INTERVAL))
    };
    let wake = waiting
        .iter()
        .filter_map(|(_, waiting_on)| waiting_on.until.or_else(|| look_again(waiting_on)))
        .chain(tends.then(|| observed.now.after(RESYNC_INTERVAL)))
        .filter(|&until| until > observed.now)
        .min()
        .map_or(Wake::OnChange, Wake::At);
    let begun = effects.iter().flat_map(|effect| match effect {
        Effect::RecordStarts { nodes } => nodes.as_slice(),
        Effect::RecordTargets { .. }
        | Effect::Start { .. }
        | Effect::SetIntent { .. }
        | Effect::OpenWays
        | Effect::CloseWays
        | Effect::ReleaseRun
        | Effect::DeleteRun => &[],
    });
    let status = render(observed, fleet, begun.cloned(), state);
    Decision { effects, waiting, status, wake, confirm: false }
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

/// What the nodes wait for that have a NodeUpdate already.
pub(super) fn begun(observed: &Observed, fleet: &Fleet<'_>) -> Vec<(NodeName, WaitingOn)> {
    fleet
        .nodes
        .iter()
        .filter_map(|(&node, progress)| match progress {
            NodeProgress::Active(update) => Some((node.clone(), in_flight(update, observed))),
            NodeProgress::Idle { planned: true, blocker: _ } => Some((node.clone(), planned())),
            NodeProgress::Done(_)
            | NodeProgress::Due { .. }
            | NodeProgress::Idle { planned: false, blocker: _ } => None,
        })
        .collect()
}

/// What keeps the run from beginning any node, without ending it.
pub(super) fn brake(observed: &Observed) -> Option<(Reason, String)> {
    if observed.run.desired == Desired::Pause {
        let message = "paused; set spec.desiredState to Run to go on".to_owned();
        return Some((Reason::Paused, message));
    }
    match &observed.baseline {
        BaselineFacts::Missing { name } => {
            let message = format!("baseline {name} does not exist; the run goes on when it is created");
            Some((Reason::BaselineNotFound, message))
        }
        BaselineFacts::Invalid { message } => Some((Reason::BaselineInvalid, message.clone())),
        BaselineFacts::NotNeeded | BaselineFacts::Ready => None,
    }
}

/// Rules 4 and 5.
fn advance(observed: &Observed, fleet: &Fleet<'_>) -> Decision {
    let brake = brake(observed);
    let mut begin = Begin::new(observed, fleet, brake.as_ref());
    let mut waiting = Vec::new();
    for (&node, progress) in &fleet.nodes {
        let waiting_on = match progress {
            NodeProgress::Done(_) | NodeProgress::Idle { planned: _, blocker: Some(Blocker::Gone) } => {
                continue;
            }
            NodeProgress::Active(update) => in_flight(update, observed),
            NodeProgress::Due { planned } => begin.carry_out(node, *planned),
            NodeProgress::Idle { planned: true, blocker: _ } if begin.goal == Intent::Plan => planned(),
            NodeProgress::Idle { planned: _, blocker: Some(Blocker::Held) } => held(node),
            NodeProgress::Idle { planned: _, blocker: Some(Blocker::Unfit(reason, message)) } => {
                waiting_on(*reason, message)
            }
            NodeProgress::Idle { planned: _, blocker: Some(Blocker::Claimed(run)) } => WaitingOn {
                reason: Reason::WaitingForNode,
                message: format!("run {run} works on this node; it is begun when that is over"),
                until: None,
            },
            NodeProgress::Idle { planned: _, blocker: None } => begin.take_turn(node),
        };
        waiting.push((node.clone(), waiting_on));
    }
    let Begin { wants, begun, effects, .. } = begin.end();
    if effects.is_empty() && is_over(observed, fleet) {
        if fleet.gone() > 0 && !observed.arrivals.confirmed {
            return unconfirmed(observed, fleet, waiting);
        }
        return stop::complete(observed, fleet, waiting);
    }
    let state = stand(observed, fleet, brake, begun.len(), &waiting);
    conclude_wanting(observed, fleet, effects, waiting, &state, wants)
}

/// Whether nothing is left to do: every node is over or kept out by its user.
///
/// Held nodes end a run that is carried out, because one that never ends helps nobody; a
/// run that is planned or paused waits for its user anyway.
fn is_over(observed: &Observed, fleet: &Fleet<'_>) -> bool {
    let left = fleet.nodes.len() - fleet.over();
    match observed.run.desired {
        Desired::Run => left == fleet.held(),
        Desired::Plan | Desired::Pause | Desired::Cancel => left == 0,
    }
}

/// How the run as a whole stands while nodes are left.
fn stand(
    observed: &Observed,
    fleet: &Fleet<'_>,
    brake: Option<(Reason, String)>,
    begun: usize,
    waiting: &[(NodeName, WaitingOn)],
) -> State {
    let total = fleet.nodes.len();
    let moving = fleet.active() + begun;
    if let Some((reason, message)) = brake {
        if moving == 0 {
            return State::Waiting { reason, message };
        }
        return State::Moving { reason, message: format!("{message}; nodes in progress go on: {moving}") };
    }
    let all = |reason: Reason| waiting.iter().all(|(_, waiting_on)| waiting_on.reason == reason);
    let some = |reason: Reason| waiting.iter().any(|(_, waiting_on)| waiting_on.reason == reason);
    let over = fleet.over();
    if moving > 0 {
        let slow =
            [Reason::WaitingForRunner, Reason::WaitingForRetry].into_iter().find(|&reason| some(reason));
        let works = begun > 0 || some(Reason::InProgress) || some(Reason::Cancelling);
        let message = format!("{moving} of {total} nodes in progress, {over} at their end");
        if works {
            return State::Moving { reason: Reason::InProgress, message };
        }
        if let Some((node, awaited)) = waiting.iter().find(|(_, on)| on.reason.may_arrive()) {
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
            "{} of {total} nodes are planned and nothing is changed; set spec.desiredState to Run to carry it out",
            fleet.planned()
        );
        return State::Waiting { reason: Reason::PlanOnly, message };
    }
    match waiting.iter().find(|(_, waiting_on)| waiting_on.reason != Reason::PlanOnly) {
        Some((node, waiting_on)) => State::Waiting {
            reason: waiting_on.reason,
            message: format!("{} nodes are left; {node}: {}", total - over, waiting_on.message),
        },
        None => State::Waiting { reason: Reason::PlanOnly, message: planned().message },
    }
}

/// What a node waits for whose NodeUpdate is in flight.
pub(super) fn in_flight(update: &UpdateFacts, observed: &Observed) -> WaitingOn {
    if let Some(missing) = observed.runners.missing(update) {
        return missing;
    }
    if update.intent == Intent::Cancel {
        return waiting_on(Reason::Cancelling, "what is in progress ends, and everything is taken back");
    }
    match &update.phase {
        UpdatePhase::Pending => waiting_on(Reason::WaitingForRunner, "waits for a runner to take it"),
        UpdatePhase::Working { step } => waiting_on(Reason::InProgress, step),
        UpdatePhase::Awaiting { reason, message } => {
            WaitingOn { reason: *reason, message: message.clone(), until: observed.arrivals.deadline }
        }
        UpdatePhase::WaitingForRetry { at, reason } => WaitingOn {
            reason: Reason::WaitingForRetry,
            message: format!("the last attempt failed with {reason}; another one follows"),
            until: Some(*at),
        },
        UpdatePhase::Planned => {
            waiting_on(Reason::WaitingForRunner, "waits for a runner to carry out its plan")
        }
        // Not in flight; said here so that the match is complete.
        UpdatePhase::Done(_) => waiting_on(Reason::InProgress, "is at its end"),
    }
}

fn planned() -> WaitingOn {
    waiting_on(Reason::PlanOnly, "is planned and not changed; set spec.desiredState of the run to Run")
}

fn held(node: &NodeName) -> WaitingOn {
    WaitingOn {
        reason: Reason::Held,
        message: format!(
            "spec.hold of ManagedNode {node} keeps it out; it is given up when all others are done"
        ),
        until: None,
    }
}

/// A wait without a known end.
pub(super) fn waiting_on(reason: Reason, message: &str) -> WaitingOn {
    WaitingOn { reason, message: message.to_owned(), until: None }
}

/// Names for a message: the first ten, and how many more.
pub(super) fn names(nodes: &[NodeName]) -> String {
    let shown: Vec<&str> = nodes.iter().take(10).map(|node| node.0.as_str()).collect();
    match nodes.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
