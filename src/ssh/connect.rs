//! Establishes one SSH connection: handshake, host key, authentication.

use super::algorithms::{Algorithms, Gap, Offer};
use super::auth::sign_in;
use super::channel_count::Count;
use super::client::Client;
use super::credentials::Credentials;
use super::dial::{Target, dial};
use super::greeting::{Greeting, GreetingStream};
use super::heard::{Heard, quotable};
use super::hostkey::{HostKeys, KeyCheck};
use crate::failure::Failure;
use farrier_update::Reason;
use russh::client::{Config, GexParams, Handle, connect_stream};
use socket2::SockRef;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Timeout for banner, key exchange and host key. `OpenSSH` gives its clients 120 s for everything; a
/// machine that needs more than 15 s for the handshake hangs.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);

/// The same where old algorithms are allowed. Management processors of that time compute for up to ten seconds for
/// each of the two exponentiations (assumed; OpenSSH's client waits without limit).
const LEGACY_HANDSHAKE_LIMIT: Duration = Duration::from_secs(45);

/// Timeout of authentication. It is generous because PAM modules that query directories are slow.
const SIGN_IN_LIMIT: Duration = Duration::from_secs(25);

/// Interval of keepalive requests on an idle connection. The connection counts as lost after three requests
/// without a response, so a cable that was pulled is noticed within 40 s.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How long bytes that were sent may stay unacknowledged by the machine's kernel: as long as keepalive requests may
/// stay without a response. A connection that is full of such bytes sends no keepalive requests, and TCP alone gives
/// up after a quarter of an hour (`tcp(7)`, `TCP_USER_TIMEOUT` and `tcp_retries2`).
const UNACKNOWLEDGED: Duration = Duration::from_secs(40);

/// An authenticated connection.
pub struct Connection {
    pub(super) handle: Handle<Client>,
    /// The number of channels; the sender is dropped when the connection is closed.
    pub(super) channels: watch::Receiver<Count>,
    /// What the server says outside of channels.
    pub(super) heard: Heard,
    /// Name of the machine, for messages.
    pub node: String,
    /// The address that responded.
    pub address: String,
    /// The user that signed in.
    pub user: String,
    /// The host key to record, if it was trusted on first use.
    pub first_key: Option<String>,
}

/// A step of establishing a connection, reported to the caller when it is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Milestone {
    /// TCP is connected.
    Reached {
        /// The address that responded.
        address: String,
    },
    /// The host key is accepted.
    HostKeyAccepted {
        /// The key to record, if it was trusted on first use.
        first: Option<String>,
    },
    /// Algorithms are agreed on; reported where old ones are allowed.
    Negotiated {
        /// The old ones among them, each with its kind.
        old: Vec<String>,
    },
    /// The user is authenticated.
    SignedIn,
}

/// Connects, verifies the host key and authenticates.
///
/// # Errors
/// Those of [`dial`], `NotAnSshServer`, `ConnectionClosed`, `SessionLimitReached`, `SshNegotiationFailed`,
/// `LegacyAlgorithmsNeeded`, `HostKeyUnknown`, `HostKeyChanged`, and those of authentication.
pub async fn connect(
    target: &Target,
    keys: &HostKeys,
    credentials: &Credentials,
    algorithms: Algorithms,
    mut report: impl FnMut(Milestone),
) -> Result<Connection, Failure> {
    let dialled = dial(target, "SSH server").await?;
    let address = dialled.address;
    report(Milestone::Reached { address: address.clone() });
    let (counter, channels) = watch::channel(Count::default());
    let heard = Heard::default();
    let client = Client::new(keys.clone(), heard.clone(), counter);
    let shake = Handshake { target, keys, algorithms, address: &address, heard: &heard };
    let mut handle = shake.make(dialled.stream, client).await?;
    let first_key = heard.key().and_then(|key| match keys.check(&key) {
        KeyCheck::First(line) => Some(line),
        KeyCheck::Known | KeyCheck::Unknown | KeyCheck::Changed => None,
    });
    report(Milestone::HostKeyAccepted { first: first_key.clone() });
    if algorithms == Algorithms::WithLegacy {
        report(Milestone::Negotiated { old: heard.old() });
    }
    let signing_in = sign_in(&mut handle, &target.node, credentials, algorithms, &heard);
    tokio::time::timeout(SIGN_IN_LIMIT, signing_in)
        .await
        .unwrap_or_else(|_| Err(sign_in_timed_out(&target.node)))?;
    report(Milestone::SignedIn);
    let (node, user) = (target.node.clone(), credentials.user.clone());
    Ok(Connection { handle, channels, heard, node, address, user, first_key })
}

/// The handshake of one connection.
struct Handshake<'a> {
    target: &'a Target,
    keys: &'a HostKeys,
    algorithms: Algorithms,
    address: &'a str,
    heard: &'a Heard,
}

