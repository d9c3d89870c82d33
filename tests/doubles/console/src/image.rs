//! The firmware images of the doubles: a small format that says of itself what it is.
//!
//! ```text
//! 8 bytes   FRRCON01
//! 4 bytes   length of the header, big endian
//! header    JSON, see [`Header`]
//! payload   anything, `payload-bytes` long
//! ```
//!
//! It deliberately has nothing of any vendor's format.

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How every image begins.
pub const MAGIC: &[u8; 8] = b"FRRCON01";

const PREFIX: usize = MAGIC.len() + 4;

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Header {
    /// The product that takes it, as in `--product`.
    pub product: String,
    /// What the device shows afterwards.
    pub version: String,
    /// The models that take it; empty: all.
    #[serde(default)]
    pub models: Vec<String>,
    /// Versions from which one may come; empty: all. Others need a step in between.
    #[serde(default)]
    pub from: Vec<String>,
    /// Bytes after the header; fewer mean that it was cut off.
    pub payload_bytes: u64,
    /// Its signature does not fit.
    #[serde(default)]
    pub bad_signature: bool,
    /// It breaks while it is written.
    #[serde(default)]
    pub breaks_at_percent: Option<u8>,
}

impl Header {
    /// An image for a product of any model.
    pub fn new(product: &str, version: &str) -> Self {
        Self {
            product: product.to_owned(),
            version: version.to_owned(),
            models: vec![],
            from: vec![],
            payload_bytes: 4096,
            bad_signature: false,
            breaks_at_percent: None,
        }
    }

    /// The file. The payload follows from the header, so that equal images are equal files.
    pub fn to_file(&self) -> Vec<u8> {
        let header = serde_json::to_vec(self).unwrap_or_default();
        let mut file = Vec::from(MAGIC.as_slice());
        file.extend(u32::try_from(header.len()).unwrap_or(u32::MAX).to_be_bytes());
        file.extend(&header);
        let seed = Sha256::digest(&header);
        file.extend(seed.iter().cycle().take(usize::try_from(self.payload_bytes).unwrap_or(0)));
        file
    }

    /// Reads the header, and checks that the payload is whole.
    ///
    /// # Errors
    /// Whatever makes it no image.
    pub fn of_file(file: &[u8]) -> anyhow::Result<Self> {
        ensure!(file.starts_with(MAGIC), "this is no image");
        let length = file.get(MAGIC.len()..PREFIX).context("cut off in its length")?;
        let length = u32::from_be_bytes(length.try_into()?) as usize;
        let header = file.get(PREFIX..PREFIX + length).context("cut off in its header")?;
        let header: Self = serde_json::from_slice(header).context("the header is no JSON as it should be")?;
        let expected = (PREFIX + length) as u64 + header.payload_bytes;
        ensure!(file.len() as u64 == expected, "the image has {} bytes, not {expected}", file.len());
        Ok(header)
    }
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex).collect()
}

fn hex(half: u8) -> char {
    char::from_digit(u32::from(half), 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver that serves half of a file must not find the firmware changed.
    #[test]
    fn a_file_that_is_cut_off_is_no_image() {
        let header = Header::new("fos", "v8.2.3c");
        let file = header.to_file();
        assert_eq!(Header::of_file(&file).unwrap(), header);
        for end in [0, 7, 11, 20, file.len() - 1] {
            assert!(Header::of_file(&file[..end]).is_err(), "{end} bytes");
        }
    }
}
