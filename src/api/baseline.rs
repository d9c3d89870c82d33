//! `Baseline`: an immutable list of components.

use super::quantity::Span;
use super::tls::Tls;
use super::{LocalRef, words};
use farrier_network::MachineType;
use farrier_update::InstallerKind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What machines should have: an immutable list of components.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "farrier.dev",
    version = "v1alpha1",
    kind = "Baseline",
    namespaced,
    shortname = "bl",
    category = "farrier",
    status = "BaselineStatus",
    doc = "What machines should have: an immutable list of components.",
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
    /// The components. Farrier installs them in this order, except that a component is always installed
    /// after the components that it requires.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub components: Vec<Component>,
}

/// One component: what is installed, and how its installed version is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.payload) != (has(self.source) && self.source == 'Repository')").message("give payload, or source: Repository for a package from the repositories that the machine has; not both"),
    validation = Rule::new("!has(self.source) || self.source != 'Repository' || (self.installer in ['Deb', 'Rpm'] && (!has(self.detect) || has(self.detect.__package__)))").message("source: Repository is for packages: installer Deb or Rpm, and detect.package or no detect"),
    validation = Rule::new("!has(self.payload) || !has(self.payload.unpack) || !self.payload.unpack || self.installer == 'DeviceImage'").message("payload.unpack is for machines that fetch a folder: installer DeviceImage")
)]
pub struct Component {
    /// Name of the component, unique in the baseline.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9.+-]*[a-z0-9+])?$"))]
    pub name: String,

    /// The version that machines should have, written as the package database of the machine or the
    /// detection reports it.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,

    /// The machines that the component applies to. If it is not set, the component applies to all machines.
    #[serde(default)]
    pub applies_to: AppliesTo,

    /// How the component is installed. This version supports Deb, Rpm, Script, Fwupd, DellDup,
    /// HpeSmartComponent and Tar (the source tree of a kernel module, for DKMS) on Linux, and RedfishImage. A
    /// baseline with another installer is not Ready, and the run fails on the machines that the component
    /// applies to.
    #[schemars(with = "words::Installers")]
    pub installer: InstallerKind,

    /// How the installed version is read. If it is not set, Farrier reads the package with the component's
    /// name for Deb and Rpm, the entry of the firmware list with that name for Fwupd and RedfishImage, and the
    /// module of DKMS with that name for Tar. Other installers need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect: Option<Detect>,

    /// Where the component comes from: Payload (the file of payload, which is the default) or Repository (a
    /// repository that is configured on the machine, by apt, dnf or zypper, in exactly the version of this
    /// component; for Deb and Rpm). New packages that it depends on are installed with it. If the package
    /// manager would change anything else, nothing is installed.
    #[serde(default, skip_serializing_if = "Source::is_payload")]
    pub source: Source,

    /// Where the file to install comes from, and its digest. Needed unless source is Repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,

    /// What the machine must have before anything is copied to it. A machine that lacks something is named with
    /// the reason PrerequisiteMissing and the packages to install.
    #[serde(default, skip_serializing_if = "Needs::is_empty")]
    pub needs: Needs,

    /// Components that must be on the machine before this component is installed. What happens on a machine
    /// that lacks one is decided by onFailedDependency of the run. A component may require a lower version of
    /// itself: a machine below it is first brought to that version by a component of the same baseline that
    /// has another name and the same detect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub requires: Vec<Requirement>,

    /// Whether the component takes effect only after a reboot: Never, IfRequested (if the installer asks
    /// for a reboot) or Always.
    #[serde(default)]
    pub reboot: Reboot,

    /// Whether Farrier ends the installer when it takes longer than its timeout. If false, an installer
    /// that was started always runs to its end. Installers of firmware are never ended: Fwupd, DellDup and
    /// HpeSmartComponent.
    #[serde(default = "yes")]
    pub interruptible: bool,

    /// How long the installer may take, for instance 10m, which is the default.
    #[serde(default = "ten_minutes")]
    pub timeout: Span,
}

fn yes() -> bool {
    true
}

fn ten_minutes() -> Span {
    Span::from("10m")
}

/// Where a component comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Source {
    /// The file of payload.
    #[default]
    Payload,
    /// A repository that is configured on the machine.
    Repository,
}

impl Source {
    /// Reports whether this is the default, which is left out: the digest of a baseline that does not set the
    /// field stays the same.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_payload(&self) -> bool {
        *self == Self::Payload
    }
}

/// What a machine must have before a component is installed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Needs {
    /// Programs, by name, such as gcc and make.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"))
    )]
    pub programs: Vec<String>,

    /// Whether the headers of the running kernel are needed, to compile modules.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kernel_headers: bool,
}

impl Needs {
    fn is_empty(&self) -> bool {
        self.programs.is_empty() && !self.kernel_headers
    }
}

/// The machines that a component applies to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliesTo {
    /// Types of machines. If the list is empty, the component applies to all types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<words::MachineTypes>", length(max = 16))]
    pub types: Vec<MachineType>,

    /// Facts that must have exactly these values. Keys: os, osVersion, osLike, arch, kernel, vendor, model,
    /// serial, hostname, biosVersion. For osLike, one of its words must have the value.
    #[serde(default, rename = "match", skip_serializing_if = "BTreeMap::is_empty")]
    pub match_: BTreeMap<String, String>,
}

