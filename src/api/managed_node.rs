//! `ManagedNode`: a machine, as the user describes it.

mod drain;

pub use drain::{Drain, DrainHttp, DrainJob};

use super::quantity::Span;
use super::tls::Tls;
use super::{LocalRef, words};
use farrier_network::MachineType;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A machine that Farrier may update. The machine is not a node of the cluster.
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
    validation = Rule::new("!has(self.spec.managedBy) || self.spec.managedBy.name != self.metadata.name").message("spec.managedBy names the machine itself; name the device that it is managed by"),
    validation = Rule::new("!has(self.spec.partners) || !(self.metadata.name in self.spec.partners)").message("spec.partners names the machine itself; name only the other ones"),
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
    printcolumn(name = "Baseline", type_ = "string", json_path = ".status.baseline.name", priority = 1),
    printcolumn(name = "Inventory", type_ = "date", json_path = ".status.inventory.takenAt", priority = 1),
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
#[x_kube(
    validation = Rule::new("!has(self.product) || self.type in ['OnboardAdministrator', 'VirtualConnect', 'FCSwitch', 'SASSwitch', 'Moonshot', 'Superdome2', 'SuperdomeX']").message("product is for machines with a command line of their own; a machine of this type has none"),
    validation = Rule::new("!(self.type in ['FCSwitch', 'SASSwitch']) || (self.addresses.all(a, !a.contains(':')) && 'IPv4' in self.addressFamilies && (!has(self.callbackAddress) || !self.callbackAddress.contains(':')))").message("SAS and FC switches have no IPv6: give IPv4 addresses or names in addresses and callbackAddress, and IPv4 in addressFamilies"),
    validation = Rule::new("!has(self.callbackPort) || has(self.callbackAddress)").message("callbackPort is a port of callbackAddress: give that, too"),
    validation = Rule::new("self.type == 'HPUX' ? has(self.callbackPort) == has(self.callbackHttpPort) && (!has(self.callbackPort) || self.callbackPort != self.callbackHttpPort) : !has(self.callbackHttpPort)").message("an HPUX machine uses two ports: give callbackPort (HTTPS) and callbackHttpPort (HTTP), and two different ones; machines of other types have no callbackHttpPort"),
    validation = Rule::new("!has(self.tls) || !(self.type in ['Linux', 'Windows', 'HPUX'])").message("tls is for machines that are reached over HTTPS; a machine of this type is not"),
    validation = Rule::new("!has(self.port) || !(self.type in ['Linux', 'Windows', 'HPUX'])").message("port is for machines that are reached over HTTPS; the port of an SSH server is ssh.port"),
    validation = Rule::new("!self.ssh.legacyAlgorithms || !(self.type in ['Windows', 'ILO', 'IDRAC', 'Redfish', 'SuperdomeFlex'])").message("ssh.legacyAlgorithms is for machines that are reached over SSH; a machine of this type is not"),
    validation = Rule::new("!has(self.handOver) || !(self.type in ['Linux', 'Windows', 'VMware'])").message("handOver is for machines that flash themselves; a machine of this type does not")
)]
pub struct ManagedNodeSpec {
    /// The type of the machine. It decides how Farrier connects to the machine.
    #[serde(rename = "type")]
    #[schemars(with = "words::MachineTypes")]
    pub type_: MachineType,

    /// The product, where a type has several or where it has a command line besides Redfish (Moonshot), for example
    /// brocade-fos. Farrier has the products of docs/console-devices.md and those of the operator's --console-dir.
    /// Only for types with a command line: OnboardAdministrator, VirtualConnect, FCSwitch, SASSwitch, Moonshot,
    /// Superdome2 and SuperdomeX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9-]+$"))]
    pub product: Option<String>,

