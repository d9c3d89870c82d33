//! The vocabulary of ports: machine types, phases, directions, channels.

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
    /// All types, in the order of the API.
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

    /// Reports whether such a machine may have IPv6 addresses. SAS and FC switches have no IPv6 (HPE Smart Update
    /// Manager, "Associated node update order").
    pub fn has_ipv6(self) -> bool {
        !matches!(self, Self::FCSwitch | Self::SASSwitch)
    }

    /// Reports whether an engine runs on such a machine, so that the channel makes a difference.
    pub fn carries_engine(self) -> bool {
        matches!(self, Self::Linux | Self::Windows)
    }
}

impl fmt::Display for MachineType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The error for an unknown word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no {what}; known are: {known}")]
pub struct UnknownWord {
    /// The word.
    pub word: String,
    /// The kind of word that was expected.
    pub what: &'static str,
    /// The known words, separated by commas.
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

/// A phase of an update, which has its own port requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The machine is surveyed.
    Inventory,
    /// Components are installed.
    Deployment,
}

impl Phase {
    /// Both phases, in their order.
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

/// The side that opens a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Farrier opens the connection, the machine listens.
    ToTarget,
    /// The machine opens the connection, Farrier listens.
    FromTarget,
}

/// The transport protocol of a port.
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

/// A protocol by which a machine fetches files from Farrier, the better one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// HTTPS, on the run's port with TLS.
    Https,
    /// HTTP, on the run's port for machines without TLS.
    Http,
    /// SFTP, on the run's port of the service of this name.
    Sftp,
    /// SCP, on the same port as SFTP.
    Scp,
    /// FTP, on the run's port of the service of this name.
    Ftp,
}

impl Scheme {
    /// All protocols, the better one first.
    pub const ALL: [Self; 5] = [Self::Https, Self::Http, Self::Sftp, Self::Scp, Self::Ftp];

    /// Returns the service of the protocol, if it needs one of its own.
    pub fn service(self) -> Option<FileService> {
        match self {
            Self::Https | Self::Http => None,
            Self::Sftp | Self::Scp => Some(FileService::Sftp),
            Self::Ftp => Some(FileService::Ftp),
        }
    }
}

/// As in a URL.
impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Sftp => "sftp",
            Self::Scp => "scp",
            Self::Ftp => "ftp",
        })
    }
}

/// A service for machines that fetch files neither by HTTPS nor by HTTP. It is off unless the run names its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileService {
    /// SFTP and SCP, which are both inside SSH.
    Sftp,
    /// FTP.
    Ftp,
}

/// How many ports follow the port of the FTP service for data connections. A machine uses one at a time; all
/// machines use the same ones at once.
pub const FTP_DATA_PORTS: u16 = 4;

impl FileService {
    /// All services.
    pub const ALL: [Self; 2] = [Self::Sftp, Self::Ftp];

    /// Returns how many ports the service has, one after the other.
    pub fn count(self) -> u16 {
        match self {
            Self::Sftp => 1,
            Self::Ftp => 1 + FTP_DATA_PORTS,
        }
    }

    /// Returns the ports of the service, of which this is the first. Ports above 65535 do not exist.
    pub fn ports(self, first: u16) -> impl Iterator<Item = u16> + Clone {
        (0..self.count()).filter_map(move |n| first.checked_add(n))
    }
}

impl fmt::Display for FileService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sftp => "SFTP",
            Self::Ftp => "FTP",
        })
    }
}

/// How the engine on a machine is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Channel {
    /// The stream is inside the session that Farrier opened.
    Session,
    /// The engine connects to the callback server.
    Callback,
    /// The engine listens and Farrier connects to it.
    Listen,
}

impl Channel {
    /// All channels.
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
