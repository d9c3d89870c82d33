//! The nodes of a run and what each is begun after, as a graph.
//!
//! If all nodes of one kind come before all nodes of another, an edge for each pair would make a graph that
//! grows with the square of the run. Instead, the nodes of the first kind lead to a vertex in between, a gate,
//! and the gate leads to the nodes of the second kind.

use super::table::{BY_TYPE, IfUnreachable, MachineKind, TypeEdge};
use super::{OrderPolicy, Relations};
use crate::model::NodeName;
use crate::run::{Observed, TargetFacts};
use std::collections::{BTreeSet, VecDeque};

/// How many names of a cycle are drawn: enough for each kind twice.
const DRAWN: usize = 16;

/// The index of a vertex.
pub(super) type Vertex = usize;

/// The order of the nodes of a run.
#[derive(Debug, Default)]
pub(in crate::run) struct Graph<'a> {
    /// The nodes, sorted by name. The index of a node is its vertex; gates have the vertices after them.
    pub(super) nodes: Vec<&'a NodeName>,
    /// For each vertex: what it comes after, each with what follows if that cannot be reached.
    pub(super) before: Vec<Vec<(Vertex, IfUnreachable)>>,
    /// For each vertex: what comes after it.
    pub(super) after: Vec<Vec<Vertex>>,
    /// The vertices, each after all that it comes after; without those in a cycle and behind one.
    pub(super) sorted: Vec<Vertex>,
}

