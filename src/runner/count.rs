//! Metrics of the life of a NodeUpdate.

use crate::api::{UpdateRun, is_scheduled};
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

/// Counts a NodeUpdate that has ended: no further attempt follows. `run` is its run, unless that is gone.
pub(super) fn ended(metrics: &Metrics, run: Option<&UpdateRun>, end: &End) {
    let origin = if run.is_some_and(is_scheduled) { "schedule" } else { "user" };
    let (result, reason) = result(end);
    metrics.node_updates_ended.count([origin, result, reason.as_str()]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{LABEL_SCHEDULED, SCHEDULED_INVENTORY};
    use serde_json::json;

    /// Otherwise machines that are off at night would wake somebody, or machines that an update loses would not.
    #[test]
    fn what_the_schedule_does_not_reach_is_counted_apart() {
        let run = |labels| {
            let spec = json!({"operation": "Inventory", "nodes": ["db"]});
            let run = json!({"apiVersion": "farrier.dev/v1alpha1", "kind": "UpdateRun", "metadata": {"name": "r", "labels": labels}, "spec": spec});
            serde_json::from_value::<UpdateRun>(run).unwrap()
        };
        let scheduled = run(json!({LABEL_SCHEDULED: SCHEDULED_INVENTORY}));
        let other = run(json!({LABEL_SCHEDULED: "backup"}));
        let metrics = Metrics::new();
        let end = End::Failed(Failure::new(Reason::NoRoute, "db is off"));
        for run in [Some(&scheduled), Some(&other), Some(&run(json!({}))), None] {
            ended(&metrics, run, &end);
        }
        let text = metrics.encode().unwrap();
        for (origin, count) in [("schedule", 1), ("user", 3)] {
            let line = format!(
                "farrier_node_updates_ended_total{{origin=\"{origin}\",result=\"unreachable\",reason=\"NoRoute\"}} {count}"
            );
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
    }
}