    /// Addresses of the machine: IPv4 or IPv6 addresses, link-local addresses with their zone
    /// (fe80::1%eth0), or names. Farrier tries them in the given order, sorted by addressFamilies.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9_.:-]+(%[A-Za-z0-9_.-]{1,15})?$"))
    )]
    pub addresses: Vec<String>,

    /// Address families that Farrier may use, in order of preference. Farrier never uses a family that
    /// is not listed. SAS and FC switches have IPv4 only: names are resolved to IPv4 addresses for them.
    #[serde(default = "both_families")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub address_families: Vec<AddressFamily>,

    /// The Secret with the login: keys username and password, or username and ssh-privatekey (with
    /// passphrase and ssh-certificate if needed). Without username, the user is root. A different
    /// password for sudo or su goes into sudo-password or su-password, and that of a mode of a device's
    /// command line into enable-password.
    pub credentials_ref: LocalRef,

    /// SSH settings of the machine.
    #[serde(default)]
    pub ssh: Ssh,

    /// How Farrier trusts the certificate of a machine that it reaches over HTTPS: ILO, IDRAC, Redfish and
    /// SuperdomeFlex. Without it, only a certificate that an authority of the operator's system has signed is
    /// accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// The port of a machine that Farrier reaches over HTTPS. Default: 443. The SSH port is in ssh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,

    /// The channel between the engine on this machine and Farrier. If it is not set, the channel of the
    /// run is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,

    /// Whether Farrier may open the engine's port in the machine's own firewall (nftables, iptables,
    /// firewalld or ufw) for the duration of a run, for the operator's address only. If false, and the
    /// firewall rejects the connection, the condition ListenReachable names the command that opens the port.
    /// Only the channel Listen needs the port; other channels ignore the field.
    #[serde(default)]
    pub open_firewall: bool,

    /// The address at which this machine reaches the callback server, if it differs from the address
    /// that other machines use. Only the channel Callback and machines that fetch their payloads need
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9_.:-]+(%[A-Za-z0-9_.-]{1,15})?$"))]
    pub callback_address: Option<String>,

    /// The port of callbackAddress at which this machine reaches the service that it uses, where something in between
    /// forwards another port than the run's: for instance 22, forwarded to the run's sftpPort, for a switch that
    /// fetches by SCP from no other port. An HPUX machine uses two: this one is then forwarded to the run's httpsPort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub callback_port: Option<u16>,

    /// The port of callbackAddress that is forwarded to the run's httpPort, for an HPUX machine whose callbackPort is
    /// forwarded to its httpsPort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub callback_http_port: Option<u16>,

    /// The device that this machine is managed by or reached through, another ManagedNode of the namespace: of a
    /// Virtual Connect module its Onboard Administrator, of an iLO its Onboard Administrator, of a server its
    /// management processor. In a run that updates both, this machine is begun after that device has succeeded;
    /// see order of UpdateRun. A Virtual Connect module is reached through its Onboard Administrator: by a session with
    /// that, with the address, the host key and the Secret of the Onboard Administrator's ManagedNode, and on the console
    /// of the bay with the Secret of this one. Its addresses tell the bay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<LocalRef>,

    /// How images get to a machine that flashes itself: Push sends them to it, so that it connects to nothing of
    /// Farrier's, and Pull tells it to fetch them from the run's ports. Without it the machine's best way is used, which
    /// is Push where it has one, and Pull on HPUX. A component whose machine does not have the way is refused in the
    /// plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<HandOver>,

    /// ManagedNodes of the namespace that are never worked on at the same time as this machine, in any run: the
    /// other half of a fabric or of a redundant pair. It is enough if one of them names the other. Machines that
    /// name each other in a chain form one group. If one of a group fails, the run does not begin the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub partners: Vec<String>,

    /// How what this machine does for others is moved away before Farrier disrupts it, and let back afterwards. Nothing
    /// is drained where nothing is disrupted: if nothing is to be changed, or if only a management processor is
    /// updated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,

    /// Excludes this machine from every run.
    #[serde(default)]
    pub hold: bool,

    /// When the inventory of this machine is taken by itself. If it is not set, only UpdateRuns take it. See
    /// docs/drift.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<InventorySchedule>,
}

/// When the inventory of a machine is taken by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct InventorySchedule {
    /// How long after an inventory the next one is taken, from 1h to 8760h, for instance 24h: Farrier makes an UpdateRun
    /// with operation Inventory for the machines that are due, which installs nothing. Up to a tenth is added, so that
    /// machines are not asked all at once. A machine that is not reached is asked again after the same time.
    #[x_kube(validation = Rule::new("duration(self) >= duration('1h') && duration(self) <= duration('8760h')").message("every is from 1h to 8760h: an inventory signs in to the machine and starts the engine on it"))]
    pub every: Span,
}

fn both_families() -> Vec<AddressFamily> {
    vec![AddressFamily::IPv4, AddressFamily::IPv6]
}

/// A family of network addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AddressFamily {
    /// Internet Protocol version 4.
    IPv4,
    /// Internet Protocol version 6.
    IPv6,
}

/// How an image gets to a machine that flashes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HandOver {
    /// Farrier sends it to the machine.
    Push,
    /// The machine is told to fetch it.
    Pull,
}

