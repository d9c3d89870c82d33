//! `UpdateRun`: brings selected machines to a baseline, with a strategy.

mod rollout;
mod status;
mod window;

pub use rollout::{Approval, Spread, Stage};
pub use status::{
    CallbackStatus, Counts, FileService, ListenerState, ListenerStatus, NodeNote, OrderStep, OrderedNode,
    RecordedBaseline, RunnerPorts, ServiceStatus, StageState, StageStatus, UpdateRunStatus,
};
pub use window::MaintenanceWindow;

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
    printcolumn(name = "Skipped", type_ = "integer", json_path = ".status.counts.skipped"),
    printcolumn(name = "Stage", type_ = "string", json_path = ".status.stage"),
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
#[x_kube(validation = Rule::new("[has(self.selector), has(self.nodes), has(self.retryOf)].exists_one(given, given)").message("exactly one of selector, nodes and retryOf is needed"))]
#[x_kube(validation = Rule::new("has(self.selector) == has(oldSelf.selector) && has(self.nodes) == has(oldSelf.nodes)").message("selector, nodes and retryOf are immutable: make a new UpdateRun"))]
#[x_kube(validation = Rule::new("has(self.baselineRef) == has(oldSelf.baselineRef)").message("baselineRef is immutable: make a new UpdateRun"))]
#[x_kube(validation = Rule::new("has(self.ttlAfterFinished) == has(oldSelf.ttlAfterFinished)").message("ttlAfterFinished is immutable: make a new UpdateRun"))]
pub struct UpdateRunSpec {
    /// What should happen: Run, Plan (work out what would change, change nothing), Pause (start nothing
    /// new; what is in progress continues) or Cancel (start nothing new, finish the components in progress,
    /// clean up and end). Plan can be changed to Run; Run and Pause can alternate; Cancel is final.
    #[serde(default)]
    #[x_kube(validation = Rule::new("oldSelf != 'Cancel' || self == 'Cancel'").message("Cancel is final: make a new UpdateRun"))]
    #[x_kube(validation = Rule::new("self != 'Plan' || oldSelf == 'Plan'").message("a run that was started cannot go back to Plan: make a new UpdateRun"))]
    pub desired_state: DesiredState,

