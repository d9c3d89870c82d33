//! Selects the nodes of a run, which happens once.

use super::arrivals::settles_at;
use super::conclude::{RESYNC_INTERVAL, conclude};
use super::order::{missing_manager, no_manager};
use super::progress::Fleet;
use super::rollout::assign;
use super::state::State;
use super::waiting::{begun, brake, names};
use super::{
    BaselineFacts, Decision, Desired, Effect, Observed, Operation, RetryProblem, RunEnd, TargetFacts,
    WaitingOn,
};
use crate::model::{Millis, NodeName};
use crate::reason::Reason;

/// The message while the caches are compared with the API server.
const CONFIRMING: &str = "the cached nodes and baseline are being compared with the API server";

/// Rule 3.
pub(super) fn select(observed: &Observed, fleet: &Fleet<'_>) -> Decision {
    let waiting = begun(observed, fleet);
    if let Some(problem) = observed.run.retry.as_ref().filter(|_| fleet.nodes.is_empty()) {
        return not_repeated(observed, fleet, problem);
    }
    if let BaselineFacts::Missing { name } = &observed.baseline
        && observed.run.desired == Desired::Run
        && fleet.nodes.is_empty()
    {
        let message = format!("baseline {name} does not exist");
        return absent(
            observed,
            fleet,
            Reason::BaselineNotFound,
            &message,
            "create it and start another run",
        );
    }
    if let Some((reason, message)) = brake(observed) {
        return conclude(observed, fleet, Vec::new(), waiting, &State::Waiting { reason, message });
    }
    let (nodes, left_out) = selected(observed);
    if nodes.is_empty() {
        return no_nodes(observed, fleet, &left_out);
    }
    // A NodeUpdate without a recorded list means that the status was lost. The run is then not new.
    if let Some(at) = settles_at(observed).filter(|_| fleet.nodes.is_empty()) {
        let message = format!(
            "{} nodes are selected, and some of them were created together with the run; the list is recorded at {at} unless more nodes arrive",
            nodes.len()
        );
        let state = State::Moving { reason: Reason::InProgress, message };
        return conclude(observed, fleet, Vec::new(), waiting, &state).no_later_than(at);
    }
    if let Some((node, until)) = awaited_node(observed).filter(|_| fleet.nodes.is_empty()) {
        let (reason, message) = (
            Reason::NodeNotFound,
            format!("ManagedNode {node} does not exist; the run waits for it until {until}"),
        );
        let state = State::Waiting { reason, message };
        return conclude(observed, fleet, Vec::new(), Vec::new(), &state).no_later_than(until);
    }
    if let Some((node, manager)) = awaited_manager(observed, &nodes).filter(|_| fleet.nodes.is_empty()) {
        return await_manager(observed, fleet, node, manager);
    }
    if !observed.arrivals.confirmed {
        return unconfirmed(observed, fleet, waiting);
    }
    let message = format!("{} nodes are selected; the list is being recorded", nodes.len());
    let (nodes, stages) = match assign(observed, &nodes) {
        _ if observed.run.rollout.stages.is_empty() => (nodes, Vec::new()),
        Ok(stages) => (stages.concat(), stages.iter().map(Vec::len).collect()),
        Err(message) => return unstaged(observed, fleet, message),
    };
    let effects = vec![Effect::RecordTargets { nodes, left_out, stages }];
    let state = State::Moving { reason: Reason::InProgress, message };
    conclude(observed, fleet, effects, waiting, &state)
}

/// The decision if the run cannot repeat another one, or not yet.
fn not_repeated(observed: &Observed, fleet: &Fleet<'_>, problem: &RetryProblem) -> Decision {
    let wait = |reason: Reason, message: String| {
        conclude(observed, fleet, Vec::new(), Vec::new(), &State::Waiting { reason, message })
    };
    match problem {
        RetryProblem::Missing { run } => {
            let message = format!("UpdateRun {run}, which spec.retryOf names, does not exist");
            match observed.run.desired {
                // A plan waits for the user anyway.
                Desired::Plan => wait(Reason::RunNotFound, message),
                Desired::Run | Desired::Pause | Desired::Cancel => {
                    let next = "start a run that selects machines by their labels";
                    absent(observed, fleet, Reason::RunNotFound, &message, next)
                }
            }
        }
        RetryProblem::Unfinished { run } => {
            let message = format!("UpdateRun {run} has not ended; this run begins when it has");
            // A run is not told about changes of another one.
            wait(Reason::WaitingForRun, message).no_later_than(observed.now.after(RESYNC_INTERVAL))
        }
        RetryProblem::Itself => {
            let message = "spec.retryOf names the run itself; name an earlier run".to_owned();
            let end = RunEnd { succeeded: false, reason: Reason::RetryDiffers, message };
            conclude(observed, fleet, Vec::new(), Vec::new(), &State::Ended(end))
        }
        // The user may have created the baseline again with its earlier content, which a cache does not show yet.
        RetryProblem::Differs { .. } if !observed.arrivals.confirmed => {
            unconfirmed(observed, fleet, Vec::new())
        }
        RetryProblem::Differs { run, fields } => {
            let fields = fields.join(", spec.");
            let message = format!(
                "what is done on machines differs from UpdateRun {run}, which is to be repeated: spec.{fields}; start a run with the same values"
            );
            let end = RunEnd { succeeded: false, reason: Reason::RetryDiffers, message };
            conclude(observed, fleet, Vec::new(), Vec::new(), &State::Ended(end))
        }
    }
}

