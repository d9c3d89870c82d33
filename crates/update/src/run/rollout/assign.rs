//! To which stage each node of a run belongs. This is decided once, and recorded with the list of nodes: later
//! changes of labels move no node to another stage.

use super::Stage;
use crate::model::NodeName;
use crate::run::waiting::names;
use crate::run::{Observed, Operation};
use std::collections::{BTreeMap, BTreeSet};

/// Returns the nodes of each stage. A node belongs to the first stage that selects it and has room for it; a node
/// that is managed by another one never belongs to an earlier stage than that. Within a stage, managers are chosen
/// first, then by name.
///
/// # Errors
/// The cause and the remedy, if a node belongs to no stage, or if the selector of a stage matches no node: a canary whose
/// label is misspelt would be passed over.
pub(in crate::run) fn assign(observed: &Observed, nodes: &[NodeName]) -> Result<Vec<Vec<NodeName>>, String> {
    let stages = &observed.run.rollout.stages;
    let selects = |number: usize| {
        let mut facts = nodes.iter().filter_map(|node| observed.targets.get(node));
        facts.any(|facts| facts.selected_by.contains(&number))
    };
    if let Some((_, stage)) = stages.iter().enumerate().find(|(number, _)| !selects(*number)) {
        return Err(format!(
            "the selector of stage {} matches no node of the run; correct it or leave the stage out",
            stage.name
        ));
    }
    let managers = managers(observed, nodes);
    let mut in_order: Vec<&NodeName> = nodes.iter().collect();
    in_order.sort_by_key(|node| (depth(&managers, node), *node));
    let mut assigned: BTreeSet<&NodeName> = BTreeSet::new();
    let mut of_stages = Vec::new();
    for (number, stage) in stages.iter().enumerate() {
        let room = stage.count.map_or(nodes.len(), |count| count.of(nodes.len()));
        let mut chosen = Vec::new();
        for &node in &in_order {
            let follows = managers.get(node).is_none_or(|manager| assigned.contains(manager));
            let selects = observed.targets.get(node).is_some_and(|facts| facts.selected_by.contains(&number));
            if chosen.len() < room && selects && follows && assigned.insert(node) {
                chosen.push(node.clone());
            }
        }
        chosen.sort();
        of_stages.push(chosen);
    }
    let left: Vec<NodeName> = nodes.iter().filter(|node| !assigned.contains(node)).cloned().collect();
    let Some(first) = left.first() else { return Ok(of_stages) };
    Err(match managers.get(first).filter(|manager| !left.contains(**manager)) {
        Some(manager) if is_selected(observed, first) && has_room(stages) => format!(
            "{first} is managed by {manager}, which belongs to a later stage than those that select {first}; let the same stage or a later one select {first}"
        ),
        Some(_) | None => format!(
            "no stage has {}; add a stage without selector and count at the end of spec.strategy.stages",
            names(&left)
        ),
    })
}

fn is_selected(observed: &Observed, node: &NodeName) -> bool {
    observed.targets.get(node).is_some_and(|facts| !facts.selected_by.is_empty())
}

fn has_room(stages: &[Stage]) -> bool {
    stages.iter().any(|stage| stage.count.is_none())
}

/// Returns the manager of each node that has one in the run. Where managers go in a circle, which ends the run with a
/// message of its own, there is none.
fn managers<'a>(observed: &'a Observed, nodes: &'a [NodeName]) -> BTreeMap<&'a NodeName, &'a NodeName> {
    if observed.run.operation != Operation::Update {
        return BTreeMap::new();
    }
    let listed: BTreeSet<&NodeName> = nodes.iter().collect();
    let of = |node| {
        let manager = &observed.targets.get(node)?.relations.managed_by.as_ref()?.name;
        listed.contains(manager).then_some((node, manager))
    };
    let mut managers: BTreeMap<&NodeName, &NodeName> = nodes.iter().filter_map(of).collect();
    let circular: Vec<&NodeName> =
        managers.keys().copied().filter(|node| depth(&managers, node) > managers.len()).collect();
    for node in circular {
        managers.remove(node);
    }
    managers
}

/// Returns how many managers are above a node; more than there are if they go in a circle.
fn depth(managers: &BTreeMap<&NodeName, &NodeName>, node: &NodeName) -> usize {
    let mut depth = 0;
    let mut at = node;
    while let Some(manager) = managers.get(at).filter(|_| depth <= managers.len()) {
        at = manager;
        depth += 1;
    }
    depth
}
