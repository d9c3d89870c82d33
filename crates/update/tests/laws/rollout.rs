//! The laws of stages, budgets, approvals, fault domains and windows. They look at each node, as the documentation
//! has it. Of the progress of stages that decides they know the recorded times only.

use crate::law::Check;
use crate::sequence::{is_circular, is_halt, not_begun};
use crate::world::{Run, World, domain};
use farrier_update::model::{Millis, NodeName, RunName};
use farrier_update::reason::Reason;
use farrier_update::run::{
    Approval, Decision, Desired, Effect, Intent, Limit, NodeEnd, Observed, Operation, Stage, TargetFacts,
    UpdateFacts, UpdatePhase,
};
use farrier_update::window::WindowState;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How the nodes of a run or of a stage ended, as a decision saw it.
#[derive(Debug, Default)]
struct Ended {
    total: usize,
    succeeded: usize,
    failed: usize,
    unreachable: usize,
}

fn ended<'a>(seen: &Observed, targets: impl Iterator<Item = (&'a NodeName, &'a TargetFacts)>) -> Ended {
    let mut ended = Ended::default();
    for (name, facts) in targets {
        // A node that was deleted when its turn was recorded is in flight: its runner reports that.
        let has_turn = seen.run.starting.contains(name) || seen.run.planning.contains(name);
        ended.total += 1;
        match facts.update.as_ref().map(|update| &update.phase) {
            Some(UpdatePhase::Done(NodeEnd::Succeeded)) => ended.succeeded += 1,
            Some(UpdatePhase::Done(NodeEnd::Failed { .. })) => ended.failed += 1,
            Some(UpdatePhase::Done(NodeEnd::Unreachable { .. })) => ended.unreachable += 1,
            None if !facts.exists && !has_turn => ended.failed += 1,
            _ => {}
        }
    }
    ended
}

/// Rounded down, and no less than nothing.
fn tolerated(budget: Limit, total: usize) -> usize {
    match budget {
        Limit::Count(count) => count as usize,
        Limit::Percent(percent) => total * percent as usize / 100,
    }
}

/// Returns the nodes to which a decision gives their turn to be changed.
fn given<'a>(seen: &Observed, decision: &'a Decision) -> BTreeSet<&'a NodeName> {
    let given = decision.effects.iter().flat_map(|effect| match effect {
        Effect::RecordStarts { nodes } => nodes.as_slice(),
        Effect::RecordTargets { .. }
        | Effect::Start { .. }
        | Effect::SetIntent { .. }
        | Effect::OpenPaths
        | Effect::ClosePaths
        | Effect::ReleaseRun
        | Effect::DeleteRun => &[],
    });
    given
        .filter(|node| seen.run.desired != Desired::Plan && decision.status.starting.contains(*node))
        .collect()
}

/// Checks the laws of one decision.
pub(crate) fn decision(seen: &Observed, decision: &Decision) -> Check {
    let given = given(seen, decision);
    let stages = &seen.run.rollout.stages;
    if !given.is_empty() {
        budgets(seen)?;
        domains(seen, &given)?;
    }
    stages_of_managers(seen, decision)?;
    for &node in &given {
        let facts = &seen.targets[node];
        for number in 0..facts.stage {
            went_before(seen, decision, number, node)?;
        }
        let Some(stage) = stages.get(facts.stage) else { continue };
        if stage.approval == Approval::Manual {
            let approved = decision.status.stages[facts.stage].approved.as_deref();
            let plan = seen.run.plan_digest.as_deref();
            prop_assert_eq!(approved, plan, "{} without an approval", node);
            prop_assert!(facts.update.is_some(), "{} was approved without a plan", node);
        }
    }
    if seen.run.operation == Operation::Update
        && let Some(window) = seen.run.window
    {
        for &node in &given {
            let expected = seen.targets[node].expected.unwrap_or_default();
            let fits = match window {
                WindowState::Open { until } => seen.now < until && seen.now.after(expected) <= until,
                WindowState::Closed { .. } => false,
            };
            prop_assert!(fits, "{} outside of the window {:?} at {}", node, window, seen.now);
        }
    }
    approvals(seen, decision)?;
    halts(seen, decision)
}