    /// What is done on the machines: Inventory (read only), Stage (bring the images to the machines, install
    /// nothing) or Update (install what is missing, with images that are there already).
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("operation is immutable: make a new UpdateRun"))]
    pub operation: Operation,

    /// Selects the machines by their labels. An empty selector selects every ManagedNode of the namespace. Exactly
    /// one of selector, nodes and retryOf is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("selector is immutable: make a new UpdateRun"))]
    pub selector: Option<LabelSelector>,

    /// The names of the machines, if they are not selected by labels. The run waits for one that does not exist for
    /// the duration of arrivalTimeout; then it counts as failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("nodes is immutable: make a new UpdateRun"))]
    pub nodes: Vec<String>,

    /// An earlier UpdateRun: only its machines that did not succeed are updated. What is done on machines must be
    /// the same as there: operation, baselineRef (with unchanged content), channel, order, reboot,
    /// onFailedDependency, force and acceptEula. Strategy and callback may differ. The run waits until the earlier
    /// one has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("retryOf is immutable: make a new UpdateRun"))]
    pub retry_of: Option<LocalRef>,

    /// The baseline that the machines should have. Not needed for Inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("baselineRef is immutable: make a new UpdateRun"))]
    pub baseline_ref: Option<LocalRef>,

    /// The channel between the engines and Farrier, for machines that do not set a channel: Session
    /// (through the SSH session), Callback (the engine connects back to Farrier) or Listen (Farrier connects to
    /// a port of the engine; see listen).
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("channel is immutable: make a new UpdateRun"))]
    pub channel: Channel,

    /// How many machines are updated at a time, and when the run stops.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("strategy is immutable: make a new UpdateRun"))]
    pub strategy: Strategy,

    /// The order in which machines are updated: ByType (a device before those that depend on it, as docs/order.md
    /// lists: Virtual Connect and SAS switches before the Onboard Administrator, that before iLOs, management
    /// processors before servers) or None. What managedBy and partners of the machines say holds with either.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("order is immutable: make a new UpdateRun"))]
    pub order: OrderPolicy,

    /// Whether Farrier reboots machines.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("reboot is immutable: make a new UpdateRun"))]
    pub reboot: RebootPolicy,

    /// What to do on a machine that lacks a required component: OmitNode (install nothing on the machine),
    /// OmitComponent (do not install the components that require it) or Force (install them nevertheless).
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("onFailedDependency is immutable: make a new UpdateRun"))]
    pub on_failed_dependency: OnFailedDependency,

    /// What to do although there is something against it: the machine has the same version or a newer one, its
    /// owner holds a package back, or a trusted module protects its firmware.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("force is immutable: make a new UpdateRun"))]
    pub force: Force,

    /// Your word that you have read and accept the licence agreements (EULA) that devices ask about before they
    /// install the images of this baseline. Without it they are not accepted, and the component fails with the
    /// reason AgreementMissing. An event of the NodeUpdate quotes each question that was answered with yes.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("acceptEula is immutable: make a new UpdateRun"))]
    pub accept_eula: bool,

    /// How machines that must call back reach Farrier: those on the channel Callback, and those without an
    /// engine while they fetch an image. It has no effect on the channel Session, nor on machines to which
    /// Farrier sends the image.
    #[serde(default)]
    // Each field is compared separately: ftpPort and sftpPort may be null, which means the same as not set.
    #[x_kube(validation = Rule::new("self.httpPort == oldSelf.httpPort && self.httpsPort == oldSelf.httpsPort && self.?ftpPort == oldSelf.?ftpPort && self.?sftpPort == oldSelf.?sftpPort && self.onConflict == oldSelf.onConflict && self.exposure == oldSelf.exposure").message("callback is immutable: make a new UpdateRun"))]
    pub callback: Callback,

    /// On which ports engines listen, on the channel Listen. It has no effect on the other channels.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("listen is immutable: make a new UpdateRun"))]
    pub listen: Listen,

    /// How long the run waits for objects that it needs and that do not exist yet: nodes that its selector
    /// matches, the baseline, the Secrets of nodes and of payloads. The time counts from when Farrier first
    /// sees the run. The run continues as soon as the objects exist, and ends if they do not exist in time.
    /// With 0s it does not wait. The objects can be applied in any order within this time.
    ///
    /// A node whose own channel is Callback, and one that fetches an image, wait for this long if the operator
    /// has no ports for the run, or for the operator's --wait-seconds if that is longer.
    ///
    /// The list of nodes is recorded once, when no further node has been created for 3 s. It is recorded at
    /// once if all nodes were created more than 3 s before the run, or if the timeout is 0s.
    #[serde(default = "two_minutes")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("arrivalTimeout is immutable: make a new UpdateRun"))]
    pub arrival_timeout: Span,

    /// How long the finished run is kept, for instance 168h. If it is not set, the run is kept until it is
    /// deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("ttlAfterFinished is immutable: make a new UpdateRun"))]
    pub ttl_after_finished: Option<Span>,
}

/// Tools that apply many manifests finish within seconds, and operators that create Secrets from external
/// sources finish within a minute. A typing error should not stay unnoticed for much longer.
fn two_minutes() -> Span {
    Span::from("2m")
}

/// What should happen with the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    /// Work on the machines.
    #[default]
    Run,
    /// Work out what would change, and change nothing.
    Plan,
    /// Start nothing new. What is in progress continues.
    Pause,
    /// Start nothing new, finish the components in progress, clean up and end.
    Cancel,
}

/// What is done on the machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operation {
    /// Read what is on the machines.
    Inventory,
    /// Bring the payloads to the machines and install nothing.
    Stage,
    /// Install what is missing.
    #[default]
    Update,
}

/// The order in which machines are updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OrderPolicy {
    /// By the types of the machines.
    #[default]
    ByType,
    /// By managedBy alone.
    None,
}

