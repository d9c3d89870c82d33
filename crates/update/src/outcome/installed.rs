//! Determines the result of a component that was to be installed.

use super::exit::ExitMeaning;
use super::{Finding, Outcome, StepRecord, is_enough, kept};
use crate::model::RebootNeed;
use crate::plan::{LATER_READING, PlanItem, is_unloaded, pending_reason, pending_text};
use crate::reason::{Reason, refusal_remedy, remedy};
use crate::version::compare_installed;
use farrier_protocol::{FailureCode, Pending, Reading, StepExit};
use std::cmp::Ordering;

/// Maximum number of characters of an installer's output in a message. Conditions hold 32
/// KiB, and a terminal line much less.
const MAX_QUOTE_LEN: usize = 400;

/// Number of last lines that are quoted: dpkg prints the cause some lines before its summary.
const LAST_LINES: usize = 5;

/// Determines the result from the second reading, or from the exit code if the reading cannot
/// decide.
pub(super) fn find(item: &PlanItem, to: &str, step: Option<&StepRecord>, after: Option<&Reading>) -> Finding {
    let step = StepReport::of(item, step);
    match after {
        Some(Reading::Present { version, pending, .. })
            if is_reached(item, version) && !is_unloaded(pending.as_ref()) =>
        {
            reached(item, version, &step)
        }
        Some(Reading::Present { version, pending: Some(pending), .. })
            if is_reached(item, &pending.version) && !step.rebooted =>
        {
            staged(item, version, pending, &step)
        }
        Some(Reading::Present { version, .. }) if is_reached(item, version) => not_done(
            item,
            &step,
            &format!(
                "the kernel has loaded another build of {} after the reboot, perhaps from its initramfs: \
                 update that, then reboot the machine",
                item.component.name
            ),
        ),
        Some(Reading::Present { version, .. }) => {
            not_reached(item, to, &step, &format!("is still {version}"))
        }
        Some(Reading::Absent) => not_reached(item, to, &step, "is not installed"),
        Some(Reading::Broken { detail, .. }) => not_reached(item, to, &step, &format!("is {detail}")),
        Some(Reading::Unreadable { detail }) => not_read(item, to, &step, detail),
        Some(Reading::Unknown) => not_read(item, to, &step, LATER_READING),
        None => not_read(item, to, &step, "there is no second reading of the machine"),
    }
}

/// The engine's report about the installer, in the form that this module needs.
struct StepReport<'a> {
    exit: Option<&'a StepExit>,
    meaning: Option<ExitMeaning>,
    last_lines: Option<String>,
    /// What was kept although the package brings something else.
    kept: Option<String>,
    /// Whether the engine reported that the installer was started.
    begun: bool,
    /// Whether the machine was rebooted since.
    rebooted: bool,
}

impl<'a> StepReport<'a> {
    fn of(item: &PlanItem, step: Option<&'a StepRecord>) -> Self {
        let exit = step.and_then(|step| step.exit.as_ref());
        let meaning = super::exit_code(exit).map(|code| item.component.installer.exit(code));
        let last_lines = step.and_then(|step| last_lines(&step.output));
        let kept = step.and_then(|step| kept::remark(&step.output));
        let begun = step.is_some_and(|step| step.started_at.is_some());
        Self { exit, meaning, last_lines, kept, begun, rebooted: step.is_some_and(|step| step.rebooted) }
    }

    /// Describes how the installer ended, to follow "the installer of X".
    fn ended(&self) -> String {
        match (self.exit, self.meaning) {
            (Some(StepExit::Exited { code }), Some(meaning)) => {
                format!("exited with {code} ({})", meaning.as_str())
            }
            (Some(StepExit::Exited { code }), None) => format!("exited with {code}"),
            (Some(StepExit::Signalled { signal }), _) => format!("was terminated by signal {signal}"),
            (Some(StepExit::TimedOut), _) => "exceeded its timeout and was terminated".to_owned(),
            (Some(StepExit::Interrupted), _) => {
                "was interrupted, because the machine or the engine died".to_owned()
            }
            (Some(StepExit::DependencyMissing), _) => {
                "found that a dependency of the package is missing".to_owned()
            }
            (Some(StepExit::Cancelled), _) => "was not started, because the run was cancelled".to_owned(),
            (Some(StepExit::Skipped), _) => "was not started, because a required component failed".to_owned(),
            (Some(StepExit::NotStarted { detail, refusal: Some(_), .. }), _) => {
                format!("was not started: {detail}")
            }
            (Some(StepExit::NotStarted { detail, refusal: None, .. }), _) => {
                format!("could not be started: {detail}")
            }
            (Some(StepExit::Unknown), _) => {
                "ended with a result that only a later version of Farrier knows".to_owned()
            }
            (None, _) if self.begun => "was started, but its result is not known".to_owned(),
            (None, _) => "was not started".to_owned(),
        }
    }

