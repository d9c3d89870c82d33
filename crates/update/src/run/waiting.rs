//! What nodes and runs wait for.

use super::progress::{Fleet, NodeProgress};
use super::{BaselineFacts, Desired, Intent, Observed, UpdateFacts, UpdatePhase, WaitingOn};
use crate::model::NodeName;
use crate::reason::Reason;

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
            let message = format!("baseline {name} does not exist; the run continues when it is created");
            Some((Reason::BaselineNotFound, message))
        }
        BaselineFacts::Invalid { message } => Some((Reason::BaselineInvalid, message.clone())),
        BaselineFacts::NotNeeded | BaselineFacts::Ready => None,
    }
}

/// What a node waits for whose NodeUpdate is in flight.
pub(super) fn in_flight(update: &UpdateFacts, observed: &Observed) -> WaitingOn {
    if let Some(missing) = observed.runners.missing(update) {
        return missing;
    }
    if update.intent == Intent::Cancel {
        return waiting_on(Reason::Cancelling, "components in progress finish, and machines are cleaned");
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
        UpdatePhase::Done(_) => waiting_on(Reason::InProgress, "has ended"),
    }
}

pub(super) fn planned() -> WaitingOn {
    waiting_on(Reason::PlanOnly, "is planned and not changed; set spec.desiredState of the run to Run")
}

pub(super) fn held(node: &NodeName) -> WaitingOn {
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

/// The wait for a runner, because none is live.
pub(super) fn no_runner() -> WaitingOn {
    waiting_on(
        Reason::WaitingForRunner,
        "no runner answers; start the operator, or look at why its pods do not run",
    )
}
