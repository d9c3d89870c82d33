//! The order of a run, shortened for its status.

use super::graph::{Graph, Vertex};
use super::standing::Order;
use crate::model::NodeName;
use crate::run::Observed;
use std::collections::BTreeMap;

/// How many nodes the status names, in all steps together: as many as in its other lists.
const MAX_NAMES: usize = 50;

/// How many names stand for the nodes before a node, or for its partners.
const FEW: usize = 3;

/// Nodes that no other node of the same step comes before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderStep {
    /// The number of nodes.
    pub count: usize,
    /// Some of the nodes, sorted by name.
    pub nodes: Vec<OrderedNode>,
}

/// The place of a node in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderedNode {
    /// The node.
    pub node: NodeName,
    /// The nodes that it is begun after, in words.
    pub after: Option<String>,
    /// Its partners in the run, in words.
    pub not_with: Option<String>,
}

impl<'a> Order<'a> {
    /// Returns the nodes of a run in steps. The last of [`MAX_NAMES`] steps has all further nodes. The result
    /// is empty if there is one step and no partner, or a cycle.
    pub(in crate::run) fn steps(&self, observed: &'a Observed) -> Vec<OrderStep> {
        let steps = self.members();
        let mut partners: BTreeMap<&NodeName, Vec<&NodeName>> = BTreeMap::new();
        for &node in &self.graph.nodes {
            let group = observed.targets.get(node).and_then(|facts| facts.relations.group.as_ref());
            if let Some(group) = group {
                partners.entry(group).or_default().push(node);
            }
        }
        partners.retain(|_, nodes| nodes.len() > 1);
        if self.graph.has_cycle() || (steps.len() < 2 && partners.is_empty()) {
            return Vec::new();
        }
        let each = (MAX_NAMES / steps.len()).max(1);
        let place = |vertex: &Vertex| {
            let node = self.graph.node(*vertex)?;
            let group = observed.targets.get(node).and_then(|facts| facts.relations.group.as_ref());
            let group = group.and_then(|group| partners.get(group)).into_iter().flatten().copied();
            let not_with = few(group.filter(|other| *other != node));
            Some(OrderedNode { node: node.clone(), after: self.graph.after_what(*vertex), not_with })
        };
        let shown = |nodes: &Vec<Vertex>| OrderStep {
            count: nodes.len(),
            nodes: nodes.iter().take(each).filter_map(place).collect(),
        };
        steps.iter().map(shown).collect()
    }

    /// Returns the nodes of each step.
    fn members(&self) -> Vec<Vec<Vertex>> {
        let mut depths = vec![0_usize; self.graph.before.len()];
        for &vertex in &self.graph.sorted {
            let before = self.graph.before.get(vertex).into_iter().flatten();
            let depth = before.map(|(first, _)| {
                let is_node = self.graph.node(*first).is_some();
                depths.get(*first).copied().unwrap_or_default() + usize::from(is_node)
            });
            let depth = depth.max().unwrap_or_default();
            if let Some(own) = depths.get_mut(vertex) {
                *own = depth;
            }
        }
        let mut steps: Vec<Vec<Vertex>> = Vec::new();
        for (vertex, depth) in depths.into_iter().enumerate().take(self.graph.nodes.len()) {
            let step = depth.min(MAX_NAMES - 1);
            if steps.len() <= step {
                steps.resize(step + 1, Vec::new());
            }
            if let Some(step) = steps.get_mut(step) {
                step.push(vertex);
            }
        }
        steps
    }
}

impl<'a> Graph<'a> {
    /// Names the nodes that a node comes after.
    fn after_what(&self, vertex: Vertex) -> Option<String> {
        let before = self.before.get(vertex).into_iter().flatten();
        few(before.flat_map(|(first, _)| match self.node(*first) {
            Some(node) => vec![node],
            None => self.inputs(*first).collect(),
        }))
    }

    fn inputs(&self, gate: Vertex) -> impl Iterator<Item = &'a NodeName> {
        self.before.get(gate).into_iter().flatten().filter_map(|(first, _)| self.node(*first))
    }
}

/// Formats names: the first ones, and the number of further ones; `None` if there is none.
fn few<'a>(nodes: impl Iterator<Item = &'a NodeName>) -> Option<String> {
    let all: Vec<&NodeName> = nodes.collect();
    let shown: Vec<&str> = all.iter().take(FEW).map(|node| node.0.as_str()).collect();
    match all.len() - shown.len() {
        0 if shown.is_empty() => None,
        0 => Some(shown.join(", ")),
        more => Some(format!("{} and {more} more", shown.join(", "))),
    }
}
