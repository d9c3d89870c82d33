//! Channels `Callback` and `Listen`: the data that the engine needs for its own connection to the runner.

use crate::listen::ListenConfig;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// Addresses of the runner, and the certificates of runner and engine.
///
/// The connection uses TLS 1.3 with `TLS_AES_128_GCM_SHA256` and X25519, and both certificates have Ed25519
/// keys. The engine supports nothing else, because P-256 alone would add 150 KB to the binary that is sent
/// to every machine. The engine rejects a server that does not request the engine's certificate.
///
/// `farrier-engine launch --channel callback` (or `listen`) reads this as one line of JSON from its standard input, so
/// that the key never appears in a process list. It reads exactly that line, but a shell may read ahead
/// (dash reads a block at a time). The line is therefore sent only after the script has printed a marker
/// that it waits for the line. The engine stores the line in its own directory as `callback.json`, readable
/// by root only, and reads the file again before each dial. A launch for a running engine replaces the
/// file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackConfig {
    /// Addresses to dial, in order of preference: `10.0.0.1:63002`, `[fd00::1]:63002`, or
    /// `[fe80::1%eth0]:63002` with the machine's own name of the interface. Names are not allowed, because
    /// the engine does not resolve names.
    pub addresses: Vec<String>,
    /// Name of the server in the TLS handshake (SNI), `<session>.farrier.internal`. It lets any runner
    /// identify the session of the engine before anything is decrypted.
    pub server_name: String,
    /// Digest of the server's certificate in DER: `sha256:` and 64 hexadecimal digits. The engine accepts
    /// no other certificate, regardless of its issuer and of the machine's clock.
    pub server_pin: String,
    /// The engine's own certificate, PEM.
    pub certificate: String,
    /// Private key of the engine's certificate, PEM (PKCS #8, Ed25519).
    pub key: String,
    /// Channel `Listen`: the runner connects to the engine, and [`Self::addresses`] is empty. `None`: channel
    /// `Callback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<ListenConfig>,
}

impl CallbackConfig {
    /// Domain of all server names.
    pub const DOMAIN: &str = "farrier.internal";

    /// Returns [`Self::server_name`] for a session.
    pub fn server_name_of(session: &str) -> String {
        format!("{session}.{}", Self::DOMAIN)
    }
}

/// Omits the key.
impl fmt::Debug for CallbackConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackConfig")
            .field("addresses", &self.addresses)
            .field("server_name", &self.server_name)
            .field("server_pin", &self.server_pin)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// One attempt to open a connection. `farrier-engine reach` prints one `Dial` as a line of JSON for each
/// address; [`crate::Hello`] reports failed attempts to reach the runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dial {
    /// The address as it was configured.
    pub address: String,
    /// Result of the attempt.
    pub result: DialOutcome,
    /// Error message of the operating system or of TLS; empty if the connection was opened.
    pub message: String,
    /// The machine's own address of the connection, without a port, if it is known. The peer may see a
    /// different address if there is address translation between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

/// Line that a preflight sends on an open connection. The line is not TLS, so a callback server responds at
/// once, with an alert. A response proves more than an open connection: a firewall, a proxy, or a server
/// that rejects this address can accept connections as well.
pub const PREFLIGHT: &str = "farrier-preflight";

/// Result of one attempt to open a TCP connection, from the dialling side.
///
/// A refused connection means a closed port or a firewall that rejects it. Only a component that knows
/// whether something listens on the port can distinguish them. A result that the reader does not know is
/// read as `Failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DialOutcome {
    /// The connection was opened, and if it was tested, the peer sent a response.
    Connected,
    /// No response: packets are dropped on the path, or no host has the address.
    TimedOut,
    /// The peer responded to the request for a connection with a reset.
    Refused,
    /// A router or firewall reported that the connection is prohibited.
    Prohibited,
    /// There is no route.
    NoRoute,
    /// The connection was opened, and closed or reset before the peer sent anything.
    Closed,
    /// The connection was opened, and the peer sent nothing.
    Silent,
    /// The connection was opened, and one side did not trust the other, or the peer does not speak TLS 1.3.
    Untrusted,
    /// Any other failure.
    #[serde(other)]
    Failed,
}
