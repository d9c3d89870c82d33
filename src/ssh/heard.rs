//! What a server says outside of channels, for messages: its key, its banner, its last words.

use crate::failure::{Failure, chain};
use farrier_update::Reason;
use russh::Disconnect;
use russh::client::RemoteDisconnectInfo;
use russh::keys::ssh_key::PublicKey;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many characters of a server's words a message quotes.
const SHOWN: usize = 200;

/// What the server of one connection has said.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Words>>);

/// See [`Heard`].
#[derive(Default)]
struct Words {
    key: Option<PublicKey>,
    old: Vec<String>,
    banner: String,
    farewell: Option<Farewell>,
}

/// Why a server ended a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Farewell {
    /// It has too many connections (`SSH_DISCONNECT_TOO_MANY_CONNECTIONS` of RFC 4253, section 11.1).
    is_full: bool,
    words: String,
}

impl Heard {
    fn words(&self) -> MutexGuard<'_, Words> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the key that the server presented.
    pub(super) fn note_key(&self, key: &PublicKey) {
        self.words().key = Some(key.clone());
    }

    /// Returns the key that the server presented.
    pub(super) fn key(&self) -> Option<PublicKey> {
        self.words().key.clone()
    }

    /// Keeps which old algorithms were agreed on.
    pub(super) fn note_old(&self, names: Vec<String>) {
        self.words().old = names;
    }

    /// Returns the old algorithms that were agreed on.
    pub(super) fn old(&self) -> Vec<String> {
        self.words().old.clone()
    }

    /// Keeps the banner, which is printed before the sign-in.
    pub(super) fn note_banner(&self, banner: &str) {
        self.words().banner = quotable(banner);
    }

    /// Returns the banner in words that end a sentence; empty without one.
    pub(super) fn banner(&self) -> String {
        match self.words().banner.as_str() {
            "" => String::new(),
            banner => format!(". Its banner is \"{banner}\""),
        }
    }

    /// Keeps why the server ended the connection.
    pub(super) fn note_farewell(&self, info: &RemoteDisconnectInfo) {
        let is_full = matches!(info.reason_code, Disconnect::TooManyConnections);
        self.words().farewell = Some(Farewell { is_full, words: quotable(&info.message) });
    }

    /// Returns the failure for a server that has ended the connection because it has too many.
    pub(super) fn is_full(&self, node: &str) -> Option<Failure> {
        let farewell = self.words().farewell.clone().filter(|farewell| farewell.is_full)?;
        Some(Failure::new(
            Reason::SessionLimitReached,
            format!(
                "the SSH server of {node} has too many connections (\"{}\"); close other sessions on it, or wait until they expire",
                farewell.words
            ),
        ))
    }

    /// Returns the server's last words, or what the client has noticed instead.
    pub(super) fn last_words(&self, error: &russh::Error) -> String {
        match &self.words().farewell {
            Some(Farewell { words, .. }) if !words.is_empty() => format!("the server said \"{words}\""),
            Some(_) | None => chain(error),
        }
    }

    /// Returns the failure for a connection that broke while it was in use.
    pub(super) fn connection_lost(&self, node: &str, error: &russh::Error) -> Failure {
        self.is_full(node).unwrap_or_else(|| {
            let words = self.last_words(error);
            Failure::new(
                Reason::ConnectionLost,
                format!("the connection to {node} was lost ({words}); it is retried while the run has retries left"),
            )
        })
    }
}

/// Makes the words of a server fit for a message.
pub(super) fn quotable(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|letter| !letter.is_control()).take(SHOWN).collect()
}
