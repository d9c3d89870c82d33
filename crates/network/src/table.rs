//! Every port that the manuals of the older tools name, as data, and Farrier's interpretation of
//! it.
//!
//! `ports.yaml` is compiled in. The manuals disagree in places (`conflicts`); their statements are
//! never merged. The user picks a [`Generation`], or [`Generation::of`] applies.

use crate::words::{MachineType, UnknownWord};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

mod listen;
mod needs;
mod rows;

pub use listen::{LISTEN_PORT, ListenPorts};
pub use needs::{
    API_PORT, Actual, Need, PortOf, Resolved, Unlisted, calls_back_always, fetch_schemes, needs, seed_needs,
    service_need,
};
pub use rows::{Conflicts, Coverage, NodeKind, PhaseOf, Row, RowDirection, RowNumber, Statement};

const TEXT: &str = include_str!("../ports.yaml");

/// Returns the table.
pub fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| {
        #[expect(clippy::expect_used, reason = "the text is part of the program, and a test reads it")]
        let table = serde_saphyr::from_str(TEXT).expect("ports.yaml fits its types");
        table
    });
    &TABLE
}

/// A generation of the tool, as its manual describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generation {
    /// HP SUM of the Support Pack era: a SOAP engine on the machine, port ranges.
    PspSoap,
    /// HP SUM 7.2.1 and earlier: every machine connects back.
    #[serde(rename = "hpsum_le_7_2_1")]
    HpsumLe721,
    /// HP SUM 7.3.0 and later: Linux and Windows no longer connect back.
    #[serde(rename = "hpsum_ge_7_3_0")]
    HpsumGe730,
    /// SUM, the later name of the tool.
    #[serde(rename = "sum_ge_7_3_0")]
    SumGe730,
}

impl Generation {
    /// All generations, oldest first.
    pub const ALL: [Self; 4] = [Self::PspSoap, Self::HpsumLe721, Self::HpsumGe730, Self::SumGe730];

    /// Returns the name of the generation in the table.
    pub fn id(self) -> &'static str {
        match self {
            Self::PspSoap => "psp_soap",
            Self::HpsumLe721 => "hpsum_le_7_2_1",
            Self::HpsumGe730 => "hpsum_ge_7_3_0",
            Self::SumGe730 => "sum_ge_7_3_0",
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl FromStr for Generation {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|one| one.id() == word).ok_or_else(|| UnknownWord {
            word: word.to_owned(),
            what: "generation",
            known: Self::ALL.map(Self::id).join(", "),
        })
    }
}

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Version of the format.
    pub schema: String,
    /// The title of each seed document, by its short name.
    pub seeds: BTreeMap<String, String>,
    /// Notes on each generation.
    pub generations: BTreeMap<Generation, GenerationNote>,
    /// Transport and protocol of each single port.
    pub catalogue: Vec<CatalogueEntry>,
    /// Ranges that ports are taken from.
    pub ranges: Vec<Range>,
    /// Services of the old controllers.
    pub services: Vec<Service>,
    /// Firewalls that the old tools opened, and how.
    pub firewall: Vec<Firewall>,
    /// The channel between a system and its own BMC.
    pub ism_channel: IsmChannel,
    /// The cells of the manuals' tables.
    pub rows: Vec<Row>,
    /// Which machines support IPv6.
    pub ip_families: Vec<IpFamily>,
    /// Rules that are in no table.
    pub not_in_a_table: Vec<Rule>,
    /// Disagreements between two texts.
    pub conflicts: Vec<Conflicts>,
    /// The number of entries of each kind.
    pub coverage: Coverage,
}

impl Table {
    /// Returns a range by its name.
    pub fn range(&self, id: &str) -> Option<&Range> {
        self.ranges.iter().find(|range| range.id == id)
    }

    /// Reports whether machines of this type may have IPv6: all do unless a text says that they do
    /// not.
    pub fn has_ipv6(&self, machine: MachineType) -> bool {
        let Some(kind) = NodeKind::of(machine) else { return true };
        let applies_to =
            |family: &&IpFamily| family.nodes.as_ref().is_some_and(|nodes| nodes.contains(&kind));
        !self.ip_families.iter().filter(applies_to).any(|family| family.ipv6 == Statement::Is(false))
    }

