//! The accounts of the file services: one for each offer.
//!
//! The name is always the same; the password says which offer it opens. It is computed from the run's identity, as
//! the token of an offer's URL is, so that every runner knows it, also after a crash. It is dead when the offer is,
//! and is never logged.

use super::RunIdentity;
use super::identity::Purpose;
use subtle::ConstantTimeEq;

/// The name of the account.
pub const ACCOUNT: &str = "farrier";

/// Characters of a password: none that a shell, a URL or a device's command line treats specially, and none that are
/// easily mistaken for each other. Their number is a power of two, so that all are equally likely.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Length of a password: 100 bits, and no more than the 20 characters that old management processors take.
const LENGTH: usize = 20;

impl RunIdentity {
    /// Returns the password of the account that sees the file of one offer.
    pub fn password(&self, session: &str, action: u32) -> String {
        let digest = self.digest_for(Purpose::Password, session, action);
        let character = |byte: &u8| ALPHABET.get(usize::from(byte % 32)).map_or('a', |c| char::from(*c));
        digest.iter().take(LENGTH).map(character).collect()
    }

    /// Reports whether this is the password of the offer. The comparison takes constant time.
    pub(super) fn is_password(&self, candidate: &str, session: &str, action: u32) -> bool {
        self.password(session, action).as_bytes().ct_eq(candidate.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise one machine could fetch what is for another one, or a restarted runner would refuse all of them.
    #[test]
    fn each_offer_has_a_password_that_every_runner_knows() {
        let identity = RunIdentity::generate("r1").unwrap();
        let stored = RunIdentity::from_map("r1", &identity.to_map()).unwrap();
        let password = identity.password("s1", 4);
        assert_eq!(stored.password("s1", 4), password);
        assert!(password.len() == LENGTH && password.bytes().all(|b| ALPHABET.contains(&b)), "{password}");
        assert!(identity.is_password(&password, "s1", 4));
        for (session, action) in [("s1", 5), ("s2", 4), ("s", 14)] {
            assert!(!identity.is_password(&password, session, action));
        }
        assert!(!RunIdentity::generate("r1").unwrap().is_password(&password, "s1", 4));
        assert!(!identity.offer_token("s1", 4).contains(&password));
    }
}
