//! `UpdateRun`: bring these nodes to that baseline, in this manner.

mod status;

pub use status::{
    CallbackStatus, Counts, ListenerState, ListenerStatus, NodeNote, RunnerPorts, UpdateRunStatus,
};

use super::LocalRef;
use super::managed_node::Channel;
use super::quantity::Span;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Brings machines to a baseline.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "farrier.dev",
    version = "v1alpha1",
    kind = "UpdateRun",
    namespaced,
    shortname = "ur",
    category = "farrier",
    status = "UpdateRunStatus",
    doc = "Brings machines to a baseline.",
    selectable = ".spec.desiredState",
    printcolumn(name = "Desired", type_ = "string", json_path = ".spec.desiredState"),
    printcolumn(name = "Total", type_ = "integer", json_path = ".status.counts.total"),
    printcolumn(name = "Working", type_ = "integer", json_path = ".status.counts.inProgress"),
    printcolumn(name = "Done", type_ = "integer", json_path = ".status.counts.succeeded"),
    printcolumn(name = "Failed", type_ = "integer", json_path = ".status.counts.failed"),
    printcolumn(name = "Unreachable", type_ = "integer", json_path = ".status.counts.unreachable"),
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
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Succeeded\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.operation == 'Inventory' || has(self.baselineRef)").message("baselineRef is needed unless operation is Inventory"))]
#[x_kube(validation = Rule::new("has(self.baselineRef) == has(oldSelf.baselineRef)").message("baselineRef is immutable: make a new UpdateRun"))]
#[x_kube(validation = Rule::new("has(self.ttlAfterFinished) == has(oldSelf.ttlAfterFinished)").message("ttlAfterFinished is immutable: make a new UpdateRun"))]
pub struct UpdateRunSpec {
    /// What should happen: Run, Plan (works everything out and changes nothing), Pause (nothing
    /// new is started) or Cancel (final). Plan may become Run; Run and Pause may alternate.
    #[serde(default)]
    #[x_kube(validation = Rule::new("oldSelf != 'Cancel' || self == 'Cancel'").message("Cancel is final: make a new UpdateRun"))]
    #[x_kube(validation = Rule::new("self != 'Plan' || oldSelf == 'Plan'").message("a run that was started cannot go back to Plan: make a new UpdateRun"))]
    pub desired_state: DesiredState,

    /// What is done: Inventory (look only), Stage (bring the payloads, install nothing) or Update.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("operation is immutable: make a new UpdateRun"))]
    pub operation: Operation,

    /// Which machines, by their labels. An empty selector selects every ManagedNode of the namespace.
    #[x_kube(validation = Rule::new("self == oldSelf").message("selector is immutable: make a new UpdateRun"))]
    pub selector: LabelSelector,

    /// What they should carry. Not needed for Inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("baselineRef is immutable: make a new UpdateRun"))]
    pub baseline_ref: Option<LocalRef>,

    /// How the engines talk to Farrier, for machines that do not say so themselves.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("channel is immutable: make a new UpdateRun"))]
    pub channel: Channel,

    /// How many at a time, in which order, and when to stop.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("strategy is immutable: make a new UpdateRun"))]
    pub strategy: Strategy,

    /// Whether machines are rebooted.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("reboot is immutable: make a new UpdateRun"))]
    pub reboot: RebootPolicy,

    /// What to do on a machine that lacks what a component requires: OmitNode (leave the machine
    /// alone), OmitComponent (leave the component out) or Force.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("onFailedDependency is immutable: make a new UpdateRun"))]
    pub on_failed_dependency: OnFailedDependency,

    /// What to install although the machine carries it already.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("force is immutable: make a new UpdateRun"))]
    pub force: Force,

    /// How machines that must call back reach Farrier. Without effect on the channel Session.
    #[serde(default)]
    // Field by field: ftpPort may be null, which is the same as left out.
    #[x_kube(validation = Rule::new("self.httpPort == oldSelf.httpPort && self.httpsPort == oldSelf.httpsPort && self.?ftpPort == oldSelf.?ftpPort && self.onConflict == oldSelf.onConflict && self.exposure == oldSelf.exposure").message("callback is immutable: make a new UpdateRun"))]
    pub callback: Callback,

    /// How long the run waits for objects that it needs and that do not exist yet, counted from when
    /// Farrier sees the run first: nodes that its selector matches, the baseline, Secrets of nodes and
    /// of payloads. It goes on as soon as they are there, and ends when they are not there in time. 0s:
    /// it does not wait. The order in which objects are applied does not matter as long as all of them
    /// are there within this time.
    ///
    /// The list of nodes is recorded once, when no further node has come for 3 s. Where all nodes were
    /// created more than 3 s before the run, and with 0s, it is recorded at once.
    #[serde(default = "two_minutes")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("arrivalTimeout is immutable: make a new UpdateRun"))]
    pub arrival_timeout: Span,

