//! What there is to know about a run, from its object and its NodeUpdates. Pure.

use crate::api::update_run::{Counts, DesiredState, NodeNote, Operation, StageState, StageStatus};
use crate::api::{NodeUpdate, UpdateRun, condition};
use crate::runner::is_finished;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt as _;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Where the user types: the name of the program and the flags for the same cluster and namespace.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// For instance: kubectl farrier.
    pub program: String,
    /// For instance: -n fleet.
    pub flags: String,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum State {
    /// The operator has not looked at it yet.
    Pending,
    /// Nothing is in progress, and something is waited for.
    Waiting,
    /// Machines are worked on.
    InProgress,
    /// A stage waits for an approval, and nothing is in progress.
    AwaitingApproval,
    /// Nothing new is started.
    Paused,
    /// It is known what would change.
    Planned,
    /// Machines in progress are brought to an end.
    Cancelling,
    /// It ended, with success.
    Succeeded,
    /// It ended, without success.
    Failed,
}

impl State {
    /// Reports whether nothing more happens by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Planned | Self::Succeeded | Self::Failed)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::InProgress => "in progress",
            Self::AwaitingApproval => "awaiting approval",
            Self::Paused => "paused",
            Self::Planned => "planned",
            Self::Cancelling => "being cancelled",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        })
    }
}

/// A machine that is worked on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Name of the ManagedNode.
    pub node: String,
    /// Name of the NodeUpdate.
    pub node_update: String,
    /// What is done, as in status.step.
    pub step: String,
    /// Number of changed components and number of components, for instance 1/3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
    /// When the work began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// What it waits for: reason, what, holder, since and until.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<crate::api::node_update::Waiting>,
    /// When the next attempt begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Time>,
}

/// What there is to know about a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Name of the UpdateRun.
    pub run: String,
    /// Its namespace.
    pub namespace: String,
    /// Name of the Baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// What is done on machines.
    pub operation: Operation,
    /// What should happen.
    pub desired_state: DesiredState,
    /// How far it is.
    pub state: State,
    /// Why it is in this state, one of the documented reasons; empty if the operator has not said it yet.
    pub reason: String,
    /// The reason in words.
    pub message: String,
    /// When it began to work on machines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Time that is left, in seconds, if machines go on to end at the rate so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_left_seconds: Option<u64>,
    /// Numbers of machines.
    pub counts: Counts,
    /// Digest of the plan, which an approval names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,
    /// The stages.
    pub stages: Vec<StageStatus>,
    /// Machines that are worked on.
    pub in_progress: Vec<Machine>,
    /// Machines that wait, with what they wait for; at most 50.
    pub waiting: Vec<NodeNote>,
    /// Machines that failed, were not reached or not begun, and why; at most 50.
    pub failing: Vec<NodeNote>,
    /// The command to type next, if there is something for the user to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Summary {
    /// Returns what the run and its NodeUpdates show at a time.
    pub fn new(run: &UpdateRun, updates: &[NodeUpdate], now: Timestamp, prompt: &Prompt) -> Self {
        let status = run.status.clone().unwrap_or_default();
        let state = state(run);
        let told = told(run, state);
        let mut in_progress: Vec<Machine> =
            updates.iter().filter(|u| is_in_progress(u)).map(machine).collect();
        in_progress.sort_by(|a, b| a.node.cmp(&b.node));
        let mut summary = Self {
            run: run.name_any(),
            namespace: run.namespace().unwrap_or_default(),
            baseline: run.spec.baseline_ref.as_ref().map(|baseline| baseline.name.clone()),
            operation: run.spec.operation,
            desired_state: run.spec.desired_state,
            state,
            reason: told.map(|c| c.reason.clone()).unwrap_or_default(),
            message: told.map(|c| c.message.clone()).unwrap_or_default(),
            started_at: status.started_at,
            finished_at: status.finished_at,
            time_left_seconds: None,
            counts: status.counts,
            plan_digest: status.plan_digest,
            stages: status.stages,
            in_progress,
            waiting: status.waiting,
            failing: status.failing,
            next: None,
        };
        summary.time_left_seconds = time_left(&summary, now).map(|left| left.as_secs());
        summary.next = next(&summary, prompt);
        summary
    }

    /// Returns the number of machines that ended, in whatever manner.
    pub fn ended(&self) -> u32 {
        let Counts { succeeded, failed, unreachable, cancelled, skipped, .. } = self.counts;
        succeeded + failed + unreachable + cancelled + skipped
    }
}

