//! A machine as the user describes it.

use super::Keys;
use crate::ssh::{Algorithms, Family};
use crate::tls::Trust;
use farrier_network::MachineType;

/// A machine as the user describes it. Each class of machines has its own block of settings.
#[derive(Debug, Clone)]
pub struct Node {
    /// Name of the machine, for messages.
    pub name: String,
    /// Type of the machine.
    pub type_: MachineType,
    /// The product, if the user names one.
    pub product: Option<String>,
    /// Addresses and names, in the user's order.
    pub addresses: Vec<String>,
    /// Address families that may be used, in order of preference.
    pub families: Vec<Family>,
    /// How to connect over SSH.
    pub ssh: SshSettings,
    /// How to connect over HTTPS.
    pub https: HttpsSettings,
}

/// What a machine is reached through: its manager, and the values of the manager's own Secret.
#[derive(Clone)]
pub struct Manager {
    /// The manager.
    pub node: Node,
    /// The values of its Secret.
    pub keys: Keys,
}

/// How to connect to a machine over HTTPS.
#[derive(Debug, Clone)]
pub struct HttpsSettings {
    /// The port.
    pub port: u16,
    /// The trust in the machine's certificate. A certificate that was recorded on first use is one of its
    /// fingerprints.
    pub trust: Trust,
}

/// How to connect to a machine over SSH.
#[derive(Debug, Clone)]
pub struct SshSettings {
    /// Port of the SSH server.
    pub port: u16,
    /// Host keys of the machine, written by the user or recorded on first use.
    pub host_keys: Vec<String>,
    /// Whether the first host key is trusted.
    pub trust_first: bool,
    /// Which algorithms are offered.
    pub algorithms: Algorithms,
    /// How commands become root.
    pub privilege: Privilege,
}

/// How commands become root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// Not needed: the sign-in user is root.
    None,
    /// With sudo.
    Sudo,
    /// With su.
    Su,
}
