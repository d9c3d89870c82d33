//! How the nodes of a run stand, from what is observed of them.

use super::{Desired, NodeEnd, Observed, TargetFacts, UpdateFacts, UpdatePhase};
use crate::model::{NodeName, RunName};
use crate::reason::Reason;
use std::collections::BTreeMap;

/// How one node stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum NodeProgress<'a> {
    /// Its NodeUpdate is at its end.
    Done(&'a NodeEnd),
    /// Its NodeUpdate is in flight, or a plan that is being given up.
    Active(&'a UpdateFacts),
    /// Its turn is recorded. It may be begun at any moment, by a leader before this one, too.
    Due {
        /// Whether there is a plan, with a NodeUpdate that waits to be carried out.
        planned: bool,
    },
    /// Nothing is done with it.
    Idle {
        /// Whether there is a plan, with a NodeUpdate that waits to be carried out.
        planned: bool,
        /// What keeps it from being begun.
        blocker: Option<Blocker<'a>>,
    },
}

/// What keeps a node from being begun, whatever the run does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Blocker<'a> {
    /// It does not exist any more.
    Gone,
    /// Its user keeps it out of runs.
    Held,
    /// Its owner must correct something first.
    Unfit(Reason, &'a str),
    /// Another run works on it.
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
    // A plan for a node that is gone is handed to the runner all the same: it ends the
    // NodeUpdate, and says why.
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

/// Whether the turn of a node is recorded and not taken yet. A plan that is made is taken, as long
/// as the run is only planned.
fn is_due(observed: &Observed, node: &NodeName, facts: &TargetFacts) -> bool {
    let is_made = facts.update.as_ref().is_some_and(UpdateFacts::is_planned);
    observed.run.starting.contains(node) && !(is_made && observed.run.desired == Desired::Plan)
}

/// All nodes of a run.
#[derive(Debug)]
pub(super) struct Fleet<'a> {
    /// How each stands, by name.
    pub(super) nodes: BTreeMap<&'a NodeName, NodeProgress<'a>>,
}

impl<'a> Fleet<'a> {
    /// The nodes of the recorded list; before there is one, those with a NodeUpdate.
    pub(super) fn of(observed: &'a Observed) -> Self {
        let nodes = observed
            .targets
            .iter()
            .filter(|(_, facts)| observed.run.targets_recorded || facts.update.is_some())
            .map(|(node, facts)| (node, NodeProgress::of(facts, is_due(observed, node, facts))))
            .collect();
        Self { nodes }
    }

    /// How many nodes may be worked on at the same time.
    pub(super) fn limit(&self, observed: &Observed) -> usize {
        observed.run.max_concurrent.of(self.nodes.len())
    }

    /// How many nodes may be begun in addition to those in flight.
    pub(super) fn slots(&self, observed: &Observed) -> usize {
        self.limit(observed).saturating_sub(self.in_flight())
    }

    /// How many nodes are being worked on.
    fn in_flight(&self) -> usize {
        self.count(|progress| match progress {
            NodeProgress::Active(update) => update.in_flight(),
            NodeProgress::Due { planned: _ } => true,
            NodeProgress::Done(_) | NodeProgress::Idle { .. } => false,
        })
    }

    /// How many nodes have a NodeUpdate that moves, or are about to.
    pub(super) fn active(&self) -> usize {
        self.count(|progress| matches!(progress, NodeProgress::Active(_) | NodeProgress::Due { .. }))
    }

    /// The nodes whose turn is recorded and not taken yet.
    pub(super) fn due(&self) -> impl Iterator<Item = &'a NodeName> {
        self.nodes
            .iter()
            .filter(|(_, progress)| matches!(progress, NodeProgress::Due { .. }))
            .map(|(node, _)| *node)
    }

    /// How many nodes have a plan that waits to be carried out.
    pub(super) fn planned(&self) -> usize {
        self.count(|progress| matches!(progress, NodeProgress::Idle { planned: true, .. }))
    }

    /// How many nodes are kept out by their user.
    pub(super) fn held(&self) -> usize {
        self.count(|progress| matches!(progress, NodeProgress::Idle { blocker: Some(Blocker::Held), .. }))
    }

    /// How many nodes do not exist any more and were never begun.
    pub(super) fn gone(&self) -> usize {
        self.count(|progress| matches!(progress, NodeProgress::Idle { blocker: Some(Blocker::Gone), .. }))
    }

    /// How many nodes will not be touched any more, without anybody's doing.
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
