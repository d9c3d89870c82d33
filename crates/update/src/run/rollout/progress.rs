//! How far each stage of a run is, and which nodes may be begun at present.

use super::{Approval, Halt, Stage, StageRecord};
use crate::model::{Millis, NodeName};
use crate::reason::Reason;
use crate::run::progress::{Blocker, NodeProgress, with_facts};
use crate::run::{Intent, Limit, NodeEnd, Observed, StageState, StageSummary, TargetFacts, WaitingOn};
use std::collections::BTreeMap;

/// How many characters of an approval are quoted: those of a digest.
const MAX_QUOTED: usize = 71;

/// The stages of a run.
#[derive(Debug)]
pub(in crate::run) struct Stages<'a> {
    pub(super) stages: Vec<StageProgress<'a>>,
    /// Why no further node is started.
    pub(in crate::run) halt: Option<Halt<'a>>,
}

/// A stage, and how many of its nodes are how far.
#[derive(Debug)]
pub(in crate::run) struct StageProgress<'a> {
    /// `None` for the only stage of a run without stages.
    pub(super) stage: Option<&'a Stage>,
    pub(super) total: usize,
    pub(super) succeeded: usize,
    pub(super) failed: usize,
    pub(super) unreachable: usize,
    /// Nodes that were not begun, or cancelled.
    pub(super) not_begun: usize,
    /// Nodes that the user holds.
    held: usize,
    /// Nodes in flight, or about to be.
    in_flight: usize,
    /// Whether any node is further than its plan.
    begun: bool,
    record: StageRecord,
    state: StageState,
}

impl StageProgress<'_> {
    /// Reports whether no work is left in the stage. If the user holds all its nodes, it proves nothing, and is not over.
    pub(super) const fn is_over(&self) -> bool {
        let ended = self.succeeded + self.failed + self.unreachable + self.not_begun;
        ended + self.held == self.total && (ended > 0 || self.total == 0)
    }

    fn add(&mut self, progress: &NodeProgress<'_>) {
        self.total += 1;
        let number = match progress {
            NodeProgress::Done(NodeEnd::Succeeded) => &mut self.succeeded,
            NodeProgress::Done(NodeEnd::Failed { .. })
            | NodeProgress::Idle { planned: _, blocker: Some(Blocker::Gone) } => &mut self.failed,
            NodeProgress::Done(NodeEnd::Unreachable { .. }) => &mut self.unreachable,
            NodeProgress::Done(NodeEnd::Cancelled)
            | NodeProgress::Skipped(_)
            | NodeProgress::Idle { planned: _, blocker: Some(Blocker::Skipped(_)) } => &mut self.not_begun,
            NodeProgress::Idle { planned: _, blocker: Some(Blocker::Held) } => &mut self.held,
            NodeProgress::Active(update) => {
                self.in_flight += usize::from(update.in_flight());
                self.begun |= update.intent != Intent::Plan;
                return;
            }
            NodeProgress::Due { goal, planned: _ } => {
                self.in_flight += 1;
                self.begun |= *goal != Intent::Plan;
                return;
            }
            NodeProgress::Idle {
                planned: _,
                blocker: None | Some(Blocker::Unfit(..) | Blocker::Claimed(_) | Blocker::Ordered(_)),
            } => return,
        };
        *number += 1;
        self.begun |= matches!(progress, NodeProgress::Done(_));
    }

    /// Returns how many nodes of the stage may be started in addition to those in flight.
    fn slots(&self) -> usize {
        let limit = self.stage.and_then(|stage| stage.max_concurrent);
        limit.map_or(usize::MAX, |limit| limit.of(self.total).saturating_sub(self.in_flight))
    }
}