    /// Tells the user where to find the installer's output.
    fn next_step(&self) -> String {
        match &self.last_lines {
            Some(lines) => {
                format!("its last output: {lines}; the full log is on the machine, see status.logs")
            }
            None => "its log is on the machine, see status.logs".to_owned(),
        }
    }

    fn asks_for_reboot(&self) -> bool {
        self.meaning == Some(ExitMeaning::DoneRebootNeeded)
    }

    /// Reports whether the installer did not run, according to the engine.
    const fn never_ran(&self) -> bool {
        match self.exit {
            Some(
                StepExit::Cancelled
                | StepExit::Skipped
                | StepExit::NotStarted { .. }
                | StepExit::DependencyMissing,
            ) => true,
            Some(
                StepExit::Exited { .. }
                | StepExit::Signalled { .. }
                | StepExit::TimedOut
                | StepExit::Interrupted
                | StepExit::Unknown,
            ) => false,
            None => !self.begun,
        }
    }

    fn is_done(&self) -> bool {
        self.meaning.is_some_and(ExitMeaning::is_done)
    }
}

/// Reports whether this version is the required one.
///
/// A plain update accepts a newer version. If the run allows downgrades, a newer version may
/// be the very thing to be replaced, so only the exact version is accepted.
fn is_reached(item: &PlanItem, version: &str) -> bool {
    if item.force.downgrade {
        let scheme = item.component.installer.versions();
        return compare_installed(scheme, version, &item.component.version) == Ordering::Equal;
    }
    is_enough(item, version)
}

/// Reports whether the version was installed and working before anything was done. Then the
/// second reading proves nothing, and the exit code decides.
fn is_rewrite(item: &PlanItem) -> bool {
    match item.found() {
        Some(Reading::Present { version, .. }) => is_reached(item, &version),
        Some(Reading::Absent | Reading::Broken { .. } | Reading::Unreadable { .. } | Reading::Unknown)
        | None => false,
    }
}

fn reached(item: &PlanItem, version: &str, step: &StepReport<'_>) -> Finding {
    let name = &item.component.name;
    if is_rewrite(item) && !step.is_done() {
        return not_done(
            item,
            step,
            &format!("{name} {version} was installed before, so the reading proves nothing"),
        );
    }
    let message = match (step.is_done(), step.never_ran()) {
        (true, _) => step.kept.clone().unwrap_or_default(),
        (false, true) => format!("{name} {version} is installed, although its installer {}", step.ended()),
        (false, false) => {
            format!(
                "{name} {version} is installed, although its installer {}; {}",
                step.ended(),
                step.next_step()
            )
        }
    };
    let pending = match item.component.reboot {
        RebootNeed::Never => false,
        RebootNeed::IfRequested => step.asks_for_reboot(),
        RebootNeed::Always => true,
    };
    if !pending || step.rebooted {
        return Finding::new(Outcome::Updated, Reason::Verified, message);
    }
    let separator = if message.is_empty() { "" } else { "; " };
    Finding::new(
        Outcome::RebootPending,
        Reason::RebootPending,
        format!("{name} {version} takes effect after the next reboot of the machine{separator}{message}"),
    )
}

/// The required version is on the device and not in effect.
fn staged(item: &PlanItem, version: &str, pending: &Pending, step: &StepReport<'_>) -> Finding {
    let mut message = pending_text(&item.component.name, version, pending);
    if !step.is_done() {
        message = format!("{message}; its installer {}; {}", step.ended(), step.next_step());
    }
    Finding::new(Outcome::RebootPending, pending_reason(pending.until), message)
}

