//! The SHA-256 fingerprint of a certificate.

use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// The SHA-256 digest of a whole certificate in DER, as `openssl x509 -fingerprint -sha256` and
/// browsers show it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// A text that is not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a fingerprint; write sha256: and the 64 hexadecimal digits that openssl x509 -noout -fingerprint -sha256 prints for the server's certificate"
)]
pub struct NotAFingerprint(String);

impl Fingerprint {
    /// Returns the fingerprint of this certificate.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

/// Parses `sha256:` and 64 hexadecimal digits. Upper case and the colons that OpenSSL puts between the
/// bytes are accepted, so that its output can be pasted.
impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let refuse = || NotAFingerprint(text.chars().take(100).collect());
        let digits = text.strip_prefix("sha256:").ok_or_else(refuse)?.replace(':', "");
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| refuse())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| refuse())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    /// Otherwise a fingerprint that was copied from the output of openssl would be rejected, or a wrong one
    /// accepted.
    #[test]
    fn fingerprints_are_read_as_openssl_writes_them() {
        let of_foo = Fingerprint::of(b"foo");
        assert_eq!(of_foo.to_string(), PLAIN);
        assert_eq!(PLAIN.parse(), Ok(of_foo));
        let digits = PLAIN.trim_start_matches("sha256:").to_uppercase();
        let pairs: Vec<&str> = digits.as_bytes().chunks(2).map(|p| std::str::from_utf8(p).unwrap()).collect();
        assert_eq!(format!("sha256:{}", pairs.join(":")).parse(), Ok(of_foo));
    }

    #[test]
    fn what_is_not_a_sha256_fingerprint_is_refused() {
        let sha1 = "sha1:0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33";
        for text in [sha1, &PLAIN[..70], &PLAIN[7..], &PLAIN.replace('2', "é"), &PLAIN.replace('2', "+"), ""]
        {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
