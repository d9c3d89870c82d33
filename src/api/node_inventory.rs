//! `NodeInventory`: everything found on one machine.

use super::LocalRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything found on one machine. Farrier writes it; users read it.
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
    doc = "Everything found on one machine. Farrier writes it; users read it.",
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

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeInventoryStatus {
    /// Conditions: Ready.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// When it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Time>,

    /// The run that took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,

    /// What the machine is.
    #[serde(default)]
    pub facts: FactsReport,

    /// How many packages are installed.
    #[serde(default)]
    pub package_count: i64,

    /// Every installed package, one entry for each version and architecture. Above 5000 packages or 1 MiB the list ends, truncated is true, and
    /// the condition Ready says how many were left out.
    #[serde(default)]
    pub packages: Vec<InstalledPackage>,

    /// Whether the list of packages is shorter than packageCount.
    #[serde(default)]
    pub truncated: bool,
}

/// What a machine is. An empty text: not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FactsReport {
    /// Short name of the operating system, for instance debian.
    pub os: String,
    /// Its version, for instance 12.
    pub os_version: String,
    /// Related systems, for instance rhel fedora.
    pub os_like: String,
    /// Its full name.
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

/// One installed package, in one version and for one architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstalledPackage {
    /// Name.
    pub name: String,
    /// Version, with epoch and release.
    pub version: String,
    /// Architecture.
    pub arch: String,
    /// deb or rpm.
    pub kind: String,
}
