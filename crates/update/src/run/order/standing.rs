//! What the order and the progress of the nodes mean for each node.

use super::Relations;
use super::graph::{Graph, Vertex};
use super::partners::AtWork;
use super::place::{Cause, Role, Skip, Standing, Wait};
use super::table::IfUnreachable;
use crate::model::NodeName;
use crate::run::progress::{Blocker, NodeProgress, with_facts};
use crate::run::{Desired, Intent, NodeEnd, Observed, Operation, TargetFacts};
use std::collections::BTreeMap;

/// The progress of the nodes of a run, by name.
type Nodes<'a> = BTreeMap<&'a NodeName, NodeProgress<'a>>;

/// The order of a run, and the place of each node in it.
#[derive(Debug, Default)]
pub(in crate::run) struct Order<'a> {
    /// The graph; empty if the run has no order, because it changes nothing on its machines.
    pub(super) graph: Graph<'a>,
    /// A cycle in the order, drawn.
    pub(in crate::run) cycle: Option<String>,
    /// For each node, in the order of their names, why it may not be begun; empty if all may.
    pub(in crate::run) standings: Vec<Option<Standing<'a>>>,
    /// The partners at work.
    pub(in crate::run) at_work: AtWork<'a>,
}

/// What the nodes before a vertex mean for it.
#[derive(Debug, Clone, Copy, Default)]
struct Seen<'a> {
    /// One that has not ended, and how many there are.
    open: Option<(&'a NodeName, usize)>,
    /// One that keeps it from being begun.
    bad: Option<Skip<'a>>,
    /// One that was not reached.
    unreachable: Option<&'a NodeName>,
}

impl<'a> Seen<'a> {
    fn add(&mut self, other: Self) {
        self.open = match (self.open, other.open) {
            (Some((node, count)), Some((_, more))) => Some((node, count + more)),
            (open, more) => open.or(more),
        };
        self.bad = self.bad.or(other.bad);
        self.unreachable = self.unreachable.or(other.unreachable);
    }

    /// What it means for a node at the end of an edge.
    fn on_edge(mut self, if_unreachable: IfUnreachable) -> Self {
        let unreachable = self.unreachable.take();
        match if_unreachable {
            // Also what was not even tried, because what comes before it was not reached.
            IfUnreachable::Proceed => self.bad = self.bad.filter(|skip| skip.cause != Cause::Unreachable),
            IfUnreachable::Skip => {
                if let Some(node) = unreachable {
                    self.add(Self::bad(node, Cause::Unreachable));
                }
            }
        }
        self
    }

    fn bad(node: &'a NodeName, cause: Cause) -> Self {
        Self { bad: Some(Skip { by: Some(node), root: node, cause }), ..Self::default() }
    }
}

impl<'a> Order<'a> {
    pub(in crate::run) fn of(observed: &'a Observed, nodes: &Nodes<'a>, goal: Intent) -> Self {
        let at_work = AtWork::of(observed, nodes);
        let run = &observed.run;
        if run.operation != Operation::Update || !run.targets_recorded || !are_related(observed) {
            return Self { at_work, ..Self::default() };
        }
        let all: Vec<(&NodeName, &TargetFacts)> =
            with_facts(observed, nodes).map(|(node, facts, _)| (node, facts)).collect();
        let mut graph = Graph::of(observed, &all, |_| false);
        if graph.has_cycle() {
            // Relations may be changed during a run. What was finished before does not matter.
            let is_settled = |node: &NodeName| matches!(nodes.get(node), Some(NodeProgress::Done(_)));
            graph = Graph::of(observed, &all, is_settled);
        }
        let cycle = graph.draw_cycle();
        let standings = match goal {
            // A plan changes nothing, so nothing must come before anything.
            Intent::Plan => Vec::new(),
            Intent::Run | Intent::Cancel => Judge::new(observed, nodes, &graph).judge(),
        };
        Self { graph, cycle, standings, at_work }
    }
}

