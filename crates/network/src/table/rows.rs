//! The cells of the tables, and the disagreements between the texts.

use super::Generation;
use crate::words::{Direction, MachineType, Phase};
use serde::Deserialize;

/// A machine type as the table names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of the file")]
pub enum NodeKind {
    Windows,
    Linux,
    Hpux,
    Vmware,
    Oa,
    Ilo,
    Vc,
    FcSwitch,
    SasSwitch,
    Moonshot,
    #[serde(rename = "superdome_2")]
    Superdome2,
    SuperdomeX,
    SuperdomeFlex,
    Idrac,
    Any,
}

impl NodeKind {
    /// Returns the table's name of a machine type. No text lists Redfish; for iDRAC the texts list
    /// only the channel from its own host, which Farrier does not open.
    pub fn of(machine: MachineType) -> Option<Self> {
        match machine {
            MachineType::Linux => Some(Self::Linux),
            MachineType::Windows => Some(Self::Windows),
            MachineType::HPUX => Some(Self::Hpux),
            MachineType::VMware => Some(Self::Vmware),
            MachineType::ILO => Some(Self::Ilo),
            MachineType::OnboardAdministrator => Some(Self::Oa),
            MachineType::VirtualConnect => Some(Self::Vc),
            MachineType::FCSwitch => Some(Self::FcSwitch),
            MachineType::SASSwitch => Some(Self::SasSwitch),
            MachineType::Moonshot => Some(Self::Moonshot),
            MachineType::Superdome2 => Some(Self::Superdome2),
            MachineType::SuperdomeX => Some(Self::SuperdomeX),
            MachineType::SuperdomeFlex => Some(Self::SuperdomeFlex),
            MachineType::IDRAC | MachineType::Redfish => None,
        }
    }
}

/// One cell of a table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the words of the file")]
pub struct Row {
    pub seed: String,
    pub row: RowNumber,
    pub node: NodeKind,
    pub controller_os: Vec<String>,
    pub phase: PhaseOf,
    pub direction: RowDirection,
    pub generations: Vec<Generation>,
    /// Empty: nothing is needed in this direction, so it stays closed.
    pub ports: Option<Vec<u16>>,
    /// Used instead of `ports`.
    pub range: Option<String>,
    pub protocols: Vec<String>,
    /// Ports in parentheses in the text.
    #[serde(default)]
    pub optional: Vec<u16>,
    /// The purpose of the port, if the text gives no number.
    pub port_is: Option<String>,
    pub ip: Option<Vec<String>>,
    pub note: Option<String>,
}

impl Row {
    /// Reports whether the cell applies to this machine, generation and phase.
    pub fn applies_to(&self, kind: NodeKind, generation: Generation, phase: Phase) -> bool {
        let phases = match self.phase {
            PhaseOf::Any => true,
            PhaseOf::Inventory => phase == Phase::Inventory,
            PhaseOf::Deployment => phase == Phase::Deployment,
        };
        phases && (self.node == kind || self.node == NodeKind::Any) && self.generations.contains(&generation)
    }
}

/// The position of a cell.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum RowNumber {
    /// A printed row.
    Printed(u16),
    /// `prose`.
    Prose(String),
}

/// The phase of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words of the file")]
pub enum PhaseOf {
    Inventory,
    Deployment,
    Any,
}

/// The direction of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words of the file")]
pub enum RowDirection {
    ToTarget,
    FromTarget,
    Both,
}

impl RowDirection {
    /// Returns the directions that it covers.
    pub fn directions(self) -> &'static [Direction] {
        match self {
            Self::ToTarget => &[Direction::ToTarget],
            Self::FromTarget => &[Direction::FromTarget],
            Self::Both => &[Direction::ToTarget, Direction::FromTarget],
        }
    }
}

/// A statement of a text that another text contradicts.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Statement {
    /// Yes or no.
    Is(bool),
    /// These ports.
    Ports(Vec<u16>),
    /// A text.
    Words(String),
}

/// A disagreement between two texts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the words of the file")]
pub struct Conflicts {
    pub id: String,
    pub between: Vec<String>,
    pub psp: Option<Statement>,
    pub hpsum: Option<Statement>,
    pub sum: Option<Statement>,
    pub ipv6: Option<Statement>,
    pub table: Option<Statement>,
    pub text: Option<Statement>,
    pub listing: Option<Statement>,
    pub dropped: Option<Vec<NodeKind>>,
    pub added: Option<Vec<NodeKind>>,
}

/// The number of entries of each kind, for the test that reads the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the words of the file")]
pub struct Coverage {
    pub hpsum_rows: usize,
    pub sum_rows: usize,
    pub psp_rows: usize,
    pub hpsum_node_types: usize,
    pub sum_node_types: usize,
}
