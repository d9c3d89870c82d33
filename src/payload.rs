//! Payloads: fetched once, verified, stored by digest.
//!
//! A payload is moved to its place in the store only after its digest was verified, so a file with the
//! right name is the right file. Each process still verifies a file once before it uses the file.

mod answer;
mod archive;
mod body;
mod client;
mod docker_config;
mod download;
mod fetch;
mod file;
mod https;
mod oci;
mod s3;
mod sink;
mod source;
mod tree;

pub use answer::{Begin, Body, Content, PayloadFiles, answer, plain};
pub use docker_config::{DockerConfigError, docker_credentials};
pub use source::{Access, S3Keys, Source};
pub use tree::{Tree, TreeEntry, TreeFile, resolve};

use crate::failure::Failure;
use crate::metrics::Metrics;
use farrier_update::Reason;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tree::UnpackError;

/// How long a failed fetch is remembered. A thousand machines that need the same missing payload must not
/// request it a thousand times, and a repaired source must be used soon.
const FAILURE_TTL: Duration = Duration::from_secs(10);

/// What the names of unpacked archives begin with.
const TREE: &str = "tree-";

/// The payload store of one operator process.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    metrics: Metrics,
}

struct Inner {
    dir: PathBuf,
    payload_dir: Option<PathBuf>,
    slots: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Slot>>>>,
    /// The archives that were unpacked, by digest.
    trees: Mutex<HashMap<String, Arc<tokio::sync::Mutex<TreeSlot>>>>,
}

#[derive(Default)]
enum TreeSlot {
    #[default]
    Unknown,
    Available(Arc<Tree>),
    /// When the archive could not be unpacked, and why.
    Failed(Instant, Failure),
}

#[derive(Default)]
enum Slot {
    #[default]
    Unknown,
    Available(Stored),
    /// When the fetch failed, its source, and the failure.
    Failed(Instant, Box<Source>, Failure),
}

/// A verified payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Path of the file.
    pub path: PathBuf,
    /// Length of the file in bytes.
    pub size: u64,
}

