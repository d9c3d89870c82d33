//! Plays a run.

use super::{Ending, Fate, Halted, Model, Pause, PlayedNode, Rehearsal, Span, StageSpan};
use crate::model::{Millis, NodeName, RunnerName};
use crate::reason::Reason;
use crate::run::{
    Approval, ApprovalGiven, Arrivals, Decision, Desired, Effect, Intent, NetworkPaths, NodeEnd, Observed,
    PathState, Runners, Stage, StageRecord, StageSummary, TargetFacts, UpdateFacts, UpdatePhase, Wake,
    decide,
};
use crate::window::{Window, WindowState};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The digest of all plans.
const DIGEST: &str = "rehearsed";

/// The runner of all nodes.
const RUNNER: &str = "rehearsal";

/// After so many wake-ups at which nothing was begun and no node was in progress, nothing will be: each is one opening
/// or closing of a window, and openings of a schedule all last equally long.
const MOST_IDLE_WAKES: u32 = 200;

/// A run that is played.
#[derive(Debug)]
pub(super) struct Play<'a> {
    observed: Observed,
    model: &'a Model,
    window: Option<&'a Window>,
    began: Millis,
    /// The nodes in progress, by the time at which they end.
    in_progress: BTreeMap<Millis, Vec<NodeName>>,
    most_in_progress: usize,
    /// The nodes that were begun, with their times.
    spans: BTreeMap<NodeName, Span>,
    halted: Option<(Millis, String)>,
    pauses: Vec<Pause>,
    idle_wakes: u32,
}

impl<'a> Play<'a> {
    pub(super) fn new(mut observed: Observed, window: Option<&'a Window>, model: &'a Model) -> Self {
        let began = observed.now;
        prepare(&mut observed, model);
        Self {
            observed,
            model,
            window,
            began,
            in_progress: BTreeMap::new(),
            most_in_progress: 0,
            spans: BTreeMap::new(),
            halted: None,
            pauses: Vec::new(),
            idle_wakes: 0,
        }
    }

    /// Plays the run to its end, or until it waits for something that does not come by itself.
    pub(super) fn run(mut self) -> Rehearsal {
        loop {
            self.look_at_window();
            let decision = decide(&self.observed);
            if let Some(halt) = decision.status.halt.clone().filter(|_| self.halted.is_none()) {
                self.halted = Some((self.observed.now, halt));
            }
            if let Some(end) = decision.status.end() {
                return self.end(&decision, Ending::Ended(end));
            }
            // What was begun is known without another decision; the list of nodes and the stages are not.
            let decides_again = self.carry_out(&decision);
            if !decides_again && !self.advance(&decision) {
                let progressing = &decision.status.progressing;
                let (reason, message) = (progressing.reason, progressing.message.clone());
                return self.end(&decision, Ending::Waits { reason, message });
            }
        }
    }

    fn look_at_window(&mut self) {
        let now = self.observed.now;
        let is_known = match self.observed.run.window {
            Some(WindowState::Open { until }) => now < until,
            Some(WindowState::Closed { next }) => next.is_none_or(|next| now < next),
            None => false,
        };
        if !is_known {
            self.observed.run.window = self.window.map(|window| window.at(now));
        }
    }

    /// Carries out a decision and records its status. Returns whether the next decision differs at the same time.
    fn carry_out(&mut self, decision: &Decision) -> bool {
        let status = &decision.status;
        let run = &mut self.observed.run;
        let record = |stage: &StageSummary| StageRecord {
            started_at: stage.started_at,
            finished_at: stage.finished_at,
            approved: stage.approved.clone(),
        };
        let stages: Vec<StageRecord> = status.stages.iter().map(record).collect();
        let approved = |stages: &[StageRecord]| stages.iter().filter(|s| s.approved.is_some()).count();
        let mut decides_again = approved(&stages) != approved(&run.stages);
        run.stages = stages;
        for effect in &decision.effects {
            match effect {
                Effect::RecordTargets { nodes, left_out, stages } => {
                    self.record(nodes, left_out, stages);
                    decides_again = true;
                }
                // The decision that follows would start these nodes and change nothing else.
                Effect::RecordStarts { nodes } => {
                    let plans = !status.planning.is_empty();
                    let intent = if plans { Intent::Plan } else { Intent::Run };
                    for node in nodes {
                        self.begin(node, intent);
                    }
                    decides_again |= plans;
                }
                Effect::Start { node, intent, runner: _ } | Effect::SetIntent { node, intent } => {
                    self.begin(node, *intent);
                    decides_again |= *intent == Intent::Cancel;
                }
                Effect::OpenPaths | Effect::ClosePaths | Effect::ReleaseRun | Effect::DeleteRun => {}
            }
        }
        decides_again
    }

