//! Metrics of the life of a NodeUpdate.

use crate::attempt::End;
use crate::failure::Failure;
use crate::metrics::{Metrics, result_of};
use farrier_update::{NodeVerdict, Reason};
use std::time::Duration;

/// Counts an attempt that has ended.
pub(super) fn attempt(metrics: &Metrics, end: &End, took: Duration) {
    let (result, reason) = result(end);
    metrics.attempts.count([result, reason.as_str()]);
    metrics.attempt_duration.observe([result], took);
}

/// Counts a NodeUpdate that has ended: no further attempt follows.
pub(super) fn ended(metrics: &Metrics, end: &End) {
    let (result, reason) = result(end);
    metrics.node_updates_ended.count([result, reason.as_str()]);
}

/// Counts a check whether the machine is clean.
pub(super) fn looked(metrics: &Metrics, clean: Option<&Result<(), Failure>>) {
    if let Some(clean) = clean {
        metrics.clean_ups.count([result_of(clean, Reason::NothingLeftBehind.as_str())]);
    }
}

/// Returns the result, in the words of `status.counts` of a run, and the reason.
pub(super) fn result(end: &End) -> (&'static str, Reason) {
    match end {
        End::Finished(NodeVerdict::Succeeded { reason, .. }) => ("succeeded", *reason),
        End::Inventoried => ("succeeded", Reason::Succeeded),
        End::Planned => ("planned", Reason::Planned),
        End::Cancelled | End::Finished(NodeVerdict::Cancelled { .. }) => ("cancelled", Reason::Cancelled),
        End::Finished(NodeVerdict::Failed { reason, .. }) | End::Failed(Failure { reason, .. }) => {
            (if reason.unreachable() { "unreachable" } else { "failed" }, *reason)
        }
    }
}
