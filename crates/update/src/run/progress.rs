//! Derives the progress of a run's nodes from the observed state.

use super::order::{Cause, Order, Skip, Standing, Wait};
use super::rollout::{Approval, Domains, Halt, Stages};
use super::{Desired, Intent, NodeEnd, Observed, TargetFacts, UpdateFacts, UpdatePhase};
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
    /// The node is not begun in this run: it was never started, or its plan was given up.
    Skipped(NotBegun<'a>),
    /// The turn of the node is recorded. The node may be started at any moment, even by an earlier
    /// leader.
    Due {
        /// What the turn is for.
        goal: Intent,
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
    /// Another node comes first.
    Ordered(Wait<'a>),
    /// The node is not begun in this run. It has a plan, which is given up.
    Skipped(NotBegun<'a>),
}

/// Why a node is not begun in this run.
#[derive(Debug, Clone, Copy)]
pub(super) enum NotBegun<'a> {
    /// Because of another node.
    Order(Skip<'a>),
    /// Because the run starts no further nodes.
    Halted(Halt<'a>),
}

impl NotBegun<'_> {
    /// Returns the reason under which the node is reported.
    pub(super) const fn reason(&self) -> Reason {
        match self {
            Self::Order(skip) => skip.reason(),
            Self::Halted(halt) => halt.reason(),
        }
    }

    /// Returns the reason in words, with the next step. `cycle` is the drawn cycle of the order.
    pub(super) fn message(&self, cycle: Option<&str>) -> String {
        match self {
            Self::Order(skip) => skip.message(cycle),
            Self::Halted(halt) => format!("not begun, because {}", halt.message()),
        }
    }
}

impl<'a> NodeProgress<'a> {
    fn of(facts: &'a TargetFacts, turn: Option<Intent>) -> Self {
        match (&facts.update, turn) {
            (Some(UpdateFacts { phase: UpdatePhase::Done(end), .. }), _) => Self::Done(end),
            (Some(update), _) if !update.is_planned() => Self::Active(update),
            (planned, Some(goal)) => Self::Due { goal, planned: planned.is_some() },
            (planned, None) => Self::Idle { planned: planned.is_some(), blocker: blocker(facts) },
        }
    }

    /// Reports whether the NodeUpdate is in progress, or about to be created.
    pub(super) const fn is_active(&self) -> bool {
        match self {
            Self::Active(_) | Self::Due { .. } => true,
            Self::Done(_) | Self::Skipped(_) | Self::Idle { .. } => false,
        }
    }

    /// Returns the progress of a node in this place of the order.
    fn placed(self, standing: Standing<'a>) -> Self {
        match (self, standing) {
            (
                Self::Idle { planned, blocker: None | Some(Blocker::Unfit(..) | Blocker::Claimed(_)) },
                Standing::Skipped(skip),
            ) => Self::not_begun(planned, NotBegun::Order(skip)),
            (Self::Done(NodeEnd::Cancelled), Standing::Skipped(skip)) => Self::Skipped(NotBegun::Order(skip)),
            (Self::Idle { planned, blocker: None }, Standing::Waits(wait)) => {
                Self::Idle { planned, blocker: Some(Blocker::Ordered(wait)) }
            }
            (
                Self::Done(_) | Self::Active(_) | Self::Skipped(_) | Self::Due { .. } | Self::Idle { .. },
                Standing::Skipped(_) | Standing::Waits(_),
            ) => self,
        }
    }
}

impl<'a> NodeProgress<'a> {
    const fn not_begun(planned: bool, why: NotBegun<'a>) -> Self {
        if planned {
            Self::Idle { planned, blocker: Some(Blocker::Skipped(why)) }
        } else {
            Self::Skipped(why)
        }
    }

    /// Returns the progress of a node in a run that starts no further nodes.
    fn halted(self, halt: Halt<'a>) -> Self {
        match self {
            Self::Idle {
                planned,
                blocker:
                    None | Some(Blocker::Held | Blocker::Unfit(..) | Blocker::Claimed(_) | Blocker::Ordered(_)),
            } => Self::not_begun(planned, NotBegun::Halted(halt)),
            Self::Done(NodeEnd::Cancelled) => Self::Skipped(NotBegun::Halted(halt)),
            Self::Done(_)
            | Self::Active(_)
            | Self::Skipped(_)
            | Self::Due { .. }
            | Self::Idle { planned: _, blocker: Some(Blocker::Gone | Blocker::Skipped(_)) } => self,
        }
    }

    /// Reports whether a plan of the node is to be made first, in a run with approvals.
    fn lacks_plan(&self) -> bool {
        match self {
            Self::Idle { planned: false, blocker: None | Some(Blocker::Claimed(_)) }
            | Self::Due { goal: Intent::Plan, planned: _ } => true,
            Self::Active(update) => update.intent == Intent::Plan,
            Self::Done(_) | Self::Skipped(_) | Self::Due { .. } | Self::Idle { .. } => false,
        }
    }
}

/// Returns what the nodes of a run are begun for: to be planned, if that is what the user wants, or if a stage has to be
/// approved and not all plans are known. So no node of such a run is changed that was not planned before.
fn goal(observed: &Observed, nodes: &BTreeMap<&NodeName, NodeProgress<'_>>) -> Intent {
    let run = &observed.run;
    let asks = run.rollout.stages.iter().any(|stage| stage.approval == Approval::Manual);
    let plans_first = asks && nodes.values().any(NodeProgress::lacks_plan);
    if run.desired == Desired::Plan || plans_first { Intent::Plan } else { Intent::Run }
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

/// Returns what the recorded turn of a node is for, if it is not used yet. A NodeUpdate has used the turn to be
/// planned.
fn turn(observed: &Observed, node: &NodeName, facts: &TargetFacts) -> Option<Intent> {
    let run = &observed.run;
    // Earlier versions recorded the turns of a plan in the same list.
    let goal = if run.desired == Desired::Plan { Intent::Plan } else { Intent::Run };
    let recorded = run.starting.contains(node).then_some(goal);
    match &facts.update {
        None => run.planning.contains(node).then_some(Intent::Plan).or(recorded),
        Some(_) => recorded.filter(|goal| *goal == Intent::Run),
    }
}

/// Returns each node with its facts. Both maps are sorted by name, and all nodes have facts, so nothing is looked up:
/// a decision about ten thousand nodes would mostly consist of that.
pub(super) fn with_facts<'m, 'a>(
    observed: &'a Observed,
    nodes: &'m BTreeMap<&'a NodeName, NodeProgress<'a>>,
) -> impl Iterator<Item = (&'a NodeName, &'a TargetFacts, &'m NodeProgress<'a>)> {
    let mut targets = observed.targets.iter();
    nodes.iter().filter_map(move |(&node, progress)| {
        let (_, facts) = targets.find(|(name, _)| std::ptr::eq(*name, node))?;
        Some((node, facts, progress))
    })
}

/// All nodes of a run.
#[derive(Debug)]
pub(super) struct Fleet<'a> {
    /// The progress of each node, by name.
    pub(super) nodes: BTreeMap<&'a NodeName, NodeProgress<'a>>,
    /// The order of the nodes.
    pub(super) order: Order<'a>,
    /// The stages of the nodes.
    pub(super) stages: Stages<'a>,
    /// The fault domains of nodes in flight.
    pub(super) domains: Domains<'a>,
    /// What nodes are begun for at present.
    pub(super) goal: Intent,
}

impl<'a> Fleet<'a> {
    /// Returns the nodes of the recorded list, or, if no list is recorded yet, the nodes with a
    /// NodeUpdate.
    pub(super) fn of(observed: &'a Observed) -> Self {
        let mut nodes: BTreeMap<_, _> = observed
            .targets
            .iter()
            .filter(|(_, facts)| observed.run.targets_recorded || facts.update.is_some())
            .map(|(node, facts)| (node, NodeProgress::of(facts, turn(observed, node, facts))))
            .collect();
        let mut goal = goal(observed, &nodes);
        let order = Order::of(observed, &nodes, goal);
        for (progress, standing) in nodes.values_mut().zip(&order.standings) {
            if let Some(standing) = standing {
                *progress = progress.placed(*standing);
            }
        }
        let mut stages = Stages::of(observed, &nodes, goal == Intent::Run);
        if observed.run.desired == Desired::Plan || !observed.run.targets_recorded {
            stages.halt = None;
        }
        if let Some(halt) = stages.halt {
            goal = Intent::Run;
            for progress in nodes.values_mut() {
                *progress = progress.halted(halt);
            }
        }
        let domains = Domains::of(observed, &nodes);
        Self { nodes, order, stages, domains, goal }
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
            NodeProgress::Due { .. } => true,
            NodeProgress::Done(_) | NodeProgress::Skipped(_) | NodeProgress::Idle { .. } => false,
        })
    }

    /// Returns the number of nodes with a NodeUpdate in progress, including those that are about
    /// to start.
    pub(super) fn active(&self) -> usize {
        self.count(NodeProgress::is_active)
    }

    /// Returns the nodes whose turn for this is recorded and not used yet.
    pub(super) fn due(&self, wanted: Intent) -> impl Iterator<Item = &'a NodeName> {
        let is_due = move |progress: &NodeProgress<'_>| matches!(progress, NodeProgress::Due { goal, planned: _ } if *goal == wanted);
        self.nodes.iter().filter(move |(_, progress)| is_due(progress)).map(|(node, _)| *node)
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

    /// Returns the number of nodes whose plan is given up, because they are not begun.
    pub(super) fn plans_to_give_up(&self) -> usize {
        self.count(|progress| {
            matches!(progress, NodeProgress::Idle { blocker: Some(Blocker::Skipped(_)), .. })
        })
    }

    /// Returns the number of nodes that are not begun because the node that manages them does not exist.
    pub(super) fn without_manager(&self) -> usize {
        let of = |why: &NotBegun<'_>| matches!(why, NotBegun::Order(skip) if skip.cause == Cause::NoManager);
        self.count(|progress| match progress {
            NodeProgress::Skipped(why)
            | NodeProgress::Idle { planned: _, blocker: Some(Blocker::Skipped(why)) } => of(why),
            NodeProgress::Done(_)
            | NodeProgress::Active(_)
            | NodeProgress::Due { .. }
            | NodeProgress::Idle {
                planned: _,
                blocker:
                    Some(
                        Blocker::Gone
                        | Blocker::Held
                        | Blocker::Unfit(..)
                        | Blocker::Claimed(_)
                        | Blocker::Ordered(_),
                    )
                    | None,
            } => false,
        })
    }

    /// Returns the number of nodes on which no further work happens unless a user acts.
    pub(super) fn over(&self) -> usize {
        self.count(|progress| match progress {
            NodeProgress::Done(_)
            | NodeProgress::Skipped(_)
            | NodeProgress::Idle { planned: _, blocker: Some(Blocker::Gone) } => true,
            NodeProgress::Active(_)
            | NodeProgress::Due { .. }
            | NodeProgress::Idle {
                planned: _,
                blocker:
                    Some(
                        Blocker::Held
                        | Blocker::Unfit(..)
                        | Blocker::Claimed(_)
                        | Blocker::Ordered(_)
                        | Blocker::Skipped(_),
                    )
                    | None,
            } => false,
        })
    }

    fn count(&self, wanted: impl Fn(&NodeProgress<'a>) -> bool) -> usize {
        self.nodes.values().filter(|progress| wanted(progress)).count()
    }
}
