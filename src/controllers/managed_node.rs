//! Says of each ManagedNode that nobody has contacted yet what it waits for.

use super::Context;
use crate::api::managed_node::{ManagedNodeStatus, NodeType};
use crate::api::{ManagedNode, condition};
use crate::convert;
use crate::failure::chain;
use crate::publish::{self, CONTROLLER};
use farrier_update::Reason;
use kube::{Resource, ResourceExt};

/// Reviews every machine.
pub(super) async fn review_all(context: &Context) {
    for node in context.world.nodes.state() {
        review(context, &node).await;
    }
}

/// Writes the first status of a machine. What a runner has found out is the runner's to say.
pub(super) async fn review(context: &Context, node: &ManagedNode) {
    if node.status.as_ref().is_some_and(|s| !s.conditions.is_empty()) {
        return;
    }
    let status = first_status(node);
    if let Err(error) = publish::status(&context.client, node, CONTROLLER, &status).await
        && !publish::is_gone(&error)
    {
        tracing::warn!(namespace = node.namespace(), node = %node.name_any(), error = %chain(&error), "a machine's status could not be written");
    }
}

fn first_status(node: &ManagedNode) -> ManagedNodeStatus {
    let supported = node.spec.type_ == NodeType::Linux;
    let (status, reason, message) = if node.spec.hold {
        ("Unknown", Reason::Held, "spec.hold keeps this machine out of every run".to_owned())
    } else if supported {
        (
            "Unknown",
            Reason::Unknown,
            "not contacted yet; apply an UpdateRun, with operation Inventory to look only".to_owned(),
        )
    } else {
        let type_ = convert::type_name(node.spec.type_);
        (
            "False",
            Reason::NotYetSupported,
            format!(
                "this version has no driver for type {type_}; set spec.hold to keep the machine out of runs"
            ),
        )
    };
    let generation = node.meta().generation;
    let now = condition::now();
    let mut conditions = Vec::new();
    let stalled = if supported { "False" } else { "True" };
    for (type_, status) in [("Ready", status), ("Reconciling", "False"), ("Stalled", stalled)] {
        condition::set(&mut conditions, type_, status, reason.as_str(), &message, generation, &now);
    }
    ManagedNodeStatus {
        observed_generation: generation,
        conditions,
        ..node.status.clone().unwrap_or_default()
    }
}