impl<'a> Stages<'a> {
    /// Evaluates the stages. `planned` means that the plans of all nodes are known.
    pub(in crate::run) fn of(
        observed: &'a Observed,
        nodes: &BTreeMap<&'a NodeName, NodeProgress<'a>>,
        planned: bool,
    ) -> Self {
        let run = &observed.run;
        let new = |(number, stage): (usize, Option<&'a Stage>)| StageProgress {
            stage,
            total: 0,
            succeeded: 0,
            failed: 0,
            unreachable: 0,
            not_begun: 0,
            held: 0,
            in_flight: 0,
            begun: false,
            record: run.stages.get(number).cloned().unwrap_or_default(),
            state: StageState::Waiting,
        };
        let mut stages: Vec<StageProgress<'a>> = if run.rollout.stages.is_empty() {
            vec![new((0, None))]
        } else {
            run.rollout.stages.iter().map(Some).enumerate().map(new).collect()
        };
        let last = stages.len() - 1;
        for (_, facts, progress) in with_facts(observed, nodes) {
            if let Some(stage) = stages.get_mut(facts.stage.min(last)) {
                stage.add(progress);
            }
        }
        let halt = Halt::of(observed, &stages);
        let last = stages.iter().rposition(|stage| stage.total > 0).unwrap_or_default();
        let mut open = planned;
        for (number, stage) in stages.iter_mut().enumerate() {
            stage.approve(observed, planned);
            stage.note_end(observed.now, open);
            stage.state = stage.state_now(observed, open, halt.as_ref());
            if number >= last && matches!(stage.state, StageState::Soaking { .. }) {
                stage.state = StageState::Finished;
            }
            open &= stage.state == StageState::Finished;
            if stage.begun && !matches!(stage.state, StageState::Waiting | StageState::AwaitingApproval) {
                stage.record.started_at.get_or_insert(observed.now);
            }
        }
        Self { stages, halt }
    }

    /// Returns what a node waits for because of its stage.
    pub(in crate::run) fn wait(&self, observed: &Observed, facts: &TargetFacts) -> Option<WaitingOn> {
        let number = self.number(facts);
        let stage = self.stages.get(number)?;
        match stage.state {
            StageState::InProgress
            | StageState::Finished
            | StageState::Soaking { .. }
            | StageState::Stopped => None,
            StageState::AwaitingApproval => stage.stage.map(|own| approval(observed, own)),
            StageState::Waiting => self.stages.iter().take(number).find_map(|first| {
                let name = &first.stage?.name;
                match first.state {
                    StageState::Finished => None,
                    StageState::Soaking { until } => Some(WaitingOn {
                        reason: Reason::Soaking,
                        message: format!("stage {name} has ended; the next stage begins at {until}"),
                        until: Some(until),
                    }),
                    StageState::Waiting
                    | StageState::AwaitingApproval
                    | StageState::InProgress
                    | StageState::Stopped => {
                        let message =
                            format!("stage {name} comes first; this node is started in a later stage");
                        Some(WaitingOn { reason: Reason::WaitingForStage, message, until: None })
                    }
                }
            }),
        }
    }

    /// Returns how many nodes of each stage may be started in addition to those in flight.
    pub(in crate::run) fn slots(&self) -> Vec<usize> {
        self.stages.iter().map(StageProgress::slots).collect()
    }

    /// Returns the number of the stage of a node.
    pub(in crate::run) fn number(&self, facts: &TargetFacts) -> usize {
        facts.stage.min(self.stages.len() - 1)
    }

    /// Returns what a node waits for if its stage has as many nodes in progress as it may.
    pub(in crate::run) fn no_slot(&self, number: usize) -> Option<WaitingOn> {
        let stage = self.stages.get(number)?;
        let own = stage.stage?;
        let limit = own.max_concurrent.map(|limit| limit.of(stage.total))?;
        let message = format!(
            "{limit} nodes of stage {} are in progress, which is its maximum; this node is started when one of them is done",
            own.name
        );
        Some(WaitingOn { reason: Reason::WaitingForSlot, message, until: None })
    }

    /// Returns the name of the stage in progress, for messages; `None` in a run without stages.
    pub(in crate::run) fn current(&self) -> Option<&'a str> {
        let at_work = self.stages.iter().find(|stage| stage.state == StageState::InProgress);
        at_work.and_then(|stage| stage.stage).map(|stage| stage.name.as_str())
    }

    /// Returns the stages as they are reported; empty for a run without stages. `begun` are nodes that this decision
    /// gives their turn, and `ended` means that the run has ended.
    pub(in crate::run) fn summaries(
        &self,
        observed: &Observed,
        begun: &[NodeName],
        ended: bool,
    ) -> Vec<StageSummary> {
        let mut begins = vec![false; self.stages.len()];
        for facts in begun.iter().filter_map(|node| observed.targets.get(node)) {
            if let Some(begins) = begins.get_mut(self.number(facts)) {
                *begins = true;
            }
        }
        let summary = |(stage, begins): (&StageProgress<'_>, bool)| {
            let is_open = matches!(stage.state, StageState::InProgress);
            let StageRecord { started_at, finished_at, approved } = stage.record.clone();
            Some(StageSummary {
                name: stage.stage?.name.clone(),
                nodes: stage.total,
                state: match stage.state {
                    StageState::Waiting | StageState::AwaitingApproval | StageState::InProgress if ended => {
                        StageState::Stopped
                    }
                    StageState::Soaking { .. } if ended => StageState::Finished,
                    state @ (StageState::Waiting
                    | StageState::AwaitingApproval
                    | StageState::InProgress
                    | StageState::Soaking { .. }
                    | StageState::Finished
                    | StageState::Stopped) => state,
                },
                succeeded: stage.succeeded,
                failed: stage.failed,
                unreachable: stage.unreachable,
                started_at: started_at.or((begins && is_open).then_some(observed.now)),
                finished_at,
                approved,
            })
        };
        self.stages.iter().zip(begins).filter_map(summary).collect()
    }

    /// Describes the budgets of a run that are not passed.
    pub(in crate::run) fn within(&self, observed: &Observed) -> String {
        let rollout = &observed.run.rollout;
        let total = self.stages.iter().map(|stage| stage.total).sum::<usize>();
        let failed = self.stages.iter().map(|stage| stage.failed).sum::<usize>();
        let unreachable = self.stages.iter().map(|stage| stage.unreachable).sum::<usize>();
        let part = |budget: Option<Limit>, count: usize, what: &str| {
            budget.map(|budget| format!("{count} nodes {what}, of {} that may", budget.tolerated(total)))
        };
        let parts: Vec<String> = [
            part(rollout.failure_budget, failed, "failed"),
            part(rollout.unreachable_budget, unreachable, "were not reached"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() { "this run has no failure budget".to_owned() } else { parts.join("; ") }
    }
}

impl StageProgress<'_> {
    /// Records an approval of the stage that was given for the present plan.
    fn approve(&mut self, observed: &Observed, planned: bool) {
        let Some(stage) = self.stage.filter(|stage| stage.approval == Approval::Manual) else { return };
        let Some(digest) = observed.run.plan_digest.as_ref().filter(|_| planned) else { return };
        let gives =
            observed.run.approvals.iter().any(|given| given.stage == stage.name && given.digest == *digest);
        if gives {
            self.record.approved = Some(digest.clone());
        }
    }

    /// Records when the stage has ended. A stage in which a node is begun again has not.
    fn note_end(&mut self, now: Millis, open: bool) {
        if !self.is_over() {
            self.record.finished_at = None;
        } else if open && self.total > 0 {
            self.record.finished_at.get_or_insert(now);
        }
    }

    /// `open` means that all earlier stages let this one begin.
    fn state_now(&self, observed: &Observed, open: bool, halt: Option<&Halt<'_>>) -> StageState {
        let run = &observed.run;
        let lost = self.failed + self.unreachable + self.not_begun > 0;
        let stops = halt.is_some_and(|halt| !self.is_over() || (lost && !open) || halt.is_of(self.stage));
        if stops {
            return if self.in_flight > 0 { StageState::InProgress } else { StageState::Stopped };
        }
        if !open {
            return StageState::Waiting;
        }
        if self.is_over() {
            let soak = self.stage.map(|stage| stage.soak).unwrap_or_default();
            let until = self.record.finished_at.unwrap_or(observed.now).after(soak);
            let soaks = until > observed.now && self.total > 0;
            return if soaks { StageState::Soaking { until } } else { StageState::Finished };
        }
        let needs_approval = self.stage.is_some_and(|stage| stage.approval == Approval::Manual);
        if needs_approval && (self.record.approved.is_none() || self.record.approved != run.plan_digest) {
            return StageState::AwaitingApproval;
        }
        StageState::InProgress
    }
}

/// Returns what the nodes of a stage wait for that a user has to approve.
fn approval(observed: &Observed, stage: &Stage) -> WaitingOn {
    let run = &observed.run;
    let name = &stage.name;
    let given = run.approvals.iter().rev().find(|given| given.stage == *name);
    let given = given.map(|given| given.digest.chars().take(MAX_QUOTED).collect::<String>());
    let message = match (&run.plan_digest, given) {
        (None, _) => format!("stage {name} can be approved when the plans of its nodes are known"),
        (Some(digest), None) => format!(
            "stage {name} has to be approved: see what would change with kubectl get nodeupdates -l farrier.dev/run={run}, then kubectl annotate updaterun {run} --overwrite farrier.dev/approve={name}@{digest}",
            run = run.name
        ),
        (Some(digest), Some(given)) => format!(
            "stage {name} was approved for the plan {}, but the plan is {digest} now; see what would change, then kubectl annotate updaterun {} --overwrite farrier.dev/approve={name}@{digest}",
            given, run.name
        ),
    };
    WaitingOn { reason: Reason::ApprovalNeeded, message, until: None }
}