    /// How long the finished run is kept, for instance 168h. Without it: until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("ttlAfterFinished is immutable: make a new UpdateRun"))]
    pub ttl_after_finished: Option<Span>,
}

/// Tools that apply many manifests are through within seconds, and operators that make Secrets of
/// external sources within a minute; a typing error should not go unnoticed for much longer.
fn two_minutes() -> Span {
    Span::from("2m")
}

/// What should happen with the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    /// Do it.
    #[default]
    Run,
    /// Work everything out and change nothing.
    Plan,
    /// Start nothing new; what is in progress goes on.
    Pause,
    /// Start nothing new, finish the component in progress, clean up, end.
    Cancel,
}

/// What is done on the machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operation {
    /// Look only.
    Inventory,
    /// Bring the payloads to the machines and install nothing.
    Stage,
    /// Install what is missing.
    #[default]
    Update,
}

/// How many at a time, in which order, and when to stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// How many machines are worked on at the same time: a number, or a percentage of all
    /// (rounded down, at least one). Never exceeded.
    #[serde(default = "ten")]
    #[x_kube(validation = Rule::new("type(self) == string ? self.matches('^([1-9][0-9]?|100)%$') : self >= 1 && self <= 1000000").message("a number from 1 to 1000000, or a percentage from 1% to 100%"))]
    pub max_concurrent: IntOrString,

    /// Groups of machines that are updated one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub stages: Vec<Stage>,

    /// How many machines may fail before nothing new is started: a number or a percentage.
    /// Without it: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("type(self) == string ? self.matches('^([0-9]|[1-9][0-9]|100)%$') : self >= 0 && self <= 1000000").message("a number from 0 to 1000000, or a percentage from 0% to 100%"))]
    pub failure_budget: Option<IntOrString>,

    /// How many times a machine is tried again after a failure that may pass.
    #[serde(default)]
    #[schemars(range(max = 20))]
    pub retries: u32,
}

impl Default for Strategy {
    fn default() -> Self {
        Self { max_concurrent: ten(), stages: Vec::new(), failure_budget: None, retries: 0 }
    }
}

fn ten() -> IntOrString {
    IntOrString::Int(10)
}

/// A group of machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Name of the stage.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// How many machines: a number or a percentage. Without it: all that are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // As schema keywords: a rule for each stage would cost the server more than it allows.
    #[schemars(extend("minimum" = 1, "maximum" = 1_000_000, "pattern" = "^([1-9][0-9]?|100)%$"))]
    pub count: Option<IntOrString>,
    /// How long to watch before the next stage begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak: Option<Span>,
}

/// Whether machines are rebooted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebootPolicy {
    /// Never, IfRequired or Always.
    #[serde(default)]
    pub policy: RebootWhen,
    /// How long to wait before the reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// What users of the machine are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// When a machine is rebooted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RebootWhen {
    /// Never: components that need it end as RebootPending.
    #[default]
    Never,
    /// If a component needs it.
    IfRequired,
    /// After every update.
    Always,
}

/// What to do on a machine that lacks what a component requires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailedDependency {
    /// Leave the machine alone.
    OmitNode,
    /// Leave the component out.
    #[default]
    OmitComponent,
    /// Install it all the same.
    Force,
}

/// What to install although the machine carries it already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Force {
    /// Replace a newer version by the older one of the baseline.
    #[serde(default)]
    pub downgrade: bool,
    /// Install the same version once more.
    #[serde(default)]
    pub rewrite: bool,
}

/// How machines that must call back reach Farrier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.httpPort != self.httpsPort").message("httpPort and httpsPort must differ"))]
pub struct Callback {
    /// Port for machines that cannot do TLS.
    #[serde(default = "port_63001")]
    #[schemars(range(min = 1, max = 65535))]
    pub http_port: u16,
    /// Port for engines and for machines that can do TLS.
    #[serde(default = "port_63002")]
    #[schemars(range(min = 1, max = 65535))]
    pub https_port: u16,
    /// A port turns the FTP service on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub ftp_port: Option<u16>,
    /// What to do when a port is taken: Next (the next free pair) or Fail.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// How the ports become reachable from outside the cluster.
    #[serde(default)]
    pub exposure: Exposure,
}

impl Default for Callback {
    fn default() -> Self {
        Self {
            http_port: port_63001(),
            https_port: port_63002(),
            ftp_port: None,
            on_conflict: OnConflict::default(),
            exposure: Exposure::default(),
        }
    }
}

fn port_63001() -> u16 {
    63001
}

fn port_63002() -> u16 {
    63002
}

/// What to do when a port is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnConflict {
    /// Take the next free pair.
    #[default]
    Next,
    /// End the run.
    Fail,
}

/// How the ports of the callback server become reachable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Exposure {
    /// By ports of the host that the runner is on.
    #[default]
    HostPort,
    /// By a Service of type NodePort.
    NodePort,
    /// By a Service of type LoadBalancer.
    LoadBalancer,
}
