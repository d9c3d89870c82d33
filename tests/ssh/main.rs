//! Sign-in to real SSH servers: to OpenSSH's with the algorithms of old firmware, and to devices with a command line.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod algorithms;
mod consoles;
mod machines;
mod questions;
mod sshd;

use farrier::failure::Failure;
use farrier::ssh::connect::{Milestone, connect};
use farrier::ssh::{Algorithms, Connection, Credentials, Family, HostKeys, Target};

/// Connects to a server on the loopback address. `keys`: the pinned host keys; none: the first one is trusted.
/// Returns the connection, and the old algorithms in use.
async fn sign_in(
    port: u16,
    keys: &[&str],
    credentials: &Credentials,
    algorithms: Algorithms,
) -> Result<(Connection, Option<Vec<String>>), Failure> {
    let target =
        Target { node: "oa-1".into(), addresses: vec!["127.0.0.1".into()], families: vec![Family::V4], port };
    let keys = HostKeys::parse("oa-1", keys.iter().copied(), keys.is_empty())?;
    let mut old = None;
    let report = |milestone| {
        if let Milestone::Negotiated { old: names } = milestone {
            old = Some(names);
        }
    };
    let connection = connect(&target, &keys, credentials, algorithms, report).await?;
    Ok((connection, old))
}

/// An account without any secret.
fn account(user: &str) -> Credentials {
    Credentials {
        user: user.into(),
        source: "oa-1-login".into(),
        password: None,
        key: None,
        sudo_password: None,
        su_password: None,
    }
}