/// Goes through the graph, from the first vertices to the last.
struct Judge<'g, 'a> {
    observed: &'a Observed,
    nodes: &'g Nodes<'a>,
    /// The nodes by vertex.
    by_vertex: Vec<(&'a TargetFacts, &'g NodeProgress<'a>)>,
    graph: &'g Graph<'a>,
    /// What each vertex means for those after it.
    shown: Vec<Seen<'a>>,
    /// For each vertex: one that comes after it and is in progress.
    busy_after: Vec<Option<&'a NodeName>>,
    /// Groups of partners in which one did not succeed, with that one.
    broken: BTreeMap<&'a NodeName, &'a NodeName>,
    /// By vertex.
    standings: Vec<Option<Standing<'a>>>,
}

impl<'g, 'a> Judge<'g, 'a> {
    fn new(observed: &'a Observed, nodes: &'g Nodes<'a>, graph: &'g Graph<'a>) -> Self {
        let mut judge = Self {
            observed,
            nodes,
            by_vertex: with_facts(observed, nodes).map(|(_, facts, progress)| (facts, progress)).collect(),
            graph,
            shown: vec![Seen::default(); graph.before.len()],
            busy_after: vec![None; graph.before.len()],
            broken: BTreeMap::new(),
            standings: vec![None; graph.nodes.len()],
        };
        for (node, facts, progress) in with_facts(observed, nodes) {
            if let NodeProgress::Done(end) = progress
                && judge.breaks(end)
                && let Some(group) = facts.relations.group.as_ref()
            {
                judge.broken.insert(group, node);
            }
        }
        // Gates first: they are between two nodes.
        for vertex in (0..graph.before.len()).rev() {
            let after = graph.after.get(vertex).into_iter().flatten();
            let busy = after.copied().find_map(|then| match graph.node(then) {
                Some(node) => judge.progress(then).filter(|progress| progress.is_active()).map(|_| node),
                None => judge.busy_after.get(then).copied().flatten(),
            });
            if let Some(found) = judge.busy_after.get_mut(vertex) {
                *found = busy;
            }
        }
        judge
    }

    fn judge(mut self) -> Vec<Option<Standing<'a>>> {
        for &vertex in &self.graph.sorted {
            let mut seen = Seen::default();
            let is_gate = self.graph.node(vertex).is_none();
            let mut any_succeeded = false;
            for &(first, if_unreachable) in self.graph.before.get(vertex).into_iter().flatten() {
                let shown = self.shown.get(first).copied().unwrap_or_default();
                any_succeeded |= self.has_succeeded(first);
                // A gate tells those behind it, whose edges say what that means.
                seen.add(if is_gate { shown } else { shown.on_edge(if_unreachable) });
            }
            if is_gate && (any_succeeded || seen.open.is_some()) {
                // One of many devices that failed keeps nobody who does not name it.
                (seen.bad, seen.unreachable) = (None, None);
            }
            if let Some(node) = self.graph.node(vertex) {
                let standing = self.standing(node, vertex, &seen);
                if let Some(place) = self.standings.get_mut(vertex) {
                    *place = standing;
                }
                seen = self.shows(node, vertex, standing);
            }
            if let Some(shown) = self.shown.get_mut(vertex) {
                *shown = seen;
            }
        }
        for (vertex, node) in self.graph.entangled() {
            let skip = Skip { by: None, root: node, cause: Cause::Cycle };
            if let Some(place) = self.standings.get_mut(vertex) {
                *place = Some(Standing::Skipped(skip));
            }
        }
        self.standings
    }

