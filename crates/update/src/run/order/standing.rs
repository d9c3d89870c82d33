//! What the order and the progress of the nodes mean for each node.

use super::graph::{Graph, Vertex};
use super::partners::AtWork;
use super::place::{Cause, Role, Skip, Standing, Wait};
use super::table::IfUnreachable;
use crate::model::NodeName;
use crate::run::progress::{Blocker, NodeProgress};
use crate::run::{Desired, Intent, NodeEnd, Observed, Operation};
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
    /// The nodes that may not be begun.
    pub(in crate::run) standings: BTreeMap<&'a NodeName, Standing<'a>>,
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
        if run.operation != Operation::Update || !run.targets_recorded {
            return Self { at_work, ..Self::default() };
        }
        let all = || nodes.keys().copied().collect();
        let mut graph = Graph::of(observed, all(), |_| false);
        if graph.has_cycle() {
            // Relations may be changed during a run. What was finished before does not matter.
            let is_settled = |node: &NodeName| matches!(nodes.get(node), Some(NodeProgress::Done(_)));
            graph = Graph::of(observed, all(), is_settled);
        }
        let cycle = graph.draw_cycle();
        let standings = match goal {
            // A plan changes nothing, so nothing must come before anything.
            Intent::Plan => BTreeMap::new(),
            Intent::Run | Intent::Cancel => Judge::new(observed, nodes, &graph).judge(),
        };
        Self { graph, cycle, standings, at_work }
    }
}

/// Goes through the graph, from the first vertices to the last.
struct Judge<'g, 'a> {
    observed: &'a Observed,
    nodes: &'g Nodes<'a>,
    graph: &'g Graph<'a>,
    /// What each vertex means for those after it.
    shown: Vec<Seen<'a>>,
    /// For each vertex: one that comes after it and is in progress.
    busy_after: Vec<Option<&'a NodeName>>,
    /// Groups of partners in which one did not succeed, with that one.
    broken: BTreeMap<&'a NodeName, &'a NodeName>,
    standings: BTreeMap<&'a NodeName, Standing<'a>>,
}

impl<'g, 'a> Judge<'g, 'a> {
    fn new(observed: &'a Observed, nodes: &'g Nodes<'a>, graph: &'g Graph<'a>) -> Self {
        let mut judge = Self {
            observed,
            nodes,
            graph,
            shown: vec![Seen::default(); graph.before.len()],
            busy_after: vec![None; graph.before.len()],
            broken: BTreeMap::new(),
            standings: BTreeMap::new(),
        };
        for (&node, progress) in nodes {
            if let NodeProgress::Done(end) = progress
                && judge.breaks(end)
                && let Some(group) = judge.group(node)
            {
                judge.broken.insert(group, node);
            }
        }
        // Gates first: they are between two nodes.
        for vertex in (0..graph.before.len()).rev() {
            let after = graph.after.get(vertex).into_iter().flatten();
            let busy = after.copied().find_map(|then| match graph.node(then) {
                Some(node) => nodes.get(node).filter(|progress| progress.is_active()).map(|_| node),
                None => judge.busy_after.get(then).copied().flatten(),
            });
            if let Some(found) = judge.busy_after.get_mut(vertex) {
                *found = busy;
            }
        }
        judge
    }

    fn judge(mut self) -> BTreeMap<&'a NodeName, Standing<'a>> {
        for &vertex in &self.graph.sorted {
            let mut seen = Seen::default();
            let is_gate = self.graph.node(vertex).is_none();
            let mut any_succeeded = false;
            for &(first, if_unreachable) in self.graph.before.get(vertex).into_iter().flatten() {
                let shown = self.shown.get(first).copied().unwrap_or_default();
                any_succeeded |= self.graph.node(first).is_some_and(|node| self.has_succeeded(node));
                // A gate tells those behind it, whose edges say what that means.
                seen.add(if is_gate { shown } else { shown.on_edge(if_unreachable) });
            }
            if is_gate && (any_succeeded || seen.open.is_some()) {
                // One of many devices that failed keeps nobody who does not name it.
                (seen.bad, seen.unreachable) = (None, None);
            }
            if let Some(node) = self.graph.node(vertex) {
                let standing = self.standing(node, vertex, &seen);
                self.standings.extend(standing.map(|standing| (node, standing)));
                seen = self.shows(node, standing);
            }
            if let Some(shown) = self.shown.get_mut(vertex) {
                *shown = seen;
            }
        }
        for node in self.graph.entangled() {
            let skip = Skip { by: None, root: node, cause: Cause::Cycle };
            self.standings.insert(node, Standing::Skipped(skip));
        }
        self.standings
    }

    /// Returns why a node may not be begun; `None` if it may.
    fn standing(&self, node: &'a NodeName, vertex: Vertex, before: &Seen<'a>) -> Option<Standing<'a>> {
        if let Some(skip) = before.bad {
            return Some(Standing::Skipped(skip));
        }
        if let Some(&partner) = self.group(node).and_then(|group| self.broken.get(group))
            && partner != node
        {
            let skip = Skip { by: Some(partner), root: partner, cause: Cause::Partner };
            return Some(Standing::Skipped(skip));
        }
        if let Some(manager) = missing_manager(self.observed, node)
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
    fn shows(&self, node: &'a NodeName, standing: Option<Standing<'a>>) -> Seen<'a> {
        let open = Seen { open: Some((node, 1)), ..Seen::default() };
        let skipped = standing.and_then(|standing| match standing {
            Standing::Skipped(skip) => {
                Some(Seen { bad: Some(Skip { by: Some(node), ..skip }), ..Seen::default() })
            }
            Standing::Waits(_) => None,
        });
        match self.nodes.get(node) {
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

    fn has_succeeded(&self, node: &NodeName) -> bool {
        matches!(self.nodes.get(node), Some(NodeProgress::Done(NodeEnd::Succeeded)))
    }

    fn group(&self, node: &NodeName) -> Option<&'a NodeName> {
        self.observed.targets.get(node)?.relations.group.as_ref()
    }
}

/// Returns the node that manages a node, if it does not exist.
pub(in crate::run) fn missing_manager<'a>(observed: &'a Observed, node: &NodeName) -> Option<&'a NodeName> {
    let manager = observed.targets.get(node)?.relations.managed_by.as_ref()?;
    manager.kind.is_none().then_some(&manager.name)
}
