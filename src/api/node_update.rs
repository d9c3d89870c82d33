//! `NodeUpdate`: one machine in one run, the unit of work and the record of it.

use super::LocalRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One machine in one run. Farrier writes it; users read it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "farrier.dev",
    version = "v1alpha1",
    kind = "NodeUpdate",
    namespaced,
    shortname = "nu",
    category = "farrier",
    status = "NodeUpdateStatus",
    doc = "One machine in one run. Farrier writes it; users read it.",
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
    /// The runner that works on it.
    pub runner: String,
    /// What the runner should do.
    #[x_kube(validation = Rule::new("self == oldSelf || self == 'Cancel' || oldSelf == 'Plan'").message("intent only moves forward: Plan, Run, Cancel"))]
    pub intent: Intent,
}

/// What the runner should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Intent {
    /// Work out what would change, change nothing.
    Plan,
    /// Do it.
    Run,
    /// Finish the component in progress, clean up, end.
    Cancel,
}

/// What happened on the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeUpdateStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Conditions: Ready, Reconciling, Stalled, and Reachable, CallbackReachable, EngineDeployed,
    /// PayloadVerified, Applied, Verified, TornDown, Succeeded.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// What is being done right now, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,

    /// Which ports the machine needs right now: those that `farrier ports` lists for Inventory or for
    /// Deployment. NetworkPolicies follow it. Not set before work begins and between attempts, when the
    /// ports of Inventory are open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// What is waited for right now, if anything is: a lock that another program holds, room on a disk,
    /// another engine, the machine itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,

    /// How many components changed, of how many, for instance 1/3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,

    /// Which attempt this is, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,

    /// How many of the attempts went into the plan, where the run was planned before it was carried
    /// out. They do not count against strategy.retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planning_attempts: Option<u32>,

    /// When the next attempt begins, after one that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Time>,

    /// Digest over the plan of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_digest: Option<String>,

    /// What the plan says, component by component.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub plan: Vec<PlannedComponent>,

    /// What came of it, component by component.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub components: Vec<ComponentOutcome>,

    /// How the engine talks to Farrier: Session or Callback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<super::managed_node::Channel>,

    /// The address that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,

    /// How many things of ours are on the machine right now.
    #[serde(default)]
    pub leases: u32,

    /// What could not be taken back.
    #[serde(default)]
    pub leftovers: Vec<String>,

    /// Where the logs are, on the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<String>,

    /// When work began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// When it ended.
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

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// What kind of thing, for instance PackageManagerBusy, DiskFull, MachineBusy or ConnectionLost.
    pub reason: String,
    /// What it is, for instance: the lock /var/lib/dpkg/lock-frontend.
    pub what: String,
    /// The process on the machine that is in the way, if one is and it can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// When the wait began.
    pub since: Time,
    /// When it is given up. Without it there is no such time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// A process on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// Its number there.
    pub pid: u32,
    /// Its name, without arguments; empty if it is not known.
    #[serde(default)]
    pub name: String,
}

/// What the plan says about one component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedComponent {
    /// Name in the baseline.
    pub name: String,
    /// Install, UpToDate, NotApplicable, DependencyMissing, NotSupported or Blocked.
    pub action: String,
    /// Version found; empty if there is none.
    #[serde(default)]
    pub from: String,
    /// Version of the baseline.
    pub to: String,
    /// Why, where the action does not say it.
    #[serde(default)]
    pub message: String,
}

/// What came of one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentOutcome {
    /// Name in the baseline.
    pub name: String,
    /// UpToDate, Updated, RebootPending, Failed, NotApplicable, DependencyMissing, Skipped,
    /// Cancelled or Unverified.
    pub outcome: String,
    /// Version found by the first inventory; empty if there was none.
    #[serde(default)]
    pub before: String,
    /// Version found by the second inventory; empty if there was none.
    #[serde(default)]
    pub after: String,
    /// Exit status of the installer, if it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// When the installer was started, by the machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended, by the machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// What happened and what to do next.
    #[serde(default)]
    pub message: String,
}