/// No node is recorded in an earlier stage than the node that manages it.
fn stages_of_managers(seen: &Observed, decision: &Decision) -> Check {
    for effect in &decision.effects {
        let Effect::RecordTargets { nodes, left_out: _, stages } = effect else { continue };
        let numbers =
            stages.iter().enumerate().flat_map(|(number, count)| std::iter::repeat_n(number, *count));
        let of_node: BTreeMap<&NodeName, usize> = nodes.iter().zip(numbers).collect();
        // Where managers go in a circle, the run ends.
        let applies = seen.run.operation == Operation::Update && !is_circular(seen);
        for (node, stage) in of_node.iter().filter(|_| applies) {
            let manager = seen.targets[*node].relations.managed_by.as_ref();
            let of_manager = manager.and_then(|manager| of_node.get(&manager.name));
            prop_assert!(of_manager.is_none_or(|first| first <= stage), "{} before its manager", node);
        }
    }
    Ok(())
}

/// Nothing is started after a budget is passed.
fn budgets(seen: &Observed) -> Check {
    let rollout = &seen.run.rollout;
    let check = |what: &str, budget: Option<Limit>, count: usize, total: usize| {
        let passed = budget.is_some_and(|budget| count > tolerated(budget, total));
        prop_assert!(!passed, "starts a node although {} {} of {}", count, what, total);
        Ok(())
    };
    let run = ended(seen, seen.targets.iter());
    check("failed", rollout.failure_budget, run.failed, run.total)?;
    check("were not reached", rollout.unreachable_budget, run.unreachable, run.total)?;
    for (number, stage) in rollout.stages.iter().enumerate() {
        let own = ended(seen, seen.targets.iter().filter(|(_, facts)| facts.stage == number));
        check("failed in a stage", stage.failure_budget, own.failed, own.total)?;
        check("were not reached in a stage", stage.unreachable_budget, own.unreachable, own.total)?;
    }
    Ok(())
}

/// A stage that comes before one that is begun has ended well, long enough ago.
fn went_before(seen: &Observed, decision: &Decision, number: usize, node: &NodeName) -> Check {
    let stage: &Stage = &seen.run.rollout.stages[number];
    let of_stage = || seen.targets.iter().filter(|(_, facts)| facts.stage == number);
    let not_begun = not_begun(decision);
    for (name, facts) in of_stage() {
        let turn = seen.run.starting.contains(name) || seen.run.planning.contains(name);
        let over = match &facts.update {
            Some(update) => update.is_done() || (update.is_planned() && !turn),
            None => !turn,
        };
        let why = facts.update.as_ref().is_some_and(UpdateFacts::is_done)
            || facts.hold
            || !facts.exists
            || not_begun.contains(name);
        prop_assert!(over && why, "{} before {} of an earlier stage: {:?}", node, name, facts);
    }
    let own = ended(seen, of_stage());
    if own.total == 0 {
        return Ok(());
    }
    let rollout = &seen.run.rollout;
    let may = |budget: Option<Limit>| budget.map_or(0, |budget| tolerated(budget, own.total));
    let failed = own.failed <= may(stage.failure_budget.or(rollout.failure_budget));
    let unreachable = own.unreachable <= may(stage.unreachable_budget.or(rollout.unreachable_budget));
    prop_assert!(failed && unreachable, "{} after a stage with {:?}", node, own);
    let lost = own.failed + own.unreachable > 0;
    prop_assert!(!lost || own.succeeded > 0, "{} after a stage that nobody survived", node);
    let soaked = seen.run.stages[number].finished_at.is_some_and(|at| at.after(stage.soak) <= seen.now);
    prop_assert!(soaked || stage.soak == Duration::ZERO, "{} before a stage has soaked", node);
    Ok(())
}

/// In no fault domain are more nodes changed than may be.
fn domains(seen: &Observed, given: &BTreeSet<&NodeName>) -> Check {
    let Some(spread) = &seen.run.rollout.spread else { return Ok(()) };
    let mut busy: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for (node, facts) in &seen.targets {
        let works = facts.update.as_ref().is_some_and(|u| u.in_flight() && u.intent == Intent::Run);
        let turn =
            seen.run.starting.contains(node) && !facts.update.as_ref().is_some_and(UpdateFacts::is_done);
        if given.contains(node) || works || turn {
            *busy.entry(facts.domain.clone()).or_default() += 1;
        }
    }
    for node in given {
        let of_node = &seen.targets[*node].domain;
        let count = busy[of_node] + seen.busy_elsewhere.get(of_node).copied().unwrap_or_default();
        prop_assert!(count <= spread.max_unavailable, "{} nodes of {:?} at once", count, of_node);
    }
    Ok(())
}

