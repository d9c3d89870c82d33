//! Establishes one SSH connection: handshake, host key, authentication.

use super::auth::{Credentials, sign_in};
use super::channel_count::Count;
use super::client::Client;
use super::dial::{Target, dial};
use super::greeting::{Greeting, GreetingStream};
use super::hostkey::{HostKeys, KeyCheck};
use crate::failure::{Failure, chain};
use farrier_update::Reason;
use russh::client::{Config, Handle, connect_stream};
use russh::keys::ssh_key::PublicKey;
use russh::{Preferred, cipher};
use socket2::SockRef;
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Timeout for banner, key exchange and host key. `OpenSSH` gives its clients 120 s for everything; a
/// machine that needs more than 15 s for the handshake hangs.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(15);

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
    /// The user is authenticated.
    SignedIn,
}

/// Connects, verifies the host key and authenticates.
///
/// # Errors
/// Those of [`dial`], `NotAnSshServer`, `ConnectionClosed`, `SshNegotiationFailed`, `HostKeyUnknown`,
/// `HostKeyChanged`, and those of authentication.
pub async fn connect(
    target: &Target,
    keys: &HostKeys,
    credentials: &Credentials,
    mut report: impl FnMut(Milestone),
) -> Result<Connection, Failure> {
    let dialled = dial(target, "SSH server").await?;
    let address = dialled.address;
    report(Milestone::Reached { address: address.clone() });
    let (counter, channels) = watch::channel(Count::default());
    let (mut handle, presented) = handshake(target, keys, dialled.stream, &address, counter).await?;
    let first_key = presented.and_then(|key| match keys.check(&key) {
        KeyCheck::First(line) => Some(line),
        KeyCheck::Known | KeyCheck::Unknown | KeyCheck::Changed => None,
    });
    report(Milestone::HostKeyAccepted { first: first_key.clone() });
    tokio::time::timeout(SIGN_IN_LIMIT, sign_in(&mut handle, &target.node, credentials))
        .await
        .unwrap_or_else(|_| Err(sign_in_timed_out(&target.node)))?;
    report(Milestone::SignedIn);
    let (node, user) = (target.node.clone(), credentials.user.clone());
    Ok(Connection { handle, channels, node, address, user, first_key })
}

async fn handshake(
    target: &Target,
    keys: &HostKeys,
    stream: TcpStream,
    address: &str,
    counter: watch::Sender<Count>,
) -> Result<(Handle<Client>, Option<PublicKey>), Failure> {
    let presented = Arc::new(Mutex::new(None));
    let client = Client::new(keys.clone(), presented.clone(), counter);
    // If Nagle's algorithm cannot be disabled, the connection is only slower.
    stream.set_nodelay(true).ok();
    // Without it, a cable that was pulled during a transfer is noticed later.
    SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED)).ok();
    let (stream, greeting) = GreetingStream::new(stream);
    let connecting = connect_stream(Arc::new(config(keys)), stream, client);
    let result = tokio::time::timeout(HANDSHAKE_LIMIT, connecting).await;
    let key = presented.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(refusal) = key.as_ref().and_then(|k| keys.refusal(&target.node, address, k)) {
        return Err(refusal);
    }
    match result {
        Ok(Ok(handle)) => Ok((handle, key)),
        Ok(Err(error)) => Err(handshake_failed(target, address, &error, &greeting)),
        Err(_) => Err(Failure::new(
            Reason::ConnectionTimedOut,
            format!(
                "{address} port {} of {} accepted the connection but did not finish the SSH handshake within {} s; check that an SSH server answers there and is not hung",
                target.port,
                target.node,
                HANDSHAKE_LIMIT.as_secs()
            ),
        )),
    }
}

fn config(keys: &HostKeys) -> Config {
    // Ordered by processor time per byte (measured: 0.85 s/GiB for the first, 1.7 s/GiB for chacha20, which
    // the library would prefer); aes256-ctr is for servers that support nothing better.
    let names = [
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
        "aes256-ctr",
        "aes128-ctr",
    ];
    let ciphers: Vec<cipher::Name> =
        names.into_iter().filter_map(|n| cipher::Name::try_from(n).ok()).collect();
    Config {
        preferred: Preferred {
            cipher: Cow::Owned(ciphers),
            key: Cow::Owned(keys.preferred(&Preferred::DEFAULT.key)),
            ..Preferred::DEFAULT
        },
        nodelay: true,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        ..Config::default()
    }
}

fn handshake_failed(target: &Target, address: &str, error: &russh::Error, greeting: &Greeting) -> Failure {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's error enum is large and grows")]
    let (reason, next) = match error {
        russh::Error::NoCommonAlgo { .. } => (
            Reason::SshNegotiationFailed,
            "the machine offers only algorithms that are not supported; update its SSH server or enable current algorithms".to_owned(),
        ),
        russh::Error::Version | russh::Error::HUP | russh::Error::Disconnect | russh::Error::IO(_) => {
            closed_early(greeting)
        }
        _ => (Reason::SshNegotiationFailed, "look at the SSH server's log on the machine".to_owned()),
    };
    Failure::new(
        reason,
        format!(
            "the SSH handshake with {} at {address} port {} failed ({}); {next}",
            target.node,
            target.port,
            chain(error)
        ),
    )
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
