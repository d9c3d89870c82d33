//! The engine binaries that this operator can deploy: files beside the executable.

use crate::failure::Failure;
use bytes::Bytes;
use farrier_update::Reason;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much of an engine is read at once, in bytes: large enough that system calls do not count.
const PIECE: usize = 64 * 1024;

/// One engine binary.
#[derive(Clone)]
pub struct Engine {
    /// `sha256:` and the digest of the uncompressed binary.
    pub digest: String,
    /// The binary compressed with gzip, sent to machines that have gzip.
    pub gzip: Bytes,
}

impl Engine {
    /// The binary as it is, for machines without gzip. It is not kept: few machines need it, and it
    /// would be two thirds of the memory that an engine takes.
    ///
    /// # Errors
    /// If it cannot be decompressed; it could when the operator started.
    pub fn raw(&self) -> std::io::Result<Bytes> {
        let mut raw = Vec::new();
        GzDecoder::new(&*self.gzip).read_to_end(&mut raw)?;
        Ok(raw.into())
    }
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

    /// Returns no engines, for machines that take none.
    pub fn none() -> Self {
        Self { dir: PathBuf::new(), by_arch: Arc::default() }
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
                    "{node} is {system} on {arch}, for which there is no engine (engines exist for Linux on {}); put an engine into {}, or set spec.hold on the node",
                    known.join(", "),
                    self.dir.display()
                ),
            )
        })
    }
}

fn read(path: &Path) -> std::io::Result<Engine> {
    let digest = digest_of(File::open(path)?)?;
    let mut packed = path.as_os_str().to_owned();
    packed.push(".gz");
    // The build compresses more slowly and better than this function, so its file is smaller. The file may
    // be left over from another build.
    let gzip = match std::fs::read(&packed) {
        Ok(gzip) if digest_of(GzDecoder::new(&*gzip)).is_ok_and(|unpacked| unpacked == digest) => gzip,
        Ok(_) | Err(_) => compress(File::open(path)?)?,
    };
    Ok(Engine { digest, gzip: gzip.into() })
}

/// Returns the digest of a binary in the form in which engines report it.
fn digest_of(mut binary: impl Read) -> std::io::Result<String> {
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        let length = binary.read(&mut piece)?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else { break };
        digest.update(read);
    }
    Ok(format!("sha256:{}", hex(&digest.finalize())))
}

fn compress(mut binary: impl Read) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    std::io::copy(&mut binary, &mut encoder)?;
    let mut gzip = encoder.finish()?;
    gzip.shrink_to_fit();
    Ok(gzip)
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
    use std::io::Write;

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
        // More than one piece.
        let engine = b"engine ".repeat(20_000);
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
            assert_eq!(loaded.raw().unwrap(), engine);
            assert_eq!(loaded.digest, format!("sha256:{}", hex(&Sha256::digest(&engine))));
            assert_eq!(loaded.gzip == packed, is_used);
        }
    }
}