/// The decision if a node belongs to no stage.
fn unstaged(observed: &Observed, fleet: &Fleet<'_>, message: String) -> Decision {
    let reason = Reason::StagesInvalid;
    let state = match observed.run.desired {
        // A plan waits for the user anyway, who may change the labels of the nodes.
        Desired::Plan => State::Waiting { reason, message },
        Desired::Run | Desired::Pause | Desired::Cancel => {
            let message = format!("{message}, in a new run");
            State::Ended(RunEnd { succeeded: false, reason, message })
        }
    };
    conclude(observed, fleet, Vec::new(), Vec::new(), &state)
}

/// Returns the nodes of the run, and the nodes that are omitted because of `spec.hold`.
fn selected(observed: &Observed) -> (Vec<NodeName>, Vec<NodeName>) {
    let names_nodes = observed.run.names_nodes;
    let is_there = |facts: &TargetFacts| names_nodes || facts.exists || facts.update.is_some();
    let there = observed.targets.iter().filter(|(_, facts)| is_there(facts));
    // If a NodeUpdate exists without a recorded list, the observed status is either stale, and then
    // this write is rejected, or was lost, and then started nodes stay in the list.
    let (nodes, left_out): (Vec<_>, Vec<_>) =
        there.partition(|(_, facts)| !facts.hold || facts.update.is_some());
    let names = |list: Vec<(&NodeName, _)>| list.into_iter().map(|(node, _)| node.clone()).collect();
    (names(nodes), names(left_out))
}

/// Returns a node that the run names and that does not exist, and until when it is waited for.
fn awaited_node(observed: &Observed) -> Option<(&NodeName, Millis)> {
    let until = observed.arrivals.open_until(observed.now)?;
    let mut named = observed.targets.iter().filter(|_| observed.run.names_nodes);
    named.find(|(_, facts)| !facts.exists && facts.update.is_none()).map(|(node, _)| (node, until))
}

/// Returns a node of the run and the node that manages it, if that does not exist yet. A list that is recorded
/// before both are there may have only one of them.
fn awaited_manager<'a>(
    observed: &'a Observed,
    nodes: &'a [NodeName],
) -> Option<(&'a NodeName, &'a NodeName)> {
    let is_open = observed.arrivals.open_until(observed.now).is_some();
    let is_ordered = observed.run.operation == Operation::Update;
    let manager = |node: &NodeName| missing_manager(observed.targets.get(node)?);
    let mut missing = nodes.iter().filter_map(|node| Some((node, manager(node)?)));
    missing.next().filter(|_| is_open && is_ordered)
}

/// Waits for the node that manages another one.
fn await_manager(observed: &Observed, fleet: &Fleet<'_>, node: &NodeName, manager: &NodeName) -> Decision {
    let reason = Reason::ManagerNotFound;
    let decide =
        |message| conclude(observed, fleet, Vec::new(), Vec::new(), &State::Waiting { reason, message });
    let what = format!("ManagedNode {node}: {}", no_manager(manager));
    match (observed.run.desired, observed.arrivals.open_until(observed.now)) {
        (Desired::Run | Desired::Pause | Desired::Cancel, Some(until)) => {
            decide(format!("{what}; the run waits until {until}")).no_later_than(until)
        }
        // A plan waits for the user anyway.
        (Desired::Plan, _) | (_, None) => decide(what),
    }
}

/// The decision if no node can be updated.
fn no_nodes(observed: &Observed, fleet: &Fleet<'_>, left_out: &[NodeName]) -> Decision {
    let message = if left_out.is_empty() {
        let of_labels =
            "spec.selector matches no node; check the labels of the ManagedNodes in this namespace";
        let of_retry =
            "every node of the run that spec.retryOf names has succeeded; there is nothing to repeat";
        (if observed.run.names_nodes { of_retry } else { of_labels }).to_owned()
    } else {
        format!("every node of the run has spec.hold set: {}; set it to false", names(left_out))
    };
    match observed.run.desired {
        // A plan waits for the user anyway.
        Desired::Plan => {
            let state = State::Waiting { reason: Reason::NoNodesSelected, message };
            conclude(observed, fleet, Vec::new(), Vec::new(), &state)
        }
        Desired::Run | Desired::Pause | Desired::Cancel => {
            absent(observed, fleet, Reason::NoNodesSelected, &message, "then start another run")
        }
    }
}

/// Waits until the deadline for an object that the run requires, and ends the run after the deadline.
/// `next` is the user's next step after the end.
fn absent(observed: &Observed, fleet: &Fleet<'_>, reason: Reason, what: &str, next: &str) -> Decision {
    let arrivals = &observed.arrivals;
    if let Some(until) = arrivals.open_until(observed.now) {
        let message = format!("{what}; the run continues as soon as that changes, and waits until {until}");
        let state = State::Waiting { reason, message };
        return conclude(observed, fleet, Vec::new(), Vec::new(), &state).no_later_than(until);
    }
    if !arrivals.confirmed {
        return unconfirmed(observed, fleet, Vec::new());
    }
    let message = if arrivals.timeout.is_zero() {
        format!("{what}; {next}")
    } else {
        let seconds = arrivals.timeout.as_secs_f64();
        format!("{what}; the run has waited {seconds} s for it, see spec.arrivalTimeout; {next}")
    };
    let state = State::Ended(RunEnd { succeeded: false, reason, message });
    conclude(observed, fleet, Vec::new(), Vec::new(), &state)
}

/// The decision while the view must be confirmed: it has no effects.
pub(super) fn unconfirmed(
    observed: &Observed,
    fleet: &Fleet<'_>,
    waiting: Vec<(NodeName, WaitingOn)>,
) -> Decision {
    let state = State::Moving { reason: Reason::InProgress, message: CONFIRMING.to_owned() };
    let decision = conclude(observed, fleet, Vec::new(), waiting, &state);
    Decision { confirm: true, effects: Vec::new(), ..decision }
}
