//! What nodes and runs wait for.

use super::progress::{Fleet, NodeProgress};
use super::{BaselineFacts, Desired, Intent, Observed, UpdateFacts, UpdatePhase, WaitingOn};
use crate::model::NodeName;
use crate::reason::Reason;

/// Returns what the nodes with a NodeUpdate wait for.
pub(super) fn begun(observed: &Observed, fleet: &Fleet<'_>) -> Vec<(NodeName, WaitingOn)> {
    fleet
        .nodes
        .iter()
        .filter_map(|(&node, progress)| match progress {
            NodeProgress::Active(update) => Some((node.clone(), in_flight(update, observed))),
            NodeProgress::Idle { planned: true, blocker: _ } => Some((node.clone(), planned(observed))),
            NodeProgress::Done(_)
            | NodeProgress::Skipped(_)
            | NodeProgress::Due { .. }
            | NodeProgress::Idle { planned: false, blocker: _ } => None,
        })
        .collect()
}

/// Returns what prevents the run from starting nodes, without ending it.
pub(super) fn brake(observed: &Observed) -> Option<(Reason, String)> {
    if observed.run.desired == Desired::Pause {
        let message = "paused; set spec.desiredState to Run to continue".to_owned();
        return Some((Reason::Paused, message));
    }
    match &observed.baseline {
        BaselineFacts::Missing { name } => {
            let message = format!("baseline {name} does not exist; the run continues when it is created");
            Some((Reason::BaselineNotFound, message))
        }
        BaselineFacts::Replaced { name } => {
            let message = format!(
                "baseline {name} was replaced by a baseline with other content, which is not installed; create it again with the content that it had when the run began, or set spec.desiredState to Cancel and start a new UpdateRun"
            );
            Some((Reason::BaselineNotFound, message))
        }
        BaselineFacts::Invalid { message } => Some((Reason::BaselineInvalid, message.clone())),
        BaselineFacts::NotNeeded | BaselineFacts::Ready => None,
    }
}

/// Returns what a node with a NodeUpdate in flight waits for.
pub(super) fn in_flight(update: &UpdateFacts, observed: &Observed) -> WaitingOn {
    if let Some(missing) = observed.runners.missing(update) {
        return missing;
    }
    if update.intent == Intent::Cancel {
        return waiting_on(Reason::Cancelling, "components in progress finish, and machines are cleaned up");
    }
    match &update.phase {
        UpdatePhase::Pending => waiting_on(Reason::WaitingForRunner, "waits for a runner"),
        UpdatePhase::Working { step } => waiting_on(Reason::InProgress, step),
        UpdatePhase::Awaiting { reason, message } => {
            WaitingOn { reason: *reason, message: message.clone(), until: observed.arrivals.deadline }
        }
        UpdatePhase::WaitingForRetry { at, reason: Reason::OutsideWindow } => WaitingOn {
            reason: Reason::OutsideWindow,
            message: format!("waits for the maintenance window, which opens at {at}"),
            until: Some(*at),
        },
        UpdatePhase::WaitingForRetry { at, reason } => WaitingOn {
            reason: Reason::WaitingForRetry,
            message: format!("the last attempt failed with {reason}; another attempt follows"),
            until: Some(*at),
        },
        UpdatePhase::Planned => {
            waiting_on(Reason::WaitingForRunner, "waits for a runner to carry out its plan")
        }
        // A NodeUpdate that has ended is not in flight; this arm completes the match.
        UpdatePhase::Done(_) => waiting_on(Reason::InProgress, "has ended"),
    }
}

pub(super) fn planned(observed: &Observed) -> WaitingOn {
    let message = match observed.run.desired {
        Desired::Plan => "is planned and was not changed; set spec.desiredState of the run to Run",
        Desired::Run | Desired::Pause | Desired::Cancel => {
            "is planned and was not changed; all nodes are planned before a stage can be approved"
        }
    };
    waiting_on(Reason::PlanOnly, message)
}

pub(super) fn held(node: &NodeName) -> WaitingOn {
    WaitingOn {
        reason: Reason::Held,
        message: format!(
            "spec.hold of ManagedNode {node} excludes the node; it is given up when all other nodes are done"
        ),
        until: None,
    }
}

/// Creates a wait without a known end.
pub(super) fn waiting_on(reason: Reason, message: &str) -> WaitingOn {
    WaitingOn { reason, message: message.to_owned(), until: None }
}

/// Formats names for a message: the first ten names, and the number of further names.
pub(super) fn names(nodes: &[NodeName]) -> String {
    let shown: Vec<&str> = nodes.iter().take(10).map(|node| node.0.as_str()).collect();
    match nodes.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Returns the wait for a runner while no runner is live.
pub(super) fn no_runner() -> WaitingOn {
    waiting_on(
        Reason::WaitingForRunner,
        "no runner is live; start the operator, or check why its pods are not running",
    )
}
