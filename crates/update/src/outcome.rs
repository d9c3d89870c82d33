//! Determines the results of components and nodes from the plan and the second reading.
//!
//! **The second reading decides, not the exit code**: some installers report success
//! although they failed, and others report failure although they succeeded. The exit code
//! explains a failure. It decides only where the reading cannot: when the same version was
//! installed again.

pub(crate) mod exit;
mod installed;
mod kept;
mod staged;
mod verdict;

pub use exit::{ExitMeaning, sum_result};
pub use staged::conclude_staged;
pub use verdict::{NodeVerdict, summarize};

use crate::model::Millis;
use crate::plan::{Action, LATER_READING, PlanItem, is_unloaded};
use crate::reason::Reason;
use crate::version::compare_installed;
use farrier_protocol::{Reading, StepExit};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// The result of a component on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The baseline's version, or a newer one, was installed before.
    UpToDate,
    /// The baseline's version is installed now, and was not installed before.
    Updated,
    /// The image is on the machine and is not in effect, as the run has asked for.
    Staged,
    /// The component is installed and takes effect after the next reboot, or after a power cycle.
    RebootPending,
    /// The installation was attempted, and the baseline's version is not installed, or not in effect although the
    /// machine was rebooted for it.
    Failed,
    /// The component is not meant for this machine.
    NotApplicable,
    /// A requirement of the component is missing.
    DependencyMissing,
    /// The installation was not attempted.
    Skipped,
    /// The installation was not attempted, because the run was cancelled.
    Cancelled,
    /// It is not known whether the baseline's version is installed.
    Unverified,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 10] = [
        Self::UpToDate,
        Self::Updated,
        Self::Staged,
        Self::RebootPending,
        Self::Failed,
        Self::NotApplicable,
        Self::DependencyMissing,
        Self::Skipped,
        Self::Cancelled,
        Self::Unverified,
    ];

    /// Returns the name, as it appears in the status of a NodeUpdate.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::Updated => "Updated",
            Self::Staged => "Staged",
            Self::RebootPending => "RebootPending",
            Self::Failed => "Failed",
            Self::NotApplicable => "NotApplicable",
            Self::DependencyMissing => "DependencyMissing",
            Self::Skipped => "Skipped",
            Self::Cancelled => "Cancelled",
            Self::Unverified => "Unverified",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The complete result of a component on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentResult {
    /// Name of the component.
    pub name: String,
    /// The result.
    pub outcome: Outcome,
    /// The result as a reason, which distinguishes kinds of failure.
    pub reason: Reason,
    /// The version that the first reading found; empty if the component was not installed.
    pub before: String,
    /// The version that the second reading found; empty if the component is not installed.
    pub after: String,
    /// The installer's exit code, if the installer ran and exited.
    pub exit_code: Option<i32>,
    /// When the installer was started.
    pub started_at: Option<Millis>,
    /// When the installer ended.
    pub finished_at: Option<Millis>,
    /// What happened, and the next step; empty if the outcome needs no explanation.
    pub message: String,
    /// What became of each part of the machine that the image is for, if it is for several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartResult>,
}

/// What became of one part of a machine that an image is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartResult {
    /// The entry of the machine's own firmware inventory.
    pub entry: String,
    /// The version that the first reading found.
    pub before: String,
    /// The version that the last reading found.
    pub after: String,
    /// Whether the machine says that it was not updated, and it has the same version as before.
    pub failed: bool,
}

/// The engine's report about one step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StepRecord {
    /// When the installer was started, by the machine's clock.
    pub started_at: Option<Millis>,
    /// When the installer ended, by the machine's clock.
    pub finished_at: Option<Millis>,
    /// How the installer ended; `None` if the engine has not reported it.
    pub exit: Option<StepExit>,
    /// The end of the installer's output.
    pub output: String,
    /// Whether the machine was rebooted after the installer had ended.
    pub rebooted: bool,
}

/// An outcome with its explanation, from which a `ComponentResult` is built.
#[derive(Debug)]
struct Finding {
    outcome: Outcome,
    reason: Reason,
    message: String,
}

impl Finding {
    fn new(outcome: Outcome, reason: Reason, message: impl Into<String>) -> Self {
        Self { outcome, reason, message: message.into() }
    }
}

