//! The laws of the order of nodes and of partners. They compare each pair of nodes, as the documentation has
//! it, and know nothing of the graph that decides.

use crate::law::Check;
use crate::world::World;
use farrier_update::model::{NodeName, RunName};
use farrier_update::reason::Reason;
use farrier_update::run::{
    BY_TYPE, CondStatus, Decision, Desired, Effect, Failing, IfUnreachable, Intent, NodeEnd, Observed,
    Operation, OrderPolicy, TargetFacts, UpdateFacts, UpdatePhase,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A node, and one that comes after it.
struct Edge<'a> {
    first: &'a NodeName,
    then: &'a NodeName,
    /// What follows if the first is not reached.
    if_unreachable: IfUnreachable,
    /// By the table of types alone.
    by_table: bool,
}

/// Returns what comes before what in a run.
fn edges(seen: &Observed) -> Vec<Edge<'_>> {
    let pairs = seen.targets.iter().flat_map(|first| seen.targets.iter().map(move |then| (first, then)));
    let pairs = pairs.filter(|((first, _), (then, _))| first != then);
    pairs
        .filter_map(|((first, a), (then, b))| {
            let by_table = BY_TYPE.iter().find(|e| e.first == a.relations.kind && e.then == b.relations.kind);
            let is_managed = |facts: &TargetFacts, other: &NodeName| {
                facts.relations.managed_by.as_ref().is_some_and(|manager| manager.name == *other)
            };
            let replaced = |facts: &TargetFacts, other: &TargetFacts| {
                let manager = facts.relations.managed_by.as_ref();
                manager.is_some_and(|manager| manager.kind == Some(other.relations.kind))
            };
            let of_table = by_table.map_or(IfUnreachable::Skip, |edge| edge.if_unreachable);
            // The stages come first.
            let in_table = seen.run.order == OrderPolicy::ByType && by_table.is_some() && a.stage == b.stage;
            let by_table = !is_managed(b, first);
            let holds =
                if by_table { in_table && !replaced(a, b) && !replaced(b, a) } else { a.stage <= b.stage };
            holds.then_some(Edge { first, then, if_unreachable: of_table, by_table })
        })
        .collect()
}

/// Reports whether the order of a run contradicts itself.
pub(crate) fn is_circular(seen: &Observed) -> bool {
    let edges = edges(seen);
    let mut left: BTreeSet<&NodeName> = seen.targets.keys().collect();
    loop {
        let free = left
            .iter()
            .find(|node| !edges.iter().any(|edge| edge.then == **node && left.contains(edge.first)));
        let Some(&free) = free else { return !left.is_empty() };
        left.remove(free);
    }
}

fn is_done(facts: &TargetFacts, wanted: impl Fn(&NodeEnd) -> bool) -> bool {
    facts.update.as_ref().is_some_and(|u| matches!(&u.phase, UpdatePhase::Done(end) if wanted(end)))
}

/// Reports whether a node has begun, or may at any moment.
fn is_active(seen: &Observed, node: &NodeName) -> bool {
    let turn = seen.run.starting.contains(node) || seen.run.planning.contains(node);
    match &seen.targets[node].update {
        None => turn,
        Some(update) => !update.is_done() && (!update.is_planned() || seen.run.starting.contains(node)),
    }
}

fn partners<'a>(
    seen: &'a Observed,
    node: &'a NodeName,
) -> impl Iterator<Item = (&'a NodeName, &'a TargetFacts)> {
    let group = seen.targets[node].relations.group.as_ref();
    let same = move |facts: &TargetFacts| group.is_some() && facts.relations.group.as_ref() == group;
    seen.targets.iter().filter(move |(other, facts)| *other != node && same(facts))
}

/// Reports whether the first of an edge permits what comes after it.
fn went_well(seen: &Observed, edge: &Edge<'_>) -> bool {
    let tolerates = edge.if_unreachable == IfUnreachable::Proceed;
    is_done(&seen.targets[edge.first], |end| match end {
        NodeEnd::Succeeded => true,
        NodeEnd::Unreachable { .. } => tolerates,
        NodeEnd::Failed { .. } | NodeEnd::Cancelled => false,
    })
}

/// Reports whether a node is not begun because one before it was not reached. `seen_before` are the nodes that were
/// asked about already: an order may contradict itself.
fn is_untried<'a>(
    seen: &Observed,
    edges: &[Edge<'a>],
    node: &'a NodeName,
    seen_before: &mut BTreeSet<&'a NodeName>,
) -> bool {
    seen_before.insert(node)
        && edges.iter().any(|edge| {
            edge.then == node
                && (is_done(&seen.targets[edge.first], |end| matches!(end, NodeEnd::Unreachable { .. }))
                    || is_untried(seen, edges, edge.first, seen_before))
        })
}

