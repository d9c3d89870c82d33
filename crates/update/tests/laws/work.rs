//! What a runner does for a NodeUpdate, one step at a time.

use farrier_update::model::Millis;
use farrier_update::reason::Reason;
use farrier_update::run::{Intent, NodeEnd, UpdateFacts, UpdatePhase};
use std::time::Duration;

/// The outcome of a runner's step for a NodeUpdate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkResult {
    Good,
    Bad,
    Away,
    Retry,
    /// An object that the work needs is missing.
    Missing,
}

/// Returns the next phase of a NodeUpdate after a runner's step.
pub(crate) fn next_phase(update: &UpdateFacts, work_result: WorkResult, now: Millis) -> UpdatePhase {
    let failed =
        UpdatePhase::Done(NodeEnd::Failed { reason: Reason::InstallerFailed, message: "dpkg".to_owned() });
    let away = NodeEnd::Unreachable { reason: Reason::ConnectionTimedOut, message: "no answer".to_owned() };
    match (&update.phase, update.intent, work_result) {
        (UpdatePhase::Done(end), _, _) => UpdatePhase::Done(end.clone()),
        (UpdatePhase::Planned, Intent::Plan, _)
        | (UpdatePhase::Working { .. }, Intent::Plan, WorkResult::Good) => UpdatePhase::Planned,
        // The component in progress may still succeed or fail.
        (UpdatePhase::Working { .. }, _, WorkResult::Bad) => failed,
        (UpdatePhase::Working { .. }, Intent::Cancel, WorkResult::Retry)
        | (UpdatePhase::Working { .. }, Intent::Run, WorkResult::Good) => {
            UpdatePhase::Done(NodeEnd::Succeeded)
        }
        (_, Intent::Cancel, _) => UpdatePhase::Done(NodeEnd::Cancelled),
        (
            UpdatePhase::Pending | UpdatePhase::Working { .. } | UpdatePhase::Awaiting { .. },
            _,
            WorkResult::Missing,
        ) => {
            let message = "there is no secret".to_owned();
            UpdatePhase::Awaiting { reason: Reason::SecretNotFound, message }
        }
        (
            UpdatePhase::Pending
            | UpdatePhase::Awaiting { .. }
            | UpdatePhase::WaitingForRetry { .. }
            | UpdatePhase::Planned,
            _,
            _,
        ) => UpdatePhase::Working { step: "connecting".to_owned() },
        (UpdatePhase::Working { .. }, _, WorkResult::Away) => UpdatePhase::Done(away),
        (UpdatePhase::Working { .. }, _, WorkResult::Retry) => UpdatePhase::WaitingForRetry {
            at: now.after(Duration::from_secs(5)),
            reason: Reason::ConnectionTimedOut,
        },
    }
}
