//! SSH authentication: key, certificate, password, keyboard-interactive.
//!
//! A password is offered once. A repetition under another method would count as a second failure
//! towards the machine's account lockout.

use super::algorithms::Algorithms;
use super::client::Client;
use super::credentials::Credentials;
use super::heard::Heard;
use super::interactive::{self, Ended};
use crate::failure::{Failure, chain};
use farrier_update::Reason;
use russh::client::{AuthResult, Handle};
use russh::keys::{Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, decode_secret_key};
use russh::{MethodKind, MethodSet};
use std::time::Duration;

/// How long the end of a connection may follow the last answer on it. A server that refuses all and waits costs this once.
const CLOSING: Duration = Duration::from_millis(500);

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
/// `PasswordRejected`, `KeyRejected`, `AccountLocked`, `PasswordChangeRequired`, `AuthenticationFailed`,
/// `LegacyAlgorithmsNeeded`, `SessionLimitReached`, `ConnectionLost`.
pub(super) async fn sign_in(
    handle: &mut Handle<Client>,
    node: &str,
    credentials: &Credentials,
    algorithms: Algorithms,
    heard: &Heard,
) -> Result<(), Failure> {
    let lost = |error: russh::Error| lost(node, heard, &error);
    let mut methods = match handle.authenticate_none(&credentials.user).await.map_err(lost)? {
        AuthResult::Success => return Ok(()),
        // Without an answer russh reports a refusal after which nothing may be tried. Nothing was refused yet: a device
        // that restarts ends connections like this.
        AuthResult::Failure { remaining_methods, .. }
            if remaining_methods.is_empty() && is_over(handle).await =>
        {
            return Err(lost(russh::Error::Disconnect));
        }
        AuthResult::Failure { remaining_methods, .. } => remaining_methods,
    };
    let mut refused: Option<Refused> = None;
    if credentials.key.is_some() && methods.contains(&MethodKind::PublicKey) {
        match with_key(handle, credentials, algorithms).await.map_err(lost)? {
            WithKey::Accepted => return Ok(()),
            WithKey::Refused(remaining, how) => {
                methods = remaining;
                refused = how;
            }
            WithKey::NotOffered => refused = Some(Refused::OldSignature),
        }
        ensure_open(handle, &methods, node, credentials, heard).await?;
    }
    if let Some(password) = &credentials.password {
        let mut is_given = false;
        if methods.contains(&MethodKind::Password) {
            let answer = handle.authenticate_password(&credentials.user, password).await;
            match answer.map_err(lost)? {
                AuthResult::Success => return Ok(()),
                AuthResult::Failure { remaining_methods, partial_success } => {
                    ensure_open(handle, &remaining_methods, node, credentials, heard).await?;
                    methods = if partial_success { remaining_methods } else { MethodSet::empty() };
                    refused = Some(Refused::Password);
                }
            }
            is_given = true;
        }
        if methods.contains(&MethodKind::KeyboardInteractive) {
            match interactive::sign_in(handle, node, credentials, is_given).await.map_err(lost)? {
                Ended::Accepted => return Ok(()),
                Ended::Refused => refused = Some(Refused::Password),
                Ended::Failed(failure) => return Err(failure),
            }
            ensure_open(handle, &MethodSet::empty(), node, credentials, heard).await?;
        }
    }
    Err(rejected(node, credentials, refused, &methods, heard))
}

/// What a server has refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Password,
    Key,
    /// A key of RSA, signed as the server has not said to know.
    UnknownSignature,
    /// Nothing yet: it knows signatures of RSA with SHA-1 only, which are not allowed.
    OldSignature,
}

/// How a sign-in by key has ended.
enum WithKey {
    Accepted,
    /// The methods that are left, and what was refused; `None`: the key was accepted, and is not enough.
    Refused(MethodSet, Option<Refused>),
    NotOffered,
}

