//! Starting nodes: the turn of a node is recorded first, then the node is started.
//!
//! The record makes a change of leader safe. The creation of a NodeUpdate that a leader sent before it
//! lost its Lease may arrive at any later time. The record is written against the version of the run
//! that the decision was based on. Either the next leader sees the record, and the node counts as
//! started, or the write is rejected, and nothing was started.

use super::order::{AtWork, Wait};
use super::progress::Fleet;
use super::rollout::{Domains, Stages};
use super::waiting::{no_runner, waiting_on};
use super::{Effect, Intent, Observed, Operation, Runners, TargetFacts, WaitingOn};
use crate::model::{NodeName, RunnerName};
use crate::reason::Reason;
use crate::window::WindowState;

/// How many of the nodes that wait for others the condition of a run names; `status.waiting` has more.
const FEW_WAITS: usize = 3;

/// Maximum number of nodes that one decision gives their turn. Their names are in the status until they have started,
/// which is written again a second later at most.
const MAX_TURNS: usize = 250;

/// The nodes that a decision starts.
#[derive(Debug)]
pub(super) struct Begin<'a, 'f> {
    observed: &'a Observed,
    brake: Option<&'f (Reason, String)>,
    stages: &'f Stages<'a>,
    limit: usize,
    slots: usize,
    /// As `slots`, for each stage.
    stage_slots: Vec<usize>,
    runners: Runners,
    /// The partners at work, including the nodes that this decision starts.
    partners: AtWork<'a>,
    /// The fault domains at work, including the nodes that this decision starts.
    domains: Domains<'a>,
    /// What the turns that this decision gives are for.
    pub(super) goal: Intent,
    /// Whether a node would be started if the network paths to it were open.
    pub(super) wants: bool,
    /// Nodes whose turn has come.
    pub(super) begun: Vec<NodeName>,
    /// Nodes that wait for another node of the run, each with that node.
    waits: Vec<(&'a NodeName, &'a NodeName)>,
    /// Effects that carry out the recorded turns, and record the next ones.
    pub(super) effects: Vec<Effect>,
}

