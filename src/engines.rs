//! The engine binaries that this operator can deploy: files beside the executable.

use crate::failure::Failure;
use bytes::Bytes;
use farrier_update::Reason;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One engine binary.
#[derive(Clone)]
pub struct Engine {
    /// `sha256:` and the digest of the uncompressed binary.
    pub digest: String,
    /// The uncompressed binary.
    pub raw: Bytes,
    /// The binary compressed with gzip, sent to machines that have gzip.
    pub gzip: Bytes,
}

/// All engines, by machine architecture as `uname -m` prints it.
#[derive(Clone)]
pub struct Engines {
    dir: PathBuf,
    by_arch: Arc<BTreeMap<String, Engine>>,
}

impl Engines {
    /// Reads every `farrier-engine-ARCH-linux` in a directory. A file of the same name with the suffix
    /// `.gz` is used as the compressed form if it decompresses to the same binary.
    ///
    /// # Errors
    /// When the directory cannot be read or contains no engine.
    pub fn load(dir: &Path) -> std::io::Result<Self> {
        let mut by_arch = BTreeMap::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let arch = name
                .to_str()
                .and_then(|n| n.strip_prefix("farrier-engine-"))
                .and_then(|n| n.strip_suffix("-linux"));
            if let Some(arch) = arch {
                by_arch.insert(arch.to_owned(), read(&entry.path())?);
            }
        }
        if by_arch.is_empty() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::NotFound,
                "no file farrier-engine-ARCH-linux in it",
            ));
        }
        Ok(Self { dir: dir.to_owned(), by_arch: Arc::new(by_arch) })
    }

    /// Returns the architectures that have an engine.
    pub fn architectures(&self) -> Vec<&str> {
        self.by_arch.keys().map(String::as_str).collect()
    }

    /// Returns the engine for a machine.
    ///
    /// # Errors
    /// `ArchitectureNotSupported`, naming the available architectures.
    pub fn for_machine(&self, node: &str, system: &str, arch: &str) -> Result<Engine, Failure> {
        let canonical = match arch {
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            other => other,
        };
        let found = (system == "Linux").then(|| self.by_arch.get(canonical)).flatten();
        found.cloned().ok_or_else(|| {
            let known = self.architectures();
            Failure::new(
                Reason::ArchitectureNotSupported,
                format!(
                    "{node} is {system} on {arch}, and there is no engine for it (there is one for Linux on {}); put one into {}, or set spec.hold on the node",
                    known.join(", "),
                    self.dir.display()
                ),
            )
        })
    }
}

fn read(path: &Path) -> std::io::Result<Engine> {
    let raw = std::fs::read(path)?;
    let digest = format!("sha256:{}", hex(&Sha256::digest(&raw)));
    let mut packed = path.as_os_str().to_owned();
    packed.push(".gz");
    // The build compresses more slowly and better than this function, so its file is smaller. The file may
    // be left over from another build.
    let gzip = match std::fs::read(&packed) {
        Ok(gzip) if unpacks_to(&gzip, &raw) => gzip,
        Ok(_) | Err(_) => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&raw)?;
            encoder.finish()?
        }
    };
    Ok(Engine { digest, gzip: gzip.into(), raw: raw.into() })
}

fn unpacks_to(gzip: &[u8], raw: &[u8]) -> bool {
    let mut unpacked = Vec::with_capacity(raw.len());
    // One byte more than expected shows that the file is a different one.
    let limit = raw.len() as u64 + 1;
    GzDecoder::new(gzip).take(limit).read_to_end(&mut unpacked).is_ok() && unpacked == raw
}

/// Formats bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// With a compressed file of another build, another engine than the one whose digest is checked would
    /// be started. If the file were not used, every transfer of an engine would be larger.
    #[test]
    fn the_compressed_file_beside_an_engine_is_used_if_it_is_that_engine() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("farrier-engine-x86_64-linux");
        let engine = b"engine ".repeat(1000);
        std::fs::write(&file, &engine).unwrap();
        for (packed, is_used) in [
            (gzip(&engine), true),
            (gzip(b"another"), false),
            (gzip(&[engine.as_slice(), b"!"].concat()), false),
            (b"no gzip".to_vec(), false),
        ] {
            std::fs::write(dir.path().join("farrier-engine-x86_64-linux.gz"), &packed).unwrap();
            let loaded = Engines::load(dir.path()).unwrap();
            assert_eq!(loaded.architectures(), ["x86_64"]);
            let loaded = loaded.for_machine("db", "Linux", "x86_64").unwrap();
            assert!(unpacks_to(&loaded.gzip, &engine));
            assert_eq!(loaded.gzip == packed, is_used);
        }
    }
}