async fn with_key(
    handle: &mut Handle<Client>,
    credentials: &Credentials,
    algorithms: Algorithms,
) -> Result<WithKey, russh::Error> {
    let Some((key, certificate)) = &credentials.key else { return Ok(WithKey::NotOffered) };
    let user = &credentials.user;
    let (answer, how) = if let Some(certificate) = certificate {
        let answer = handle.authenticate_openssh_cert(user, key.clone(), certificate.clone()).await?;
        (answer, Refused::Key)
    } else {
        let known = if key.algorithm().is_rsa() {
            match handle.best_supported_rsa_hash().await? {
                Some(Some(hash)) => Signatures::Current(hash),
                Some(None) => Signatures::OldOnly,
                None => Signatures::NotSaid,
            }
        } else {
            Signatures::OneOnly
        };
        let Some((hash, how)) = signature(known, algorithms) else { return Ok(WithKey::NotOffered) };
        let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
        (handle.authenticate_publickey(user, key).await?, how)
    };
    Ok(match answer {
        AuthResult::Success => WithKey::Accepted,
        AuthResult::Failure { remaining_methods, partial_success } => {
            WithKey::Refused(remaining_methods, (!partial_success).then_some(how))
        }
    })
}

/// Which signatures of the user's key the server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signatures {
    /// The key is none of RSA: there is one way to sign with it.
    OneOnly,
    /// This is the best of RSA.
    Current(HashAlg),
    /// Of RSA, those with SHA-1 only.
    OldOnly,
    /// The server has not said it.
    NotSaid,
}

/// Decides with which hash a key signs, and what it means if that is refused; `None`: not at all. A hash of `None` is
/// SHA-1 for a key of RSA.
const fn signature(known: Signatures, algorithms: Algorithms) -> Option<(Option<HashAlg>, Refused)> {
    match (known, algorithms) {
        (Signatures::Current(hash), _) => Some((Some(hash), Refused::Key)),
        (Signatures::OldOnly, Algorithms::Current) => None,
        (Signatures::NotSaid, Algorithms::Current) => {
            Some((Some(HashAlg::Sha256), Refused::UnknownSignature))
        }
        // Of servers that do not say what they know, most are old.
        (Signatures::OneOnly, _) | (Signatures::OldOnly | Signatures::NotSaid, Algorithms::WithLegacy) => {
            Some((None, Refused::Key))
        }
    }
}

/// Reports whether the connection has ended. russh tells that a request has no answer a moment before that.
async fn is_over(handle: &mut Handle<Client>) -> bool {
    handle.is_closed() || tokio::time::timeout(CLOSING, handle).await.is_ok()
}

/// Returns the failure for a server that closes the connection during authentication: it has no room, or has
/// accepted the proof and rejected the account. One that has said what may be tried next has refused the proof.
async fn ensure_open(
    handle: &mut Handle<Client>,
    remaining: &MethodSet,
    node: &str,
    credentials: &Credentials,
    heard: &Heard,
) -> Result<(), Failure> {
    if !handle.is_closed() && (!remaining.is_empty() || !is_over(handle).await) {
        return Ok(());
    }
    let Credentials { user, source, .. } = credentials;
    let words = heard.last_words(&russh::Error::Disconnect);
    Err(heard.is_full(node).unwrap_or_else(|| {
        Failure::new(
            Reason::AccountLocked,
            format!(
                "{node} closed the connection while user {user} (secret {source}) signed in ({words}); the account is locked or expired, a password is wrong, or sign-in was tried too often. Look at the SSH server's log on the machine{}",
                heard.banner()
            ),
        )
    }))
}