impl Store {
    /// Opens the store in this directory. `payload_dir` is the directory for `file://` payloads.
    ///
    /// # Errors
    /// When the directory cannot be created.
    pub fn open(dir: &Path, payload_dir: Option<&Path>) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        for entry in std::fs::read_dir(dir)?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Partially fetched files of a process that was killed, and unpacked archives, whose index is lost.
            if name.starts_with("part-") || name.starts_with(TREE) {
                std::fs::remove_file(entry.path()).ok();
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                dir: dir.to_owned(),
                payload_dir: payload_dir.map(Path::to_owned),
                slots: Mutex::default(),
                trees: Mutex::default(),
            }),
            metrics: Metrics::default(),
        })
    }

    /// Returns the same store, which counts lookups in these metrics.
    #[must_use]
    pub fn counted_by(self, metrics: &Metrics) -> Self {
        Self { metrics: metrics.clone(), ..self }
    }

    /// Returns the payload, fetched if necessary. Concurrent calls for the same payload fetch it once.
    ///
    /// # Errors
    /// `PayloadNotFound`, `PayloadUnavailable`, `PayloadUntrusted`, `PayloadRefused`, `PayloadTruncated`,
    /// `PayloadSizeMismatch`, `PayloadDigestMismatch`, `NotYetSupported`.
    pub async fn ensure(&self, source: &Source) -> Result<Stored, Failure> {
        self.ensure_within(source.limit(), source).await
    }

    async fn ensure_within(&self, limit: Duration, source: &Source) -> Result<Stored, Failure> {
        let slot = {
            let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(source.digest.clone()).or_default().clone()
        };
        let mut slot = slot.lock().await;
        match &*slot {
            Slot::Available(stored) if stored.path.exists() => {
                self.metrics.payload_lookups.count(["hit"]);
                return Ok(stored.clone());
            }
            Slot::Failed(when, of, failure) if when.elapsed() < FAILURE_TTL && **of == *source => {
                self.metrics.payload_lookups.count(["failed"]);
                return Err(failure.clone());
            }
            Slot::Available(_) | Slot::Failed(..) | Slot::Unknown => {}
        }
        let result = self.fetch_to_store(limit, source).await;
        *slot = match &result {
            Ok(stored) => Slot::Available(stored.clone()),
            Err(failure) => Slot::Failed(Instant::now(), Box::new(source.clone()), failure.clone()),
        };
        result
    }

    /// Returns the directory of the store.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Checks whether a payload could be stored.
    ///
    /// # Errors
    /// When a file cannot be written to the store.
    pub async fn try_write(&self) -> std::io::Result<()> {
        // Named like a partially fetched file, so that the next start removes it if it stays.
        let probe = self.inner.dir.join(format!("part-probe-{}", std::process::id()));
        let written = tokio::fs::write(&probe, [0; 4096]).await;
        let removed = tokio::fs::remove_file(&probe).await;
        written.and(removed)
    }

    /// Returns the path of a payload that [`Self::ensure`] has fetched.
    pub fn path(&self, digest: &str) -> Option<PathBuf> {
        let hex = digest.strip_prefix("sha256:")?;
        (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| self.inner.dir.join(hex))
    }

    /// Returns the path of a payload that this process has verified; `None` if it has not, or is fetching it.
    pub fn verified(&self, digest: &str) -> Option<PathBuf> {
        let slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slots.get(digest)?.try_lock().ok()? {
            Slot::Available(stored) => Some(stored.path.clone()).filter(|path| path.exists()),
            Slot::Failed(..) | Slot::Unknown => None,
        }
    }

    /// Returns a verified payload, which is an archive, as a folder. It is unpacked once, and concurrent calls wait for
    /// that. It is unpacked to the end although the caller may have left.
    ///
    /// # Errors
    /// `ArchiveInvalid`, and the reason why the store cannot be written.
    pub async fn tree(&self, component: &str, digest: &str) -> Result<Arc<Tree>, Failure> {
        let gone = || Failure::new(Reason::PayloadUnavailable, format!("the payload {digest} is not stored"));
        let archive = self.path(digest).ok_or_else(gone)?;
        let slot = {
            let mut trees = self.inner.trees.lock().unwrap_or_else(PoisonError::into_inner);
            trees.entry(digest.to_owned()).or_default().clone()
        };
        let mut slot = slot.lock_owned().await;
        match &*slot {
            TreeSlot::Available(tree) if tree.path.exists() => return Ok(tree.clone()),
            TreeSlot::Failed(when, failure) if when.elapsed() < FAILURE_TTL => return Err(failure.clone()),
            TreeSlot::Available(_) | TreeSlot::Failed(..) | TreeSlot::Unknown => {}
        }
        let component = component.to_owned();
        // The lock goes with it, so that nobody else writes to the same file.
        let unpacking = tokio::task::spawn_blocking(move || {
            let unpacked = unpack(&archive).map_err(|error| error.failure(&component, &archive));
            *slot = match &unpacked {
                Ok(tree) => TreeSlot::Available(tree.clone()),
                Err(failure) => TreeSlot::Failed(Instant::now(), failure.clone()),
            };
            unpacked
        });
        unpacking.await.map_err(|error| Failure::new(Reason::InternalError, error.to_string()))?
    }

    async fn fetch_to_store(&self, limit: Duration, source: &Source) -> Result<Stored, Failure> {
        let place = self.path(&source.digest).ok_or_else(|| {
            Failure::new(Reason::PayloadDigestMismatch, format!("{} is no sha256 digest", source.digest))
        })?;
        if let Ok((digest, size)) = digest_of(&place).await {
            if digest == source.digest {
                self.metrics.payload_lookups.count(["hit"]);
                return Ok(Stored { path: place, size });
            }
            tracing::warn!(path = %place.display(), "a stored payload no longer matches its digest; it is fetched again");
        }
        let part =
            self.inner.dir.join(format!("part-{}", place.file_name().unwrap_or_default().to_string_lossy()));
        let fetched = &self.metrics.payload_fetched;
        let fetching = fetch::fetch(source, self.inner.payload_dir.as_deref(), &part, fetched);
        let result = tokio::time::timeout(limit, fetching).await;
        let result = result.unwrap_or_else(|_elapsed| Err(fetch::too_slow(source, limit)));
        self.metrics.payload_lookups.count([if result.is_ok() { "fetched" } else { "failed" }]);
        match result {
            Ok(size) => match tokio::fs::rename(&part, &place).await {
                Ok(()) => Ok(Stored { path: place, size }),
                Err(error) => Err(sink::disk_failure(&place, &error)),
            },
            Err(failure) => {
                // No part of a bad payload stays; the file may not exist at all.
                tokio::fs::remove_file(&part).await.ok();
                Err(failure)
            }
        }
    }
}

