//! Writes the status of each ManagedNode: what the node waits for until a run has contacted its
//! machine, and later what a change of its spec means for the recorded state.

use super::{Context, PARALLEL_WRITES};
use crate::api::managed_node::ManagedNodeStatus;
use crate::api::{ManagedNode, condition};
use crate::drivers::Register;
use crate::failure::chain;
use crate::publish::{self, CONTROLLER};
use farrier_update::Reason;
use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{Resource, ResourceExt};
use std::sync::Arc;

/// Reviews machines, some at a time: each that is new is written once.
pub(super) async fn review_all(context: &Context, nodes: Vec<Arc<ManagedNode>>) {
    let review = async |node: Arc<ManagedNode>| review(context, &node).await;
    futures::stream::iter(nodes).for_each_concurrent(PARALLEL_WRITES, review).await;
}

/// Writes what follows from the spec, if the status does not show it yet. What a runner has found is
/// written by the runner, and is kept.
async fn review(context: &Context, node: &ManagedNode) {
    let Some(status) = due(&context.register, node, &condition::now()) else { return };
    if let Err(error) = publish::status(&context.client, node, CONTROLLER, &status).await
        && !publish::is_gone(&error)
    {
        tracing::warn!(namespace = node.namespace(), node = %node.name_any(), error = %chain(&error), "a machine's status could not be written");
    }
}

/// The content of the condition `Ready`.
struct Verdict {
    status: &'static str,
    reason: Reason,
    message: String,
}

/// Returns the status to write, with the changes only; `None` if the status is up to date.
fn due(register: &Register, node: &ManagedNode, now: &Time) -> Option<ManagedNodeStatus> {
    let generation = node.meta().generation;
    let old = node.status.clone().unwrap_or_default();
    let ready = condition::find(&old.conditions, "Ready");
    let is_held = ready.is_some_and(|ready| ready.reason == Reason::Held.as_str());
    if ready.is_some() && is_held == node.spec.hold && old.observed_generation == generation {
        return None;
    }
    let Verdict { status, reason, message } = verdict(register, node, &old.conditions);
    let stalled = if reason == Reason::NotYetSupported { "True" } else { "False" };
    let mut conditions = old.conditions;
    for (type_, status) in [("Ready", status), ("Reconciling", "False"), ("Stalled", stalled)] {
        condition::set(&mut conditions, type_, status, reason.as_str(), &message, generation, now);
    }
    conditions.retain(|c| ["Ready", "Reconciling", "Stalled"].contains(&c.type_.as_str()));
    Some(ManagedNodeStatus { observed_generation: generation, conditions, ..ManagedNodeStatus::default() })
}

fn verdict(register: &Register, node: &ManagedNode, known: &[Condition]) -> Verdict {
    let open = |reason: Reason, message: &str| Verdict { status: "Unknown", reason, message: message.into() };
    if node.spec.hold {
        return open(Reason::Held, "spec.hold keeps this machine out of every run that starts from now on");
    }
    if register.class(node.spec.type_, node.spec.product.as_deref()).is_none() {
        return Verdict {
            status: "False",
            reason: Reason::NotYetSupported,
            message: format!(
                "this version has no driver for type {}; set spec.hold to keep the machine out of runs",
                node.spec.type_
            ),
        };
    }
    if condition::find(known, "Reachable").is_none() {
        return open(
            Reason::Unknown,
            "not contacted yet; apply an UpdateRun (operation Inventory installs nothing)",
        );
    }
    let is = |type_: &str| condition::is(known, type_, "True");
    if is("Reachable") && is("Authenticated") && !condition::is(known, "Ready", "False") {
        return Verdict {
            status: "True",
            reason: Reason::Reachable,
            message: "a run reached it before the last change of its spec".into(),
        };
    }
    open(
        Reason::Unknown,
        "the other conditions are from before the last change of the spec; the next UpdateRun updates them (operation Inventory installs nothing)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Builds a machine of this generation and type; `conditions` is the known state, of generation 1.
    fn node(generation: i64, type_: &str, hold: bool, conditions: &[(&str, &str, &str)]) -> ManagedNode {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(type_, status, reason)| {
                json!({"type": type_, "status": status, "reason": reason, "message": "m",
                    "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .collect();
        let mut node = json!({
            "metadata": {"name": "db", "namespace": "n", "generation": generation},
            "spec": {"type": type_, "addresses": ["10.0.0.1"], "credentialsRef": {"name": "db"}, "hold": hold},
        });
        if !conditions.is_empty() {
            node["status"] = json!({"observedGeneration": 1, "conditions": conditions});
        }
        serde_json::from_value(node).unwrap()
    }

    /// Returns the written conditions as type, status, reason.
    fn written(node: &ManagedNode) -> Option<Vec<(String, String, String)>> {
        let status = due(&Register::default(), node, &condition::now())?;
        assert_eq!(status.observed_generation, node.meta().generation);
        Some(status.conditions.into_iter().map(|c| (c.type_, c.status, c.reason)).collect())
    }

    fn three(ready: &str, stalled: &str, reason: &str) -> Vec<(String, String, String)> {
        let all = [("Ready", ready), ("Reconciling", "False"), ("Stalled", stalled)];
        all.map(|(type_, status)| (type_.into(), status.into(), reason.into())).to_vec()
    }

    const WELL: [(&str, &str, &str); 3] = [
        ("Ready", "True", "Reachable"),
        ("Reachable", "True", "Reachable"),
        ("Authenticated", "True", "Authenticated"),
    ];

    /// Regression test: after `kubectl patch mn db -p '{"spec":{"hold":true}}'` no condition said that
    /// the machine is held, and tools that wait for `observedGeneration` waited until the next run.
    #[test]
    fn a_hold_is_seen_when_it_is_set_and_when_it_is_lifted() {
        assert_eq!(written(&node(1, "Linux", false, &[])), Some(three("Unknown", "False", "Unknown")));
        assert_eq!(written(&node(1, "Linux", true, &[])), Some(three("Unknown", "False", "Held")));
        assert_eq!(written(&node(2, "Linux", true, &WELL)), Some(three("Unknown", "False", "Held")));
        // A run in progress has overwritten the condition.
        assert_eq!(written(&node(1, "Linux", true, &WELL)), Some(three("Unknown", "False", "Held")));
        let held = [("Ready", "Unknown", "Held"), WELL[1], WELL[2]];
        assert_eq!(written(&node(1, "Linux", true, &held)), None);
        assert_eq!(written(&node(2, "Linux", false, &held)), Some(three("True", "False", "Reachable")));
    }

    /// A machine would stay stalled for an error that was corrected, or lose its known state.
    #[test]
    fn a_change_of_the_spec_updates_the_conditions() {
        assert_eq!(written(&node(1, "Linux", false, &WELL)), None);
        assert_eq!(written(&node(2, "Linux", false, &WELL)), Some(three("True", "False", "Reachable")));
        let wrong =
            [("Ready", "False", "PasswordRejected"), WELL[1], ("Authenticated", "False", "PasswordRejected")];
        assert_eq!(written(&node(1, "Linux", false, &wrong)), None);
        assert_eq!(written(&node(2, "Linux", false, &wrong)), Some(three("Unknown", "False", "Unknown")));
        assert_eq!(written(&node(1, "Windows", false, &[])), Some(three("False", "True", "NotYetSupported")));
    }
}
