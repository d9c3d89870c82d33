//! Payloads from files in the operator's payload directory.

use super::sink::{Sink, disk_failure};
use super::source::Source;
use crate::failure::Failure;
use crate::metrics::Counters;
use farrier_update::Reason;
use std::path::{Component, Path, PathBuf};
use tokio::io::AsyncReadExt;

/// Copies the file that a `file://` URL refers to.
pub(super) async fn from_file(
    source: &Source,
    payload_dir: Option<&Path>,
    part: &Path,
    fetched: &Counters<0>,
) -> Result<u64, Failure> {
    let path = source.url.split_once("://").map_or("", |(_, path)| path);
    let place = resolve_in_payload_dir(source, path, payload_dir).await?;
    let mut file = tokio::fs::File::open(&place).await.map_err(|error| {
        let reason = if error.kind() == std::io::ErrorKind::NotFound { Reason::PayloadNotFound } else { Reason::PayloadRefused };
        Failure::new(
            reason,
            format!(
                "{} of the payload directory cannot be read for component {} ({error}); put the file there, or correct payload.url",
                path, source.component
            ),
        )
    })?;
    let mut sink = Sink::create(source, part, fetched).await?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let n = file.read(&mut buffer).await.map_err(|e| disk_failure(&place, &e))?;
        if n == 0 {
            return sink.finish().await;
        }
        sink.write(buffer.get(..n).unwrap_or_default()).await?;
    }
}

/// Returns the file in the payload directory that a `file://` URL refers to, and no file outside of it.
async fn resolve_in_payload_dir(
    source: &Source,
    path: &str,
    payload_dir: Option<&Path>,
) -> Result<PathBuf, Failure> {
    let refuse = |why: &str| {
        Err(Failure::new(
            Reason::PayloadRefused,
            format!("payload.url {} of component {} {why}", source.url, source.component),
        ))
    };
    let Some(dir) = payload_dir else {
        return refuse("needs a payload directory: start the operator with --payload-dir");
    };
    let relative = Path::new(path.trim_start_matches('/'));
    if relative.components().any(|c| !matches!(c, Component::Normal(_))) {
        return refuse("contains . or ..; write the path relative to the payload directory");
    }
    let (root, place) =
        tokio::join!(tokio::fs::canonicalize(dir), tokio::fs::canonicalize(dir.join(relative)));
    let (Ok(root), Ok(place)) = (root, place) else {
        // Opening the file reports what is missing.
        return Ok(dir.join(relative));
    };
    if place.starts_with(&root) { Ok(place) } else { refuse("is outside of the payload directory") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use sha2::{Digest, Sha256};

    fn source(url: &str) -> Source {
        Source {
            component: "ethtool".into(),
            url: url.into(),
            digest: format!("sha256:{}", crate::engines::hex(&Sha256::digest(b"bytes"))),
            size: None,
            access: crate::payload::Access::default(),
        }
    }

    async fn fetch_file(url: &str, dir: &Path) -> Result<u64, Failure> {
        from_file(&source(url), Some(dir), &dir.join("part"), &Metrics::new().payload_fetched).await
    }

    #[tokio::test]
    async fn a_file_of_the_payload_directory_is_verified() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.deb"), b"bytes").unwrap();
        assert_eq!(fetch_file("file:///a.deb", dir.path()).await, Ok(5));
        std::fs::write(dir.path().join("a.deb"), b"other").unwrap();
        let failure = fetch_file("file:///a.deb", dir.path()).await.unwrap_err();
        assert_eq!(failure.reason, Reason::PayloadDigestMismatch);
    }

    #[tokio::test]
    async fn nothing_outside_the_payload_directory_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("etc")).unwrap();
        for url in ["file:///../etc/passwd", "file:///etc/passwd", "file:///./x"] {
            let failure = fetch_file(url, dir.path()).await.unwrap_err();
            assert_eq!(failure.reason, Reason::PayloadRefused, "{url}");
        }
    }

    #[tokio::test]
    async fn a_wrong_size_is_distinguished_from_a_truncated_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.deb"), b"bytes").unwrap();
        for (size, reason) in [(4, Reason::PayloadSizeMismatch), (6, Reason::PayloadTruncated)] {
            let mut source = source("file:///a.deb");
            source.size = Some(size);
            let failure = from_file(
                &source,
                Some(dir.path()),
                &dir.path().join("part"),
                &Metrics::new().payload_fetched,
            )
            .await
            .unwrap_err();
            assert_eq!(failure.reason, reason);
        }
    }
}
