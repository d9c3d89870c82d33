//! The credentials for a registry in a Secret of type `kubernetes.io/dockerconfigjson`.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Padding is optional: some tools leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How many registries a message names.
const NAMED: usize = 3;

/// Why there are no credentials for a registry. No text of it has a value of the Secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DockerConfigError {
    /// It is no such JSON document.
    #[error("is no JSON document with auths; create the Secret with kubectl create secret docker-registry")]
    Malformed,
    /// The document has no entry for the registry.
    #[error("has no credentials for the registry {registry}, but for {}; add them", known.join(", "))]
    NoRegistry {
        /// The registry.
        registry: String,
        /// Some registries that it has credentials for.
        known: Vec<String>,
    },
    /// The entry has neither user name and password nor `auth` with both.
    #[error(
        "has no user name and password for the registry {registry}; add them, or auth with both in base64"
    )]
    NoPassword {
        /// The registry.
        registry: String,
    },
}

#[derive(Deserialize)]
struct DockerConfig {
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
}

/// Returns user name and password for a registry, which is its host with the port if it has one. An entry for
/// a repository below the host is used where there is none for the host.
///
/// # Errors
/// What the document lacks.
pub fn docker_credentials(json: &[u8], registry: &str) -> Result<(String, String), DockerConfigError> {
    let DockerConfig { auths } = serde_json::from_slice(json).map_err(|_| DockerConfigError::Malformed)?;
    let mut of_host: Vec<(&String, &Entry)> =
        auths.iter().filter(|(name, _)| host(name).eq_ignore_ascii_case(registry)).collect();
    // The entry for the whole host is the shortest.
    of_host.sort_by_key(|(name, _)| name.len());
    let Some((_, entry)) = of_host.first() else {
        let mut known: Vec<String> = auths.keys().take(NAMED).map(|name| host(name).to_owned()).collect();
        if known.is_empty() {
            known.push("none".to_owned());
        }
        return Err(DockerConfigError::NoRegistry { registry: registry.to_owned(), known });
    };
    let lacking = || DockerConfigError::NoPassword { registry: registry.to_owned() };
    if !entry.username.is_empty() && !entry.password.is_empty() {
        return Ok((entry.username.clone(), entry.password.clone()));
    }
    let both = BASE64.decode(entry.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (user, password) = both.as_deref().and_then(|both| both.split_once(':')).ok_or_else(lacking)?;
    Ok((user.to_owned(), password.to_owned()))
}

/// The host of a name in `auths`, which may be a URL.
fn host(name: &str) -> &str {
    let name = name.split_once("://").map_or(name, |(_, rest)| rest);
    name.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(json: &str) -> Result<(String, String), DockerConfigError> {
        docker_credentials(json.as_bytes(), "r.example.net:5000")
    }

    #[test]
    fn an_entry_is_found_as_tools_write_it() {
        let found = Ok(("user".to_owned(), "pass:word".to_owned()));
        for entry in [
            r#"{"username": "user", "password": "pass:word"}"#,
            r#"{"auth": "dXNlcjpwYXNzOndvcmQ="}"#,
            r#"{"auth": "dXNlcjpwYXNzOndvcmQ", "email": "x"}"#,
        ] {
            for name in ["r.example.net:5000", "https://R.example.net:5000/v1/", "r.example.net:5000/a"] {
                let json = format!(r#"{{"auths": {{"a.example.net": {{}}, "{name}": {entry}}}}}"#);
                assert_eq!(credentials(&json), found, "{json}");
            }
        }
        let both = r#"{"auths": {"r.example.net:5000/a": {"auth": "eDp5"}, "r.example.net:5000": {"auth": "dXNlcjpwYXNzOndvcmQ="}}}"#;
        assert_eq!(credentials(both), found, "the entry for the host");
    }

    #[test]
    fn what_is_missing_is_named_without_values() {
        let other =
            credentials(r#"{"auths": {"r.example.net": {"auth": "c2VjcmV0OnNlY3JldA=="}}}"#).unwrap_err();
        assert!(
            other.to_string().contains("for the registry r.example.net:5000, but for r.example.net;"),
            "{other}"
        );
        let none = credentials(r#"{"auths": {}}"#).unwrap_err();
        assert!(none.to_string().contains("but for none"), "{none}");
        let no_password = credentials(r#"{"auths": {"r.example.net:5000": {"identitytoken": "secret"}}}"#);
        assert!(matches!(no_password, Err(DockerConfigError::NoPassword { .. })), "{no_password:?}");
        for malformed in ["", "[]", "{}"] {
            assert_eq!(credentials(malformed), Err(DockerConfigError::Malformed));
        }
    }
}
