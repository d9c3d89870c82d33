//! What a device is shown to be let in. Nothing here is ever printed.

use crate::drivers::Keys;
use crate::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use farrier_update::Reason;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use std::fmt;

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// User name and password of an account.
#[derive(Clone)]
pub struct Credentials {
    /// Name of the account.
    pub user: String,
    pub(super) password: String,
    /// Name of the Secret, for messages.
    pub source: String,
}

impl Credentials {
    /// Reads the credentials in a Secret.
    ///
    /// # Errors
    /// `SecretIncomplete`.
    pub fn new(node: &str, keys: &Keys) -> Result<Self, Failure> {
        let need = |key: &str| {
            keys.line(key)?.ok_or_else(|| {
                Failure::new(
                    Reason::SecretIncomplete,
                    format!("secret {} of ManagedNode {node} has no {key}; add it", keys.name),
                )
            })
        };
        Ok(Self { user: need("username")?, password: need("password")?, source: keys.name.clone() })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The header of a request that proves who sends it.
#[derive(Clone)]
pub struct Credential {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
}

impl Credential {
    /// The token of a session. `None` if it has characters that no header can have.
    pub fn token(token: &[u8]) -> Option<Self> {
        let mut value = HeaderValue::from_bytes(token).ok().filter(|value| !value.is_empty())?;
        value.set_sensitive(true);
        Some(Self { name: TOKEN, value })
    }

    /// User name and password (RFC 7617).
    pub fn basic(credentials: &Credentials) -> Option<Self> {
        let pair = STANDARD.encode(format!("{}:{}", credentials.user, credentials.password));
        let mut value = HeaderValue::from_str(&format!("Basic {pair}")).ok()?;
        value.set_sensitive(true);
        Some(Self { name: AUTHORIZATION, value })
    }

    /// Returns a cookie that carries the token of a session; `None` without a session.
    pub(super) fn cookie(&self, name: &str) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{name}={}", self.session_token()?)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Returns the token of a session; `None` without a session.
    pub(super) fn session_token(&self) -> Option<&str> {
        self.value.to_str().ok().filter(|_| self.name == TOKEN)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(pairs: &[(&str, &str)]) -> Keys {
        let data = pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
        Keys { name: "bmc-login".into(), data: data.collect() }
    }

    /// Logs are read by more people than Secrets.
    #[test]
    fn passwords_and_tokens_are_never_printed() {
        let credentials =
            Credentials::new("bmc-7", &keys(&[("username", "admin"), ("password", "hunter2\n")])).unwrap();
        let basic = Credential::basic(&credentials).unwrap();
        let token = Credential::token(b"a-secret-token").unwrap();
        let printed = format!("{credentials:?} {basic:?} {token:?} {:?} {:?}", basic.value, token.value);
        for secret in ["hunter2", "a-secret-token", "YWRtaW46aHVudGVyMg"] {
            assert!(!printed.contains(secret), "{printed}");
        }
        assert_eq!(basic.value.as_bytes(), b"Basic YWRtaW46aHVudGVyMg==");
    }

    #[test]
    fn a_missing_key_is_named() {
        let failure = Credentials::new("bmc-7", &keys(&[("username", "admin")])).unwrap_err();
        assert_eq!(failure.reason, Reason::SecretIncomplete);
        assert!(
            failure.message.contains("bmc-login") && failure.message.contains("no password"),
            "{failure}"
        );
    }
}
