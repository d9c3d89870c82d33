//! Digests of content, which tell whether two contents are equal.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Returns `sha256:` and the digest of the content's JSON. Equal contents have equal digests.
///
/// The JSON is canonical: fields in the order of declaration, maps sorted by key, no
/// whitespace.
pub fn digest_of<T: Serialize + ?Sized>(content: &T) -> String {
    // Serialization cannot fail: the content consists of strings, numbers, and lists and maps of
    // them.
    let json = serde_json::to_vec(content).unwrap_or_default();
    let digits = |byte: u8| [byte >> 4, byte & 15].map(|digit| char::from_digit(u32::from(digit), 16));
    let hex: String = Sha256::digest(json).iter().copied().flat_map(digits).flatten().collect();
    format!("sha256:{hex}")
}
