//! `NodeUpdate`: the work on one machine in one run, and its record.

use super::LocalRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The work on one machine in one run. Farrier writes it; users read it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "farrier.dev",
    version = "v1alpha1",
    kind = "NodeUpdate",
    namespaced,
    shortname = "nu",
    category = "farrier",
    status = "NodeUpdateStatus",
    doc = "The work on one machine in one run. Farrier writes it; users read it.",
    selectable = ".spec.nodeRef.name",
    selectable = ".spec.runRef.name",
    selectable = ".spec.runner",
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.nodeRef.name"),
    printcolumn(name = "Run", type_ = "string", json_path = ".spec.runRef.name"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Changed", type_ = "string", json_path = ".status.changed"),
    printcolumn(
        name = "Succeeded",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Succeeded\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Succeeded\")].reason"
    ),
    printcolumn(
        name = "Clean",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"TornDown\")].status"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Succeeded\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct NodeUpdateSpec {
    /// The run.
    #[x_kube(validation = Rule::new("self == oldSelf").message("runRef is immutable"))]
    pub run_ref: LocalRef,
    /// The machine.
    #[x_kube(validation = Rule::new("self == oldSelf").message("nodeRef is immutable"))]
    pub node_ref: LocalRef,
    /// Name of the runner that works on the machine.
    pub runner: String,
    /// What the runner should do: Plan (work out what would change, change nothing), Run, or Cancel (finish
    /// the component in progress, clean up and end).
    #[x_kube(validation = Rule::new("self == oldSelf || self == 'Cancel' || oldSelf == 'Plan'").message("intent only moves forward: Plan, Run, Cancel"))]
    pub intent: Intent,
}

/// What the runner should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Intent {
    /// Work out what would change, and change nothing.
    Plan,
    /// Do the work.
    Run,
    /// Finish the component in progress, clean up and end.
    Cancel,
}

/// What happened on the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeUpdateStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Conditions: Ready, Reconciling, Stalled, and Reachable, CallbackReachable or ListenReachable (the one of
    /// the engine's channel), StatusPath, EngineDeployed, PayloadVerified, Applied, Rebooted (only if the run asks
    /// for a reboot), Verified, TornDown, Succeeded.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The current step. It is Planned after the plan, WaitingForRetry between two attempts, WaitingForWindow until
    /// the maintenance window opens, and Done at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,

    /// The phase of the work, which decides the ports that the machine needs: `farrier ports` lists them for
    /// Inventory and for Deployment, and NetworkPolicies follow this field. Not set before the work begins
    /// and between attempts; the ports of Inventory are open then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// The protocol by which the machine fetches an image from Farrier at present, or is about to. While it is
    /// set, the run's port for this protocol is open for the addresses of the machine: callback.httpPort for
    /// HTTP, callback.httpsPort for HTTPS, callback.sftpPort for SFTP and SCP, callback.ftpPort for FTP. Not set for a machine with an engine, nor for a machine to which
    /// Farrier sends the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetches_by: Option<FetchProtocol>,

    /// What the work waits for at the moment, for instance a lock that another program holds, free space on
    /// a disk, another engine, or the machine itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,

    /// The reboot of the machine, while it is announced or under way. The machine counts as in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebooting: Option<Rebooting>,

    /// The drain of the machine, if its ManagedNode asks for one and something is to be done that disrupts the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,

    /// Number of changed components and number of components in the plan, for instance 1/3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,

    /// Number of the current attempt, from 1; 0 before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,

    /// Time at which the current attempt began. An attempt that continues what an earlier one left on the machine
    /// has the time of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_started_at: Option<Time>,

    /// Number of attempts that were needed for the plan, if the run was planned before it was started. They
    /// do not count against strategy.retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planning_attempts: Option<u32>,

    /// Time at which the next attempt begins, after a failed attempt or when the maintenance window opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Time>,

    /// Digest of the plan of this machine; if the machine was planned first, of the plan that was made then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,

    /// The plan for each component.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub plan: Vec<PlannedComponent>,

    /// The result of each component.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub components: Vec<ComponentOutcome>,

    /// The requests that change a machine without an engine, in their order, those of earlier attempts
    /// included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub actions: Vec<ActionRecord>,

    /// The channel between the engine and Farrier: Session, Callback or Listen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<super::managed_node::Channel>,

    /// The address of the machine that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,

    /// Number of things that Farrier has on the machine at the moment, for instance directories and
    /// processes.
    #[serde(default)]
    pub leases: u32,

    /// Things that Farrier could not remove from the machine.
    #[serde(default)]
    pub leftovers: Vec<String>,

    /// Directory of the logs on the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,

    /// Time at which the work began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// Time at which the work ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}

/// A phase of an update, which has its own port requirements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// What is installed is read.
    Inventory,
    /// Payloads are fetched and installed, and the result is verified.
    Deployment,
}

