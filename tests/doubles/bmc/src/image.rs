//! The firmware images of the double: a small format that says of itself what it is.
//!
//! ```text
//! 8 bytes   FRRBMC01
//! 4 bytes   length of the header, big endian
//! header    JSON, see [`Header`]
//! payload   anything, `payload-bytes` long
//! ```

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How every image begins.
pub const MAGIC: &[u8; 8] = b"FRRBMC01";

const PREFIX: usize = MAGIC.len() + 4;

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Header {
    /// What it changes: one entry for an image, several for a bundle.
    pub targets: Vec<Target>,
    /// The models that take it; empty: all.
    #[serde(default)]
    pub models: Vec<String>,
    /// Bytes after the header; fewer mean that it was cut off.
    pub payload_bytes: u64,
    /// Its signature does not fit.
    #[serde(default)]
    pub bad_signature: bool,
    /// It breaks while it is written.
    #[serde(default)]
    pub breaks_at_percent: Option<u8>,
    /// A separate signature file must come with it ([`compsig`]).
    #[serde(default)]
    pub needs_compsig: bool,
    /// Who may install it, in HPE's words; empty: as the inventory says.
    #[serde(default)]
    pub updatable_by: Vec<String>,
}

/// One device and the version that it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// As in the variant's firmware list: `bmc`, `bios`.
    pub device: String,
    /// What the inventory shows afterwards.
    pub version: String,
}

impl Header {
    /// An image for one device of any model.
    pub fn new(device: &str, version: &str) -> Self {
        Self {
            targets: vec![Target { device: device.to_owned(), version: version.to_owned() }],
            models: vec![],
            payload_bytes: 4096,
            bad_signature: false,
            breaks_at_percent: None,
            needs_compsig: false,
            updatable_by: vec![],
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
    pub fn of_file(file: &[u8]) -> anyhow::Result<Self> {
        let header = Self::of_beginning(file)?;
        let expected = Self::whole_length(file)?;
        ensure!(file.len() as u64 == expected, "the image has {} bytes, not {expected}", file.len());
        Ok(header)
    }

    fn of_beginning(file: &[u8]) -> anyhow::Result<Self> {
        ensure!(file.starts_with(MAGIC), "this is no image");
        serde_json::from_slice(header_bytes(file)?).context("the header is no JSON as it should be")
    }

    /// How long the file is that begins like this.
    pub(crate) fn whole_length(file: &[u8]) -> anyhow::Result<u64> {
        let header = Self::of_beginning(file)?;
        Ok((PREFIX + header_bytes(file)?.len()) as u64 + header.payload_bytes)
    }
}

fn header_bytes(file: &[u8]) -> anyhow::Result<&[u8]> {
    let length = file.get(MAGIC.len()..PREFIX).context("cut off in its length")?;
    let length = u32::from_be_bytes(length.try_into()?) as usize;
    file.get(PREFIX..PREFIX + length).context("cut off in its header")
}

/// The signature file of a component, or of one section of it.
pub fn compsig(component: &[u8]) -> String {
    format!("FRRCOMPSIG sha256={}\n", digest(component))
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

    /// A driver that sends half of a file must not find the firmware changed.
    #[test]
    fn a_file_that_is_cut_off_is_no_image() {
        let header = Header::new("bios", "2.0");
        let file = header.to_file();
        assert_eq!(Header::of_file(&file).unwrap(), header);
        for end in [0, 7, 11, 20, file.len() - 1] {
            assert!(Header::of_file(&file[..end]).is_err(), "{end} bytes");
        }
    }
}
