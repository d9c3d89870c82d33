//! The kinds of `farrier.dev/v1alpha1`: types and their schema rules, no logic.
//!
//! The doc comments of this module are user documentation: `kubectl explain` prints them.

#![expect(clippy::doc_markdown, reason = "the comments are printed by kubectl explain as they are")]
#![expect(
    unreachable_pub,
    reason = "KubeSchema repeats the types in a place of its own to derive their schema"
)]

pub mod baseline;
pub mod condition;
pub mod log_request;
pub mod managed_node;
pub mod node_inventory;
pub mod node_update;
pub mod quantity;
pub mod tls;
pub mod update_run;
mod words;

pub use baseline::{Baseline, BaselineSpec, BaselineStatus};
pub use log_request::{LogRequest, LogRequestSpec, LogRequestStatus};
pub use managed_node::{ManagedNode, ManagedNodeSpec, ManagedNodeStatus};
pub use node_inventory::{NodeInventory, NodeInventorySpec, NodeInventoryStatus};
pub use node_update::{NodeUpdate, NodeUpdateSpec, NodeUpdateStatus};
pub use update_run::{UpdateRun, UpdateRunSpec, UpdateRunStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The API group of every kind.
pub const GROUP: &str = "farrier.dev";

/// Label on a NodeUpdate: the name of its UpdateRun.
pub const LABEL_RUN: &str = "farrier.dev/run";

/// Label on a NodeUpdate and a NodeInventory: the name of its ManagedNode.
pub const LABEL_NODE: &str = "farrier.dev/node";

/// Label on every object that the operator creates for an UpdateRun: the UID of the run.
pub const LABEL_RUN_UID: &str = "farrier.dev/run-uid";

/// Label on an UpdateRun that the operator has made: the value `inventory` for one that takes scheduled inventories.
pub const LABEL_SCHEDULED: &str = "farrier.dev/scheduled";

/// Value of [`LABEL_SCHEDULED`] on runs that take scheduled inventories.
pub const SCHEDULED_INVENTORY: &str = "inventory";

/// Reports whether the operator has made this run to take scheduled inventories.
pub fn is_scheduled(run: &UpdateRun) -> bool {
    run.metadata
        .labels
        .iter()
        .flatten()
        .any(|(name, value)| name == LABEL_SCHEDULED && value == SCHEDULED_INVENTORY)
}

/// Label on a LogRequest: the runner that answers it.
pub const LABEL_RUNNER: &str = "farrier.dev/runner";

/// Finalizer of UpdateRuns and NodeUpdates: the object is removed only after the machines are cleaned.
pub const FINALIZER: &str = "farrier.dev/clean-up";

/// Annotation that abandons the clean-up of a deleted object: the object is removed at once, and what is
/// left on machines stays until the lease of the engine expires.
pub const ABANDON_ANNOTATION: &str = "farrier.dev/abandon";

/// Annotation of a Node that a NodeUpdate has cordoned: namespace, name and UID of the NodeUpdate, separated by `/`.
pub const CORDONED_BY_ANNOTATION: &str = "farrier.dev/cordoned-by";

/// Annotation by which a user approves stages of a run: `<stage>@<status.planDigest>`, several separated by commas.
pub const APPROVE_ANNOTATION: &str = "farrier.dev/approve";

/// The name of another object in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocalRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Shortens the name of an object to a valid label value: at most 63 characters, the last one alphanumeric.
pub fn label_value(name: &str) -> String {
    let cut: String = name.chars().take(63).collect();
    cut.trim_end_matches(['-', '.', '_']).to_owned()
}

/// Returns all definitions, in the order in which users meet them.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        ManagedNode::crd(),
        Baseline::crd(),
        UpdateRun::crd(),
        NodeUpdate::crd(),
        NodeInventory::crd(),
        LogRequest::crd(),
    ];
    let schemas = all
        .iter_mut()
        .flat_map(|definition| &mut definition.spec.versions)
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    schemas.for_each(adapt_to_api_server);
    all
}

/// Adapts a generated schema to what an API server understands.
///
/// - Formats of unsigned integers become signed ones. No API server knows the unsigned formats, and each
///   warns of them; it enforces the signed formats, so that only numbers that fit are accepted.
/// - `nullable`, which is generated for every `Option`, is removed. With it, the server would store a null,
///   reject a null in an enumeration, and see a change of an immutable field when the same manifest is
///   applied again in another way. Without it, a null counts as not set.
/// - Line breaks within a paragraph are removed, because `kubectl explain` wraps the text itself.
fn adapt_to_api_server(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.description = schema.description.take().map(|text| {
        let paragraphs: Vec<String> = text.split("\n\n").map(|lines| lines.replace('\n', " ")).collect();
        paragraphs.join("\n\n")
    });
    schema.format = schema.format.take().map(|format| match format.as_str() {
        "uint8" | "uint16" | "uint32" => "int32".to_owned(),
        "uint" | "uint64" => "int64".to_owned(),
        _ => format,
    });
    for (name, field) in schema.properties.iter_mut().flatten() {
        adapt_to_api_server(field);
        // The documentation shows `ftpPort: null`, which server-side apply rejects unless the field is
        // nullable. `sftpPort` is like it.
        let is_port = ["ftpPort", "sftpPort"].contains(&name.as_str());
        field.nullable = is_port.then_some(true);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        adapt_to_api_server(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        adapt_to_api_server(values);
    }
}
