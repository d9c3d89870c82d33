//! The status of an `UpdateRun`: what Farrier says of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far the run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateRunStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Conditions: Ready, Reconciling, Stalled, and Planned, Exposed, Progressing, BudgetExceeded,
    /// Succeeded.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Digest over what every machine's plan would change, once all are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,

    /// How many machines are in which state.
    #[serde(default)]
    pub counts: Counts,

    /// Until when the run waits for objects that do not exist yet, see spec.arrivalTimeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival_deadline: Option<Time>,

    /// The machines that this run is about, decided once when it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<String>>,

    /// Machines whose turn has come and which are being begun. They count as in progress.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starting: Vec<String>,

    /// Machines that match the selector and are left out because of spec.hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,

    /// Machines that failed or could not be reached, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<NodeNote>,

    /// Machines that wait and what they wait for, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<NodeNote>,

    /// The callback server of this run, while it is open or being opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackStatus>,

    /// What each runner says of the ports that it was given in callback.ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["runner".into()]))]
    pub listeners: Vec<ListenerStatus>,

    /// When the run began to work on machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}

/// The callback server of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallbackStatus {
    /// When it was asked for.
    pub since: Time,
    /// Which ports each runner is to listen on.
    #[serde(default)]
    pub ports: Vec<RunnerPorts>,
    /// Where machines call. With exposure HostPort each runner is at its own host's addresses, of
    /// which these are the ones that are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// The port that machines call for HTTP, where it is not the runner's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_port: Option<u16>,
    /// The port that machines call for HTTPS, where it is not the runner's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_port: Option<u16>,
}

/// The ports of one runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerPorts {
    /// Name of the runner.
    pub runner: String,
    /// Port for machines that cannot do TLS.
    pub http_port: u16,
    /// Port for engines and for machines that can do TLS.
    pub https_port: u16,
}

/// What a runner says of its ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Name of the runner.
    pub runner: String,
    /// Port for machines that cannot do TLS.
    pub http_port: u16,
    /// Port for engines and for machines that can do TLS.
    pub https_port: u16,
    /// Bound: it listens. Conflict: a port is taken. NotPermitted: it may not use a port. Failed:
    /// something else; see message.
    pub state: ListenerState,
    /// What happened and what to do next.
    #[serde(default)]
    pub message: String,
    /// Ports that were found taken on the runner's host, in the last half minute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<u16>,
}

/// What came of a runner's attempt to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ListenerState {
    /// It listens.
    Bound,
    /// A port is taken.
    Conflict,
    /// It may not use a port.
    NotPermitted,
    /// Something else.
    Failed,
}

/// How many machines are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// All.
    pub total: u32,
    /// Not begun.
    pub pending: u32,
    /// Being worked on.
    pub in_progress: u32,
    /// Ended well.
    pub succeeded: u32,
    /// Ended with a failure.
    pub failed: u32,
    /// Could not be reached.
    pub unreachable: u32,
    /// Cancelled.
    pub cancelled: u32,
}

/// What there is to say about one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeNote {
    /// Name of the ManagedNode.
    pub node: String,
    /// Reason, one of the documented ones.
    pub reason: String,
    /// What happened and what to do next.
    pub message: String,
}