impl<'a> Graph<'a> {
    /// Returns the order of these nodes, which are sorted by name. What a settled node comes after does not
    /// matter any more.
    pub(super) fn of(
        observed: &Observed,
        nodes: &[(&'a NodeName, &TargetFacts)],
        settled: impl Fn(&NodeName) -> bool,
    ) -> Self {
        let (before, after) = (vec![Vec::new(); nodes.len()], vec![Vec::new(); nodes.len()]);
        let facts = nodes.iter().map(|(_, facts)| *facts);
        let relations: Vec<&Relations> = facts.clone().map(|facts| &facts.relations).collect();
        let stages: Vec<usize> = facts.map(|facts| facts.stage).collect();
        let nodes = nodes.iter().map(|(node, _)| *node).collect();
        let mut graph = Self { nodes, before, after, sorted: Vec::new() };
        // Stages come one after the other. A node that was given a manager of a later stage while the run was in
        // progress does not wait for it.
        let stage = |vertex: Vertex| stages.get(vertex).copied().unwrap_or_default();
        let open: Vec<bool> = graph.nodes.iter().map(|node| !settled(node)).collect();
        for (vertex, own) in
            relations.iter().enumerate().filter(|(vertex, _)| open.get(*vertex) == Some(&true))
        {
            let manager = own.managed_by.as_ref().map(|manager| (own.kind, manager));
            if let Some((kind, manager)) = manager
                && let Ok(first) = graph.nodes.binary_search(&&manager.name)
                && stage(first) <= stage(vertex)
            {
                let of_manager = manager.kind.unwrap_or_default();
                graph.connect(first, vertex, IfUnreachable::between(of_manager, kind));
            }
        }
        let edges: &[TypeEdge] = match observed.run.order {
            OrderPolicy::ByType => &BY_TYPE,
            OrderPolicy::None => &[],
        };
        let present: BTreeSet<usize> = stages.iter().copied().collect();
        for (&edge, &stage) in edges.iter().flat_map(|edge| present.iter().map(move |stage| (edge, stage))) {
            let of_stage = |vertex: Vertex| stages.get(vertex) == Some(&stage);
            graph.add_gate(edge, &relations, &open, of_stage);
        }
        graph.sort();
        graph
    }

    /// Connects all nodes of one kind in a stage with all nodes of another. A node that is managed by another one has its
    /// place after that node, and no other place among the nodes of that kind.
    fn add_gate(
        &mut self,
        edge: TypeEdge,
        relations: &[&Relations],
        open: &[bool],
        of_stage: impl Fn(Vertex) -> bool,
    ) {
        let of_stage = &of_stage;
        let of = |kind: MachineKind, other: MachineKind| {
            let all = relations.iter().enumerate();
            let of_kind = all.filter(move |(vertex, own)| {
                of_stage(*vertex) && own.kind == kind && manager_kind(own) != Some(other)
            });
            of_kind.map(|(vertex, _)| vertex)
        };
        let first: Vec<Vertex> = of(edge.first, edge.then).collect();
        let then: Vec<Vertex> =
            of(edge.then, edge.first).filter(|vertex| open.get(*vertex) == Some(&true)).collect();
        if first.is_empty() || then.is_empty() {
            return;
        }
        let gate = self.before.len();
        self.before.push(Vec::new());
        self.after.push(Vec::new());
        for vertex in first {
            self.connect(vertex, gate, IfUnreachable::Skip);
        }
        for vertex in then {
            self.connect(gate, vertex, edge.if_unreachable);
        }
    }

    fn connect(&mut self, first: Vertex, then: Vertex, if_unreachable: IfUnreachable) {
        if let (Some(after), Some(before)) = (self.after.get_mut(first), self.before.get_mut(then)) {
            after.push(then);
            before.push((first, if_unreachable));
        }
    }

    fn sort(&mut self) {
        let mut left: Vec<usize> = self.before.iter().map(Vec::len).collect();
        let free = left.iter().enumerate().filter(|(_, left)| **left == 0);
        let mut free: VecDeque<Vertex> = free.map(|(vertex, _)| vertex).collect();
        while let Some(vertex) = free.pop_front() {
            self.sorted.push(vertex);
            for &then in self.after.get(vertex).into_iter().flatten() {
                if let Some(left) = left.get_mut(then) {
                    *left -= 1;
                    if *left == 0 {
                        free.push_back(then);
                    }
                }
            }
        }
    }

    /// Returns the node of a vertex; `None` if it is a gate.
    pub(super) fn node(&self, vertex: Vertex) -> Option<&'a NodeName> {
        self.nodes.get(vertex).copied()
    }

    /// Reports whether the order contradicts itself.
    pub(super) fn has_cycle(&self) -> bool {
        self.sorted.len() < self.before.len()
    }

    /// Returns the nodes in a cycle and behind one.
    pub(super) fn entangled(&self) -> Vec<(Vertex, &'a NodeName)> {
        let in_order = self.in_order();
        let all = self.nodes.iter().zip(in_order).enumerate();
        all.filter(|(_, (_, in_order))| !in_order).map(|(vertex, (node, _))| (vertex, *node)).collect()
    }

    fn in_order(&self) -> Vec<bool> {
        let mut in_order = vec![false; self.before.len()];
        for &vertex in &self.sorted {
            if let Some(sorted) = in_order.get_mut(vertex) {
                *sorted = true;
            }
        }
        in_order
    }

    /// Draws a cycle, as `oa-1 → ilo-3 → oa-1`; `None` if there is none.
    pub(super) fn draw_cycle(&self) -> Option<String> {
        let in_order = self.in_order();
        let is_left = |vertex: &Vertex| in_order.get(*vertex) == Some(&false);
        // A vertex that is left comes after another one that is left, so this way returns to itself.
        let mut way: Vec<Vertex> = Vec::new();
        let mut seen = vec![false; self.before.len()];
        let mut at = (0..self.before.len()).find(is_left)?;
        while !std::mem::replace(seen.get_mut(at)?, true) {
            way.push(at);
            at = self.before.get(at)?.iter().map(|(vertex, _)| *vertex).find(is_left)?;
        }
        let start = way.iter().position(|vertex| *vertex == at)?;
        let mut cycle: Vec<&NodeName> =
            way.split_at(start).1.iter().rev().filter_map(|vertex| self.node(*vertex)).collect();
        let (first, _) = cycle.iter().enumerate().min_by_key(|(_, node)| **node)?;
        cycle.rotate_left(first);
        let closed = cycle.first().copied();
        let cut = cycle.len() > DRAWN;
        let mut drawn: Vec<&str> = cycle.into_iter().take(DRAWN).map(|node| node.0.as_str()).collect();
        if cut {
            drawn.push("…");
        }
        drawn.extend(closed.map(|node| node.0.as_str()));
        Some(drawn.join(" → "))
    }
}

/// Returns the kind of the node that a node is managed by.
fn manager_kind(own: &Relations) -> Option<MachineKind> {
    own.managed_by.as_ref().and_then(|manager| manager.kind)
}
