//! Derives the progress of a run's nodes from the observed state.

use super::{Desired, NodeEnd, Observed, TargetFacts, UpdateFacts, UpdatePhase};
use crate::model::{NodeName, RunName};
use crate::reason::Reason;
use std::collections::BTreeMap;

/// The progress of one node.
#[derive(Debug, Clone, Copy)]
pub(super) enum NodeProgress<'a> {
    /// The NodeUpdate has ended.
    Done(&'a NodeEnd),
    /// The NodeUpdate is in flight, or is a plan that is being given up.
    Active(&'a UpdateFacts),
    /// The turn of the node is recorded. The node may be started at any moment, even by an earlier
    /// leader.
    Due {
        /// Whether the node has a plan: a NodeUpdate that waits to be carried out.
        planned: bool,
    },
    /// The node is not in progress.
    Idle {
        /// Whether the node has a plan: a NodeUpdate that waits to be carried out.
        planned: bool,
        /// What prevents the start of the node.
        blocker: Option<Blocker<'a>>,
    },
}

/// What prevents the start of a node, regardless of the state of the run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Blocker<'a> {
    /// The node no longer exists.
    Gone,
    /// The user holds the node.
    Held,
    /// The user must first correct the node's spec.
    Unfit(Reason, &'a str),
    /// Another run is working on the node.
    Claimed(&'a RunName),
}

impl<'a> NodeProgress<'a> {
    fn of(facts: &'a TargetFacts, due: bool) -> Self {
        match &facts.update {
            Some(UpdateFacts { phase: UpdatePhase::Done(end), .. }) => Self::Done(end),
            Some(update) if !update.is_planned() => Self::Active(update),
            planned if due => Self::Due { planned: planned.is_some() },
            planned => Self::Idle { planned: planned.is_some(), blocker: blocker(facts) },
        }
    }
}

fn blocker(facts: &TargetFacts) -> Option<Blocker<'_>> {
    // A plan for a node that is gone is carried out nevertheless: the runner ends the NodeUpdate
    // and reports the cause.
    if !facts.exists && facts.update.is_none() {
        return Some(Blocker::Gone);
    }
    if facts.hold {
        return Some(Blocker::Held);
    }
    if let Some((reason, message)) = &facts.unfit {
        return Some(Blocker::Unfit(*reason, message));
    }
    facts.claimed_by.as_ref().map(Blocker::Claimed)
}

/// Reports whether the turn of a node is recorded and not used yet. While the run is only planned,
/// a complete plan has used the turn.
fn is_due(observed: &Observed, node: &NodeName, facts: &TargetFacts) -> bool {
    let is_made = facts.update.as_ref().is_some_and(UpdateFacts::is_planned);
    observed.run.starting.contains(node) && !(is_made && observed.run.desired == Desired::Plan)
}

/// All nodes of a run.
#[derive(Debug)]
pub(super) struct Fleet<'a> {
    /// The progress of each node, by name.
    pub(super) nodes: BTreeMap<&'a NodeName, NodeProgress<'a>>,
}

impl<'a> Fleet<'a> {
    /// Returns the nodes of the recorded list, or, if no list is recorded yet, the nodes with a
    /// NodeUpdate.
    pub(super) fn of(observed: &'a Observed) -> Self {
        let nodes = observed
            .targets
            .iter()
            .filter(|(_, facts)| observed.run.targets_recorded || facts.update.is_some())
            .map(|(node, facts)| (node, NodeProgress::of(facts, is_due(observed, node, facts))))
            .collect();
        Self { nodes }
    }

    /// Returns the maximum number of nodes in progress at the same time.
    pub(super) fn limit(&self, observed: &Observed) -> usize {
        observed.run.max_concurrent.of(self.nodes.len())
    }

    /// Returns how many nodes may be started in addition to those in flight.
    pub(super) fn slots(&self, observed: &Observed) -> usize {
        self.limit(observed).saturating_sub(self.in_flight())
    }

    /// Returns the number of nodes in flight.
    fn in_flight(&self) -> usize {
        self.count(|progress| match progress {
            NodeProgress::Active(update) => update.in_flight(),
            NodeProgress::Due { planned: _ } => true,
            NodeProgress::Done(_) | NodeProgress::Idle { .. } => false,
        })
    }

    /// Returns the number of nodes with a NodeUpdate in progress, including those that are about
    /// to start.
    pub(super) fn active(&self) -> usize {
        self.count(|progress| matches!(progress, NodeProgress::Active(_) | NodeProgress::Due { .. }))
    }

    /// Returns the nodes whose turn is recorded and not used yet.
    pub(super) fn due(&self) -> impl Iterator<Item = &'a NodeName> {
        self.nodes
            .iter()
            .filter(|(_, progress)| matches!(progress, NodeProgress::Due { .. }))
            .map(|(node, _)| *node)
    }

    /// Returns the number of nodes with a plan that waits to be carried out.
    pub(super) fn planned(&self) -> usize {
        self.count(|progress| matches!(progress, NodeProgress::Idle { planned: true, .. }))
    }

    /// Returns the number of nodes that the user holds.
    pub(super) fn held(&self) -> usize {
        self.count(|progress| matches!(progress, NodeProgress::Idle { blocker: Some(Blocker::Held), .. }))
    }

    /// Returns the number of nodes that no longer exist and were never started.
    pub(super) fn gone(&self) -> usize {
        self.count(|progress| matches!(progress, NodeProgress::Idle { blocker: Some(Blocker::Gone), .. }))
    }

    /// Returns the number of nodes on which no further work happens unless a user acts.
    pub(super) fn over(&self) -> usize {
        self.count(|progress| match progress {
            NodeProgress::Done(_) | NodeProgress::Idle { planned: _, blocker: Some(Blocker::Gone) } => true,
            NodeProgress::Active(_)
            | NodeProgress::Due { planned: _ }
            | NodeProgress::Idle {
                planned: _,
                blocker: Some(Blocker::Held | Blocker::Unfit(..) | Blocker::Claimed(_)) | None,
            } => false,
        })
    }

    fn count(&self, wanted: impl Fn(&NodeProgress<'_>) -> bool) -> usize {
        self.nodes.values().filter(|progress| wanted(progress)).count()
    }
}
