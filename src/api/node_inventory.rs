//! `NodeInventory`: everything that was found on one machine.

use super::LocalRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that was found on one machine. Farrier writes it; users read it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "farrier.dev",
    version = "v1alpha1",
    kind = "NodeInventory",
    plural = "nodeinventories",
    namespaced,
    shortname = "ni",
    category = "farrier",
    status = "NodeInventoryStatus",
    doc = "Everything that was found on one machine. Farrier writes it; users read it.",
    selectable = ".spec.nodeRef.name",
    printcolumn(name = "OS", type_ = "string", json_path = ".status.facts.osName"),
    printcolumn(name = "Arch", type_ = "string", json_path = ".status.facts.arch"),
    printcolumn(name = "Kernel", type_ = "string", json_path = ".status.facts.kernel", priority = 1),
    printcolumn(name = "Vendor", type_ = "string", json_path = ".status.facts.vendor", priority = 1),
    printcolumn(name = "Model", type_ = "string", json_path = ".status.facts.model"),
    printcolumn(name = "Serial", type_ = "string", json_path = ".status.facts.serial", priority = 1),
    printcolumn(name = "Packages", type_ = "integer", json_path = ".status.packageCount"),
    printcolumn(name = "Taken", type_ = "date", json_path = ".status.takenAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct NodeInventorySpec {
    /// The machine.
    #[x_kube(validation = Rule::new("self == oldSelf").message("nodeRef is immutable"))]
    pub node_ref: LocalRef,
}

/// What was found on the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeInventoryStatus {
    /// Conditions: Ready.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// Time at which the inventory was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Time>,

    /// The run that took the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,

    /// Facts about the machine.
    #[serde(default)]
    pub facts: FactsReport,

    /// Number of installed packages.
    #[serde(default)]
    pub package_count: i64,

    /// The installed packages, one entry for each version and architecture. The list ends at 5000 packages
    /// or at 1 MiB; then truncated is true, and the condition Ready says how many packages were left out.
    #[serde(default)]
    pub packages: Vec<InstalledPackage>,

    /// Whether packages lists fewer packages than packageCount.
    #[serde(default)]
    pub truncated: bool,

    /// The firmware of the machine's devices: all that a BMC lists, and of a server that is signed in to, what
    /// its operating system shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firmware: Vec<InstalledFirmware>,
}

/// Facts about a machine. An empty text means that the fact is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FactsReport {
    /// Short name of the operating system, for instance debian.
    pub os: String,
    /// Version of the operating system, for instance 12.
    pub os_version: String,
    /// Related operating systems, for instance rhel fedora.
    pub os_like: String,
    /// Full name of the operating system.
    pub os_name: String,
    /// Processor architecture, for instance `x86_64`.
    pub arch: String,
    /// Kernel release.
    pub kernel: String,
    /// Host name.
    pub hostname: String,
    /// Vendor of the machine.
    pub vendor: String,
    /// Model of the machine.
    pub model: String,
    /// Serial number of the machine.
    pub serial: String,
    /// Version of the system firmware.
    pub bios_version: String,
}

/// The firmware of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstalledFirmware {
    /// Id of the entry on the machine.
    pub id: String,
    /// Name of the entry.
    pub name: String,
    /// Where the entry was read: redfish (the device's own inventory), dmi (the tables of the system firmware),
    /// ethtool, nvme, ipmi, fwupd. Empty in inventories of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Id of the software, if the machine states one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub software_id: String,
    /// Installed version; empty if the machine does not state it.
    pub version: String,
    /// Whether the machine says that it can be updated.
    pub updateable: bool,
    /// State of the entry in the machine's words; empty if the machine states none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub health: String,
}

/// One installed package, in one version and for one architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstalledPackage {
    /// Name of the package.
    pub name: String,
    /// Version, with epoch and release.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// Package format: deb or rpm.
    pub kind: String,
}
