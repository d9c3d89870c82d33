//! A machine as the user describes it.

use super::Keys;
use crate::failure::Failure;
use crate::ssh::{Algorithms, Family};
use crate::tls::Trust;
use farrier_network::MachineType;
use farrier_update::Reason;

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
    /// How images get to the machine, if the user says so.
    pub hand_over: Option<HandOver>,
}

/// How an image gets to a machine that flashes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandOver {
    /// It is sent to the machine.
    Push,
    /// The machine is told to fetch it.
    Pull,
}

impl HandOver {
    /// Returns the failure of a component whose machine does not have the way that its user wants. `node`: name of the
    /// machine.
    pub(super) fn missing(self, node: &str) -> Failure {
        let (word, what) = match self {
            Self::Push => ("Push", "takes no image that is sent to it"),
            Self::Pull => ("Pull", "fetches no images"),
        };
        Failure::new(
            Reason::NotYetSupported,
            format!(
                "{node} {what}, and spec.handOver of ManagedNode {node} is {word}; remove the field, so that the image is handed over in the way that the machine has"
            ),
        )
    }
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