/// The channel between the engine on a machine and Farrier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Channel {
    /// Through the SSH session; no port is opened.
    #[default]
    Session,
    /// The engine connects back to the callback server.
    Callback,
    /// The engine listens on a port of the machine, and Farrier connects to it.
    Listen,
}

/// SSH settings of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ssh {
    /// TCP port of the SSH server.
    #[serde(default = "port_22")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,

    /// Accepted public host keys, in the format of known_hosts: ssh-ed25519 AAAA… (a host name before
    /// the key and a comment after it are allowed).
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(min = 16, max = 8192)))]
    pub host_keys: Vec<String>,

    /// Pinned accepts only the keys in hostKeys. TrustOnFirstUse records the first key in the status
    /// and rejects any other key from then on.
    #[serde(default)]
    pub host_key_policy: HostKeyPolicy,

    /// How Farrier becomes root after it logs in as another user.
    #[serde(default)]
    pub privilege: Privilege,

    /// Allows algorithms that are not safe any more, for SSH servers that have nothing else: key exchange with
    /// SHA-1 (groups 1 and 14, group exchange), host keys of types ssh-rsa with SHA-1 and ssh-dss, ciphers
    /// aes128-cbc, aes192-cbc, aes256-cbc and 3des-cbc, and hmac-sha1. A machine that has current algorithms is
    /// still worked on with those. The condition LegacyAlgorithms says what is used.
    #[serde(default)]
    pub legacy_algorithms: bool,
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            port: port_22(),
            host_keys: Vec::new(),
            host_key_policy: HostKeyPolicy::default(),
            privilege: Privilege::default(),
            legacy_algorithms: false,
        }
    }
}

fn port_22() -> u16 {
    22
}

/// Which host keys Farrier accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HostKeyPolicy {
    /// The keys in hostKeys.
    #[default]
    Pinned,
    /// The first key that the machine presents. Farrier records it in the status; it rejects and
    /// reports a changed key.
    TrustOnFirstUse,
}

/// How Farrier becomes root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Privilege {
    /// Not needed: the login user is root.
    #[default]
    None,
    /// With sudo.
    Sudo,
    /// With su.
    Su,
}

/// What Farrier knows about the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedNodeStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Conditions: Ready, Reconciling, Stalled, and Reachable, HostKeyVerified (with LegacyAlgorithms where they
    /// are allowed) or CertificateVerified, Authenticated, InventoryCurrent, PartsHealthy (of devices that say whether
    /// one of their modules is missing or not well), InBaseline.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The host key that was recorded on first use. To accept a new one, delete this field:
    /// kubectl patch managednode NAME --subresource=status --type=merge -p '{"status":{"hostKey":null}}'
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<String>,

    /// The fingerprint of the certificate that was recorded on first use. To accept a new certificate, delete
    /// this field as with hostKey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,

    /// The address that responded last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,

    /// Name of the operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,

    /// The run that works on this machine, or the last run that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<String>,

    /// Time of the last connection to the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,

    /// When its inventory was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<InventoryTimes>,

    /// The baseline that the last UpdateRun with operation Update has brought this machine to, whether or not all of it
    /// succeeded. Every inventory compares the machine with it; the condition InBaseline has the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<AppliedBaseline>,

    /// The last five updates that changed the machine and succeeded, newest first. The longest of them is how long
    /// Farrier expects the next one to take: none is begun that would not end in the maintenance window of its run.
    /// To forget them, delete this field as with hostKey.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent_updates: Vec<RecentUpdate>,

    /// Payloads that a run with operation Stage has brought to the machine, until an update installs them or their
    /// lease ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub staged: Vec<StagedPayload>,
}

/// A payload that is staged on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StagedPayload {
    /// Its digest, as in the baseline.
    pub digest: String,
    /// When its lease ends. The machine removes it within an hour of that time, by its own clock.
    pub until: Time,
}

/// When the inventory of a machine was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InventoryTimes {
    /// Time at which the last inventory was taken, by any run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Time>,
    /// Time at which the last run with operation Inventory ended on this machine, whether or not it reached it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Time>,
}

/// The baseline that a machine was brought to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedBaseline {
    /// Name of the Baseline.
    pub name: String,
    /// UID of the Baseline.
    pub uid: String,
    /// Digest of its components.
    pub digest: String,
    /// Name of the run.
    pub run: String,
    /// Time at which the run ended on this machine.
    pub at: Time,
}

/// An update that changed a machine and succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecentUpdate {
    /// Name of the run.
    pub run: String,
    /// Time at which the attempt began that changed the machine.
    pub started_at: Time,
    /// How long it took, with its reboots and the clean-up.
    pub duration: Span,
}
