//! Firmware images: a small format that says of itself what it is, and has nothing of any vendor's.
//!
//! ```text
//! 8 bytes   the magic of the double's images
//! 4 bytes   length of the header, big endian
//! header    JSON
//! payload   anything, as long as the header says
//! ```

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// Length of what comes before the header.
const PREFIX: usize = 12;

/// What an image says of itself.
pub trait Header: Serialize + DeserializeOwned {
    /// How every image begins.
    const MAGIC: &'static [u8; 8];

    /// Bytes after the header; fewer mean that it was cut off.
    fn payload_bytes(&self) -> u64;
}

/// The file. The payload follows from the header, so that equal images are equal files.
pub fn to_file<H: Header>(header: &H) -> Vec<u8> {
    let text = serde_json::to_vec(header).unwrap_or_default();
    let mut file = Vec::from(H::MAGIC.as_slice());
    file.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    file.extend(&text);
    let seed = Sha256::digest(&text);
    file.extend(seed.iter().cycle().take(usize::try_from(header.payload_bytes()).unwrap_or(0)));
    file
}

/// Reads the header, and checks that the payload is whole.
///
/// # Errors
/// Whatever makes it no image.
pub fn of_file<H: Header>(file: &[u8]) -> anyhow::Result<H> {
    let (header, expected) = beginning(file)?;
    ensure!(file.len() as u64 == expected, "the image has {} bytes, not {expected}", file.len());
    Ok(header)
}

/// Reads the header, and how long the whole file is.
///
/// # Errors
/// Whatever makes it no beginning of an image.
pub fn beginning<H: Header>(file: &[u8]) -> anyhow::Result<(H, u64)> {
    ensure!(file.starts_with(H::MAGIC), "this is no image");
    let length = file.get(H::MAGIC.len()..PREFIX).context("cut off in its length")?;
    let length = u32::from_be_bytes(length.try_into()?) as usize;
    let text = file.get(PREFIX..PREFIX + length).context("cut off in its header")?;
    let header: H = serde_json::from_slice(text).context("the header is no JSON as it should be")?;
    let expected = (PREFIX + length) as u64 + header.payload_bytes();
    Ok((header, expected))
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex).collect()
}

fn hex(half: u8) -> char {
    char::from_digit(u32::from(half), 16).unwrap_or_default()
}