/// A protocol by which a machine fetches an image from Farrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FetchProtocol {
    /// In the clear, for machines that cannot use TLS.
    HTTP,
    /// With TLS.
    HTTPS,
    /// Inside SSH.
    SFTP,
    /// Inside SSH, by the older protocol.
    SCP,
    /// In the clear, for machines that have nothing else.
    FTP,
}

/// Something that the work on a machine waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Reason of the wait, for instance PackageManagerBusy, DiskFull, MachineBusy or ConnectionLost.
    pub reason: String,
    /// What is waited for, for instance: the lock /var/lib/dpkg/lock-frontend.
    pub what: String,
    /// The process on the machine that blocks the work, if there is one and it can be determined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// Time at which the wait began.
    pub since: Time,
    /// Time at which the wait ends without success. If it is not set, the wait has no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// The reboot of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rebooting {
    /// Time at which it was announced or, with no delay, requested.
    pub since: Time,
    /// Time until which Farrier waits for the machine to come back.
    pub until: Time,
    /// Boot id of the machine before the reboot. A machine with another boot id that remembers nothing of this
    /// update is not rebooted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
}

/// The drain of a machine. It is recorded before anything is done, so that it is undone after a crash too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// Planned (the machine will be drained before it is changed), Draining, Drained, Undraining or Undrained.
    pub state: DrainState,
    /// What is drained: the Node, or what is called, for instance: Node w-17.
    pub what: String,
    /// The Node that is cordoned, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_node: Option<String>,
    /// How many times the machine was drained in this NodeUpdate.
    #[serde(default)]
    pub round: u32,
    /// Time at which the present state was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<MicroTime>,
    /// Time until which the machine is to be drained, or undrained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<MicroTime>,
}

/// How far the drain of a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrainState {
    /// The machine will be drained before it is changed.
    Planned,
    /// It is being drained.
    Draining,
    /// It is drained.
    Drained,
    /// What was done is being taken back.
    Undraining,
    /// What was done is taken back.
    Undrained,
}

/// A process on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Name of the process, without arguments; empty if it is not known.
    #[serde(default)]
    pub name: String,
}

/// A request that changes a machine without an engine, for instance a BMC. It is recorded before it is sent, so
/// that no request is sent twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionRecord {
    /// Number of the action, from 1. What is handed over to the machine carries it in its name.
    #[schemars(range(min = 1))]
    pub id: u32,
    /// What is requested, for instance SignIn, Upload, Activate, ResetManager or SignOut.
    pub verb: String,
    /// Name of the component; empty for sessions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub component: String,
    /// Intended (about to be requested, or the answer is not known), Begun or Ended.
    pub state: String,
    /// How the action ended, for instance Done, Verified, NotVerified, NotBegun or Unverified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    /// Number of the action that this action takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
    /// The installed version that the action is based on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub follows: String,
    /// The version that the action installs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// Identifies the start of the machine, or of its management controller, that the action is based on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boot: String,
    /// The things that must all have the version afterwards, for example the modules of a pair, as they showed before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// The machine's own name for the work: the URI of a task or a session, or the number of a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// Time until which the action is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<MicroTime>,
    /// Name of the runner that recorded the present state.
    pub by: String,
    /// Time at which the present state was recorded.
    pub at: MicroTime,
}

/// The plan for one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedComponent {
    /// Name of the component in the baseline.
    pub name: String,
    /// Install, UpToDate, NotApplicable, DependencyMissing, NotSupported or Blocked.
    pub action: String,
    /// Installed version; empty if the component is not installed.
    #[serde(default)]
    pub from: String,
    /// Version in the baseline.
    pub to: String,
    /// Explanation, if the action alone does not say enough.
    #[serde(default)]
    pub message: String,
}

impl PlannedComponent {
    /// Returns whether the component is to be installed.
    pub fn installs(&self) -> bool {
        self.action == "Install"
    }
}

/// The result of one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentOutcome {
    /// Name of the component in the baseline.
    pub name: String,
    /// UpToDate, Updated, Staged, RebootPending, Failed, NotApplicable, DependencyMissing, Skipped,
    /// Cancelled or Unverified.
    pub outcome: String,
    /// Installed version according to the first inventory; empty if it was not installed.
    #[serde(default)]
    pub before: String,
    /// Installed version according to the second inventory; empty if it is not installed.
    #[serde(default)]
    pub after: String,
    /// Exit status of the installer, if it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Time at which the installer was started, by the machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Time at which the installer ended, by the machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// What happened and what to do next.
    #[serde(default)]
    pub message: String,
    /// Boot id of the machine, for a component that waits for a reboot: once the machine has another one, the
    /// component does not wait any more. A later run that may reboot the machine reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// What became of each part of the machine that the image is for, if it is for several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartOutcome>,
}

/// What became of one part of a machine that an image is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartOutcome {
    /// The entry of the machine's own firmware inventory, as in its NodeInventory.
    pub entry: String,
    /// Version before.
    #[serde(default)]
    pub before: String,
    /// Version afterwards.
    #[serde(default)]
    pub after: String,
    /// Whether the machine says that it was not updated, and it has the same version as before.
    #[serde(default)]
    pub failed: bool,
}
