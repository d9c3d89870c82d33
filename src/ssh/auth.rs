//! SSH authentication: key, certificate, password, keyboard-interactive.
//!
//! A password is offered once. A repetition under another method would count as a second failure
//! towards the machine's account lockout.

use super::client::Client;
use crate::failure::{Failure, chain};
use farrier_update::Reason;
use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse as Interactive};
use russh::keys::{Certificate, PrivateKey, PrivateKeyWithHashAlg, decode_secret_key};
use russh::{MethodKind, MethodSet};
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

/// Parses a private key in any of the usual formats.
///
/// # Errors
/// `KeyPassphraseWrong` if the key is encrypted and the passphrase is missing or wrong, otherwise
/// `KeyUnreadable`. Neither message contains any part of the key.
pub fn read_key(source: &str, text: &str, passphrase: Option<&str>) -> Result<PrivateKey, Failure> {
    decode_secret_key(text, passphrase).map_err(|error| {
        let encrypted = text.contains("ENCRYPTED")
            || PrivateKey::from_openssh(text).is_ok_and(|key| key.is_encrypted());
        if encrypted {
            let (what, next) = match passphrase {
                Some(_) => ("does not open", "correct"),
                None => ("is missing for", "add"),
            };
            Failure::new(
                Reason::KeyPassphraseWrong,
                format!("the passphrase {what} ssh-privatekey of secret {source}; {next} its key passphrase"),
            )
        } else {
            Failure::new(
                Reason::KeyUnreadable,
                format!(
                    "ssh-privatekey of secret {source} is no private key that can be read ({}); store it in OpenSSH or PEM format",
                    chain(&error)
                ),
            )
        }
    })
}

/// Parses an OpenSSH user certificate.
///
/// # Errors
/// `KeyUnreadable`.
pub fn read_certificate(source: &str, text: &str) -> Result<Certificate, Failure> {
    Certificate::from_openssh(text.trim()).map_err(|error| {
        Failure::new(
            Reason::KeyUnreadable,
            format!("ssh-certificate of secret {source} is no OpenSSH certificate ({})", chain(&error)),
        )
    })
}

/// Authenticates.
///
/// # Errors
/// `PasswordRejected`, `KeyRejected`, `AccountLocked`, `AuthenticationFailed`, `SecretIncomplete`.
pub(super) async fn sign_in(
    handle: &mut Handle<Client>,
    node: &str,
    credentials: &Credentials,
) -> Result<(), Failure> {
    let mut methods = match handle.authenticate_none(&credentials.user).await.map_err(|e| lost(node, &e))? {
        AuthResult::Success => return Ok(()),
        AuthResult::Failure { remaining_methods, .. } => remaining_methods,
    };
    let mut refused: Option<Reason> = None;
    if credentials.key.is_some() && methods.contains(&MethodKind::PublicKey) {
        match with_key(handle, credentials).await.map_err(|e| lost(node, &e))? {
            AuthResult::Success => return Ok(()),
            AuthResult::Failure { remaining_methods, partial_success } => {
                methods = remaining_methods;
                refused = (!partial_success).then_some(Reason::KeyRejected);
            }
        }
        ensure_open(handle, node, credentials)?;
    }
    if let Some(password) = &credentials.password {
        if methods.contains(&MethodKind::Password) {
            let answer = handle.authenticate_password(&credentials.user, password).await;
            match answer.map_err(|e| lost(node, &e))? {
                AuthResult::Success => return Ok(()),
                AuthResult::Failure { remaining_methods, partial_success } => {
                    methods = if partial_success { remaining_methods } else { MethodSet::empty() };
                    refused = Some(Reason::PasswordRejected);
                }
            }
            ensure_open(handle, node, credentials)?;
        }
        if methods.contains(&MethodKind::KeyboardInteractive) {
            if interactive(handle, &credentials.user, password).await.map_err(|e| lost(node, &e))? {
                return Ok(());
            }
            refused = Some(Reason::PasswordRejected);
            ensure_open(handle, node, credentials)?;
        }
    }
    Err(rejected(node, credentials, refused, &methods))
}