/// Reports whether nothing more happens to the first of an edge.
fn is_over(seen: &Observed, not_begun: &BTreeSet<&NodeName>, edge: &Edge<'_>) -> bool {
    is_done(&seen.targets[edge.first], |_| true) || not_begun.contains(edge.first)
}

/// Reports whether a node failed that comes before another by its type alone, and no other of that type succeeded.
fn none_succeeded(seen: &Observed, edges: &[Edge<'_>], edge: &Edge<'_>) -> bool {
    let kind = seen.targets[edge.first].relations.kind;
    let is_like = |other: &&Edge<'_>| {
        other.by_table && other.then == edge.then && seen.targets[other.first].relations.kind == kind
    };
    let mut alike = edges.iter().filter(is_like);
    let failed = is_done(&seen.targets[edge.first], |_| true) && !went_well(seen, edge);
    failed && !alike.any(|other| is_done(&seen.targets[other.first], |end| *end == NodeEnd::Succeeded))
}

/// Returns the nodes that a decision calls skipped.
fn skipped(decision: &Decision) -> BTreeSet<&NodeName> {
    let why = |failing: &&Failing| {
        matches!(failing.reason, Reason::Skipped | Reason::ManagerNotFound | Reason::OrderCycle)
    };
    decision.status.failing.iter().filter(why).map(|failing| &failing.node).collect()
}

/// Returns the nodes that are not begun because the run starts no further nodes.
fn halted(decision: &Decision) -> BTreeSet<&NodeName> {
    let failing = decision.status.failing.iter().filter(|failing| is_halt(failing.reason));
    failing.map(|failing| &failing.node).collect()
}

/// Reports whether this is why a run starts no further nodes.
pub(crate) const fn is_halt(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::FailureBudgetExceeded | Reason::UnreachableBudgetExceeded | Reason::StageIncomplete
    )
}

/// Returns the nodes that a decision calls skipped, and those whose plans are given up at the end for the same reasons.
pub(crate) fn not_begun(decision: &Decision) -> BTreeSet<&NodeName> {
    let given_up = decision.waiting.iter().filter(|(_, on)| {
        matches!(on.reason, Reason::Skipped | Reason::ManagerNotFound | Reason::OrderCycle)
            && on.until.is_none()
    });
    given_up.map(|(node, _)| node).chain(skipped(decision)).collect()
}

/// A node gets its turn only after those before it, and never beside a partner.
pub(crate) fn turns(seen: &Observed, decision: &Decision) -> Check {
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
    let given: BTreeSet<&NodeName> = given.collect();
    let plans = given.iter().any(|node| decision.status.planning.contains(*node));
    let changes = seen.run.operation == Operation::Update && seen.run.desired != Desired::Plan && !plans;
    for &node in &given {
        let relations = &seen.targets[node].relations;
        prop_assert!(relations.partner_at_work.is_none(), "{} beside {:?}", node, relations.partner_at_work);
        for (partner, facts) in partners(seen, node) {
            prop_assert!(!is_active(seen, partner), "{} beside its partner {}", node, partner);
            prop_assert!(!given.contains(partner), "{} together with its partner {}", node, partner);
            let bad = changes && is_done(facts, |end| *end != NodeEnd::Succeeded);
            prop_assert!(!bad, "{} after its partner {} did not succeed", node, partner);
        }
    }
    if !changes {
        return Ok(());
    }
    let edges = edges(seen);
    let not_begun = not_begun(decision);
    for edge in &edges {
        let Edge { first, then, .. } = *edge;
        let before = &seen.targets[first];
        let held = before.hold && !is_active(seen, first) && !is_done(before, |_| true);
        let untried = edge.if_unreachable == IfUnreachable::Proceed
            && not_begun.contains(first)
            && is_untried(seen, &edges, first, &mut BTreeSet::new());
        let well = if edge.by_table { is_over(seen, &not_begun, edge) } else { went_well(seen, edge) };
        let over = held || untried || well;
        prop_assert!(!given.contains(then) || over, "{} before {} has ended", then, first);
        let hopeless = edge.by_table && none_succeeded(seen, &edges, edge);
        prop_assert!(!given.contains(then) || !hopeless, "{} although none like {} succeeded", then, first);
        let under = given.contains(first) && is_active(seen, then);
        prop_assert!(!under, "{} although {}, which comes after it, is at work", first, then);
    }
    for &node in &given {
        let manager = seen.targets[node].relations.managed_by.as_ref();
        let absent = manager.filter(|m| m.kind.is_none() && !seen.targets.contains_key(&m.name));
        prop_assert!(absent.is_none(), "{} without {:?}", node, absent);
    }
    Ok(())
}

