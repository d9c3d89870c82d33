//! Every port that the manuals of the older tools name, as data, and what Farrier makes of it.
//!
//! `ports.yaml` is compiled in. The manuals disagree in places (`conflicts`): what they say is never
//! merged. A [`Generation`] is picked by the user, or is the one that [`Generation::of`] documents.

use crate::words::{MachineType, UnknownWord};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

mod needs;
mod rows;

pub use needs::{Actual, LISTEN_PORT, Need, PortOf, Resolved, Unlisted, needs, seed_needs};
pub use rows::{Conflicts, Coverage, NodeKind, PhaseOf, Row, RowDirection, RowNumber, Statement};

const TEXT: &str = include_str!("../ports.yaml");

/// The table.
pub fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| {
        #[expect(clippy::expect_used, reason = "the text is part of the program, and a test reads it")]
        let table = serde_saphyr::from_str(TEXT).expect("ports.yaml fits its types");
        table
    });
    &TABLE
}

/// A generation of the tool whose manual is spoken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generation {
    /// HP SUM of the Support Pack era: a SOAP engine on the machine, ranges of ports.
    PspSoap,
    /// HP SUM 7.2.1 and earlier: every machine calls back.
    #[serde(rename = "hpsum_le_7_2_1")]
    HpsumLe721,
    /// HP SUM 7.3.0 and later: Linux and Windows do not call back any more.
    #[serde(rename = "hpsum_ge_7_3_0")]
    HpsumGe730,
    /// SUM, as it was called afterwards.
    #[serde(rename = "sum_ge_7_3_0")]
    SumGe730,
}

impl Generation {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::PspSoap, Self::HpsumLe721, Self::HpsumGe730, Self::SumGe730];

    /// As it is called in the table.
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
    /// Which text each short name stands for.
    pub seeds: BTreeMap<String, String>,
    /// What there is to say of each generation.
    pub generations: BTreeMap<Generation, GenerationNote>,
    /// Transport and protocol of each single port.
    pub catalogue: Vec<CatalogueEntry>,
    /// Ranges out of which ports are taken.
    pub ranges: Vec<Range>,
    /// What the old controllers served.
    pub services: Vec<Service>,
    /// Which firewalls were opened, and how.
    pub firewall: Vec<Firewall>,
    /// The channel between a system and its own BMC.
    pub ism_channel: IsmChannel,
    /// One cell of one manual's table each.
    pub rows: Vec<Row>,
    /// Which machines speak IPv6.
    pub ip_families: Vec<IpFamily>,
    /// Rules that are in no table.
    pub not_in_a_table: Vec<Rule>,
    /// Where two texts disagree.
    pub conflicts: Vec<Conflicts>,
    /// How many of what there are.
    pub coverage: Coverage,
}

impl Table {
    /// A range by its name.
    pub fn range(&self, id: &str) -> Option<&Range> {
        self.ranges.iter().find(|range| range.id == id)
    }

    /// Whether machines of this type may have IPv6: all do of which it is not said that they do not.
    pub fn has_ipv6(&self, machine: MachineType) -> bool {
        let Some(kind) = NodeKind::of(machine) else { return true };
        let speaks_of = |family: &&IpFamily| family.nodes.as_ref().is_some_and(|nodes| nodes.contains(&kind));
        !self.ip_families.iter().filter(speaks_of).any(|family| family.ipv6 == Statement::Is(false))
    }

    /// Transport and protocol of a port.
    pub fn entry(&self, port: u16) -> Option<&CatalogueEntry> {
        self.catalogue.iter().find(|entry| entry.port == port)
    }
}

/// What there is to say of a generation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerationNote {
    /// Whose words these are.
    pub seed: String,
    /// For people.
    pub label: String,
    /// Whether its ports could be changed.
    pub configurable: bool,
}

/// One port.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// Its number.
    pub port: u16,
    /// TCP or UDP.
    pub transport: crate::words::Transport,
    /// What is spoken on it.
    pub protocol: String,
    /// What for.
    pub role: String,
    /// Who says so, where it is not the seed.
    pub protocol_source: Option<String>,
    /// The option that moves it.
    pub option: Option<String>,
}

/// A range out of which ports are taken.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Its name.
    pub id: String,
    /// Whose it is.
    pub generation: Generation,
    /// Taken before anything else when it is free.
    pub prefer: Option<u16>,
    /// The first one tried.
    pub first: u16,
    /// The last that is expected.
    pub soft_last: u16,
    /// Which side listens.
    pub listens_on: Side,
    /// What is spoken.
    pub protocol: String,
    /// What for.
    pub purpose: String,
    /// Whether higher ports are taken when the range is used up.
    pub overflow: Overflow,
    /// How one is picked, where it is not the lowest.
    pub pick: Option<Pick>,
    /// What else the text says.
    pub note: Option<String>,
}

/// Who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Farrier's.
    Controller,
    /// The machine.
    Target,
    /// The text does not say.
    Unspecified,
}

/// Whether a range may be left upwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// It may.
    Allowed,
    /// The text does not say.
    Unspecified,
}

/// How one of a range is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pick {
    /// By chance.
    Random,
}

/// What an old controller served.
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

/// A port by its number or by what it serves.
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

/// Which machines speak IPv6.
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
    /// Whose words Farrier goes by for a machine type, unless the user picks another generation.
    ///
    /// The newest that lists the type: SUM, else HP SUM 7.3.0 and later (HP-UX, Moonshot and
    /// Superdome 2 were dropped afterwards). So a Superdome X also gets 63002, as SUM says and HP SUM
    /// does not. No text lists Redfish and iDRAC: `None`.
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