impl Handshake<'_> {
    async fn make(&self, stream: TcpStream, client: Client) -> Result<Handle<Client>, Failure> {
        // If Nagle's algorithm cannot be disabled, the connection is only slower.
        stream.set_nodelay(true).ok();
        // Without it, a cable that was pulled during a transfer is noticed later.
        SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED)).ok();
        let (stream, greeting) = GreetingStream::new(stream);
        let config = Config {
            preferred: self.algorithms.preferred(self.keys),
            // Servers without groups of 3072 bits, which russh asks for by itself, are common among devices.
            gex: GexParams::new(2048, 4096, 8192).unwrap_or_default(),
            nodelay: true,
            keepalive_interval: Some(KEEPALIVE),
            keepalive_max: 3,
            ..Config::default()
        };
        let limit = handshake_limit(self.algorithms);
        let result = tokio::time::timeout(limit, connect_stream(Arc::new(config), stream, client)).await;
        let refused = |key| self.keys.refusal(&self.target.node, self.address, &key);
        if let Some(refusal) = self.heard.key().and_then(refused) {
            return Err(refusal);
        }
        match result {
            Ok(Ok(handle)) => Ok(handle),
            Ok(Err(error)) => Err(self.failed(&error, &greeting)),
            Err(_) => Err(self.timed_out(limit)),
        }
    }

    fn timed_out(&self, limit: Duration) -> Failure {
        let (address, Target { node, port, .. }) = (self.address, self.target);
        Failure::new(
            Reason::ConnectionTimedOut,
            format!(
                "{address} port {port} of {node} accepted the connection but did not finish the SSH handshake within {} s; check that an SSH server answers there and is not hung",
                limit.as_secs()
            ),
        )
    }

    fn failed(&self, error: &russh::Error, greeting: &Greeting) -> Failure {
        if let Some(full) = self.heard.is_full(&self.target.node) {
            return full;
        }
        let words = self.heard.last_words(error);
        #[expect(clippy::wildcard_enum_match_arm, reason = "the library's error enum is large and grows")]
        let (reason, words, next) = match error {
            russh::Error::NoCommonAlgo { .. } => self.nothing_in_common(greeting),
            russh::Error::Version | russh::Error::HUP | russh::Error::Disconnect | russh::Error::IO(_) => {
                let (reason, next) = closed_early(greeting);
                (reason, words, next)
            }
            _ => (
                Reason::SshNegotiationFailed,
                words,
                "look at the SSH server's log on the machine".to_owned(),
            ),
        };
        let (address, Target { node, port, .. }) = (self.address, self.target);
        Failure::new(
            reason,
            format!("the SSH handshake with {node} at {address} port {port} failed ({words}); {next}"),
        )
    }

    /// Returns the reason, what is not in common, and the next step.
    fn nothing_in_common(&self, greeting: &Greeting) -> (Reason, String, String) {
        let offer = Offer::read(&greeting.bytes());
        let gaps = |algorithms| offer.as_ref().map(|offer| offer.gaps(algorithms)).unwrap_or_default();
        let (now, then) = (gaps(self.algorithms), gaps(Algorithms::WithLegacy));
        if !now.is_empty() && then.is_empty() {
            let theirs: Vec<String> = now
                .iter()
                .map(|Gap { kind, theirs, .. }| format!("{}: {}", kind.as_str(), shown(theirs)))
                .collect();
            return (
                Reason::LegacyAlgorithmsNeeded,
                format!("its server has only old algorithms: {}", theirs.join("; ")),
                "update its firmware or SSH server, or allow them with spec.ssh.legacyAlgorithms: true"
                    .to_owned(),
            );
        }
        let lists: Vec<String> = then
            .iter()
            .map(|Gap { kind, theirs, ours }| {
                format!("{}: it has {}, and Farrier has {}", kind.as_str(), shown(theirs), shown(ours))
            })
            .collect();
        let next = "enable one of Farrier's on the machine, or update its firmware or SSH server; spec.ssh.legacyAlgorithms does not help";
        let words = format!("there is no algorithm in common: {}", lists.join("; "));
        (Reason::SshNegotiationFailed, words, next.to_owned())
    }
}

/// Timeout of the handshake.
const fn handshake_limit(algorithms: Algorithms) -> Duration {
    match algorithms {
        Algorithms::Current => HANDSHAKE_LIMIT,
        Algorithms::WithLegacy => LEGACY_HANDSHAKE_LIMIT,
    }
}

/// Lists names that a server has sent, as many as a message can have.
fn shown(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { quotable(&names.join(", ")) }
}

/// Returns the reason for a connection that was closed during the handshake, or on which the peer did not
/// speak SSH.
fn closed_early(greeting: &Greeting) -> (Reason, String) {
    const LIMITS: &str = "has too many unauthenticated connections (MaxStartups, PerSourceMaxStartups in its sshd_config), or blocks this address (PerSourcePenalties, hosts.deny, fail2ban)";
    match greeting.unexpected_line() {
        None => (
            Reason::ConnectionClosed,
            format!(
                "its SSH server {LIMITS}, or something in between closed the connection; look at the SSH server's log on the machine"
            ),
        ),
        Some(words) => (
            Reason::NotAnSshServer,
            format!(
                "it sent \"{words}\"; check that an SSH server listens on this port; if this is the message of an SSH server, it {LIMITS}"
            ),
        ),
    }
}

fn sign_in_timed_out(node: &str) -> Failure {
    Failure::new(
        Reason::ConnectionLost,
        format!(
            "{node} did not answer within {} s while signing in; look at the SSH server's log and its PAM modules",
            SIGN_IN_LIMIT.as_secs()
        ),
    )
}