/// The version was read, and is not the required one.
fn not_reached(item: &PlanItem, to: &str, step: &StepReport<'_>, now: &str) -> Finding {
    let name = &item.component.name;
    let shows_after_reboot = match item.component.reboot {
        RebootNeed::Never => false,
        RebootNeed::IfRequested => step.asks_for_reboot(),
        RebootNeed::Always => step.is_done(),
    };
    if shows_after_reboot && !step.rebooted {
        return Finding::new(
            Outcome::Unverified,
            // Not `NotVerified`: a reboot is needed for more than the reading.
            Reason::RebootPending,
            format!(
                "the installer of {name} {}, and {name} {now} before the reboot it needs; \
                 reboot the machine, then start a run with operation Inventory to prove {to}",
                step.ended()
            ),
        );
    }
    let after = if step.rebooted { " after the reboot" } else { "" };
    not_done(item, step, &format!("{name} {now}, not {to}{after}"))
}

/// The version could not be read.
fn not_read(item: &PlanItem, to: &str, step: &StepReport<'_>, why: &str) -> Finding {
    if step.never_ran() {
        return not_done(item, step, "nothing was changed");
    }
    let name = &item.component.name;
    Finding::new(
        Outcome::Unverified,
        Reason::NotVerified,
        format!(
            "it is not known whether {name} {to} is installed: {why}; its installer {}; {}",
            step.ended(),
            step.next_step()
        ),
    )
}

/// The required state was not reached: the reason follows from how the installer ended.
fn not_done(item: &PlanItem, step: &StepReport<'_>, state: &str) -> Finding {
    let name = &item.component.name;
    let (outcome, reason) = match step.exit {
        Some(StepExit::Exited { .. }) => match step.meaning {
            Some(ExitMeaning::Done | ExitMeaning::DoneRebootNeeded | ExitMeaning::Nothing(_)) => {
                (Outcome::Failed, Reason::VersionNotReached)
            }
            Some(ExitMeaning::Cancelled | ExitMeaning::Failed(_)) | None => {
                (Outcome::Failed, Reason::InstallerFailed)
            }
        },
        Some(StepExit::NotStarted { refusal: Some(refusal), .. }) => {
            (Outcome::Failed, Reason::from(*refusal))
        }
        Some(
            StepExit::Signalled { .. }
            | StepExit::NotStarted { code: FailureCode::Other, .. }
            | StepExit::Unknown,
        ) => (Outcome::Failed, Reason::InstallerFailed),
        Some(StepExit::NotStarted { code, .. }) => (Outcome::Failed, Reason::from(*code)),
        Some(StepExit::TimedOut) => (Outcome::Failed, Reason::InstallerTimedOut),
        Some(StepExit::Interrupted) => (Outcome::Failed, Reason::InstallerInterrupted),
        Some(StepExit::DependencyMissing) => (Outcome::DependencyMissing, Reason::DependencyMissing),
        Some(StepExit::Cancelled) => (Outcome::Cancelled, Reason::Cancelled),
        Some(StepExit::Skipped) => (Outcome::Skipped, Reason::DependencyFailed),
        None if step.begun => (Outcome::Failed, Reason::EngineLost),
        None => (Outcome::Skipped, Reason::EngineFailed),
    };
    let connective = if step.is_done() { "but" } else { "and" };
    let mut message = format!("the installer of {name} {}, {connective} {state}", step.ended());
    if !step.never_ran() || step.last_lines.is_some() {
        message = format!("{message}; {}", step.next_step());
    } else if let Some(StepExit::NotStarted { code, refusal, .. }) = step.exit {
        let remedy = refusal.map_or_else(|| remedy(*code), refusal_remedy);
        message = format!("{message}; {remedy}");
    }
    Finding::new(outcome, reason, message)
}

/// Returns the last non-empty lines of an output for a message, or the end of those lines if
/// they are too long.
fn last_lines(output: &str) -> Option<String> {
    let lines: Vec<&str> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join(" / ");
    let printable: Vec<char> = last.chars().filter(|c| !c.is_control()).collect();
    let end = printable.get(printable.len().saturating_sub(MAX_QUOTE_LEN)..).unwrap_or_default();
    let cut = (end.len() < printable.len()).then_some('…');
    (!end.is_empty()).then(|| cut.into_iter().chain(end.iter().copied()).collect())
}
