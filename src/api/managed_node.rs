//! `ManagedNode`: a machine, as its owner describes it.

use super::LocalRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A machine that Farrier may update. It is not a node of the cluster.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "farrier.dev",
    version = "v1alpha1",
    kind = "ManagedNode",
    namespaced,
    shortname = "mn",
    category = "farrier",
    status = "ManagedNodeStatus",
    doc = "A machine that Farrier may update. It is not a node of the cluster.",
    selectable = ".spec.type",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Address", type_ = "string", json_path = ".spec.addresses[0]"),
    printcolumn(
        name = "Reachable",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Reachable\")].status"
    ),
    printcolumn(
        name = "In-Baseline",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"InBaseline\")].status"
    ),
    printcolumn(name = "Run", type_ = "string", json_path = ".status.lastRun"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Hold", type_ = "boolean", json_path = ".spec.hold", priority = 1),
    printcolumn(name = "OS", type_ = "string", json_path = ".status.os", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ManagedNodeSpec {
    /// What kind of machine it is. It decides how Farrier talks to it.
    #[serde(rename = "type")]
    pub type_: NodeType,

    /// Where the machine is reached: IPv4 or IPv6 addresses, link-local ones with their zone
    /// (fe80::1%eth0), or names. They are tried in the order given, sorted by addressFamilies.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9_.:-]+(%[A-Za-z0-9_.-]{1,15})?$"))
    )]
    pub addresses: Vec<String>,

    /// Address families that may be used, the preferred one first. A family that is left out is
    /// never tried.
    #[serde(default = "both_families")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub address_families: Vec<AddressFamily>,

    /// The Secret to sign in with: keys username and password, or username and ssh-privatekey
    /// (with passphrase and ssh-certificate where needed). Without username, root is used. A
    /// different password for sudo or su goes into sudo-password or su-password.
    pub credentials_ref: LocalRef,

    /// How to reach the machine by SSH.
    #[serde(default)]
    pub ssh: Ssh,

    /// How the engine on this machine talks to Farrier. Without it the run's channel is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,

    /// Whether Farrier may open a port in this machine's own firewall for the duration of a run.
    /// Only the channel Listen needs it.
    #[serde(default)]
    pub open_firewall: bool,

    /// Where this machine reaches the callback server, if it is not where the others reach it.
    /// Only the channel Callback and machines that fetch their payloads need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9_.:-]+(%[A-Za-z0-9_.-]{1,15})?$"))]
    pub callback_address: Option<String>,

    /// Keep this machine out of every run.
    #[serde(default)]
    pub hold: bool,
}

fn both_families() -> Vec<AddressFamily> {
    vec![AddressFamily::IPv4, AddressFamily::IPv6]
}

/// The kinds of machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "product names; DESIGN section 2 lists them")]
pub enum NodeType {
    Linux,
    Windows,
    HPUX,
    VMware,
    ILO,
    IDRAC,
    Redfish,
    OnboardAdministrator,
    VirtualConnect,
    FCSwitch,
    SASSwitch,
    Moonshot,
    Superdome2,
    SuperdomeX,
    SuperdomeFlex,
}

/// A family of network addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AddressFamily {
    /// Internet Protocol version 4.
    IPv4,
    /// Internet Protocol version 6.
    IPv6,
}

/// How the engine on a machine talks to Farrier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Channel {
    /// Through the SSH session; no port is opened anywhere.
    #[default]
    Session,
    /// The engine calls the callback server back.
    Callback,
    /// The engine listens on a port of the machine.
    Listen,
}

/// How to reach a machine by SSH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ssh {
    /// TCP port of the SSH server.
    #[serde(default = "port_22")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,

    /// Public host keys that are accepted, as in known_hosts: ssh-ed25519 AAAA… (a host name in
    /// front and a comment behind are allowed).
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 16, max = 8192)))]
    pub host_keys: Vec<String>,

    /// Pinned accepts the keys in hostKeys only. TrustOnFirstUse records the first key it sees in
    /// the status and refuses any other one from then on.
    #[serde(default)]
    pub host_key_policy: HostKeyPolicy,

    /// How to become root after signing in as somebody else.
    #[serde(default)]
    pub privilege: Privilege,
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            port: port_22(),
            host_keys: Vec::new(),
            host_key_policy: HostKeyPolicy::default(),
            privilege: Privilege::default(),
        }
    }
}

fn port_22() -> u16 {
    22
}

/// Which host keys are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HostKeyPolicy {
    /// Those in hostKeys.
    #[default]
    Pinned,
    /// The first one seen, recorded in the status; a change is refused and named.
    TrustOnFirstUse,
}

/// How to become root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Privilege {
    /// Not at all: the user that signs in is root.
    #[default]
    None,
    /// By sudo.
    Sudo,
    /// By su.
    Su,
}

/// What Farrier knows about the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedNodeStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Conditions: Ready, Reconciling, Stalled, and Reachable, HostKeyVerified, Authenticated,
    /// InventoryCurrent, InBaseline.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The host key that was recorded on first use. To accept a new one, delete this field:
    /// kubectl patch managednode NAME --subresource=status --type=merge -p '{"status":{"hostKey":null}}'
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,

    /// The address that answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,

    /// The operating system, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,

    /// The run that worked on this machine last, or does now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<String>,

    /// When the machine was last reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
}
