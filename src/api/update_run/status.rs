//! The status of an `UpdateRun`, written by Farrier.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateRunStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Conditions: Ready, Reconciling, Stalled, and Planned, Exposed, Progressing, BudgetExceeded,
    /// Succeeded.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Digest of the plans of all machines, once all plans are known. It is what an approval of a stage names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,

    /// Number of machines in each state.
    #[serde(default)]
    pub counts: Counts,

    /// Until when the run waits for objects that do not exist yet; see spec.arrivalTimeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival_deadline: Option<Time>,

    /// The machines of this run. The list is recorded once, when the run begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<String>>,

    /// The baseline of this run. It is recorded together with the machines: a baseline of the same name and
    /// other content is not installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<RecordedBaseline>,

    /// Machines that are being started. They count as in progress.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starting: Vec<String>,

    /// Machines whose planning is being started. They count as in progress.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planning: Vec<String>,

    /// The order of the machines, as steps: each machine is begun when those that it is ordered after have
    /// succeeded, which are in earlier steps. It is empty if all machines are in one step and none has a partner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<OrderStep>,

    /// The stages of the run, in their order. The machines in nodes are listed by stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageStatus>,

    /// The name of the first stage that has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,

    /// Machines that match the selector and are left out because of spec.hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,

    /// Machines that failed or could not be reached, then machines that were not begun because of another one;
    /// at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<NodeNote>,

    /// Machines that wait, with what they wait for, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<NodeNote>,

    /// The callback server of this run, while it is open or being opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackStatus>,

    /// The state of the ports that were allocated to each runner in callback.ports, reported by the
    /// runners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["runner".into()]))]
    pub listeners: Vec<ListenerStatus>,

    /// Time at which the run began to work on machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// Time at which the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}

/// The progress of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageStatus {
    /// Name of the stage.
    pub name: String,
    /// Number of its machines.
    pub nodes: u32,
    /// Waiting (an earlier stage comes first, or machines are being planned), AwaitingApproval, InProgress, Soaking
    /// (until the given time), Finished or Stopped (the run starts no further machines).
    pub state: StageState,
    /// Machines that succeeded.
    pub succeeded: u32,
    /// Machines that failed.
    pub failed: u32,
    /// Machines that were never reached.
    pub unreachable: u32,
    /// Time at which the first machine of the stage was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Time at which all machines of the stage had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// While the stage is Soaking: when the next stage begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Digest of the plan for which the stage was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_plan: Option<String>,
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StageState {
    /// An earlier stage comes first, or machines are being planned.
    Waiting,
    /// A user has to approve it.
    AwaitingApproval,
    /// Its machines are worked on.
    InProgress,
    /// Its machines have ended, and the next stage begins later.
    Soaking,
    /// Its machines have ended.
    Finished,
    /// The run starts no further machines.
    Stopped,
}

/// The baseline that a run began with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedBaseline {
    /// UID of the Baseline.
    pub uid: String,
    /// Digest of its components.
    pub digest: String,
}

/// The callback server of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallbackStatus {
    /// Time at which the callback server was requested.
    pub since: Time,
    /// The ports that each runner must listen on.
    #[serde(default)]
    pub ports: Vec<RunnerPorts>,
    /// Addresses that machines connect to. With exposure HostPort each runner is reachable at the addresses
    /// of its own host; the list has those that are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// The HTTP port that machines connect to, if it differs from the port of the runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_port: Option<u16>,
    /// The HTTPS port that machines connect to, if it differs from the port of the runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_port: Option<u16>,
    /// The SFTP port that machines connect to, if it differs from the port of the runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sftp_port: Option<u16>,
}

/// The ports of one runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerPorts {
    /// Name of the runner.
    pub runner: String,
    /// Port for machines that cannot use TLS.
    pub http_port: u16,
    /// Port for engines and for machines that can use TLS.
    pub https_port: u16,
    /// Port of the SFTP and SCP service, while a machine needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sftp_port: Option<u16>,
    /// Port of the FTP service, while a machine needs it. The 4 ports after it belong to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ftp_port: Option<u16>,
}

/// The state of a runner's ports, reported by the runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// Name of the runner.
    pub runner: String,
    /// Port for machines that cannot use TLS.
    pub http_port: u16,
    /// Port for engines and for machines that can use TLS.
    pub https_port: u16,
    /// Bound: the runner listens. Conflict: a port is taken. NotPermitted: the runner may not use a port.
    /// Failed: another problem; see message.
    pub state: ListenerState,
    /// What happened and what to do next.
    #[serde(default)]
    pub message: String,
    /// Ports that were found taken on the host of the runner in the last 30 s.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<u16>,
    /// The file services that this runner was given ports for: SFTP (also for SCP) and FTP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["service".into()]))]
    pub services: Vec<ServiceStatus>,
}

/// The state of a file service on one runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// The service: SFTP (also for SCP) or FTP.
    pub service: FileService,
    /// Its port.
    pub port: u16,
    /// Bound: the runner listens. Conflict, NotPermitted, Failed: as for the runner's other ports.
    pub state: ListenerState,
    /// What happened and what to do next.
    #[serde(default)]
    pub message: String,
    /// The public host keys of SFTP and SCP, as in a known_hosts file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<String>,
}

/// A service from which machines fetch files if they use neither HTTPS nor HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FileService {
    /// SFTP and SCP.
    SFTP,
    /// FTP.
    FTP,
}

/// The result of a runner's attempt to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ListenerState {
    /// The runner listens.
    Bound,
    /// A port is taken.
    Conflict,
    /// The runner may not use a port.
    NotPermitted,
    /// Another problem.
    Failed,
}

/// Number of machines in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// All machines of the run.
    pub total: u32,
    /// Machines that have not started.
    pub pending: u32,
    /// Machines that are being worked on.
    pub in_progress: u32,
    /// Machines that ended with success.
    pub succeeded: u32,
    /// Machines that ended with a failure.
    pub failed: u32,
    /// Machines that could not be reached.
    pub unreachable: u32,
    /// Machines whose work was cancelled.
    pub cancelled: u32,
    /// Machines that were not begun: a machine before them, or a partner, did not succeed, or the run starts no further
    /// machines.
    pub skipped: u32,
}

/// A step of the order of a run. There are at most 50; the last of them has all further machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderStep {
    /// Number of machines in this step.
    pub count: u32,
    /// Some of the machines, at least one; at most 50 in all steps together.
    #[serde(default)]
    pub nodes: Vec<OrderedNode>,
}

/// The place of a machine in the order of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderedNode {
    /// Name of the ManagedNode.
    pub node: String,
    /// The machines that it is begun after: the first names, and the number of further ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The machines of the run that it is never worked on together with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_with: Option<String>,
}

/// A message about one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeNote {
    /// Name of the ManagedNode.
    pub node: String,
    /// Reason, one of the documented ones.
    pub reason: String,
    /// What happened and what to do next.
    pub message: String,
    /// Since when the machine waits for this reason, as far as the list shows it. Only in status.waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}