impl<'a, 'f> Begin<'a, 'f> {
    pub(super) fn new(
        observed: &'a Observed,
        fleet: &'f Fleet<'a>,
        brake: Option<&'f (Reason, String)>,
    ) -> Self {
        Self {
            observed,
            brake,
            limit: fleet.limit(observed),
            stages: &fleet.stages,
            slots: fleet.slots(observed),
            stage_slots: fleet.stages.slots(),
            runners: observed.runners.clone(),
            partners: fleet.order.at_work.clone(),
            domains: fleet.domains.clone(),
            goal: fleet.goal,
            wants: false,
            begun: Vec::new(),
            waits: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// Starts a node whose turn is recorded. The node counts as started, so that a pause does not
    /// affect it.
    pub(super) fn carry_out(
        &mut self,
        node: &NodeName,
        facts: &TargetFacts,
        intent: Intent,
        planned: bool,
    ) -> WaitingOn {
        if let Some(closed) = self.closed(facts) {
            return closed;
        }
        let node = node.clone();
        let effect = if planned {
            Effect::SetIntent { node, intent }
        } else {
            let Some(runner) = self.pick(facts) else { return no_runner() };
            Effect::Start { node, intent, runner }
        };
        self.effects.push(effect);
        waiting_on(Reason::InProgress, "is being started")
    }

    /// Holds a node back for which another one comes first.
    pub(super) fn hold_back(&mut self, node: &'a NodeName, wait: &Wait<'a>) -> WaitingOn {
        if let Some((reason, message)) = self.brake {
            return waiting_on(*reason, message);
        }
        self.waits.push((node, wait.on));
        wait.waiting_on()
    }

    /// Gives a node its turn, if its stage is open, no partner is at work and the limits allow another node.
    pub(super) fn take_turn(&mut self, node: &'a NodeName, facts: &'a TargetFacts) -> WaitingOn {
        if let Some((reason, message)) = self.brake {
            return waiting_on(*reason, message);
        }
        // A plan changes nothing, so only the number of nodes in flight limits it.
        let changes_machine = self.goal != Intent::Plan;
        if let Some(wait) = self.stages.wait(self.observed, facts).filter(|_| changes_machine) {
            return wait;
        }
        if let Some(wait) = self.partners.wait(facts) {
            return self.hold_back(node, &wait);
        }
        if let Some(wait) = self.outside_window(facts).filter(|_| changes_machine) {
            return wait;
        }
        if let Some(wait) = self.domains.wait(facts).filter(|_| changes_machine) {
            return wait;
        }
        if self.slots == 0 {
            return self.no_slot();
        }
        let stage = self.stages.number(facts);
        let is_full = changes_machine && self.stage_slots.get(stage) == Some(&0);
        if let Some(wait) = is_full.then(|| self.stages.no_slot(stage)).flatten() {
            return wait;
        }
        if let Some(closed) = self.closed(facts) {
            return closed;
        }
        if self.runners.is_empty() {
            return no_runner();
        }
        if self.begun.len() >= MAX_TURNS {
            return waiting_on(
                Reason::WaitingForSlot,
                "is started after the nodes that are being started now",
            );
        }
        self.slots -= 1;
        if let Some(slots) = self.stage_slots.get_mut(stage) {
            *slots = slots.saturating_sub(1);
        }
        self.partners.add(facts, node);
        self.domains.add(facts);
        self.begun.push(node.clone());
        waiting_on(Reason::InProgress, "is about to be started")
    }

    /// Says which nodes wait for which others: a few names, and how many there are; empty if there is none.
    pub(super) fn waits(&self) -> String {
        let pair = |(node, on): &(&NodeName, &NodeName)| format!("{node} for {on}");
        let few: Vec<String> = self.waits.iter().take(FEW_WAITS).map(pair).collect();
        match self.waits.len() {
            0 => String::new(),
            all if all > few.len() => format!("; {all} wait for others: {}, …", few.join(", ")),
            all => format!("; {all} wait for others: {}", few.join(", ")),
        }
    }

    /// Completes the decision after all nodes have been visited.
    pub(super) fn end(mut self) -> Self {
        if !self.begun.is_empty() {
            self.effects.push(Effect::RecordStarts { nodes: self.begun.clone() });
        }
        self
    }

    /// Picks the runner for a node. A node that calls back gets a runner that its machine can reach.
    fn pick(&mut self, facts: &TargetFacts) -> Option<RunnerName> {
        let listening = &self.observed.paths.listening;
        let calls_back = facts.calls_back;
        let fits = |name: &RunnerName| !calls_back || listening.is_empty() || listening.contains(name);
        self.runners.pick(fits)
    }

    /// Returns what keeps the network path to a node closed.
    fn closed(&mut self, facts: &TargetFacts) -> Option<WaitingOn> {
        let closed = self.observed.paths.blocker(facts.calls_back);
        self.wants |= closed.is_some();
        closed
    }

    /// Returns until when a node waits whose update does not end in the maintenance window.
    fn outside_window(&self, facts: &TargetFacts) -> Option<WaitingOn> {
        let run = &self.observed.run;
        let window = run.window.filter(|_| run.operation == Operation::Update)?;
        let expected = facts.expected;
        if window.fits(expected, self.observed.now) {
            return None;
        }
        let (why, until) = match window {
            WindowState::Open { until } => {
                let minutes = expected.unwrap_or_default().as_secs().div_ceil(60);
                (
                    format!(
                        "takes {minutes} min as recorded, and the window closes at {until}; it is started in an opening that is long enough, or in a run with a longer one"
                    ),
                    Some(until),
                )
            }
            WindowState::Closed { next: Some(next) } => {
                (format!("waits for the window, which opens at {next}"), Some(next))
            }
            WindowState::Closed { next: None } => {
                ("is not started, because the window does not open again".to_owned(), None)
            }
        };
        let message = format!("spec.strategy.window: this node {why}");
        Some(WaitingOn { reason: Reason::OutsideWindow, message, until })
    }

    fn no_slot(&self) -> WaitingOn {
        let message = match self.limit {
            0 => "spec.strategy.maxConcurrent is 0, so no node is started; start a run with a higher value"
                .to_owned(),
            limit => format!(
                "{limit} nodes are in progress, which is the maximum; this node is started when one of them is done"
            ),
        };
        WaitingOn { reason: Reason::WaitingForSlot, message, until: None }
    }
}
