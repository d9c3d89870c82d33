//! What a user signs in with.

use russh::keys::{Certificate, PrivateKey};
use std::fmt;
use std::sync::Arc;

/// Credentials for a login. Never printed.
#[derive(Clone, PartialEq)]
pub struct Credentials {
    /// User name on the machine.
    pub user: String,
    /// Name of the Secret that they come from, for messages.
    pub source: String,
    /// Password of the user.
    pub password: Option<String>,
    /// Private key and, if there is one, its certificate.
    pub key: Option<(Arc<PrivateKey>, Option<Certificate>)>,
    /// Password for sudo, if it differs from the user's.
    pub sudo_password: Option<String>,
    /// Password for su.
    pub su_password: Option<String>,
}

#[cfg(test)]
impl Credentials {
    /// A user name alone, for tests in which nothing asks for a password or a key.
    pub(crate) fn without_secrets() -> Self {
        Self {
            user: "ops".into(),
            source: "db".into(),
            password: None,
            key: None,
            sudo_password: None,
            su_password: None,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::auth::read_key;
    use super::*;
    use russh::keys::ssh_key::LineEnding;
    use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};

    /// Unchanged credentials would count as changed, and the rejected ones would be offered until the
    /// account is locked.
    #[test]
    fn credentials_that_are_read_twice_are_the_same() {
        let key = |seed: u8| {
            let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[seed; 32]));
            PrivateKey::new(pair, "").unwrap().to_openssh(LineEnding::LF).unwrap()
        };
        let read = |text: &str, password: &str| Credentials {
            user: "ops".into(),
            source: "db".into(),
            password: Some(password.into()),
            key: Some((Arc::new(read_key("db", text, None).unwrap()), None)),
            sudo_password: None,
            su_password: None,
        };
        let (one, other) = (key(1), key(2));
        assert!(read(&one, "a") == read(&one, "a"));
        assert!(read(&one, "a") != read(&one, "b"));
        assert!(read(&one, "a") != read(&other, "a"));
    }
}