    /// Records the list of nodes, and the stage of each.
    fn record(&mut self, nodes: &[NodeName], left_out: &[NodeName], stages: &[usize]) {
        let listed: BTreeSet<&NodeName> = nodes.iter().collect();
        let observed = &mut self.observed;
        observed.targets.retain(|node, _| listed.contains(node));
        let numbers = stages.iter().enumerate();
        let numbers = numbers.flat_map(|(number, count)| std::iter::repeat_n(number, *count));
        for (node, number) in nodes.iter().zip(numbers) {
            if let Some(facts) = observed.targets.get_mut(node) {
                facts.stage = number;
            }
        }
        observed.run.targets_recorded = true;
        observed.run.left_out = left_out.to_vec();
    }

    /// Begins the work on a node. A plan is made, and given up, at once.
    fn begin(&mut self, node: &NodeName, intent: Intent) {
        let now = self.observed.now;
        let Some(facts) = self.observed.targets.get_mut(node) else { return };
        let phase = match intent {
            Intent::Plan => UpdatePhase::Planned,
            Intent::Run => UpdatePhase::Working { step: String::new() },
            Intent::Cancel => UpdatePhase::Done(NodeEnd::Cancelled),
        };
        facts.update = Some(UpdateFacts { intent, phase, runner: RunnerName::from(RUNNER), kept: false });
        if intent != Intent::Run {
            return;
        }
        let ended = now.after(self.model.duration_of(facts));
        let fate = self.model.fate(node);
        self.spans.insert(node.clone(), Span { node: node.clone(), began: now, ended, fate });
        self.in_progress.entry(ended).or_default().push(node.clone());
        let in_progress = self.in_progress.values().map(Vec::len).sum();
        self.most_in_progress = self.most_in_progress.max(in_progress);
    }

    /// Goes on to the next event. Returns whether there is one.
    fn advance(&mut self, decision: &Decision) -> bool {
        let wake = match decision.wake {
            Wake::At(at) => Some(at),
            Wake::OnChange => None,
        };
        if let Some(entry) = self.in_progress.first_entry().filter(|e| wake.is_none_or(|at| *e.key() <= at)) {
            self.idle_wakes = 0;
            self.observed.now = *entry.key();
            for node in entry.remove() {
                self.finish(&node);
            }
            return true;
        }
        let Some(at) = wake else { return false };
        if self.in_progress.is_empty() {
            self.idle_wakes += 1;
            self.pause(at, decision.status.progressing.reason);
        }
        self.observed.now = at;
        self.idle_wakes < MOST_IDLE_WAKES
    }

    fn finish(&mut self, node: &NodeName) {
        let message = String::from("rehearsed");
        let end = match self.model.fate(node) {
            Fate::Succeeds => NodeEnd::Succeeded,
            Fate::Fails => NodeEnd::Failed { reason: Reason::InstallerFailed, message },
            Fate::IsUnreachable => NodeEnd::Unreachable { reason: Reason::NoRoute, message },
        };
        if let Some(update) = self.observed.targets.get_mut(node).and_then(|facts| facts.update.as_mut()) {
            update.phase = UpdatePhase::Done(end);
        }
    }

    fn pause(&mut self, until: Millis, reason: Reason) {
        let from = self.observed.now;
        match self.pauses.last_mut().filter(|last| last.until == from && last.reason == reason) {
            Some(last) => last.until = until,
            None => self.pauses.push(Pause { from, until, reason }),
        }
    }

    fn end(self, decision: &Decision, ending: Ending) -> Rehearsal {
        let stops = |reason: Reason| {
            matches!(
                reason,
                Reason::FailureBudgetExceeded | Reason::UnreachableBudgetExceeded | Reason::StageIncomplete
            )
        };
        let halted_nodes = decision.status.failing.iter().filter(|failing| stops(failing.reason)).count();
        let known = |node: &&NodeName| self.observed.targets.get(*node).is_some_and(|f| f.expected.is_some());
        let run = &self.observed.run;
        let manual =
            run.rollout.stages.iter().zip(&run.stages).filter(|(_, record)| record.approved.is_some());
        Rehearsal {
            began: self.began,
            ended: self.observed.now,
            counts: decision.status.counts,
            stages: self.stages(),
            nodes: self.nodes(),
            halted: self.halted.clone().map(|(at, message)| Halted { at, message, not_begun: halted_nodes }),
            critical_path: self.critical_path(),
            most_in_progress: self.most_in_progress,
            approved: manual.map(|(stage, _)| stage.name.clone()).collect(),
            begun: self.spans.len(),
            known: self.spans.keys().filter(known).count(),
            pauses: self.pauses,
            ending,
        }
    }