fn rejected(
    node: &str,
    credentials: &Credentials,
    refused: Option<Refused>,
    offered: &MethodSet,
    heard: &Heard,
) -> Failure {
    let Credentials { user, source, .. } = credentials;
    let key_rejected = |next: &str| {
        Failure::new(
            Reason::KeyRejected,
            format!(
                "{node} refused the key of user {user} (secret {source}); add its public key to authorized_keys on the machine{next}"
            ),
        )
    };
    match refused {
        Some(Refused::Password) => Failure::new(
            Reason::PasswordRejected,
            format!(
                "{node} refused the password of user {user}; correct secret {source}. The account may also be locked. The password is not retried, so that the account is not locked"
            ),
        ),
        Some(Refused::Key) => key_rejected(""),
        Some(Refused::UnknownSignature) => key_rejected(
            "; if it is there, the SSH server knows RSA signatures with SHA-1 only: use a key of type ed25519 or ecdsa, or set spec.ssh.legacyAlgorithms: true",
        ),
        Some(Refused::OldSignature) => Failure::new(
            Reason::LegacyAlgorithmsNeeded,
            format!(
                "{node} knows RSA signatures with SHA-1 only, so that the key of user {user} (secret {source}) was not offered; use a key of type ed25519 or ecdsa, update its SSH server, or set spec.ssh.legacyAlgorithms: true"
            ),
        ),
        None => {
            let offered: Vec<String> = offered.iter().map(|m| <&'static str>::from(m).to_owned()).collect();
            Failure::new(
                Reason::AuthenticationFailed,
                format!(
                    "secret {source} has no credentials that {node} accepts for user {user} (it offers {}); add password or ssh-privatekey{}",
                    if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") },
                    heard.banner()
                ),
            )
        }
    }
}

/// Returns the failure for a connection that broke while signing in.
fn lost(node: &str, heard: &Heard, error: &russh::Error) -> Failure {
    heard.is_full(node).unwrap_or_else(|| {
        Failure::new(
            Reason::ConnectionLost,
            format!(
                "the connection to {node} was lost while signing in ({}); it is retried while the run has retries left{}",
                heard.last_words(error),
                heard.banner()
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::channel_count::Count;
    use super::super::hostkey::HostKeys;
    use super::*;
    use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
    use russh::server::{Auth, Handler, run_stream};
    use std::sync::Arc;
    use tokio::sync::watch;

    /// A server that ends the connection at a step of the sign-in.
    struct Leaving {
        at_once: bool,
    }

    impl Handler for Leaving {
        type Error = russh::Error;

        async fn auth_none(&mut self, _user: &str) -> Result<Auth, Self::Error> {
            if self.at_once { Err(russh::Error::Disconnect) } else { Ok(Auth::reject()) }
        }

        async fn auth_password(&mut self, _user: &str, _password: &str) -> Result<Auth, Self::Error> {
            Err(russh::Error::Disconnect)
        }
    }

    /// Returns why a sign-in to this server fails.
    async fn refusal(server: Leaving) -> Failure {
        let key = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[7; 32]));
        let keys = vec![PrivateKey::new(key, "").unwrap()];
        let config =
            russh::server::Config { keys, auth_rejection_time: Duration::ZERO, ..Default::default() };
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move { run_stream(Arc::new(config), theirs, server).await?.await });
        let heard = Heard::default();
        let keys = HostKeys::parse("db", std::iter::empty(), true).unwrap();
        let client = Client::new(keys, heard.clone(), watch::channel(Count::default()).0);
        let config = Arc::new(russh::client::Config::default());
        let mut handle = russh::client::connect_stream(config, ours, client).await.unwrap();
        let credentials = Credentials { password: Some("secret".into()), ..Credentials::without_secrets() };
        sign_in(&mut handle, "db", &credentials, Algorithms::Current, &heard).await.unwrap_err()
    }

    /// Otherwise a device that restarts would count as one that refuses the account, which ends an attempt at once.
    #[tokio::test]
    async fn a_connection_that_ends_before_anything_is_refused_is_lost() {
        let failure = refusal(Leaving { at_once: true }).await;
        assert_eq!(failure.reason, Reason::ConnectionLost, "{failure}");
    }

    /// A server that closes because of the account would otherwise be tried until the account is locked.
    #[tokio::test]
    async fn a_connection_that_ends_at_the_password_is_a_refusal() {
        let failure = refusal(Leaving { at_once: false }).await;
        assert_eq!(failure.reason, Reason::AccountLocked, "{failure}");
    }

    /// Otherwise a user's key would be signed with SHA-1 although nobody allowed it, or an old server be told
    /// nothing that it knows.
    #[test]
    fn rsa_signs_with_sha1_only_where_that_is_allowed() {
        let sha1 = Some((None, Refused::Key));
        let best = Signatures::Current(HashAlg::Sha512);
        for algorithms in [Algorithms::Current, Algorithms::WithLegacy] {
            assert_eq!(signature(best, algorithms), Some((Some(HashAlg::Sha512), Refused::Key)));
        }
        assert_eq!(signature(Signatures::OldOnly, Algorithms::Current), None);
        assert_eq!(signature(Signatures::OldOnly, Algorithms::WithLegacy), sha1);
        let guessed = Some((Some(HashAlg::Sha256), Refused::UnknownSignature));
        assert_eq!(signature(Signatures::NotSaid, Algorithms::Current), guessed);
        assert_eq!(signature(Signatures::NotSaid, Algorithms::WithLegacy), sha1);
    }
}
