//! The machines of a fleet as a table. Pure.

use crate::api::{ManagedNode, condition};
use crate::cmd::table::{age, aligned};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use serde::Serialize;

/// Whether a table has a column of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespaces {
    /// All machines are in one namespace.
    Hidden,
    /// They are in several.
    Shown,
}

/// How much a table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// What fits on a terminal.
    Narrow,
    /// Address and operating system besides.
    Wide,
}

/// What there is to know about a machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its namespace.
    pub namespace: String,
    /// Name of the ManagedNode.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it was reached: True, False or Unknown.
    pub reachable: String,
    /// Whether it has the baseline that was last applied to it: True, False or Unknown.
    pub in_baseline: String,
    /// The baseline that was last applied to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// The run that works on it, or the last one that did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<String>,
    /// Time of the last connection to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
    /// When the ManagedNode was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// Whether Farrier leaves it alone.
    pub hold: bool,
    /// The address that responded last, or the first one.
    pub address: String,
    /// Its operating system, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Reason of the message, one of the documented ones; empty if nothing is wrong.
    pub reason: String,
    /// Why it cannot be used; of one that can be used, what it lacks of its baseline, or why that is not known.
    pub message: String,
}

/// Returns what there is to know about machines, in the order of namespaces and names.
pub fn rows(nodes: &[ManagedNode]) -> Vec<Row> {
    let mut rows: Vec<Row> = nodes.iter().map(row).collect();
    rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    rows
}

fn row(node: &ManagedNode) -> Row {
    let status = node.status.clone().unwrap_or_default();
    let find = |type_: &str| condition::find(&status.conditions, type_);
    let value = |type_: &str| find(type_).map_or_else(|| "Unknown".to_owned(), |c| c.status.clone());
    let unusable = find("Ready").filter(|c| c.status == "False");
    let wrong = unusable.or_else(|| find("InBaseline").filter(|c| c.status != "True"));
    Row {
        namespace: node.namespace().unwrap_or_default(),
        name: node.name_any(),
        type_: node.spec.type_.to_string(),
        reachable: value("Reachable"),
        in_baseline: value("InBaseline"),
        baseline: status.baseline.as_ref().map(|baseline| baseline.name.clone()),
        reason: wrong.map(|c| c.reason.clone()).unwrap_or_default(),
        message: wrong.map(|c| c.message.clone()).unwrap_or_default(),
        last_run: status.last_run,
        last_seen: status.last_seen,
        created_at: node.metadata.creation_timestamp.clone(),
        hold: node.spec.hold,
        address: status.address.or_else(|| node.spec.addresses.first().cloned()).unwrap_or_default(),
        os: status.os,
    }
}

/// Renders the names of machines as kubectl does.
pub fn names(rows: &[Row]) -> String {
    let mut text = String::new();
    text.extend(rows.iter().flat_map(|row| ["managednode.farrier.dev/", &row.name, "\n"]));
    text
}

/// Renders a table.
pub fn render(rows: &[Row], now: Timestamp, namespaces: Namespaces, width: Width) -> String {
    let name = match namespaces {
        Namespaces::Hidden => "NAME",
        Namespaces::Shown => "NAMESPACE/NAME",
    };
    let cells = rows.iter().map(|row| cells(row, now, namespaces));
    match width {
        Width::Narrow => aligned(
            [name, "TYPE", "REACHABLE", "IN BASELINE", "BASELINE", "LAST RUN", "LAST SEEN", "AGE", "MESSAGE"],
            cells.map(|[name, type_, reachable, current, baseline, run, seen, age, _, _, message]| {
                [name, type_, reachable, current, baseline, run, seen, age, message]
            }),
        ),
        Width::Wide => aligned(
            [
                name,
                "TYPE",
                "REACHABLE",
                "IN BASELINE",
                "BASELINE",
                "LAST RUN",
                "LAST SEEN",
                "AGE",
                "ADDRESS",
                "SYSTEM",
                "MESSAGE",
            ],
            cells,
        ),
    }
}

/// Returns the cells of a machine, in the order of the wide table.
fn cells(row: &Row, now: Timestamp, namespaces: Namespaces) -> [String; 11] {
    let dash = || "-".to_owned();
    let ago = |at: &Option<Time>| at.as_ref().map_or_else(dash, |at| age(at.0, now));
    [
        match namespaces {
            Namespaces::Hidden => row.name.clone(),
            Namespaces::Shown => format!("{}/{}", row.namespace, row.name),
        },
        row.type_.clone(),
        if row.hold { format!("{} (hold)", row.reachable) } else { row.reachable.clone() },
        row.in_baseline.clone(),
        row.baseline.clone().unwrap_or_else(dash),
        row.last_run.clone().unwrap_or_else(dash),
        ago(&row.last_seen),
        ago(&row.created_at),
        row.address.clone(),
        row.os.clone().unwrap_or_else(dash),
        if row.reason.is_empty() { dash() } else { format!("{}: {}", row.reason, row.message) },
    ]
}