    /// Returns transport and protocol of a port.
    pub fn entry(&self, port: u16) -> Option<&CatalogueEntry> {
        self.catalogue.iter().find(|entry| entry.port == port)
    }
}

/// Notes on a generation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationNote {
    /// The seed document.
    pub seed: String,
    /// The label for users.
    pub label: String,
    /// Whether its ports could be changed.
    pub configurable: bool,
}

/// One port.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// The port number.
    pub port: u16,
    /// TCP or UDP.
    pub transport: crate::words::Transport,
    /// The protocol.
    pub protocol: String,
    /// The purpose.
    pub role: String,
    /// The source of the protocol, if it is not the seed.
    pub protocol_source: Option<String>,
    /// The option that changes the port.
    pub option: Option<String>,
}

/// A range that ports are taken from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The name of the range.
    pub id: String,
    /// The generation that uses it.
    pub generation: Generation,
    /// Taken first if it is free.
    pub prefer: Option<u16>,
    /// The first port that is tried.
    pub first: u16,
    /// The last port that is expected.
    pub soft_last: u16,
    /// Which side listens.
    pub listens_on: Side,
    /// The protocol.
    pub protocol: String,
    /// The purpose.
    pub purpose: String,
    /// Whether higher ports are taken when the range is used up.
    pub overflow: Overflow,
    /// How a port is picked, if it is not the lowest.
    pub pick: Option<Pick>,
    /// Other remarks of the text.
    pub note: Option<String>,
}

/// The side that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Farrier's side.
    Controller,
    /// The machine's side.
    Target,
    /// The text does not say.
    Unspecified,
}

/// Whether ports above the range may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// Higher ports may be taken.
    Allowed,
    /// The text does not say.
    Unspecified,
}

/// How a port of a range is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pick {
    /// At random.
    Random,
}

/// A service of an old controller.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the words of the file")]
pub struct Service {
    pub id: String,
    pub generations: Vec<Generation>,
    pub default_port: Option<u16>,
    pub enabled: Option<bool>,
    pub cli: Option<String>,
    pub ini: Option<String>,
    pub scope: Option<String>,
    pub note: Option<String>,
    pub http_port: Option<u16>,
    pub https_port: Option<u16>,
}

/// A firewall that was opened.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the words of the file")]
pub struct Firewall {
    pub seed: String,
    pub option: String,
    pub opens: Vec<PortOrName>,
    #[serde(rename = "where")]
    pub places: Vec<String>,
    pub lifetime: Option<String>,
    pub note: Option<String>,
}

/// A port by its number or by the name of its service.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum PortOrName {
    /// By number.
    Port(u16),
    /// By name.
    Name(String),
}

/// The channel between a system and its own BMC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the words of the file")]
pub struct IsmChannel {
    pub seed: String,
    pub link: String,
    pub from: String,
    pub to: String,
    pub transport: crate::words::Transport,
    pub protocol: String,
    pub port: String,
    pub address_order: Vec<String>,
    pub since: String,
}

/// Which machines support IPv6.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the words of the file")]
pub struct IpFamily {
    pub seed: Option<String>,
    pub nodes: Option<Vec<NodeKind>>,
    pub link: Option<String>,
    pub ipv6: Statement,
    pub source: Option<String>,
}

/// A rule that is in no table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the words of the file")]
pub struct Rule {
    pub node: String,
    pub seed: Option<String>,
    pub seeds: Option<Vec<String>>,
    pub rule: String,
}

impl Generation {
    /// Returns the generation that Farrier follows for a machine type, unless the user picks
    /// another one.
    ///
    /// This is the newest generation that lists the type: SUM, else HP SUM 7.3.0 and later (HP-UX,
    /// Moonshot and Superdome 2 were dropped afterwards). So a Superdome X also gets 63002, as SUM
    /// says and HP SUM does not. No text lists Redfish and iDRAC: `None`.
    pub fn of(machine: MachineType) -> Option<Self> {
        let kind = NodeKind::of(machine)?;
        let lists = |generation| {
            table().rows.iter().any(|row| row.node == kind && row.generations.contains(&generation))
        };
        Self::ALL.into_iter().rev().find(|generation| lists(*generation))
    }
}

#[cfg(test)]
mod tests;
