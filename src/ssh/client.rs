//! Our side of the SSH handshake.

use super::hostkey::{HostKeys, KeyCheck};
use russh::client;
use russh::keys::PublicKeyOrCertificate;
use russh::keys::ssh_key::PublicKey;
use std::sync::{Arc, Mutex, PoisonError};

/// The client's side of the handshake: remembers the key that the server presented.
pub(super) struct Client {
    keys: HostKeys,
    presented: Arc<Mutex<Option<PublicKey>>>,
}

impl Client {
    /// Accepts these keys; puts the one that the server presents into `presented`.
    pub(super) fn new(keys: HostKeys, presented: Arc<Mutex<Option<PublicKey>>>) -> Self {
        Self { keys, presented }
    }
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, server: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = server else { return Ok(false) };
        *self.presented.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
        Ok(matches!(self.keys.check(key), KeyCheck::Known | KeyCheck::First(_)))
    }
}