    fn stages(&self) -> Vec<StageSpan> {
        let names = self.observed.run.rollout.stages.iter().map(|stage| Some(stage.name.clone()));
        let mut stages: Vec<StageSpan> =
            names.map(|name| StageSpan { name, ..StageSpan::default() }).collect();
        if stages.is_empty() {
            stages.push(StageSpan::default());
        }
        for (node, facts) in &self.observed.targets {
            let Some(stage) = stages.get_mut(facts.stage) else { continue };
            stage.nodes += 1;
            let Some(span) = self.spans.get(node) else {
                stage.not_begun += 1;
                continue;
            };
            stage.began = Some(stage.began.map_or(span.began, |began| began.min(span.began)));
            stage.ended = stage.ended.max(Some(span.ended));
            match span.fate {
                Fate::Succeeds => stage.succeeded += 1,
                Fate::Fails => stage.failed += 1,
                Fate::IsUnreachable => stage.unreachable += 1,
            }
        }
        stages
    }

    fn nodes(&self) -> Vec<PlayedNode> {
        let played = |(node, facts): (&NodeName, &TargetFacts)| PlayedNode {
            node: node.clone(),
            stage: facts.stage,
            known: facts.expected.is_some(),
            work: self.spans.get(node).cloned(),
        };
        let mut nodes: Vec<PlayedNode> = self.observed.targets.iter().map(played).collect();
        let begun = |node: &PlayedNode| node.work.as_ref().map(|work| work.began);
        nodes.sort_by_key(|node| (begun(node).is_none(), begun(node)));
        nodes
    }

    /// Goes back from the node that ended last: before each comes the node whose end let it begin, or after a pause
    /// the last node before that. Where several ended at that time, its manager is named, or else the first by name.
    fn critical_path(&self) -> Vec<Span> {
        let mut by_end: BTreeMap<Millis, Vec<&Span>> = BTreeMap::new();
        for span in self.spans.values() {
            by_end.entry(span.ended).or_default().push(span);
        }
        let mut path: Vec<Span> = Vec::new();
        let mut at = by_end.last_key_value().and_then(|(_, spans)| spans.first().copied());
        while let Some(span) = at {
            path.push(span.clone());
            let manager = self.observed.targets.get(&span.node).and_then(|f| f.relations.managed_by.as_ref());
            let is_manager = |before: &&&Span| manager.is_some_and(|manager| manager.name == before.node);
            // A node that takes no time ends when it begins, and is not before itself.
            let before = by_end.range(..=span.began).rev().find(|(end, _)| **end < span.ended);
            at = before
                .and_then(|(_, spans)| spans.iter().find(is_manager).or_else(|| spans.first()).copied());
        }
        path.reverse();
        path
    }
}

/// Turns an observation into that of a run that begins now, in a world that has nothing but this run.
fn prepare(observed: &mut Observed, model: &Model) {
    let now = observed.now;
    let run = &mut observed.run;
    run.desired = Desired::Run;
    run.deleting = false;
    run.finished = None;
    run.finished_at = None;
    run.targets_recorded = false;
    run.stages.clear();
    run.starting.clear();
    run.planning.clear();
    run.left_out.clear();
    run.window = None;
    run.plan_digest = Some(DIGEST.to_owned());
    let manual = run.rollout.stages.iter().filter(|stage| stage.approval == Approval::Manual);
    let given = |stage: &Stage| ApprovalGiven { stage: stage.name.clone(), digest: DIGEST.to_owned() };
    run.approvals = if model.approves { manual.map(given).collect() } else { Vec::new() };
    observed.arrivals =
        Arrivals { created: now, timeout: Duration::ZERO, deadline: None, changed: now, confirmed: true };
    observed.paths = NetworkPaths { back: PathState::Free, ..NetworkPaths::free() };
    observed.runners = Runners::new([RunnerName::from(RUNNER)], []);
    observed.busy_elsewhere.clear();
    for facts in observed.targets.values_mut() {
        facts.claimed_by = None;
        facts.relations.partner_at_work = None;
        facts.calls_back = false;
        facts.stage = 0;
        facts.update = None;
    }
}
