//! `Baseline`: an immutable list of components.

use super::LocalRef;
use super::managed_node::NodeType;
use super::quantity::Span;
use super::tls::Tls;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What machines should carry: an immutable list of components.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "farrier.dev",
    version = "v1alpha1",
    kind = "Baseline",
    namespaced,
    shortname = "bl",
    category = "farrier",
    status = "BaselineStatus",
    doc = "What machines should carry: an immutable list of components.",
    printcolumn(name = "Components", type_ = "integer", json_path = ".status.components"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("a Baseline is immutable: make a new one under another name"))]
pub struct BaselineSpec {
    /// The components. They are installed in this order, except that a component always comes
    /// after what it requires.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub components: Vec<Component>,
}

/// One thing to be installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Name, unique in the baseline.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9.+-]*[a-z0-9+])?$"))]
    pub name: String,

    /// The version that machines should carry, written as the machine's package database or the
    /// detection writes it.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,

    /// Which machines it is for. Without it: all.
    #[serde(default)]
    pub applies_to: AppliesTo,

    /// How it is installed.
    pub installer: Installer,

    /// How the installed version is read. For Deb and Rpm it may be left out: the package of the
    /// component's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect: Option<Detect>,

    /// Where the bytes are and what they must be.
    pub payload: Payload,

    /// What must be on the machine before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub requires: Vec<Requirement>,

    /// Whether the machine must be rebooted afterwards.
    #[serde(default)]
    pub reboot: Reboot,

    /// Whether the installer may be ended when it takes longer than its timeout. If false, it is
    /// always left to finish once it was started.
    #[serde(default = "yes")]
    pub interruptible: bool,

    /// How long the installer may take, for instance 10m.
    #[serde(default = "ten_minutes")]
    pub timeout: Span,
}

fn yes() -> bool {
    true
}

fn ten_minutes() -> Span {
    Span::from("10m")
}

/// Which machines a component is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliesTo {
    /// Types of machines. Empty: all types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub types: Vec<NodeType>,

    /// Facts that must have these values: os, osVersion, osLike, arch, kernel, vendor, model,
    /// serial, hostname, biosVersion.
    #[serde(default, rename = "match", skip_serializing_if = "BTreeMap::is_empty")]
    pub match_: BTreeMap<String, String>,
}

/// How a component is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "names of package formats; DESIGN section 2 lists them")]
pub enum Installer {
    Deb,
    Rpm,
    Script,
    Fwupd,
    DellDup,
    HpeSmartComponent,
    WindowsComponent,
    Msi,
    RedfishImage,
    SwinstallDepot,
    Vib,
    DeviceImage,
}

/// How the installed version of a component is read: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.package), has(self.command), has(self.file)].filter(x, x).size() == 1").message("give exactly one of package, command and file"),
    validation = Rule::new("!has(self.architecture) || (has(self.package) && !self.__package__.contains(':'))").message("architecture goes with package, where package does not name one itself")
)]
pub struct Detect {
    /// A package in the machine's package database. `NAME:ARCHITECTURE` is short for package and
    /// architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 214), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._+:-]*$"))]
    pub package: Option<String>,

    /// The architecture of the package, as the package manager writes it, for instance i386 (dpkg)
    /// or i686 (rpm). Without it: the machine's own, or a package for all architectures. A package
    /// of the same name for another architecture is another package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"))]
    pub architecture: Option<String>,

    /// A command line for /bin/sh, run as root. With exit status 0 its first line of output is the
    /// version; with any other one the component counts as not installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub command: Option<String>,

    /// A file whose first line is the version. No such file: not installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 4096), regex(pattern = r"^/"))]
    pub file: Option<String>,
}

/// The bytes of a component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.tls) || !has(self.tls.policy) || self.tls.policy != 'TrustOnFirstUse'").message("a payload has no status to record a certificate in: give its fingerprint, or use policy Pinned or System"))]
pub struct Payload {
    /// An address that begins with https:, oci: or s3:, or file: with a path under the operator's payload directory.
    #[schemars(length(min = 8, max = 2048), regex(pattern = r"^(https|oci|s3|file)://.+"))]
    pub url: String,

    /// SHA-256 of the bytes, as sha256: and 64 lower-case hexadecimal digits. Checked at the
    /// operator and again on the machine.
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: String,

    /// Length in bytes. Where it is given, a longer download is cut off early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub size: Option<i64>,

    /// A Secret with what the source needs: ca.crt (certificates to trust, in PEM: of authorities, or
    /// of the server itself), username and password, or token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,

    /// How the source's certificate is trusted, beside ca.crt of secretRef. Without policy it is
    /// Pinned if there are fingerprints, and System if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// Something that must be on the machine before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// Name of a component of the same baseline.
    #[schemars(length(min = 1, max = 63))]
    pub component: String,

    /// Its lowest version. Without it any version will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub at_least: Option<String>,
}

/// Whether the machine must be rebooted after a component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Reboot {
    /// Never.
    Never,
    /// If the installer asks for it.
    #[default]
    IfRequested,
    /// Always.
    Always,
}

/// Whether the baseline makes sense.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BaselineStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Number of components.
    #[serde(default)]
    pub components: i64,

    /// Conditions: Ready, Reconciling, Stalled.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
