//! The words that ports are spoken of in: machine types, phases, directions, channels.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A type of machine, spelled as in `ManagedNode.spec.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the products' own")]
pub enum MachineType {
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

impl MachineType {
    /// All of them, in the order of the API.
    pub const ALL: [Self; 15] = [
        Self::Linux,
        Self::Windows,
        Self::HPUX,
        Self::VMware,
        Self::ILO,
        Self::IDRAC,
        Self::Redfish,
        Self::OnboardAdministrator,
        Self::VirtualConnect,
        Self::FCSwitch,
        Self::SASSwitch,
        Self::Moonshot,
        Self::Superdome2,
        Self::SuperdomeX,
        Self::SuperdomeFlex,
    ];

    /// Whether an engine is put on such a machine, so that the channel makes a difference.
    pub fn carries_engine(self) -> bool {
        matches!(self, Self::Linux | Self::Windows)
    }
}

impl fmt::Display for MachineType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A word that is none of those known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no {what}; known are: {known}")]
pub struct UnknownWord {
    /// The word.
    pub word: String,
    /// What it should have been.
    pub what: &'static str,
    /// What there is, separated by commas.
    pub known: String,
}

fn by_name<T: Copy + fmt::Display>(word: &str, what: &'static str, all: &[T]) -> Result<T, UnknownWord> {
    all.iter().copied().find(|one| one.to_string().eq_ignore_ascii_case(word)).ok_or_else(|| UnknownWord {
        word: word.to_owned(),
        what,
        known: all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    })
}

impl FromStr for MachineType {
    type Err = UnknownWord;

    /// Upper and lower case are the same.
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        by_name(word, "machine type", &Self::ALL)
    }
}

/// A part of the work that has its own needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The machine is read.
    Inventory,
    /// Something is installed.
    Deployment,
}

impl Phase {
    /// Both, in the order in which they come.
    pub const ALL: [Self; 2] = [Self::Inventory, Self::Deployment];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Phase {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        by_name(word, "phase", &Self::ALL)
    }
}

/// Who opens a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Farrier opens it, the machine listens.
    ToTarget,
    /// The machine opens it, Farrier listens.
    FromTarget,
}

/// What a port number belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// How the engine on a machine gets its byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Channel {
    /// Inside the session that Farrier opened.
    Session,
    /// The engine dials the callback server.
    Callback,
    /// The engine listens and Farrier dials it.
    Listen,
}

impl Channel {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Session, Self::Callback, Self::Listen];
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Channel {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        by_name(word, "channel", &Self::ALL)
    }
}