/// How the installed version of a component is read. Exactly one of package, command, file, firmware and module
/// must be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.package), has(self.command), has(self.file), has(self.firmware), has(self.module)].filter(x, x).size() == 1").message("give exactly one of package, command, file, firmware and module"),
    validation = Rule::new("!has(self.architecture) || (has(self.package) && !self.__package__.contains(':'))").message("architecture can be set only with a package that does not name an architecture itself")
)]
pub struct Detect {
    /// Name of a package in the machine's package database. NAME:ARCHITECTURE is a short form of package
    /// and architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 214), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._+:-]*$"))]
    pub package: Option<String>,

    /// Architecture of the package, as the package manager writes it, for instance i386 (dpkg) or i686
    /// (rpm). If it is not set, the architecture of the machine and packages for all architectures are
    /// read. Packages with the same name and different architectures are different packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"))]
    pub architecture: Option<String>,

    /// A command line for /bin/sh, run as root. If it exits with status 0, the first line of its output is
    /// the version. With any other status the component counts as not installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub command: Option<String>,

    /// Path of a file whose first line is the version. If the file does not exist, the component counts as
    /// not installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 4096), regex(pattern = r"^/"))]
    pub file: Option<String>,

    /// An entry of the machine's firmware list: its id, its name or its software id, exactly as NodeInventory
    /// lists it; on Linux also any GUID that fwupd gives for the device. For Fwupd it is the device that the
    /// cabinet is installed to as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub firmware: Option<String>,

    /// A module of DKMS, by PACKAGE_NAME of its dkms.conf. Its version is the one that is installed for the
    /// running kernel. For Tar it is what the payload must be as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_+~][A-Za-z0-9._+~-]*$"))]
    pub module: Option<String>,
}

/// The file of a component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.tls) || !has(self.tls.policy) || self.tls.policy != 'TrustOnFirstUse'").message("a payload has no status to record a certificate in: give its fingerprint, or use policy Pinned or System"))]
pub struct Payload {
    /// URL of the file: https://HOST/PATH; file:///PATH below the operator's payload directory;
    /// oci://HOST/REPOSITORY:TAG or @sha256:DIGEST, an artifact in a registry that has the file as a layer;
    /// s3://BUCKET/KEY, for a server other than Amazon's with ?endpoint=https://HOST&region=REGION.
    /// #NAME after an oci: URL is the file's name on the machine.
    #[schemars(length(min = 8, max = 2048), regex(pattern = r"^(https|oci|s3|file)://.+"))]
    pub url: String,

    /// SHA-256 of the file, as sha256: and 64 lower-case hexadecimal digits. Farrier checks it after the
    /// download and again on the machine.
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: String,

    /// Length in bytes. If it is set, a longer download is stopped early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub size: Option<i64>,

    /// Whether the file is an archive (tar, tar.gz or zip) that the machine fetches as a folder, as switches with
    /// Fabric OS do. The digest is that of the archive. If all of its content is in one folder, that folder is what
    /// the machine sees. For the installer DeviceImage only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpack: bool,

    /// A Secret with what the source needs: ca.crt (trusted certificates in PEM, of authorities or of the
    /// server itself); for https: and oci: username and password, or token; for oci: also
    /// .dockerconfigjson; for s3: access-key-id, secret-access-key and, for temporary keys, session-token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalRef>,

    /// How the certificate of the source is trusted, in addition to ca.crt of secretRef. The default policy
    /// is System; it is Pinned if there are fingerprints, or certificates in ca.crt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// Files with the signature of an image that does not have it inside, such as the .compsig files of HPE:
    /// one, or for an image of more than 32 MiB one for each section of 32 MiB, in their order. They are
    /// sent to devices that have a repository (iLO), and have the secretRef and tls of the payload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub signatures: Vec<Signature>,
}

/// A file with the signature of an image, or of a section of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Signature {
    /// URL of the file, in the forms that the URL of a payload has.
    #[schemars(length(min = 8, max = 2048), regex(pattern = r"^(https|oci|s3|file)://.+"))]
    pub url: String,

    /// SHA-256 of the file, as sha256: and 64 lower-case hexadecimal digits.
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
}

/// A component that must be on the machine before another component is installed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// Name of a component of the same baseline; this component's own name means a version that must be installed
    /// before, and needs atLeast.
    #[schemars(length(min = 1, max = 63))]
    pub component: String,

    /// Lowest accepted version of the component. If it is not set, any version is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub at_least: Option<String>,
}

/// Whether a component takes effect only after a reboot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Reboot {
    /// It takes effect without a reboot.
    Never,
    /// It needs a reboot if the installer asks for one.
    #[default]
    IfRequested,
    /// It always needs a reboot.
    Always,
}

/// The state of a baseline: whether it is valid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BaselineStatus {
    /// Generation of the spec that this status describes.
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