async fn with_key(
    handle: &mut Handle<Client>,
    credentials: &Credentials,
) -> Result<AuthResult, russh::Error> {
    let Some((key, certificate)) = &credentials.key else {
        return Ok(AuthResult::Failure { remaining_methods: MethodSet::empty(), partial_success: false });
    };
    if let Some(certificate) = certificate {
        return handle.authenticate_openssh_cert(&credentials.user, key.clone(), certificate.clone()).await;
    }
    let hash =
        if key.algorithm().is_rsa() { handle.best_supported_rsa_hash().await?.flatten() } else { None };
    handle.authenticate_publickey(&credentials.user, PrivateKeyWithHashAlg::new(key.clone(), hash)).await
}

/// Answers every hidden prompt with the password and every visible prompt with the user name.
async fn interactive(handle: &mut Handle<Client>, user: &str, password: &str) -> Result<bool, russh::Error> {
    /// Maximum number of rounds; more than any sane server requests.
    const ROUNDS: usize = 8;
    let mut answer = handle.authenticate_keyboard_interactive_start(user, None).await?;
    let mut asked = false;
    for _ in 0..ROUNDS {
        match answer {
            Interactive::Success => return Ok(true),
            Interactive::Failure { .. } => return Ok(false),
            Interactive::InfoRequest { prompts, .. } => {
                if asked && !prompts.is_empty() {
                    // A repeated prompt means that the password was wrong.
                    return Ok(false);
                }
                asked = asked || !prompts.is_empty();
                let replies = prompts
                    .iter()
                    .map(|p| if p.echo { user.to_owned() } else { password.to_owned() })
                    .collect();
                answer = handle.authenticate_keyboard_interactive_respond(replies).await?;
            }
        }
    }
    Ok(false)
}

/// Returns the failure for a server that closes the connection during authentication: it has accepted
/// the proof and rejected the account.
fn ensure_open(handle: &Handle<Client>, node: &str, credentials: &Credentials) -> Result<(), Failure> {
    if !handle.is_closed() {
        return Ok(());
    }
    Err(Failure::new(
        Reason::AccountLocked,
        format!(
            "{node} closed the connection while user {} (secret {}) signed in; the account is locked or expired, or sign-in was tried too often. Look at the SSH server's log on the machine",
            credentials.user, credentials.source
        ),
    ))
}

fn rejected(node: &str, credentials: &Credentials, refused: Option<Reason>, offered: &MethodSet) -> Failure {
    let Credentials { user, source, .. } = credentials;
    match refused {
        Some(Reason::PasswordRejected) => Failure::new(
            Reason::PasswordRejected,
            format!(
                "{node} refused the password of user {user}; correct secret {source}. The account may also be locked. The password is not retried, so that the account is not locked"
            ),
        ),
        Some(Reason::KeyRejected) => Failure::new(
            Reason::KeyRejected,
            format!(
                "{node} refused the key of user {user} (secret {source}); add its public key to authorized_keys on the machine"
            ),
        ),
        Some(_) | None => {
            let offered: Vec<String> = offered.iter().map(|m| <&'static str>::from(m).to_owned()).collect();
            Failure::new(
                Reason::AuthenticationFailed,
                format!(
                    "secret {source} has no credentials that {node} accepts for user {user} (it offers {}); add password or ssh-privatekey",
                    if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") }
                ),
            )
        }
    }
}

fn lost(node: &str, error: &russh::Error) -> Failure {
    Failure::new(
        Reason::ConnectionLost,
        format!(
            "the connection to {node} was lost while signing in ({}); it is retried while the run has retries left",
            chain(error)
        ),
    )
}

#[cfg(test)]
mod tests {
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
