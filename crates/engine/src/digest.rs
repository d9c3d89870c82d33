//! SHA-256 digests, written `sha256:` and 64 lower-case hexadecimal digits.

use ring::digest::{Context, SHA256};
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read};
use std::str::FromStr;

/// A SHA-256 digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest {
    hex: String,
}

impl Digest {
    /// Returns the 64 digits, which are safe as a file name.
    pub(crate) fn hex(&self) -> &str {
        &self.hex
    }

    /// Returns a hasher for [`Self::of_hasher`].
    pub(crate) fn hasher() -> Context {
        Context::new(&SHA256)
    }

    /// Returns the digest of all bytes that `hasher` received.
    pub(crate) fn of_hasher(hasher: Context) -> Self {
        let mut hex = String::new();
        for byte in hasher.finish().as_ref() {
            // Writing to a string cannot fail.
            write!(hex, "{byte:02x}").ok();
        }
        Self { hex }
    }

    /// Returns the digest of the running program.
    pub(crate) fn of_self() -> io::Result<Self> {
        File::open("/proc/self/exe").and_then(Self::of_reader)
    }

    /// Returns the digest of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut hasher = Self::hasher();
        hasher.update(bytes);
        Self::of_hasher(hasher)
    }

    /// Returns the digest of all bytes that `reader` yields.
    pub(crate) fn of_reader(mut reader: impl Read) -> io::Result<Self> {
        let mut hasher = Self::hasher();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = reader.read(&mut buffer)?;
            if count == 0 {
                return Ok(Self::of_hasher(hasher));
            }
            hasher.update(buffer.get(..count).unwrap_or_default());
        }
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match text.strip_prefix("sha256:") {
            Some(hex) if hex.len() == 64 && hex.bytes().all(digit) => Ok(Self { hex: hex.to_owned() }),
            _ => Err(format!("{text:?} is not a digest: sha256: and 64 lower-case hexadecimal digits")),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_of_a_known_text() {
        let digest = Digest::of_reader(&b"abc"[..]).unwrap();
        let known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), known);
        assert_eq!(known.parse(), Ok(digest));
    }

    /// The digits become a file name on the machine.
    #[test]
    fn what_is_not_a_digest_is_refused() {
        for text in ["", "sha256:", "sha256:../../etc", "md5:00", &format!("sha256:{}", "A".repeat(64))] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
