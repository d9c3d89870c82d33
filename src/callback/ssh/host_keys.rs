//! The host keys of the SFTP and SCP service.
//!
//! They belong to the installation and not to a run: devices remember the key of a host and refuse another one.

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{EcdsaKeypair, Ed25519Keypair, KeypairData};
use russh::keys::{EcdsaCurve, HashAlg, PrivateKey, decode_secret_key};
use std::collections::BTreeMap;

/// Beginning of the names of keys in their Secret, as with Secrets of the type `kubernetes.io/ssh-auth`.
const PREFIX: &str = "ssh-privatekey";

/// The host keys. `Debug` shows their fingerprints only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HostKeys(Vec<PrivateKey>);

/// Why host keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// There is none.
    #[error("it has no key whose name begins with {PREFIX}")]
    Missing,
    /// A key cannot be read.
    #[error("{name} is not a private key without a passphrase: {why}")]
    Damaged {
        /// The name of the entry.
        name: String,
        /// The reason.
        why: String,
    },
    /// The operating system returned no random numbers, or a key could not be written.
    #[error("a key cannot be made: {0}")]
    Make(String),
}

impl HostKeys {
    /// Makes a key for clients of today, and one (ECDSA) for older ones.
    ///
    /// # Errors
    /// When the operating system returns no random numbers.
    pub fn generate() -> Result<BTreeMap<String, Vec<u8>>, HostKeyError> {
        let make = |error: &dyn std::fmt::Display| HostKeyError::Make(error.to_string());
        let mut seed = [0; 32];
        let random = super::super::crypto::provider().secure_random;
        random.fill(&mut seed).map_err(|_| HostKeyError::Make("there are no random numbers".to_owned()))?;
        let ed25519 = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
        let ecdsa = EcdsaKeypair::random(&mut russh::keys::key::safe_rng(), EcdsaCurve::NistP256);
        let ecdsa = KeypairData::Ecdsa(ecdsa.map_err(|error| make(&error))?);
        let written = [("", ed25519), ("-ecdsa", ecdsa)].map(|(suffix, key)| {
            let key = PrivateKey::new(key, "farrier").map_err(|error| make(&error))?;
            let text = key.to_openssh(LineEnding::LF).map_err(|error| make(&error))?;
            Ok((format!("{PREFIX}{suffix}"), text.as_bytes().to_vec()))
        });
        written.into_iter().collect()
    }

    /// Reads the keys of a Secret: all entries whose names begin with `ssh-privatekey`.
    ///
    /// # Errors
    /// An entry that is no key, or that there is none.
    pub fn from_map(map: &BTreeMap<String, Vec<u8>>) -> Result<Self, HostKeyError> {
        let read = |(name, bytes): (&String, &Vec<u8>)| {
            let damaged = |why: String| HostKeyError::Damaged { name: name.clone(), why };
            let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
            decode_secret_key(text, None).map_err(|error| damaged(error.to_string()))
        };
        let keys = map.iter().filter(|(name, _)| name.starts_with(PREFIX)).map(read);
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(HostKeyError::Missing) } else { Ok(Self(keys)) }
    }

    /// Returns the public keys as in a `known_hosts` file, without the host.
    pub fn public(&self) -> Vec<String> {
        let keys = self.0.iter().map(PrivateKey::public_key);
        keys.map(|key| {
            format!("{} {}", key.algorithm(), russh::keys::PublicKeyBase64::public_key_base64(key))
        })
        .collect()
    }

    /// Returns the fingerprints of the public keys, as `ssh-keygen -l` prints them.
    pub fn fingerprints(&self) -> Vec<String> {
        self.0.iter().map(|key| key.fingerprint(HashAlg::Sha256).to_string()).collect()
    }

    pub(super) fn private(&self) -> &[PrivateKey] {
        &self.0
    }
}

impl std::fmt::Debug for HostKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HostKeys").field(&self.fingerprints()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a device that remembers the key refuses the next run, or keys would be in a log.
    #[test]
    fn keys_stay_the_same_and_are_not_shown() {
        let map = HostKeys::generate().unwrap();
        let keys = HostKeys::from_map(&map).unwrap();
        assert_eq!(HostKeys::from_map(&map).unwrap(), keys);
        assert!(keys.public().iter().any(|key| key.starts_with("ssh-ed25519 AAAA")), "{:?}", keys.public());
        assert!(keys.public().iter().any(|key| key.starts_with("ecdsa-sha2-nistp256 AAAA")));
        let shown = format!("{keys:?}");
        assert!(shown.contains("SHA256:") && !shown.contains("PRIVATE"), "{shown}");
        assert!(matches!(HostKeys::from_map(&BTreeMap::new()), Err(HostKeyError::Missing)));
        let damaged = BTreeMap::from([(PREFIX.to_owned(), b"x".to_vec())]);
        assert!(matches!(HostKeys::from_map(&damaged), Err(HostKeyError::Damaged { .. })));
    }
}