fn state(run: &UpdateRun) -> State {
    let Some(status) = &run.status else { return State::Pending };
    let is = |type_: &str, value: &str| condition::is(&status.conditions, type_, value);
    let awaits = status.stages.iter().any(|stage| stage.state == StageState::AwaitingApproval);
    match run.spec.desired_state {
        _ if is("Succeeded", "True") => State::Succeeded,
        _ if is("Succeeded", "False") => State::Failed,
        DesiredState::Cancel => State::Cancelling,
        DesiredState::Pause => State::Paused,
        DesiredState::Plan if is("Planned", "True") => State::Planned,
        DesiredState::Plan | DesiredState::Run => match status.counts.in_progress {
            0 if awaits => State::AwaitingApproval,
            0 => State::Waiting,
            _ => State::InProgress,
        },
    }
}

/// Returns the condition that says why a run is in its state.
fn told(run: &UpdateRun, state: State) -> Option<&Condition> {
    let type_ = match state {
        State::Succeeded | State::Failed => "Succeeded",
        State::Planned => "Planned",
        State::Pending
        | State::Waiting
        | State::InProgress
        | State::AwaitingApproval
        | State::Paused
        | State::Cancelling => "Progressing",
    };
    condition::find(&run.status.as_ref()?.conditions, type_)
}

/// Reports whether a machine is worked on, or waits in the midst of its work. One that is only planned is not.
fn is_in_progress(update: &NodeUpdate) -> bool {
    let step = update.status.as_ref().and_then(|status| status.step.as_deref());
    !is_finished(update) && step != Some("Planned")
}

fn machine(update: &NodeUpdate) -> Machine {
    let status = update.status.clone().unwrap_or_default();
    Machine {
        node: update.spec.node_ref.name.clone(),
        node_update: update.name_any(),
        step: status.step.unwrap_or_else(|| "Assigned".to_owned()),
        changed: status.changed,
        started_at: status.started_at,
        waiting: status.waiting,
        next_attempt_at: status.next_attempt_at,
    }
}

/// Returns the time that is left if machines go on to end at the rate so far. There is none for a run that stands
/// still: nobody knows when it goes on.
fn time_left(summary: &Summary, now: Timestamp) -> Option<Duration> {
    let Counts { total, succeeded, failed, unreachable, .. } = summary.counts;
    let began = summary.started_at.as_ref()?.0;
    let (worked, ended) = (succeeded + failed + unreachable, summary.ended());
    if summary.state != State::InProgress || worked == 0 || ended >= total {
        return None;
    }
    let elapsed = u64::try_from(now.duration_since(began).as_secs()).ok()?;
    Some(Duration::from_secs(elapsed * u64::from(total - ended) / u64::from(worked)))
}

/// Returns the command to type next.
fn next(summary: &Summary, prompt: &Prompt) -> Option<String> {
    let Prompt { program, flags } = prompt;
    let run = &summary.run;
    let awaiting = summary.stages.iter().find(|stage| stage.state == StageState::AwaitingApproval);
    match (summary.state, awaiting, &summary.plan_digest) {
        (State::Paused, _, _) => Some(format!("{program} resume {run} {flags}")),
        (State::Planned, _, _) => Some(format!("{program} start {run} {flags}")),
        (State::Failed, _, _) if summary.counts.total > summary.counts.succeeded => {
            Some(format!("{program} retry {run} {flags}"))
        }
        (State::InProgress | State::AwaitingApproval | State::Waiting, Some(stage), Some(digest)) => {
            Some(format!("{program} approve {run} {} --plan {digest} {flags}", stage.name))
        }
        (
            State::Pending
            | State::Waiting
            | State::InProgress
            | State::AwaitingApproval
            | State::Cancelling
            | State::Succeeded
            | State::Failed,
            _,
            _,
        ) => None,
    }
}