/// Compares the plan of a component with its current state.
///
/// `step` is the engine's report, if there is one; `after` is the second reading, if there
/// was one.
pub fn conclude(item: &PlanItem, step: Option<&StepRecord>, after: Option<&Reading>) -> ComponentResult {
    let (before, counted) = (item.found(), after.map(|reading| item.count(reading)));
    let finding = match &item.action {
        Action::Install { from: _, to } => installed::find(item, to, step, counted.as_ref()),
        Action::UpToDate { at, newer } => still_up_to_date(item, at, *newer, counted.as_ref()),
        Action::NotApplicable { why } => Finding::new(Outcome::NotApplicable, Reason::NotRequired, why),
        Action::DependencyMissing { missing } => Finding::new(
            Outcome::DependencyMissing,
            Reason::DependencyMissing,
            format!(
                "{} requires {}; add it to the baseline or see onFailedDependency",
                item.component.name,
                missing.join(" and ")
            ),
        ),
        Action::NotSupported { what } => Finding::new(
            Outcome::Skipped,
            Reason::NotYetSupported,
            format!(
                "{}: {what} is not supported in this version; leave the component out",
                item.component.name
            ),
        ),
        Action::Blocked { why, reason: Reason::NotVerified } => {
            Finding::new(Outcome::Unverified, Reason::NotVerified, why)
        }
        Action::Blocked { why, reason: reason @ (Reason::RebootPending | Reason::PowerCyclePending) } => {
            waited(item, why, *reason, counted.as_ref())
        }
        Action::Blocked { why, reason } => Finding::new(Outcome::Skipped, *reason, why),
    };
    let shown_after = match (&item.action, &counted) {
        (_, Some(reading)) => shown(Some(reading)),
        (Action::Install { .. }, None) => String::new(),
        // The component was not touched, so the first reading still holds.
        (
            Action::UpToDate { .. }
            | Action::NotApplicable { .. }
            | Action::DependencyMissing { .. }
            | Action::NotSupported { .. }
            | Action::Blocked { .. },
            None,
        ) => shown(before.as_ref()),
    };
    // The remark describes the latest reading.
    let remark = after.or(item.before.as_ref()).and_then(|reading| item.remark(reading));
    let message = [Some(finding.message).filter(|message| !message.is_empty()), remark];
    ComponentResult {
        name: item.component.name.clone(),
        outcome: finding.outcome,
        reason: finding.reason,
        before: shown(before.as_ref()),
        after: shown_after,
        exit_code: step.and_then(|step| exit_code(step.exit.as_ref())),
        started_at: step.and_then(|step| step.started_at),
        finished_at: step.and_then(|step| step.finished_at),
        message: message.into_iter().flatten().collect::<Vec<_>>().join("; "),
        parts: Vec::new(),
    }
}

/// Checks whether what waited for a reboot or a power cycle has taken effect. After a reboot of the run,
/// [`reboot::check_pending`](crate::reboot::check_pending) judges what has not.
fn waited(item: &PlanItem, why: &str, reason: Reason, after: Option<&Reading>) -> Finding {
    let is_there = matches!(
        after,
        Some(Reading::Present { version, pending, .. })
            if is_enough(item, version) && !is_unloaded(pending.as_ref())
    );
    if is_there {
        Finding::new(Outcome::Updated, Reason::Verified, "")
    } else {
        Finding::new(Outcome::RebootPending, reason, why)
    }
}

/// Checks whether a component that was up to date before the run still is.
fn still_up_to_date(item: &PlanItem, at: &str, newer: bool, after: Option<&Reading>) -> Finding {
    let name = &item.component.name;
    let wanted = &item.component.version;
    let message =
        if newer { format!("{at} is newer than the baseline's {wanted}; left alone") } else { String::new() };
    let good = Finding::new(Outcome::UpToDate, Reason::AlreadyCurrent, message);
    let lost = |now: String| {
        Finding::new(
            Outcome::Failed,
            Reason::VersionNotReached,
            format!(
                "{name} was {at} before this run and {now} now; another component of the baseline changed it"
            ),
        )
    };
    match after {
        None => good,
        Some(Reading::Present { version, .. }) if is_enough(item, version) => good,
        Some(Reading::Present { version, .. }) => lost(format!("is {version}")),
        Some(Reading::Absent) => lost("is not installed".to_owned()),
        Some(Reading::Broken { detail, .. }) => lost(format!("is {detail}")),
        Some(Reading::Unreadable { detail }) => Finding::new(
            Outcome::Unverified,
            Reason::NotVerified,
            format!("{name} was {at} before this run and cannot be read now: {detail}"),
        ),
        Some(Reading::Unknown) => Finding::new(
            Outcome::Unverified,
            Reason::NotVerified,
            format!("{name} was {at} before this run and cannot be read now: {LATER_READING}"),
        ),
    }
}

/// Reports whether a version is at least the baseline's version.
fn is_enough(item: &PlanItem, version: &str) -> bool {
    let scheme = item.component.installer.versions();
    compare_installed(scheme, version, &item.component.version) != Ordering::Less
}

/// Formats a reading as a version for users; empty if nothing is installed.
fn shown(reading: Option<&Reading>) -> String {
    match reading {
        None | Some(Reading::Absent | Reading::Unreadable { .. } | Reading::Unknown) => String::new(),
        Some(Reading::Present { version, .. }) => version.clone(),
        Some(Reading::Broken { version, detail, .. }) => {
            format!("{version} ({detail})").trim_start().to_owned()
        }
    }
}

/// Returns the exit code of an installer that exited.
const fn exit_code(exit: Option<&StepExit>) -> Option<i32> {
    match exit {
        Some(StepExit::Exited { code }) => Some(*code),
        Some(
            StepExit::Signalled { .. }
            | StepExit::TimedOut
            | StepExit::DependencyMissing
            | StepExit::Interrupted
            | StepExit::Cancelled
            | StepExit::Skipped
            | StepExit::NotStarted { .. }
            | StepExit::Unknown,
        )
        | None => None,
    }
}

#[cfg(test)]
mod tests;
