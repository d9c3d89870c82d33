//! Channel `Listen`: the data that the engine needs to accept the runner's connection.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where the engine listens, and for whom.
///
/// The roles above TCP are those of the other channels: on the accepted connection the engine is the client
/// of TLS and of HTTP. The runner begins each connection with a line of [`ListenConfig::GREETING`] and the
/// token, so that the engine does no cryptography for anybody else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenConfig {
    /// The first port that is tried.
    pub first_port: u16,
    /// The last port that is tried, if the ports before it are taken.
    pub last_port: u16,
    /// The machine's own address, at which the runner reaches it: without a port, with the zone if it is
    /// link-local. The engine listens on this address only.
    pub local: String,
    /// The address of the runner as the machine sees it, in the same form. Other peers are closed at once.
    pub peer: String,
    /// A secret of this session: 32 hexadecimal digits.
    pub token: String,
    /// Whether the engine may open the port in the machine's own firewall.
    pub open_firewall: bool,
}

impl ListenConfig {
    /// Text before the token on the first line of a connection.
    pub const GREETING: &str = "farrier-dial-1 ";

    /// Returns the first line of a connection, without its end.
    pub fn first_line(&self) -> String {
        format!("{}{}", Self::GREETING, self.token)
    }
}

/// Omits the token.
impl fmt::Debug for ListenConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenConfig")
            .field("ports", &(self.first_port, self.last_port))
            .field("local", &self.local)
            .field("peer", &self.peer)
            .field("open_firewall", &self.open_firewall)
            .finish_non_exhaustive()
    }
}

/// Where an engine listens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The port; 0 if no port of the range could be bound.
    #[serde(default)]
    pub port: u16,
    /// Why no port could be bound; empty if one was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
    /// The firewalls of the machine that would reject the connection without a rule. Several of them may be
    /// in effect at once; a connection has to pass all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firewalls: Vec<Firewall>,
}

/// One firewall of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// The tool that rules it, and the place of the rule, like `nftables (inet filter input)`.
    pub name: String,
    /// What the engine has done.
    pub state: FirewallState,
    /// The command with which a person opens the port.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// Why the port could not be opened; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

/// What the engine has done about a firewall. A state that the reader does not know is read as `Untouched`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FirewallState {
    /// The port is open for the runner.
    Opened,
    /// The rule could not be made.
    Failed,
    /// The engine may not change it.
    #[serde(other)]
    Untouched,
}
