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
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use tokio::sync::Mutex;

/// How much of an engine is read at once, in bytes: large enough that system calls do not count.
const PIECE: usize = 64 * 1024;

/// One engine binary, in memory.
#[derive(Clone)]
pub struct Engine {
    /// `sha256:` and the digest of the uncompressed binary.
    pub digest: String,
    /// The binary compressed with gzip, sent to machines that have gzip.
    pub gzip: Bytes,
}

/// One engine binary on the disk. Its bytes are in memory only while some machine takes them: an engine is
/// 1 MiB, and most fleets need only one of them.
struct EngineFile {
    digest: String,
    packed: Packed,
}

/// Bytes that several machines take at the same time.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Where the compressed form of an engine is.
enum Packed {
    /// In a file beside the engine.
    File {
        path: PathBuf,
        /// `sha256:` and the digest of the file when the operator started.
        digest: String,
        /// The bytes, while some machine takes them.
        loaded: Mutex<Weak<Vec<u8>>>,
    },
    /// In memory, because there is no such file.
    Memory(Bytes),
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
    by_arch: Arc<BTreeMap<String, EngineFile>>,
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
                by_arch.insert(arch.to_owned(), EngineFile::find(&entry.path())?);
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
    /// `ArchitectureNotSupported`, naming the available architectures; `InternalError` if the file of the
    /// engine cannot be read, or is another one than when the operator started.
    pub async fn for_machine(&self, node: &str, system: &str, arch: &str) -> Result<Engine, Failure> {
        let canonical = match arch {
            "amd64" => "x86_64",
            "arm64" => "aarch64",
            other => other,
        };
        let found = (system == "Linux").then(|| self.by_arch.get(canonical)).flatten();
        let file = found.ok_or_else(|| {
            let known = self.architectures();
            Failure::new(
                Reason::ArchitectureNotSupported,
                format!(
                    "{node} is {system} on {arch}, for which there is no engine (engines exist for Linux on {}); put an engine into {}, or set spec.hold on the node",
                    known.join(", "),
                    self.dir.display()
                ),
            )
        })?;
        file.load().await.map_err(|error| {
            let words = format!(
                "the engine for {node} cannot be read from {}: {error}; restart the operator, and install it again if that does not help",
                self.dir.display()
            );
            Failure::new(Reason::InternalError, words)
        })
    }
}

impl EngineFile {
    /// Finds the compressed form of the engine in this file.
    fn find(path: &Path) -> std::io::Result<Self> {
        let digest = digest_of(File::open(path)?)?;
        let mut packed = path.as_os_str().to_owned();
        packed.push(".gz");
        // The build compresses more slowly and better than this function, so its file is smaller. The file
        // may be left over from another build.
        let unpacked = File::open(&packed).and_then(|file| digest_of(GzDecoder::new(BufReader::new(file))));
        let packed = if unpacked.is_ok_and(|unpacked| unpacked == digest) {
            let digest = digest_of(File::open(&packed)?)?;
            Packed::File { path: packed.into(), digest, loaded: Mutex::default() }
        } else {
            Packed::Memory(compress(File::open(path)?)?.into())
        };
        Ok(Self { digest, packed })
    }

    async fn load(&self) -> std::io::Result<Engine> {
        let gzip = match &self.packed {
            Packed::Memory(gzip) => gzip.clone(),
            Packed::File { path, digest, loaded } => {
                let mut loaded = loaded.lock().await;
                let gzip = if let Some(gzip) = loaded.upgrade() {
                    gzip
                } else {
                    let gzip = Arc::new(read(path.clone(), digest.clone()).await?);
                    *loaded = Arc::downgrade(&gzip);
                    gzip
                };
                drop(loaded);
                Bytes::from_owner(Shared(gzip))
            }
        };
        Ok(Engine { digest: self.digest.clone(), gzip })
    }
}

/// Reads a file that must have this digest.
async fn read(path: PathBuf, digest: String) -> std::io::Result<Vec<u8>> {
    let work = move || {
        let bytes = std::fs::read(&path)?;
        if digest_of(&*bytes)? != digest {
            let words = format!("{} is another file than when the operator started", path.display());
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, words));
        }
        Ok(bytes)
    };
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
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
    #[tokio::test]
    async fn the_compressed_file_beside_an_engine_is_used_if_it_is_that_engine() {
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
            let loaded = loaded.for_machine("db", "Linux", "x86_64").await.unwrap();
            assert_eq!(loaded.raw().unwrap(), engine);
            assert_eq!(loaded.digest, format!("sha256:{}", hex(&Sha256::digest(&engine))));
            assert_eq!(loaded.gzip == packed, is_used);
        }
    }
    /// An operator holds no engine that no machine takes, and machines that take one share it. A file that
    /// was replaced under a running operator is never started anywhere.
    #[tokio::test]
    async fn the_bytes_of_an_engine_are_in_memory_while_machines_take_them() {
        let dir = tempfile::tempdir().unwrap();
        let packed = dir.path().join("farrier-engine-x86_64-linux.gz");
        std::fs::write(dir.path().join("farrier-engine-x86_64-linux"), b"engine").unwrap();
        std::fs::write(&packed, gzip(b"engine")).unwrap();
        let engines = Engines::load(dir.path()).unwrap();
        let in_memory = || match &engines.by_arch["x86_64"].packed {
            Packed::File { loaded, .. } => loaded.try_lock().unwrap().strong_count() > 0,
            Packed::Memory(_) => panic!("the file was not found"),
        };
        assert!(!in_memory());
        let first = engines.for_machine("db", "Linux", "x86_64").await.unwrap();
        std::fs::write(&packed, gzip(b"replaced")).unwrap();
        let second = engines.for_machine("web", "Linux", "amd64").await.unwrap();
        assert_eq!(
            (first.gzip.as_ptr(), second.raw().unwrap()),
            (second.gzip.as_ptr(), b"engine"[..].into())
        );
        assert!(in_memory());
        drop((first, second));
        assert!(!in_memory());
        let error = engines.for_machine("db", "Linux", "x86_64").await.err().unwrap();
        assert_eq!(error.reason, Reason::InternalError);
        assert!(error.message.contains("another file than when the operator started"), "{}", error.message);
    }
}
