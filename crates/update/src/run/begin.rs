//! Starting nodes: the turn of a node is recorded first, then the node is started.
//!
//! The record makes a change of leader safe. The creation of a NodeUpdate that a leader sent before it
//! lost its Lease may arrive at any later time. The record is written against the version of the run
//! that the decision was based on. Either the next leader sees the record, and the node counts as
//! started, or the write is rejected, and nothing was started.

use super::order::{AtWork, Wait};
use super::progress::Fleet;
use super::waiting::{no_runner, waiting_on};
use super::{Desired, Effect, Intent, Observed, Runners, WaitingOn};
use crate::model::{NodeName, RunnerName};
use crate::reason::Reason;

/// How many of the nodes that wait for others the condition of a run names; `status.waiting` has more.
const FEW_WAITS: usize = 3;

/// The nodes that a decision starts.
#[derive(Debug)]
pub(super) struct Begin<'a> {
    observed: &'a Observed,
    brake: Option<&'a (Reason, String)>,
    limit: usize,
    slots: usize,
    runners: Runners,
    /// The partners at work, including the nodes that this decision starts.
    partners: AtWork<'a>,
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

impl<'a> Begin<'a> {
    pub(super) fn new(
        observed: &'a Observed,
        fleet: &Fleet<'a>,
        brake: Option<&'a (Reason, String)>,
    ) -> Self {
        Self {
            observed,
            brake,
            limit: fleet.limit(observed),
            slots: fleet.slots(observed),
            runners: observed.runners.clone(),
            partners: fleet.order.at_work.clone(),
            goal: match observed.run.desired {
                Desired::Plan => Intent::Plan,
                Desired::Run | Desired::Pause | Desired::Cancel => Intent::Run,
            },
            wants: false,
            begun: Vec::new(),
            waits: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// Starts a node whose turn is recorded. The node counts as started, so that a pause does not
    /// affect it.
    pub(super) fn carry_out(&mut self, node: &NodeName, intent: Intent, planned: bool) -> WaitingOn {
        if let Some(closed) = self.closed(node) {
            return closed;
        }
        let node = node.clone();
        let effect = if planned {
            Effect::SetIntent { node, intent }
        } else {
            let Some(runner) = self.pick(&node) else { return no_runner() };
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

    /// Gives a node its turn, if no partner is at work and the limits allow another node.
    pub(super) fn take_turn(&mut self, node: &'a NodeName) -> WaitingOn {
        if let Some((reason, message)) = self.brake {
            return waiting_on(*reason, message);
        }
        if let Some(wait) = self.partners.wait(self.observed, node) {
            return self.hold_back(node, &wait);
        }
        if self.slots == 0 {
            return self.no_slot();
        }
        if let Some(closed) = self.closed(node) {
            return closed;
        }
        if self.runners.is_empty() {
            return no_runner();
        }
        self.slots -= 1;
        self.partners.add(self.observed, node);
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
    fn pick(&mut self, node: &NodeName) -> Option<RunnerName> {
        let listening = &self.observed.paths.listening;
        let calls_back = self.observed.targets.get(node).is_some_and(|facts| facts.calls_back);
        let fits = |name: &RunnerName| !calls_back || listening.is_empty() || listening.contains(name);
        self.runners.pick(fits)
    }

    /// Returns what keeps the network path to a node closed.
    fn closed(&mut self, node: &NodeName) -> Option<WaitingOn> {
        let calls_back = self.observed.targets.get(node).is_some_and(|facts| facts.calls_back);
        let closed = self.observed.paths.blocker(calls_back);
        self.wants |= closed.is_some();
        closed
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