/// Unpacks an archive beside itself.
fn unpack(archive: &Path) -> Result<Arc<Tree>, UnpackError> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let (part, place) = (
        archive.with_file_name(format!("part-{TREE}{name}")),
        archive.with_file_name(format!("{TREE}{name}")),
    );
    let unpacked = archive::unpack(archive, &part).and_then(|tree| {
        std::fs::rename(&part, &place).map_err(UnpackError::Disk)?;
        Ok(Arc::new(tree.moved(place)))
    });
    if unpacked.is_err() {
        // The file may not exist at all.
        std::fs::remove_file(&part).ok();
    }
    unpacked
}

async fn digest_of(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        let n = file.read(&mut buffer).await?;
        if n == 0 {
            return Ok((format!("sha256:{}", crate::engines::hex(&hasher.finalize())), size));
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
        size += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str, bytes: &[u8]) -> Source {
        Source {
            component: "ethtool".into(),
            url: url.into(),
            digest: format!("sha256:{}", crate::engines::hex(&Sha256::digest(bytes))),
            size: None,
            access: Access::default(),
        }
    }

    /// Otherwise a source that never ends, such as a network file system that hangs, would block every session
    /// that needs the payload.
    #[tokio::test]
    async fn a_fetch_that_does_not_end_fails_at_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache"), Some(dir.path())).unwrap();
        let pipe = dir.path().join("hangs.deb");
        // Opening a named pipe for reading waits for a writer.
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let hangs = Source { size: Some(5), ..source("file:///hangs.deb", b"bytes") };
        let limit = Duration::from_millis(100);
        let (one, other) =
            tokio::join!(store.ensure_within(limit, &hangs), store.ensure_within(limit, &hangs));
        // Ends the thread that still waits.
        std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        let failure = one.unwrap_err();
        assert_eq!(failure.reason, Reason::PayloadUnavailable, "{failure}");
        assert!(failure.message.contains("was not fetched from file:///hangs.deb within"), "{failure}");
        assert_eq!(other, Err(failure), "not fetched a second time");
    }

    #[test]
    fn the_limit_of_a_fetch_follows_the_size() {
        let limit = |size| Source { size, ..source("https://example.net/a", b"") }.limit();
        assert_eq!(limit(Some(32 * 1024 * 60)), Duration::from_mins(11));
        assert_eq!(limit(None), Duration::from_hours(4));
        assert!(limit(Some(u64::MAX)) > Duration::from_hours(4), "no overflow");
    }

    /// Otherwise a user who has corrected a URL would get the error of the old URL once more.
    #[tokio::test]
    async fn a_failure_is_remembered_of_its_own_source_only() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache"), Some(dir.path())).unwrap();
        let wrong = source("file:///typo.deb", b"bytes");
        assert_eq!(store.ensure(&wrong).await.unwrap_err().reason, Reason::PayloadNotFound);
        std::fs::write(dir.path().join("typo.deb"), b"bytes").unwrap();
        assert_eq!(store.ensure(&wrong).await.unwrap_err().reason, Reason::PayloadNotFound, "remembered");
        std::fs::write(dir.path().join("right.deb"), b"bytes").unwrap();
        assert_eq!(store.ensure(&source("file:///right.deb", b"bytes")).await.map(|s| s.size), Ok(5));
    }
}