/// How many machines are updated at a time, and when the run stops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// Maximum number of machines that are worked on at the same time: a number, or a percentage of all
    /// machines of the run (rounded down, at least 1). It is never exceeded.
    #[serde(default = "ten")]
    #[x_kube(validation = Rule::new("type(self) == string ? self.matches('^([1-9][0-9]?|100)%$') : self >= 1 && self <= 1000000").message("a number from 1 to 1000000, or a percentage from 1% to 100%"))]
    pub max_concurrent: IntOrString,

    /// Groups of machines that are updated one after the other, such as a canary first. A machine belongs to the
    /// first stage that selects it and has room for it; this is recorded once, when the run begins. Every machine of
    /// the run must belong to a stage: the last stage usually has neither selector nor count. See docs/rollouts.md.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub stages: Vec<Stage>,

    /// Never works on more machines at once in one fault domain, such as a rack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,

    /// Number of machines that may fail before the run stops starting new ones: a number or a percentage of all
    /// machines of the run (rounded down). If it is not set, any number may fail. When more have failed, machines in
    /// progress are finished, and the run ends with the reason FailureBudgetExceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("type(self) == string ? self.matches('^([0-9]|[1-9][0-9]|100)%$') : self >= 0 && self <= 1000000").message("a number from 0 to 1000000, or a percentage from 0% to 100%"))]
    pub failure_budget: Option<IntOrString>,

    /// As failureBudget, for machines that were never reached; they are not counted as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("type(self) == string ? self.matches('^([0-9]|[1-9][0-9]|100)%$') : self >= 0 && self <= 1000000").message("a number from 0 to 1000000, or a percentage from 0% to 100%"))]
    pub unreachable_budget: Option<IntOrString>,

    /// How many times the work on a machine is retried after a failure that may be temporary. The default
    /// is 0: it is not retried.
    #[serde(default)]
    #[schemars(range(max = 20))]
    pub retries: u32,

    /// When machines may be changed. If it is not set, at any time. See docs/rollouts.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<MaintenanceWindow>,

    /// How long machines that take Farrier's engine keep payloads that a run with operation Stage has brought to
    /// them; 168h if it is not set. When the time is over, the machine removes them by itself. It has no effect on
    /// other operations, nor on images that a device without an engine keeps.
    #[serde(default = "one_week")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h') && duration(self) <= duration('2160h')").message("stageFor is from 1h to 2160h"))]
    pub stage_for: Span,
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            max_concurrent: ten(),
            stages: Vec::new(),
            spread: None,
            failure_budget: None,
            unreachable_budget: None,
            retries: 0,
            window: None,
            stage_for: one_week(),
        }
    }
}

fn one_week() -> Span {
    Span::from("168h")
}

fn ten() -> IntOrString {
    IntOrString::Int(10)
}

/// Whether Farrier reboots machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebootPolicy {
    /// When a machine is rebooted: Never, IfRequired (if a component needs it) or Always (after every
    /// update). With Never, components that need a reboot end as RebootPending. With a BMC it is its host that
    /// is restarted, gracefully, and only for firmware of the host: Always means IfRequired there, and the other
    /// fields have no effect. A machine that takes an engine is rebooted once for all its components, and
    /// proven afterwards: with Always, also if no component needs it, but not if nothing was installed.
    #[serde(default)]
    pub policy: RebootWhen,
    /// How long to wait between the announcement and the reboot; 1m if it is not set. Cancelling the run in this
    /// time calls the reboot off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// Message that users who are signed in on the machine see before the reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// How long a machine may take to come back from its reboot; 30m if it is not set. A machine that has not
    /// come back then has failed, with the reason RebootTimedOut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// When a machine is rebooted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RebootWhen {
    /// Never. Components that need a reboot end as RebootPending.
    #[default]
    Never,
    /// If a component needs it.
    IfRequired,
    /// After every update.
    Always,
}

/// What to do on a machine that lacks a required component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailedDependency {
    /// Install nothing on the machine.
    OmitNode,
    /// Do not install the components that require it.
    #[default]
    OmitComponent,
    /// Install the components nevertheless.
    Force,
}