/// A node is skipped only because of another one; and what is not begun for that reason is said to be skipped.
pub(crate) fn skips(seen: &Observed, decision: &Decision) -> Check {
    let skipped = skipped(decision);
    let not_begun = skipped.len() + halted(decision).len();
    prop_assert_eq!(decision.status.counts.skipped as usize, not_begun, "{:?}", decision.status);
    let edges = edges(seen);
    let circular = is_circular(seen);
    for &node in &skipped {
        let facts = &seen.targets[node];
        let begun = facts.update.as_ref().is_some_and(|u| u.phase != UpdatePhase::Done(NodeEnd::Cancelled));
        prop_assert!(!begun, "{} is skipped although {:?}", node, facts.update);
        let bad = |facts: &TargetFacts| is_done(facts, |end| *end != NodeEnd::Succeeded);
        let gone = |facts: &TargetFacts| !facts.exists && facts.update.is_none();
        let by_order = edges.iter().any(|edge| {
            let before = &seen.targets[edge.first];
            edge.then == node
                && (skipped.contains(edge.first)
                    || bad(before)
                    || gone(before)
                    || before.update.as_ref().is_some_and(UpdateFacts::is_planned))
        });
        let by_partner = partners(seen, node).any(|(_, partner)| bad(partner));
        let manager = facts.relations.managed_by.as_ref();
        let by_absence = manager.is_some_and(|manager| manager.kind.is_none())
            && seen.arrivals.deadline(seen.now) <= seen.now;
        prop_assert!(by_order || by_partner || by_absence || circular, "{} is skipped for nothing", node);
    }
    let by_itself = seen.run.finished.is_none()
        && seen.run.desired == Desired::Run
        && !seen.run.deleting
        && decision.status.end().is_some_and(|end| end.reason == Reason::SomeFailed);
    if by_itself {
        let given_up = seen
            .targets
            .values()
            .filter(|facts| facts.hold || is_done(facts, |end| *end == NodeEnd::Cancelled));
        let cancelled = decision.status.counts.cancelled as usize;
        prop_assert!(cancelled <= given_up.count(), "nodes are left without a word: {:?}", decision.status);
    }
    let unconfirmed =
        !seen.arrivals.confirmed && seen.run.finished.is_none() && decision.status.end().is_some();
    let absent = decision.status.failing.iter().any(|failing| failing.reason == Reason::ManagerNotFound);
    let by_user =
        seen.run.desired == Desired::Cancel || seen.run.deleting || !seen.run.not_supported.is_empty();
    let invalid = matches!(seen.baseline, farrier_update::run::BaselineFacts::Invalid { .. });
    prop_assert!(!(unconfirmed && absent) || by_user || invalid, "ends for a manager that may be there");
    cycles(seen, decision)
}

/// A contradictory order ends a run that has not begun, and no other run.
fn cycles(seen: &Observed, decision: &Decision) -> Check {
    let end = decision.status.end().filter(|_| seen.run.finished.is_none());
    let refused = end.is_some_and(|end| end.reason == Reason::OrderCycle);
    let begun = seen.targets.values().any(|facts| facts.update.is_some());
    let applies = seen.run.operation == Operation::Update && seen.run.targets_recorded && !begun;
    prop_assert!(!refused || (applies && is_circular(seen)), "refuses an order that is none");
    if refused {
        prop_assert_eq!(decision.status.stalled.status, CondStatus::True);
        prop_assert!(decision.status.stalled.message.contains(" → "), "{:?}", decision.status.stalled);
    }
    let turns = !(seen.run.starting.is_empty() && seen.run.planning.is_empty());
    let acts = decision.effects.iter().any(|effect| matches!(effect, Effect::RecordStarts { .. }));
    prop_assert!(!(applies && !turns && is_circular(seen) && acts), "begins although the order is circular");
    Ok(())
}

/// At any moment no two partners are in flight, nor a node together with one that comes after it.
pub(crate) fn world(world: &World) -> Check {
    let busy = world.busy();
    for (_, node) in &busy {
        for partner in &world.ties[node].partners {
            // Nobody names them as partners while both are deleted.
            if world.nodes[node].disturbed && world.nodes[partner].disturbed {
                continue;
            }
            let beside = busy.iter().any(|(_, other)| other == partner);
            prop_assert!(!beside, "the partners {} and {} are in flight: {:?}", node, partner, busy);
        }
    }
    for name in world.runs.keys() {
        order(world, name)?;
    }
    Ok(())
}

fn order(world: &World, name: &RunName) -> Check {
    if world.in_flight(name) < 2 || world.runs[name].operation != Operation::Update {
        return Ok(());
    }
    let seen = world.observe(name);
    let at_work = |node: &NodeName| seen.targets[node].update.as_ref().filter(|update| update.in_flight());
    for Edge { first, then, .. } in edges(&seen) {
        // What was deleted and created again has lost its place for a while.
        if [first, then].into_iter().any(|node| world.nodes[node].disturbed) {
            continue;
        }
        if let (Some(one), Some(other)) = (at_work(first), at_work(then)) {
            let changes = one.intent == Intent::Run || other.intent == Intent::Run;
            prop_assert!(!changes, "{} is in flight together with {}, which comes before it", then, first);
        }
    }
    Ok(())
}