    /// Returns why a node may not be begun; `None` if it may.
    fn standing(&self, node: &'a NodeName, vertex: Vertex, before: &Seen<'a>) -> Option<Standing<'a>> {
        if let Some(skip) = before.bad {
            return Some(Standing::Skipped(skip));
        }
        let (facts, _) = self.by_vertex.get(vertex)?;
        if let Some(&partner) = facts.relations.group.as_ref().and_then(|group| self.broken.get(group))
            && partner != node
        {
            let skip = Skip { by: Some(partner), root: partner, cause: Cause::Partner };
            return Some(Standing::Skipped(skip));
        }
        if let Some(manager) = missing_manager(facts)
            && !self.nodes.contains_key(manager)
        {
            return Some(match self.observed.arrivals.open_until(self.observed.now) {
                Some(until) => Standing::Waits(Wait { on: manager, role: Role::Manager { until } }),
                None => Standing::Skipped(Skip { by: Some(manager), root: manager, cause: Cause::NoManager }),
            });
        }
        if let Some((on, count)) = before.open {
            let role = Role::Predecessor { more: count.saturating_sub(1) };
            return Some(Standing::Waits(Wait { on, role }));
        }
        let busy = self.busy_after.get(vertex).copied().flatten();
        busy.map(|on| Standing::Waits(Wait { on, role: Role::Successor }))
    }

    /// Returns what a node means for those after it.
    fn shows(&self, node: &'a NodeName, vertex: Vertex, standing: Option<Standing<'a>>) -> Seen<'a> {
        let open = Seen { open: Some((node, 1)), ..Seen::default() };
        let skipped = standing.and_then(|standing| match standing {
            Standing::Skipped(skip) => {
                Some(Seen { bad: Some(Skip { by: Some(node), ..skip }), ..Seen::default() })
            }
            Standing::Waits(_) => None,
        });
        match self.progress(vertex) {
            Some(NodeProgress::Done(NodeEnd::Failed { .. })) => Seen::bad(node, Cause::Failed),
            Some(NodeProgress::Done(NodeEnd::Unreachable { .. })) => {
                Seen { unreachable: Some(node), ..Seen::default() }
            }
            Some(NodeProgress::Done(end @ NodeEnd::Cancelled)) => match skipped {
                Some(skipped) => skipped,
                None if self.breaks(end) => Seen::bad(node, Cause::Cancelled),
                None => Seen::default(),
            },
            Some(NodeProgress::Idle { planned: _, blocker: Some(Blocker::Gone) }) => {
                Seen::bad(node, Cause::Gone)
            }
            Some(NodeProgress::Active(_) | NodeProgress::Due { .. }) => open,
            Some(
                NodeProgress::Skipped(_)
                | NodeProgress::Idle {
                    planned: _,
                    blocker:
                        None
                        | Some(
                            Blocker::Unfit(..)
                            | Blocker::Claimed(_)
                            | Blocker::Ordered(_)
                            | Blocker::Skipped(_),
                        ),
                },
            ) => skipped.unwrap_or(open),
            // A held node is not worked on, as if it were not in the run.
            Some(
                NodeProgress::Done(NodeEnd::Succeeded)
                | NodeProgress::Idle { planned: _, blocker: Some(Blocker::Held) },
            )
            | None => Seen::default(),
        }
    }

    /// Reports whether nodes are not begun because one ended like this. In a run that is cancelled, the other
    /// nodes are cancelled, too.
    fn breaks(&self, end: &NodeEnd) -> bool {
        let run = &self.observed.run;
        match end {
            NodeEnd::Succeeded => false,
            NodeEnd::Failed { .. } | NodeEnd::Unreachable { .. } => true,
            NodeEnd::Cancelled => !run.deleting && run.desired != Desired::Cancel,
        }
    }

    fn has_succeeded(&self, vertex: Vertex) -> bool {
        matches!(self.progress(vertex), Some(NodeProgress::Done(NodeEnd::Succeeded)))
    }

    /// Returns the progress of a node; `None` for a gate.
    fn progress(&self, vertex: Vertex) -> Option<&'g NodeProgress<'a>> {
        self.by_vertex.get(vertex).map(|(_, progress)| *progress)
    }
}

/// Reports whether anything can come before anything else in a run, or be a partner. Most runs are over machines of one
/// kind without relations, and those have no order.
fn are_related(observed: &Observed) -> bool {
    let mut relations = observed.targets.values().map(|facts| &facts.relations);
    let Some(first) = relations.next() else { return false };
    let is_alone =
        |own: &Relations| own.managed_by.is_none() && own.group.is_none() && own.kind == first.kind;
    !(is_alone(first) && relations.all(is_alone))
}

/// Returns the node that manages a node, if it does not exist.
pub(in crate::run) fn missing_manager(facts: &TargetFacts) -> Option<&NodeName> {
    let manager = facts.relations.managed_by.as_ref()?;
    manager.kind.is_none().then_some(&manager.name)
}