/// What to do although there is something against it.
#[expect(clippy::struct_excessive_bools, reason = "independent words of the user")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Force {
    /// Replace a newer version by the older version of the baseline.
    #[serde(default)]
    pub downgrade: bool,
    /// Install the same version again.
    #[serde(default)]
    pub rewrite: bool,
    /// Install packages although the owner of the machine has decided against it: by a hold (apt-mark), a pin of
    /// apt, a version lock, or an excluded package of dnf or yum. The decision stays on the machine. Locks of
    /// zypper are not overridden.
    #[serde(default)]
    pub holds: bool,
    /// Update the firmware of a machine although a trusted module (TPM) has measured it. What is sealed to
    /// the measurement, such as the key of an encrypted disk, may be locked afterwards: have the recovery
    /// keys at hand. Where it is needed, the reason is OverrideRequired: devices that ask for it, and Linux
    /// machines with an encrypted disk whose key is bound to the module.
    #[serde(default)]
    pub trusted_module: bool,
    /// Reboot a machine although a program on it inhibits its shutdown, as systemd-inhibit --list shows there.
    /// Without it, Farrier waits for that program for the operator's --wait-seconds, and then does not reboot the
    /// machine.
    #[serde(default)]
    pub inhibitors: bool,
}

/// How machines that must call back reach Farrier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.httpPort != self.httpsPort").message("httpPort and httpsPort must differ"))]
#[x_kube(validation = Rule::new("!has(self.sftpPort) || self.sftpPort != self.httpPort && self.sftpPort != self.httpsPort").message("sftpPort must differ from httpPort and httpsPort"))]
#[x_kube(validation = Rule::new("!has(self.ftpPort) || [self.httpPort, self.httpsPort].all(p, p < self.ftpPort || p > self.ftpPort + 4)").message("ftpPort and the 4 ports after it must differ from httpPort and httpsPort"))]
#[x_kube(validation = Rule::new("!has(self.ftpPort) || !has(self.sftpPort) || self.sftpPort < self.ftpPort || self.sftpPort > self.ftpPort + 4").message("ftpPort and the 4 ports after it must differ from sftpPort"))]
#[x_kube(validation = Rule::new("!has(self.ftpPort) || self.exposure == 'HostPort'").message("ftpPort needs exposure HostPort: behind a Service, the data connections of FTP do not arrive where its control connection is"))]
pub struct Callback {
    /// Port for machines that cannot use TLS.
    #[serde(default = "port_63001")]
    #[schemars(range(min = 1, max = 65535))]
    pub http_port: u16,
    /// Port for engines and for machines that can use TLS.
    #[serde(default = "port_63002")]
    #[schemars(range(min = 1, max = 65535))]
    pub https_port: u16,
    /// Port of the FTP service, for machines that fetch images neither by HTTPS nor by HTTP nor by SFTP. The 4
    /// ports after it are for data connections. If it is not set, the service is off. If it is set, the ports are
    /// open while a machine fetches by FTP, and for its addresses only. It needs exposure HostPort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65531))]
    pub ftp_port: Option<u16>,
    /// Port of the SFTP and SCP service, for machines that fetch images neither by HTTPS nor by HTTP. If it is not
    /// set, the service is off. If it is set, the port is open while a machine fetches by SFTP or SCP, and for its
    /// addresses only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub sftp_port: Option<u16>,
    /// What to do when a port is taken: Next (use the next free ports) or Fail (end the run).
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// How the ports become reachable from outside the cluster: HostPort (on the host of the runner),
    /// NodePort or LoadBalancer (by a Service of that type).
    #[serde(default)]
    pub exposure: Exposure,
}

impl Default for Callback {
    fn default() -> Self {
        Self {
            http_port: port_63001(),
            https_port: port_63002(),
            ftp_port: None,
            sftp_port: None,
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
    /// Use the next free pair of ports.
    #[default]
    Next,
    /// End the run.
    Fail,
}

/// On which ports engines listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listen {
    /// The port on which an engine listens: Next (62286, or the next free one up to 62289) or Random (for each
    /// machine and run another port of 49152 to 65535, or the next free one up to three above it, so that nobody
    /// else knows it). With Random, a firewall between Farrier and the machines must let that whole range through.
    #[serde(default)]
    pub port: ListenPort,
}

/// The port on which an engine listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ListenPort {
    /// 62286, or the next free one.
    #[default]
    Next,
    /// Another port for each machine and run.
    Random,
}

/// How the ports of the callback server become reachable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Exposure {
    /// On the host of the runner.
    #[default]
    HostPort,
    /// By a Service of type NodePort.
    NodePort,
    /// By a Service of type LoadBalancer.
    LoadBalancer,
}