/// An approval is recorded only for the plan that was approved, and stays.
fn approvals(seen: &Observed, decision: &Decision) -> Check {
    for (number, stage) in decision.status.stages.iter().enumerate() {
        let before = seen.run.stages.get(number).and_then(|record| record.approved.clone());
        if let Some(approved) = stage.approved.as_ref().filter(|approved| Some(*approved) != before.as_ref())
        {
            let gives = |given: &farrier_update::run::ApprovalGiven| {
                given.stage == stage.name && given.digest == *approved
            };
            prop_assert!(seen.run.approvals.iter().any(gives), "nobody approved {:?}", stage);
        }
        prop_assert!(before.is_none() || stage.approved.is_some(), "an approval is gone");
        let record = seen.run.stages.get(number).cloned().unwrap_or_default();
        let kept = |before: Option<Millis>, now: Option<Millis>| before.is_none() || before == now;
        prop_assert!(kept(record.started_at, stage.started_at), "{:?} began twice", stage);
        // A stage in which a node is begun again has not ended, and soaks from its new end.
        let is_reopened = stage.finished_at.is_none();
        prop_assert!(is_reopened || kept(record.finished_at, stage.finished_at), "{:?} ended twice", stage);
    }
    Ok(())
}

/// A run that starts no further nodes says why, and has a reason.
fn halts(seen: &Observed, decision: &Decision) -> Check {
    let Some(end) = decision.status.end().filter(|_| seen.run.finished.is_none()) else { return Ok(()) };
    if is_halt(end.reason) {
        let run = ended(seen, seen.targets.iter());
        let lost = run.failed + run.unreachable + decision.status.counts.skipped as usize;
        prop_assert!(lost > 0, "halts for nothing: {:?}", decision.status);
    }
    if end.reason == Reason::AllSucceeded {
        let all = ended(seen, seen.targets.iter());
        prop_assert_eq!(all.total, all.succeeded, "{:?}", decision.status);
    }
    Ok(())
}

/// Checks the laws of the world, at any moment.
pub(crate) fn world(world: &World) -> Check {
    for (name, run) in &world.runs {
        of_run(world, name, run)?;
    }
    // Runs that are not spread start nodes wherever they are.
    let spread: BTreeMap<&RunName, usize> = world
        .runs
        .iter()
        .filter_map(|(name, run)| Some((name, run.rollout.spread.as_ref()?.max_unavailable)))
        .collect();
    let mut busy: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for ((run, node), update) in &world.updates {
        if update.in_flight() && update.intent == Intent::Run && spread.contains_key(run) {
            *busy.entry(domain(node)).or_default() += 1;
        }
    }
    let most = spread.values().copied().max().unwrap_or_default();
    prop_assert!(busy.values().all(|count| *count <= most), "fault domains: {:?}, at most {}", busy, most);
    Ok(())
}

/// A budget is passed by no more nodes than were in flight, and no stage has more in flight than it may.
fn of_run(world: &World, name: &RunName, run: &Run) -> Check {
    let Some(recorded) = &run.recorded else { return Ok(()) };
    let update = |node: &NodeName| world.updates.get(&(name.clone(), node.clone()));
    let changed = |node: &&NodeName| update(node).is_some_and(|update| update.intent == Intent::Run);
    let (mut failed, mut unreachable) = (0, 0);
    for node in recorded.iter().filter(changed) {
        match update(node).map(|update| &update.phase) {
            Some(UpdatePhase::Done(NodeEnd::Failed { .. })) => failed += 1,
            Some(UpdatePhase::Done(NodeEnd::Unreachable { .. })) => unreachable += 1,
            _ => {}
        }
    }
    let in_flight = run.limit.of(recorded.len());
    for (count, budget) in
        [(failed, run.rollout.failure_budget), (unreachable, run.rollout.unreachable_budget)]
    {
        let most = budget.map(|budget| tolerated(budget, recorded.len()) + in_flight);
        prop_assert!(most.is_none_or(|most| count <= most), "{} passes {:?} with {}", name, budget, count);
    }
    for (number, stage) in run.rollout.stages.iter().enumerate() {
        let of_stage: Vec<&NodeName> =
            recorded.iter().filter(|node| run.of_stage.get(*node) == Some(&number)).collect();
        let works = of_stage
            .iter()
            .filter(|node| update(node).is_some_and(|u| u.in_flight() && u.intent == Intent::Run));
        let limit = stage.max_concurrent.map(|limit| limit.of(of_stage.len()));
        let works = works.count();
        prop_assert!(limit.is_none_or(|limit| works <= limit), "{} of {:?} in flight", works, stage);
    }
    Ok(())
}
