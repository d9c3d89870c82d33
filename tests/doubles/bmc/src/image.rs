//! The firmware images of the double, in the format of [`farrier_double_parts::image`].

use farrier_double_parts::image as format;
use serde::{Deserialize, Serialize};

pub use farrier_double_parts::image::digest;

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
        format::to_file(self)
    }

    /// Reads the header, and checks that the payload is whole.
    ///
    /// # Errors
    /// Whatever makes it no image.
    pub fn of_file(file: &[u8]) -> anyhow::Result<Self> {
        format::of_file(file)
    }

    /// How long the file is that begins like this.
    pub(crate) fn whole_length(file: &[u8]) -> anyhow::Result<u64> {
        Ok(format::beginning::<Self>(file)?.1)
    }
}

impl format::Header for Header {
    const MAGIC: &'static [u8; 8] = b"FRRBMC01";

    fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }
}

/// The signature file of a component, or of one section of it.
pub fn compsig(component: &[u8]) -> String {
    format!("FRRCOMPSIG sha256={}\n", digest(component))
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
