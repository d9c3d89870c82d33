//! The stages of a run, and the digest of its plan, in its status.

use super::super::observe::View;
use super::time;
use crate::api::UpdateRun;
use crate::api::update_run::{Approval, Stage, StageState, StageStatus};
use farrier_update::plan::combined_digest;
use farrier_update::run::{self, CondStatus, Decision, Effect, RunSummary};

/// Returns the digest of the plans of all machines, once they are known. An approval is for the plans of those machines
/// that have one: a machine may have failed to be planned.
pub(super) fn plan_digest(run: &UpdateRun, summary: &RunSummary, view: &View) -> Option<String> {
    let is_approved = run.spec.strategy.stages.iter().any(|stage| stage.approval == Approval::Manual);
    let total = view.observed.targets.len();
    let complete = total > 0 && view.plan_digests.len() == total;
    if is_approved && summary.planned.status == CondStatus::True {
        view.observed.run.plan_digest.clone()
    } else if complete && !is_approved {
        Some(combined_digest(&view.plan_digests))
    } else {
        run.status.as_ref().and_then(|status| status.plan_digest.clone())
    }
}

/// Returns the stages. When the list of machines is recorded, only the numbers of their machines are known.
pub(super) fn render(summary: &RunSummary, decision: &Decision, names: &[Stage]) -> Vec<StageStatus> {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let recorded = decision.effects.iter().find_map(|effect| match effect {
        Effect::RecordTargets { stages, .. } => Some(stages),
        Effect::RecordStarts { .. }
        | Effect::Start { .. }
        | Effect::SetIntent { .. }
        | Effect::OpenPaths
        | Effect::ClosePaths
        | Effect::ReleaseRun
        | Effect::DeleteRun => None,
    });
    if let Some(counts) = recorded {
        let new = |(stage, count): (&Stage, &usize)| StageStatus {
            name: stage.name.clone(),
            nodes: number(*count),
            state: StageState::Waiting,
            succeeded: 0,
            failed: 0,
            unreachable: 0,
            started_at: None,
            finished_at: None,
            until: None,
            approved_plan: None,
        };
        return names.iter().zip(counts).map(new).collect();
    }
    let present = |stage: &run::StageSummary| {
        let (state, until) = match stage.state {
            run::StageState::Waiting => (StageState::Waiting, None),
            run::StageState::AwaitingApproval => (StageState::AwaitingApproval, None),
            run::StageState::InProgress => (StageState::InProgress, None),
            run::StageState::Soaking { until } => (StageState::Soaking, Some(time(until))),
            run::StageState::Finished => (StageState::Finished, None),
            run::StageState::Stopped => (StageState::Stopped, None),
        };
        StageStatus {
            name: stage.name.clone(),
            nodes: number(stage.nodes),
            state,
            succeeded: number(stage.succeeded),
            failed: number(stage.failed),
            unreachable: number(stage.unreachable),
            started_at: stage.started_at.map(time),
            finished_at: stage.finished_at.map(time),
            until,
            approved_plan: stage.approved.clone(),
        }
    };
    summary.stages.iter().map(present).collect()
}

/// Returns the name of the first stage that has not ended.
pub(super) fn current(summary: &RunSummary) -> Option<String> {
    let first = summary.stages.iter().find(|stage| stage.state != run::StageState::Finished);
    first.map(|stage| stage.name.clone())
}
