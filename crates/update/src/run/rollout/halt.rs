//! Why a run starts no further nodes: a budget that is passed, or a stage that did not succeed.

use super::Stage;
use super::progress::StageProgress;
use crate::reason::Reason;
use crate::run::{Limit, Observed};

/// Why a run starts no further nodes. Those in progress are finished, and the others are not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::run) struct Halt<'a> {
    cause: Cause,
    /// The stage whose limit it is; `None` if it is the run's.
    stage: Option<&'a str>,
    /// How many nodes failed or were not reached.
    count: usize,
    /// How many may.
    tolerated: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// More nodes failed than may.
    Failures,
    /// More nodes were not reached than may.
    Unreachable,
    /// A stage has ended and `count` of its nodes did not succeed, which is not tolerated.
    Incomplete,
}

impl<'a> Halt<'a> {
    /// Returns why a run with these stages starts no further nodes; `None` if it does.
    pub(super) fn of(observed: &'a Observed, stages: &[StageProgress<'a>]) -> Option<Self> {
        let rollout = &observed.run.rollout;
        let sum = |count: fn(&StageProgress<'_>) -> usize| stages.iter().map(count).sum::<usize>();
        let (total, failed) = (sum(|stage| stage.total), sum(|stage| stage.failed));
        let unreachable = sum(|stage| stage.unreachable);
        passed(Cause::Failures, None, rollout.failure_budget, failed, total)
            .or_else(|| passed(Cause::Unreachable, None, rollout.unreachable_budget, unreachable, total))
            .or_else(|| stages.iter().find_map(Self::within))
            .or_else(|| {
                let followed = stages.iter().rposition(|stage| stage.total > 0).unwrap_or_default();
                stages.iter().take(followed).find_map(|stage| Self::at_end(observed, stage))
            })
    }

    /// Returns whether a stage has passed a budget of its own.
    fn within(stage: &StageProgress<'a>) -> Option<Self> {
        let own = stage.stage?;
        let name = Some(own.name.as_str());
        passed(Cause::Failures, name, own.failure_budget, stage.failed, stage.total).or_else(|| {
            passed(Cause::Unreachable, name, own.unreachable_budget, stage.unreachable, stage.total)
        })
    }

    /// Returns why no stage follows one that has ended. What it may lose is its own budget, or else that of the run,
    /// or else nothing. At least one of its nodes must have succeeded.
    fn at_end(observed: &Observed, stage: &StageProgress<'a>) -> Option<Self> {
        let own = stage.stage.filter(|_| stage.is_over())?;
        let rollout = &observed.run.rollout;
        let name = Some(own.name.as_str());
        let failures = own.failure_budget.or(rollout.failure_budget);
        let unreachable = own.unreachable_budget.or(rollout.unreachable_budget);
        let tolerates = failures.is_some() || unreachable.is_some();
        let lost = stage.failed + stage.unreachable + stage.not_begun;
        passed(Cause::Failures, name, failures, stage.failed, stage.total)
            .or_else(|| passed(Cause::Unreachable, name, unreachable, stage.unreachable, stage.total))
            .or_else(|| {
                let untolerated = (failures.is_none() && stage.failed > 0)
                    || (unreachable.is_none() && stage.unreachable > 0)
                    || (!tolerates && lost > 0);
                let incomplete = untolerated || (lost > 0 && stage.succeeded == 0);
                incomplete.then_some(Self {
                    cause: Cause::Incomplete,
                    stage: name,
                    count: lost,
                    tolerated: 0,
                })
            })
    }

    /// Reports whether the limit is that of this stage.
    pub(super) fn is_of(&self, stage: Option<&Stage>) -> bool {
        self.stage.is_some() && self.stage == stage.map(|stage| stage.name.as_str())
    }

    /// Returns the reason under which it is reported.
    pub(in crate::run) const fn reason(&self) -> Reason {
        match self.cause {
            Cause::Failures => Reason::FailureBudgetExceeded,
            Cause::Unreachable => Reason::UnreachableBudgetExceeded,
            Cause::Incomplete => Reason::StageIncomplete,
        }
    }

    /// Returns the reason in words, with the next step.
    pub(in crate::run) fn message(&self) -> String {
        let cause = self.in_words();
        format!("{cause}; see status.failing, correct the cause, then start a run with spec.retryOf")
    }

    /// Returns the reason in words.
    pub(in crate::run) fn in_words(&self) -> String {
        let Self { count, tolerated, .. } = self;
        let of = self.stage.map_or_else(|| "of the run".to_owned(), |stage| format!("of stage {stage}"));
        match self.cause {
            Cause::Failures => {
                format!("{count} nodes {of} failed, and its failureBudget tolerates {tolerated}")
            }
            Cause::Unreachable => {
                format!(
                    "{count} nodes {of} were not reached, and its unreachableBudget tolerates {tolerated}"
                )
            }
            Cause::Incomplete => {
                format!("{count} nodes {of} did not succeed, so the next stage is not begun")
            }
        }
    }
}

/// Returns that a budget is passed.
fn passed(
    cause: Cause,
    stage: Option<&str>,
    budget: Option<Limit>,
    count: usize,
    total: usize,
) -> Option<Halt<'_>> {
    let tolerated = budget?.tolerated(total);
    (count > tolerated).then_some(Halt { cause, stage, count, tolerated })
}
