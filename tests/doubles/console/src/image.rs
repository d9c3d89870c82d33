//! The firmware images of the doubles, in the format of [`farrier_double_parts::image`].

use farrier_double_parts::image as format;
use serde::{Deserialize, Serialize};

pub use farrier_double_parts::image::digest;

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
        format::to_file(self)
    }

    /// Reads the header, and checks that the payload is whole.
    ///
    /// # Errors
    /// Whatever makes it no image.
    pub fn of_file(file: &[u8]) -> anyhow::Result<Self> {
        format::of_file(file)
    }
}

impl format::Header for Header {
    const MAGIC: &'static [u8; 8] = b"FRRCON01";

    fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }
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
