//! `LogRequest`: how a user reads the log of a NodeUpdate through the API server.

use super::LocalRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A request to read the log of a NodeUpdate. `farrier logs` creates it and deletes it; who may create one in
/// a namespace may read the logs there. Farrier answers in the status for at most a minute, and removes
/// requests that are left.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "farrier.dev",
    version = "v1alpha1",
    kind = "LogRequest",
    namespaced,
    status = "LogRequestStatus",
    doc = "A request to read the log of a NodeUpdate. `farrier logs` creates it and deletes it; who may create one in a namespace may read the logs there. Farrier answers in the status for at most a minute, and removes requests that are left.",
    printcolumn(name = "NodeUpdate", type_ = "string", json_path = ".spec.nodeUpdateRef.name"),
    printcolumn(name = "Offset", type_ = "integer", json_path = ".status.offset"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a LogRequest is immutable; create another one"))]
pub struct LogRequestSpec {
    /// The NodeUpdate.
    pub node_update_ref: LocalRef,
    /// UID of the NodeUpdate, so that the log of an earlier one with the same name is not read.
    #[schemars(length(min = 1, max = 64))]
    pub node_update_uid: String,
    /// Where to begin, in bytes.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub offset: i64,
    /// Only the output of this component's installer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub component: Option<String>,
    /// Only lines from this time on, by the machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// A part of the log. Each part replaces the one before it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogRequestStatus {
    /// Where this part begins, in bytes.
    #[serde(default)]
    pub from: i64,
    /// Where the next part begins, in bytes.
    #[serde(default)]
    pub offset: i64,
    /// Lines of the log: time, component or -, and text.
    #[serde(default)]
    pub text: String,
    /// Whether this runner has a log of the NodeUpdate.
    #[serde(default)]
    pub kept: bool,
    /// Whether there is nothing after this part at present.
    #[serde(default)]
    pub at_end: bool,
    /// Whether the NodeUpdate has ended and this is the last part.
    #[serde(default)]
    pub complete: bool,
    /// Whether the request is over; another one continues at offset.
    #[serde(default)]
    pub closed: bool,
    /// Whether the request waits until the runner has answered others.
    #[serde(default)]
    pub queued: bool,
    /// Why the request is not answered, or not yet.
    // Not left out where there is none: the status is a merge patch, which would keep the earlier message.
    #[serde(default)]
    pub message: Option<String>,
}
