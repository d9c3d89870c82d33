//! The laws of each decision, of each effect, and of the state of the world at any moment.

use crate::world::{Opened, World};
use crate::{rollout, sequence};
use farrier_update::model::{NodeName, RunName};
use farrier_update::reason::Reason;
use farrier_update::run::{
    BaselineFacts, CondStatus, Decision, Desired, Effect, Intent, NodeEnd, Observed, TargetFacts,
    UpdateFacts, UpdatePhase, Wake, decide,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The result of a check, with the violated law.
pub(crate) type Check = Result<(), TestCaseError>;

/// Checks the laws of a single decision.
pub(crate) fn decision(seen: &Observed, decision: &Decision) -> Check {
    let status = &decision.status;
    let counts = status.counts;
    let sum = counts.pending + counts.in_progress + counts.succeeded + counts.failed + counts.unreachable;
    prop_assert_eq!(counts.total, sum + counts.cancelled + counts.skipped, "counts do not add up");
    let records = decision.effects.iter().any(|effect| matches!(effect, Effect::RecordTargets { .. }));
    prop_assert!(!records || decision.effects.len() == 1, "an effect beside the record of the intent");
    let begins = decision.effects.iter().any(|effect| match effect {
        Effect::Start { node: _, intent, runner: _ } | Effect::SetIntent { node: _, intent } => {
            *intent != Intent::Cancel
        }
        Effect::RecordTargets { .. }
        | Effect::RecordStarts { .. }
        | Effect::OpenPaths
        | Effect::ClosePaths
        | Effect::ReleaseRun
        | Effect::DeleteRun => false,
    });
    let gives = decision.effects.iter().any(|effect| matches!(effect, Effect::RecordStarts { .. }));
    let ended = seen.run.finished.is_some() || status.end().is_some();
    let stopped = seen.run.desired == Desired::Cancel || seen.run.deleting || ended;
    let broken = matches!(seen.baseline, BaselineFacts::Invalid { .. }) || !seen.run.not_supported.is_empty();
    prop_assert!(!(begins || gives) || (!stopped && !broken), "begins what it must not");
    let start_blocked = seen.run.desired == Desired::Pause || seen.baseline != BaselineFacts::Ready;
    prop_assert!(!gives || !start_blocked, "gives a node its turn although {:?}", seen.run.desired);
    prop_assert!(!(begins || gives) || seen.run.targets_recorded, "begins before the list is recorded");
    targets(seen, decision)?;
    sequence::turns(seen, decision)?;
    sequence::skips(seen, decision)?;
    rollout::decision(seen, decision)?;
    reports_waits(seen, decision)?;
    unconfirmed(seen, decision)?;
    waits_until(seen, decision)?;
    if let Some(end) = &seen.run.finished {
        let says = status.end();
        prop_assert_eq!(says.as_ref(), Some(end), "something follows the end");
        let only_leaves =
            |effect: &Effect| matches!(effect, Effect::ClosePaths | Effect::ReleaseRun | Effect::DeleteRun);
        prop_assert!(decision.effects.iter().all(only_leaves), "{:?}", decision.effects);
    }
    if let Wake::At(at) = decision.wake {
        prop_assert!(at > seen.now, "wakes in the past, which is a busy loop");
    }
    Ok(())
}

/// Reports whether a decision newly ends the run because something is absent.
fn ends_for_absence(seen: &Observed, decision: &Decision) -> bool {
    let end = decision.status.end().filter(|_| seen.run.finished.is_none());
    end.is_some_and(|end| matches!(end.reason, Reason::NoNodesSelected | Reason::BaselineNotFound))
}

/// A view that may be stale neither ends a run nor records a list.
fn unconfirmed(seen: &Observed, decision: &Decision) -> Check {
    let records = decision.effects.iter().any(|effect| matches!(effect, Effect::RecordTargets { .. }));
    if decision.confirm {
        prop_assert!(!seen.arrivals.confirmed && decision.effects.is_empty(), "{:?}", decision);
        prop_assert_eq!(decision.status.end(), None);
    }
    if seen.arrivals.confirmed {
        return Ok(());
    }
    prop_assert!(!records, "records a list from a view that may be behind");
    prop_assert!(!ends_for_absence(seen, decision), "ends for want of what may be there");
    let by_user = seen.run.desired == Desired::Cancel || seen.run.deleting;
    let new_end = seen.run.finished.is_none() && decision.status.end().is_some();
    let gone = seen.targets.values().any(|facts| !facts.exists && facts.update.is_none());
    prop_assert!(
        !new_end || by_user || !(seen.run.targets_recorded && gone),
        "ends without a node that may be there"
    );
    let held = |facts: &TargetFacts| facts.hold && !facts.update.as_ref().is_some_and(UpdateFacts::is_done);
    let held = seen.run.targets_recorded && seen.targets.values().any(held);
    let ends_held = decision.status.end().is_some_and(|end| end.reason == Reason::Held);
    prop_assert!(!new_end || !ends_held || !held, "ends because of a hold that may be lifted");
    let invalid = matches!(seen.baseline, BaselineFacts::Invalid { .. });
    prop_assert!(!new_end || by_user || !invalid || !seen.run.not_supported.is_empty(), "{:?}", decision);
    Ok(())
}

/// A run waits for missing objects, but not forever.
fn waits_until(seen: &Observed, decision: &Decision) -> Check {
    let deadline = seen.arrivals.deadline(seen.now);
    let open = deadline > seen.now;
    prop_assert!(!(open && ends_for_absence(seen, decision)), "ends before its deadline");
    if let Some(recorded) = decision.status.arrival_deadline {
        prop_assert_eq!(recorded, deadline, "the deadline moves");
    }
    let waits_for_user =
        !seen.run.targets_recorded && matches!(seen.run.desired, Desired::Plan | Desired::Pause);
    let counts = decision.status.arrival_deadline.is_some() && decision.status.end().is_none();
    prop_assert!(!(waits_for_user && counts && !seen.run.deleting), "the deadline runs while the run waits");
    let kept =
        waits_for_user || seen.arrivals.deadline.is_none() || decision.status.arrival_deadline.is_some();
    prop_assert!(kept, "the deadline is lost");
    let selects = seen.run.finished.is_none()
        && !seen.run.targets_recorded
        && seen.run.desired == Desired::Run
        && seen.targets.values().all(|facts| facts.update.is_none());
    if !selects || decision.confirm || !decision.effects.is_empty() || decision.status.end().is_some() {
        return Ok(());
    }
    prop_assert!(open, "waits after its deadline: {:?}", decision);
    prop_assert!(matches!(decision.wake, Wake::At(at) if at <= deadline), "sleeps through its deadline");
    Ok(())
}

/// If a run ends or records its list because something is absent, it is really absent in
/// the world.
pub(crate) fn arrivals(world: &World, name: &RunName, seen: &Observed, decision: &Decision) -> Check {
    let there: BTreeSet<&NodeName> =
        world.nodes.iter().filter(|(_, node)| node.exists).map(|(name, _)| name).collect();
    for effect in &decision.effects {
        if let Effect::RecordTargets { nodes, left_out, stages } = effect {
            let staged = stages.iter().sum::<usize>();
            prop_assert!(stages.is_empty() || staged == nodes.len(), "{:?} for {:?}", stages, nodes);
            let listed: BTreeSet<&NodeName> = nodes.iter().chain(left_out).collect();
            prop_assert!(there.is_subset(&listed), "{} leaves out nodes that are there: {:?}", name, listed);
        }
    }
    if ends_for_absence(seen, decision) && decision.status.succeeded.reason == Reason::NoNodesSelected {
        let free = there.iter().any(|node| !world.nodes[*node].hold);
        prop_assert!(!free, "{} ends although there are nodes", name);
    }
    Ok(())
}

/// Only nodes that may be started are started, and an intent is only set if it changes.
fn targets(seen: &Observed, decision: &Decision) -> Check {
    for effect in &decision.effects {
        match effect {
            Effect::RecordStarts { nodes } => {
                for node in nodes {
                    let facts = &seen.targets[node];
                    let idle = facts.update.as_ref().is_none_or(UpdateFacts::is_planned);
                    // A plan for a node that is gone is carried out, and reports the cause.
                    let exists = facts.exists || facts.update.is_some();
                    let free = exists && !facts.hold && facts.claimed_by.is_none() && idle;
                    prop_assert!(free, "gives {} its turn although {:?}", node, facts);
                }
            }
            Effect::Start { node, intent, runner } => {
                let facts = &seen.targets[node];
                let planning = seen.run.planning.contains(node) && *intent != Intent::Run;
                let due = facts.update.is_none() && (planning || seen.run.starting.contains(node));
                prop_assert!(due, "starts {} although {:?}", node, facts);
                prop_assert!(seen.runners.has(runner), "hands {} to {}, who is gone", node, runner);
            }
            Effect::SetIntent { node, intent } => {
                let due = *intent == Intent::Cancel || seen.run.starting.contains(node);
                prop_assert!(due, "sets {} going although its turn is not recorded", node);
                let update = seen.targets[node].update.as_ref().unwrap();
                prop_assert!(update.intent < *intent && !update.is_done(), "{:?} from {:?}", effect, update);
            }
            Effect::RecordTargets { .. }
            | Effect::OpenPaths
            | Effect::ClosePaths
            | Effect::ReleaseRun
            | Effect::DeleteRun => {}
        }
    }
    Ok(())
}

/// Every node or run that has not ended reports what it waits for.
fn reports_waits(seen: &Observed, decision: &Decision) -> Check {
    let status = &decision.status;
    let named: BTreeSet<&NodeName> = decision.waiting.iter().map(|(node, _)| node).collect();
    prop_assert_eq!(named.len(), decision.waiting.len(), "a node waits twice");
    prop_assert!(decision.waiting.iter().all(|(_, waiting_on)| !waiting_on.message.is_empty()));
    for cond in [
        &status.planned,
        &status.progressing,
        &status.exposed,
        &status.budget,
        &status.succeeded,
        &status.ready,
        &status.reconciling,
        &status.stalled,
    ] {
        prop_assert!(!cond.message.is_empty(), "silent: {:?}", status);
    }
    prop_assert!(status.failing.iter().all(|failing| !failing.message.is_empty()));
    if status.end().is_some() {
        prop_assert_eq!(status.reconciling.status, CondStatus::False);
        prop_assert!(seen.run.finished.is_some() || decision.waiting.is_empty(), "ends while nodes wait");
        return Ok(());
    }
    prop_assert_eq!(status.stalled.status, CondStatus::False);
    let open = status.counts.pending + status.counts.in_progress;
    prop_assert_eq!(open as usize, named.len(), "{:?} but {:?}", status.counts, decision.waiting);
    Ok(())
}

/// Checks the laws of the world, at any moment.
pub(crate) fn world(world: &World) -> Check {
    for (key, &times) in &world.created {
        prop_assert!(times <= 1, "{:?} was started {} times", key, times);
    }
    for (name, run) in &world.runs {
        let total = run.recorded.as_ref().map_or(0, Vec::len);
        let in_flight = world.in_flight(name);
        prop_assert!(in_flight <= run.limit.of(total), "{} of {:?} nodes in flight", in_flight, run.limit);
        if run.end.as_ref().is_some_and(|(end, _)| end.succeeded) {
            let good = |node: &NodeName| {
                let update = world.updates.get(&(name.clone(), node.clone()));
                update.is_some_and(|update| update.phase == UpdatePhase::Done(NodeEnd::Succeeded))
            };
            prop_assert!(run.recorded.iter().flatten().all(good), "{} claims a success that is none", name);
        }
        if run.end.is_some() || run.gone {
            prop_assert_eq!(run.paths, Opened::No, "{} left ways open", name);
            let open = world
                .updates
                .iter()
                .filter(|((owner, _), update)| owner == name && !update.is_done())
                .count();
            prop_assert_eq!(open, 0, "{} left nodes behind", name);
        }
    }
    let busy = world.busy();
    let nodes: BTreeSet<&NodeName> = busy.iter().map(|(_, node)| node).collect();
    prop_assert_eq!(nodes.len(), busy.len(), "a node is in flight for two runs: {:?}", busy);
    rollout::world(world)?;
    sequence::world(world)
}

/// Checks the laws of network paths after the controller has had the time to carry out its decisions: they
/// are open for a node at work that needs them, also if it began to in the middle of its work, and closed if
/// no node needs them.
pub(crate) fn paths(world: &World) -> Check {
    for name in world.alive() {
        let run = &world.runs[&name];
        let seen = world.observe(&name);
        let works = |facts: &&TargetFacts| {
            facts.update.as_ref().is_some_and(|update| matches!(update.phase, UpdatePhase::Working { .. }))
        };
        let needs = |facts: &TargetFacts| facts.calls_back || run.restricted;
        if seen.targets.values().filter(works).any(needs) {
            prop_assert_eq!(run.paths, Opened::Yes, "{} leaves a node without paths", name);
        }
        // A node that is not done may be started at any moment.
        let may_need =
            |facts: &TargetFacts| needs(facts) && !facts.update.as_ref().is_some_and(UpdateFacts::is_done);
        if !seen.targets.values().any(may_need) {
            prop_assert_eq!(run.paths, Opened::No, "{} leaves paths open", name);
        }
    }
    Ok(())
}

/// Checks the laws of an effect that was carried out.
pub(crate) fn effect(world: &World, name: &RunName, effect: &Effect) -> Check {
    let run = &world.runs[name];
    match effect {
        Effect::DeleteRun => prop_assert!(run.end.is_some(), "deletes a run that is not at its end"),
        Effect::Start { node, intent, .. } => {
            let recorded = run.recorded.as_ref().is_some_and(|nodes| nodes.contains(node));
            prop_assert!(recorded, "starts a node that is not on the list");
            let needs_paths = run.restricted || world.observe(name).targets[node].calls_back;
            let needs_paths = needs_paths && *intent != Intent::Cancel;
            prop_assert!(!needs_paths || run.paths == Opened::Yes, "starts {} without paths", node);
        }
        Effect::RecordTargets { .. }
        | Effect::RecordStarts { .. }
        | Effect::SetIntent { .. }
        | Effect::OpenPaths
        | Effect::ClosePaths
        | Effect::ReleaseRun => {}
    }
    Ok(())
}

/// A run that has not ended although nothing changes must be waiting for its user.
pub(crate) fn waits_for_user(world: &World) -> Check {
    for name in world.alive() {
        let run = &world.runs[&name];
        let waits = matches!(run.desired, Desired::Plan | Desired::Pause)
            || (run.recorded.is_some()
                && matches!(run.baseline, BaselineFacts::Missing { .. } | BaselineFacts::Replaced { .. }));
        let done = |node: &NodeName| {
            world.updates.get(&(name.clone(), node.clone())).is_some_and(UpdateFacts::is_done)
        };
        let all_done = run.recorded.as_ref().is_some_and(|nodes| nodes.iter().all(done));
        let asks = decide(&world.observe(&name));
        // A stage whose nodes are all held waits, because it proves nothing.
        let by_user = [Reason::ApprovalNeeded, Reason::Held];
        let asks = asks.waiting.iter().any(|(_, on)| by_user.contains(&on.reason));
        let waits = (waits && !all_done) || asks;
        prop_assert!(
            run.end.is_some() || waits,
            "{} does nothing: {:#?}",
            name,
            decide(&world.observe(&name))
        );
    }
    Ok(())
}
