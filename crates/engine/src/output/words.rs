//! Events as lines of the log.

use farrier_protocol::{EventBody, StepExit};

/// Returns the line for an event; `None` for one that does not concern users.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds do not concern users")]
pub(super) fn of(body: &EventBody) -> Option<String> {
    Some(match body {
        EventBody::SurveyDone { .. } => "the machine has been read".into(),
        EventBody::TaskStarted { task, components } => format!("{task} begins: {}", components.join(", ")),
        EventBody::PayloadVerified { component, digest, .. } => {
            format!("{component}: the payload has the digest {digest}")
        }
        EventBody::StepStarted { component, limit, .. } => {
            let limit = limit.map(|limit| format!(", at most {} s", limit.seconds)).unwrap_or_default();
            format!("{component}: the installer starts{limit}")
        }
        EventBody::StepOverdue { component, ended: true, .. } => {
            format!("{component}: the installer is terminated, because its time is over")
        }
        EventBody::StepOverdue { component, ended: false, .. } => {
            format!("{component}: the installer is overdue and is left to finish")
        }
        EventBody::StepFinished { component, exit, .. } => format!("{component}: {}", ending(exit)),
        EventBody::TaskDone { task } => format!("{task} has ended"),
        EventBody::TaskFailed { task, message, .. } => format!("{task} has failed: {message}"),
        EventBody::Waiting { wait: Some(wait) } => match &wait.holder {
            Some(holder) => format!("waiting for {} (process {})", holder.name, holder.pid),
            None => "waiting".into(),
        },
        EventBody::Waiting { wait: None } => "the wait is over".into(),
        EventBody::Retired { leftovers } if leftovers.is_empty() => "everything is removed".into(),
        EventBody::Retired { leftovers } => format!("{} things could not be removed", leftovers.len()),
        _ => return None,
    })
}

fn ending(exit: &StepExit) -> String {
    match exit {
        StepExit::Exited { code } => format!("the installer ended with status {code}"),
        StepExit::Signalled { signal } => format!("the installer was ended by signal {signal}"),
        StepExit::TimedOut => "the installer was ended by its time limit".into(),
        StepExit::DependencyMissing => "not installed: a dependency is missing".into(),
        StepExit::Interrupted => "the engine or the machine stopped while the installer ran".into(),
        StepExit::Cancelled => "not started: the run is cancelled".into(),
        StepExit::Skipped => "not started: a component before it did not succeed".into(),
        StepExit::NotStarted { detail, .. } => format!("not started: {detail}"),
        StepExit::Unknown => "ended".into(),
    }
}
