//! The destination of a payload download: bytes are counted, hashed and written.

use super::source::Source;
use crate::failure::Failure;
use crate::metrics::Counters;
use farrier_update::Reason;
use sha2::{Digest, Sha256};
use std::path::Path;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

/// Size of a write; larger writes are whole multiples of it. The system keeps data that is written in
/// one piece in one piece in memory, and the file is read many times: reading and sending a file that
/// was written in the 8 KiB pieces of the wire costs up to a fifth more (measured).
const WRITE_BUFFER: usize = 1024 * 1024;

/// A writer that counts and hashes, and stops at the announced size.
pub(super) struct Sink<'a> {
    source: &'a Source,
    file: tokio::fs::File,
    path: &'a Path,
    hasher: Sha256,
    /// Bytes that are not yet in the file.
    gathered: Vec<u8>,
    /// Number of received bytes, including those that are not yet in the file.
    pub(super) written: u64,
    fetched: &'a Counters<0>,
}

impl<'a> Sink<'a> {
    pub(super) async fn create(
        source: &'a Source,
        path: &'a Path,
        fetched: &'a Counters<0>,
    ) -> Result<Self, Failure> {
        let file = tokio::fs::File::create(path).await.map_err(|e| disk_failure(path, &e))?;
        let gathered = Vec::with_capacity(WRITE_BUFFER);
        Ok(Self { source, file, path, hasher: Sha256::new(), gathered, written: 0, fetched })
    }

    pub(super) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        self.written += bytes.len() as u64;
        self.fetched.add([], bytes.len() as u64);
        if let Some(size) = self.source.size.filter(|size| self.written > *size) {
            return Err(Failure::new(
                Reason::PayloadSizeMismatch,
                format!(
                    "the payload of component {} at {} is longer than the {size} bytes that the baseline gives; correct size, or the file at the source",
                    self.source.component, self.source.url
                ),
            ));
        }
        self.hasher.update(bytes);
        while let Some((fits, rest)) = bytes.split_at_checked(WRITE_BUFFER - self.gathered.len()) {
            self.gathered.extend_from_slice(fits);
            self.put().await?;
            bytes = rest;
        }
        self.gathered.extend_from_slice(bytes);
        Ok(())
    }

    /// Forgets what was received: the payload is sent again from its first byte.
    pub(super) async fn restart(&mut self) -> Result<(), Failure> {
        self.file.set_len(0).await.map_err(|e| disk_failure(self.path, &e))?;
        self.file.rewind().await.map_err(|e| disk_failure(self.path, &e))?;
        self.hasher = Sha256::new();
        self.gathered.clear();
        self.written = 0;
        Ok(())
    }

    /// Writes the gathered bytes to the file.
    async fn put(&mut self) -> Result<(), Failure> {
        self.file.write_all(&self.gathered).await.map_err(|e| disk_failure(self.path, &e))?;
        self.gathered.clear();
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<u64, Failure> {
        let Source { component, url, digest, size, .. } = self.source;
        if let Some(size) = size.filter(|size| self.written < *size) {
            return Err(Failure::new(
                Reason::PayloadTruncated,
                format!(
                    "the payload of component {component} at {url} ended after {} of {size} bytes; check the file at the source",
                    self.written
                ),
            ));
        }
        let found = format!("sha256:{}", crate::engines::hex(&std::mem::take(&mut self.hasher).finalize()));
        if found != *digest {
            return Err(Failure::new(
                Reason::PayloadDigestMismatch,
                format!(
                    "the payload of component {component} at {url} has the digest {found}, but the baseline asks for {digest}; nothing was installed. Compare the file at the source with the baseline"
                ),
            ));
        }
        self.put().await?;
        self.file.flush().await.map_err(|e| disk_failure(self.path, &e))?;
        self.file.sync_all().await.map_err(|e| disk_failure(self.path, &e))?;
        Ok(self.written)
    }
}

/// Returns the failure for an I/O error of the operator's own disk.
pub(super) fn disk_failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Reason::PayloadUnavailable,
        format!(
            "{} could not be written or read at the operator ({error}); give the operator's cache directory more room (--cache-dir)",
            path.display()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::payload::Access;

    /// Received pieces have any length; the file must equal the received bytes exactly.
    #[tokio::test]
    async fn gathered_bytes_are_written_in_order_and_completely() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..WRITE_BUFFER * 5 / 2).map(|at| (at / 253).to_le_bytes()[0]).collect();
        let source = Source {
            component: "ethtool".into(),
            url: "https://example.net/ethtool.deb".into(),
            digest: format!("sha256:{}", crate::engines::hex(&Sha256::digest(&bytes))),
            size: Some(bytes.len() as u64),
            access: Access::default(),
        };
        for width in [8_191, WRITE_BUFFER - 1, WRITE_BUFFER, WRITE_BUFFER + 1, bytes.len()] {
            let (path, metrics) = (dir.path().join("part"), Metrics::new());
            let mut sink = Sink::create(&source, &path, &metrics.payload_fetched).await.unwrap();
            for chunk in bytes.chunks(width) {
                sink.write(chunk).await.unwrap();
            }
            assert_eq!(sink.finish().await, Ok(bytes.len() as u64));
            assert!(std::fs::read(&path).unwrap() == bytes, "in pieces of {width}");
        }
    }
}
