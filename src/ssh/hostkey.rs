//! Verification of host keys.

use crate::failure::Failure;
use farrier_update::Reason;
use russh::keys::ssh_key::{Algorithm, HashAlg, PublicKey};

/// The known host keys of a machine before it is contacted.
#[derive(Debug, Clone, Default)]
pub struct HostKeys {
    /// Keys that the user listed, or that were recorded on first use.
    known: Vec<PublicKey>,
    /// Whether an unknown key is accepted if no key is known.
    trust_first: bool,
}

/// The result of checking the key that a server presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyCheck {
    /// The key is known.
    Known,
    /// No key was known, and the first key is trusted: the caller must record it.
    First(String),
    /// No key was known, and the policy does not trust the first key.
    Unknown,
    /// The key differs from the known keys.
    Changed,
}

impl HostKeys {
    /// Parses keys in the format of `known_hosts`, with or without host names in front.
    ///
    /// # Errors
    /// `HostKeyUnknown`, which names the line that is not a key.
    pub fn parse<'a>(
        node: &str,
        lines: impl Iterator<Item = &'a str>,
        trust_first: bool,
    ) -> Result<Self, Failure> {
        let known = lines
            .map(|line| {
                key_of_line(line).ok_or_else(|| {
                    Failure::new(
                        Reason::HostKeyUnknown,
                        format!(
                            "spec.ssh.hostKeys of {node} has a line that is no public key: {}; write it as in known_hosts: ssh-ed25519 AAAA…",
                            line.chars().take(60).collect::<String>()
                        ),
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { known, trust_first })
    }

    /// Checks the key that a server presented.
    pub fn check(&self, presented: &PublicKey) -> KeyCheck {
        if self.known.iter().any(|k| k.key_data() == presented.key_data()) {
            KeyCheck::Known
        } else if !self.known.is_empty() {
            KeyCheck::Changed
        } else if self.trust_first {
            KeyCheck::First(line_of_key(presented))
        } else {
            KeyCheck::Unknown
        }
    }

    /// Returns the failure for a rejected key, `None` for an accepted key.
    pub fn refusal(&self, node: &str, address: &str, presented: &PublicKey) -> Option<Failure> {
        let fingerprint = presented.fingerprint(HashAlg::Sha256);
        let line = line_of_key(presented);
        match self.check(presented) {
            KeyCheck::Known | KeyCheck::First(_) => None,
            KeyCheck::Unknown => Some(Failure::new(
                Reason::HostKeyUnknown,
                format!(
                    "the host key of {node} at {address} is not known (it presented {fingerprint}); compare the fingerprint on the machine, then put \"{line}\" into spec.ssh.hostKeys"
                ),
            )),
            KeyCheck::Changed => Some(Failure::new(
                Reason::HostKeyChanged,
                format!(
                    "{node} at {address} presented the host key {fingerprint}, but {} was expected; the connection may be intercepted. If the machine was reinstalled, compare the fingerprint on it and put \"{line}\" into spec.ssh.hostKeys (or clear status.hostKey)",
                    self.fingerprints()
                ),
            )),
        }
    }

    /// Returns the host key algorithms in the order to offer them: those of known keys first, because a
    /// server with several keys would otherwise present a different key than the pinned one.
    pub fn preferred(&self, default: &[Algorithm]) -> Vec<Algorithm> {
        let is_known = |algorithm: &Algorithm| {
            self.known.iter().any(|k| match (k.algorithm(), algorithm) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (a, b) => a == *b,
            })
        };
        let (mut first, rest): (Vec<_>, Vec<_>) = default.iter().cloned().partition(is_known);
        first.extend(rest);
        first
    }

    fn fingerprints(&self) -> String {
        self.known.iter().map(|k| k.fingerprint(HashAlg::Sha256).to_string()).collect::<Vec<_>>().join(" or ")
    }
}

/// Parses the key in a line of `known_hosts` or of a `.pub` file.
fn key_of_line(line: &str) -> Option<PublicKey> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.windows(2).find_map(|pair| match pair {
        [kind, data] if kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-") => {
            PublicKey::from_openssh(&format!("{kind} {data}")).ok()
        }
        _ => None,
    })
}

/// Formats a key as one line, without a comment.
fn line_of_key(key: &PublicKey) -> String {
    let mut bare = key.clone();
    bare.set_comment("");
    bare.to_openssh().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEd0cRuJnnnG3hkOzXzTRpRbzrfwSJPsZLAn2bBXTpEj";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFZtYp0QFTQFxJcFvPqfNTmyfzkGs7bVqTfe/5nBDcxn";

    fn key(line: &str) -> PublicKey {
        key_of_line(line).expect("a key")
    }

    #[test]
    fn keys_are_read_with_host_names_and_comments() {
        for line in [ED.to_owned(), format!("db-01,10.0.0.7 {ED} root@db-01"), format!("{ED} comment here")] {
            let keys = HostKeys::parse("db-01", [line.as_str()].into_iter(), false).unwrap();
            assert_eq!(keys.check(&key(ED)), KeyCheck::Known, "{line}");
        }
    }

    #[test]
    fn an_unknown_key_is_never_accepted_blindly() {
        let keys = HostKeys::parse("db-01", std::iter::empty(), false).unwrap();
        assert_eq!(keys.check(&key(ED)), KeyCheck::Unknown);
        let refusal = keys.refusal("db-01", "10.0.0.7", &key(ED)).unwrap();
        assert_eq!(refusal.reason, Reason::HostKeyUnknown);
        assert!(refusal.message.contains(ED), "the message must offer the key to copy: {refusal}");
    }

    #[test]
    fn a_changed_key_is_refused_under_either_policy() {
        for trust_first in [false, true] {
            let keys = HostKeys::parse("db-01", [ED].into_iter(), trust_first).unwrap();
            assert_eq!(keys.check(&key(OTHER)), KeyCheck::Changed);
            assert_eq!(
                keys.refusal("db-01", "::1", &key(OTHER)).map(|f| f.reason),
                Some(Reason::HostKeyChanged)
            );
        }
    }

    #[test]
    fn the_first_key_is_handed_back_to_be_recorded() {
        let keys = HostKeys::parse("db-01", std::iter::empty(), true).unwrap();
        assert_eq!(keys.check(&key(ED)), KeyCheck::First(ED.to_owned()));
    }

    #[test]
    fn a_line_that_is_no_key_is_named() {
        let failure = HostKeys::parse("db-01", ["ssh-ed25519 garbage"].into_iter(), false).unwrap_err();
        assert!(failure.message.contains("db-01") && failure.message.contains("garbage"), "{failure}");
    }

    #[test]
    fn the_algorithm_of_a_pinned_key_is_asked_for_first() {
        let rsa = Algorithm::Rsa { hash: Some(HashAlg::Sha512) };
        let keys = HostKeys::parse("db-01", [ED].into_iter(), false).unwrap();
        let order = keys.preferred(&[rsa.clone(), Algorithm::Ed25519]);
        assert_eq!(order, vec![Algorithm::Ed25519, rsa]);
    }
}
