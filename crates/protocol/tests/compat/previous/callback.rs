//! Channel `Callback`: what the engine is told about the way back to the runner.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// How the engine reaches the runner, and who both of them are.
///
/// TLS is 1.3 with `TLS_AES_128_GCM_SHA256` and X25519, and the keys of both certificates are
/// Ed25519: the engine knows nothing else, because P-256 alone would be 150 KB more to send to every
/// machine. A server that does not ask for the engine's certificate is refused.
///
/// `farrier-engine launch --channel callback` reads one line of JSON with this from its standard
/// input, so that the key is never in a process list. It takes that line and not a byte more, but a
/// shell may have read ahead (dash does, a block at a time): the line goes to a script that is waiting
/// for it, after a word that says so. The engine keeps it in its own directory as
/// `callback.json`, for root only, and reads it again before each dial: a launch for an engine that
/// runs already renews it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackConfig {
    /// Where to dial, most preferred first: `10.0.0.1:63002`, `[fd00::1]:63002`, or
    /// `[fe80::1%eth0]:63002` with the machine's own name of the interface. Addresses only, since
    /// the engine resolves no names.
    pub addresses: Vec<String>,
    /// Name of the server in the TLS handshake (SNI), `<session>.farrier.internal`: it tells any
    /// runner whose engine calls before anything is decrypted.
    pub server_name: String,
    /// `sha256:` and 64 hexadecimal digits: digest of the server's certificate in DER. No other
    /// certificate is accepted, whoever signed it and whatever the machine's clock says.
    pub server_pin: String,
    /// The engine's own certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM (PKCS #8, Ed25519).
    pub key: String,
}

impl CallbackConfig {
    /// What the name of every server ends with.
    pub const DOMAIN: &str = "farrier.internal";

    /// [`Self::server_name`] for a session.
    pub fn server_name_of(session: &str) -> String {
        format!("{session}.{}", Self::DOMAIN)
    }
}

/// Without the key.
impl fmt::Debug for CallbackConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackConfig")
            .field("addresses", &self.addresses)
            .field("server_name", &self.server_name)
            .field("server_pin", &self.server_pin)
            .finish_non_exhaustive()
    }
}

/// One attempt to open a connection. `farrier-engine reach` prints one of these as a line of JSON
/// for each address; [`super::Hello`] tells of those that failed on the way back to the runner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dial {
    /// The address, as it was given.
    pub address: String,
    /// What came of it.
    pub result: DialOutcome,
    /// The operating system's words, or TLS's; empty where it is connected.
    pub message: String,
    /// The machine's own address on that way, without a port, where it is known. What the other side
    /// sees may differ, if addresses are translated in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

/// What a preflight says on a connection that stands, with a line end. It is no TLS, so that a
/// callback server answers at once, with an alert: an answer proves more than an open connection,
/// which a firewall, a proxy, or a server that knows nobody at this address may give as well.
pub const PREFLIGHT: &str = "farrier-preflight";

/// What came of one attempt to open a TCP connection, seen from the one who dialled.
///
/// A refusal can be a closed port or a firewall that answers for it; the two are told apart by
/// whoever knows whether somebody listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DialOutcome {
    /// The connection stood, and where it was tried out, the other side said something.
    Connected,
    /// No answer at all: dropped on the way, or nobody is there.
    TimedOut,
    /// Answered with a reset.
    Refused,
    /// A router or firewall said that it lets nothing through.
    Prohibited,
    /// There is no route.
    NoRoute,
    /// It stood, and was closed or reset before the other side said anything.
    Closed,
    /// It stood, and then nothing came.
    Silent,
    /// It stood, and the two did not trust each other, or it was not TLS 1.3 that was spoken there.
    Untrusted,
    /// Something else.
    Failed,
}
