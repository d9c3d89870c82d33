//! The values of a Secret.

use crate::failure::Failure;
use farrier_update::Reason;
use std::collections::BTreeMap;

/// The keys that sign-ins use, of all classes of machines.
const CREDENTIALS: [&str; 8] = [
    "username",
    "password",
    "ssh-privatekey",
    "passphrase",
    "ssh-certificate",
    "sudo-password",
    "su-password",
    "enable-password",
];

/// The keys whose values are no secrets.
const PUBLIC: [&str; 2] = ["username", "ssh-certificate"];

/// The values of a Secret, by key. They are never printed.
#[derive(Clone)]
pub struct Keys {
    /// Name of the Secret, for messages.
    pub name: String,
    /// The values.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl Keys {
    /// Reports whether a sign-in with these values differs from one with `other`.
    pub fn differ_from(&self, other: &Self) -> bool {
        CREDENTIALS.iter().any(|key| self.line(key) != other.line(key))
    }

    /// Returns the values that must not get into logs.
    pub fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        let is_secret = |key: &str| !PUBLIC.contains(&key);
        self.data.iter().filter(move |(key, _)| is_secret(key)).map(|(_, value)| value.as_slice())
    }

    /// Returns a value as it is stored.
    ///
    /// # Errors
    /// `SecretIncomplete` if the value is not UTF-8.
    pub fn text(&self, key: &str) -> Result<Option<String>, Failure> {
        self.data.get(key).map(|bytes| String::from_utf8(bytes.clone())).transpose().map_err(|_| {
            Failure::new(
                Reason::SecretIncomplete,
                format!("key {key} of secret {} is no text; store it as UTF-8", self.name),
            )
        })
    }

    /// Returns a value without the line end that `echo` and editors append. An empty value counts as missing.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn line(&self, key: &str) -> Result<Option<String>, Failure> {
        let text = self.text(key)?;
        Ok(text.map(|t| t.trim_end_matches(['\n', '\r']).to_owned()).filter(|t| !t.is_empty()))
    }
}
