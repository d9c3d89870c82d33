//! Fetches payloads: over https, and from files in the operator's payload directory.

use super::sink::{Sink, disk_failure};
use super::source::Source;
use crate::failure::{Failure, chain};
use crate::metrics::Counters;
use crate::tls::{HandshakeProblem, TrustFields, client_config};
use farrier_update::Reason;
use futures::StreamExt;
use reqwest::StatusCode;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Timeout of connecting to a source.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Read timeout of a source.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);

/// The fields in which users specify the trust in a payload's source.
const FIELDS: TrustFields = TrustFields {
    certificates: "ca.crt of the Secret in payload.secretRef",
    fingerprints: "payload.tls.fingerprints",
};

/// Writes the payload to `part`, verifies its digest and returns its length.
pub(super) async fn fetch(
    source: &Source,
    payload_dir: Option<&Path>,
    part: &Path,
    fetched: &Counters<0>,
) -> Result<u64, Failure> {
    if let Some(path) = source.url.strip_prefix("file://") {
        from_file(source, path, payload_dir, part, fetched).await
    } else if source.url.starts_with("https://") {
        from_https(source, part, fetched).await
    } else {
        let scheme = source.url.split("://").next().unwrap_or_default();
        Err(Failure::new(
            Reason::NotYetSupported,
            format!(
                "payloads by {scheme}:// (component {}) are not supported by this version; use https:// or file:///",
                source.component
            ),
        ))
    }
}

async fn from_https(source: &Source, part: &Path, fetched: &Counters<0>) -> Result<u64, Failure> {
    let client = client(source)?;
    let mut request = client.get(&source.url);
    if let Some((user, password)) = &source.access.basic {
        request = request.basic_auth(user, Some(password));
    } else if let Some(token) = &source.access.token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.map_err(|e| unavailable(source, &e))?;
    check_status(source, response.status())?;
    let announced = response.content_length();
    let mut sink = Sink::create(source, part, fetched).await?;
    let mut stream = response.bytes_stream();
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(|e| cut_off(source, sink.written, announced, &e))?;
        sink.write(&bytes).await?;
    }
    if let Some(announced) = announced.filter(|a| sink.written < *a) {
        return Err(Failure::new(
            Reason::PayloadTruncated,
            format!(
                "{} ended after {} of {announced} bytes (component {}); it is retried while the run has retries left",
                source.url, sink.written, source.component
            ),
        ));
    }
    sink.finish().await
}

fn client(source: &Source) -> Result<reqwest::Client, Failure> {
    let refuse = |error: &dyn std::error::Error| {
        Failure::new(Reason::InternalError, format!("no HTTPS client could be made: {}", chain(error)))
    };
    let (tls, _) = client_config(source.access.trust.clone()).map_err(|error| refuse(&error))?;
    reqwest::Client::builder()
        .https_only(true)
        // A presigned URL carries its credentials in the query.
        .referer(false)
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(SILENCE_LIMIT)
        .user_agent(concat!("farrier/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| refuse(&error))
}

fn check_status(source: &Source, status: StatusCode) -> Result<(), Failure> {
    let Source { component, url, .. } = source;
    if status.is_success() {
        return Ok(());
    }
    let (reason, next) = match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            (Reason::PayloadNotFound, "correct payload.url, or put the file there")
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
            Reason::PayloadRefused,
            "give credentials in payload.secretRef (username and password, or token)",
        ),
        _ => (Reason::PayloadUnavailable, "check the source; it is retried while the run has retries left"),
    };
    Err(Failure::new(
        reason,
        format!("{url} answered {status} for the payload of component {component}; {next}"),
    ))
}

fn unavailable(source: &Source, error: &reqwest::Error) -> Failure {
    let Source { component, url, .. } = source;
    match HandshakeProblem::of(error) {
        Some(problem) => Failure::new(
            if problem.is_lasting() { Reason::PayloadUntrusted } else { Reason::PayloadUnavailable },
            format!(
                "the payload of component {component} was not fetched from {url}: {problem}; {}",
                by_proxy(&problem).unwrap_or_else(|| problem.next_step(FIELDS))
            ),
        ),
        None => Failure::new(
            Reason::PayloadUnavailable,
            format!(
                "the payload of component {component} could not be fetched from {url} ({}); check that the operator reaches it",
                chain(&error.without_url_ref())
            ),
        ),
    }
}

/// Returns what the user can do if the certificate is that of an `https://` proxy of the environment, which is
/// verified by the trust in the payload's source.
fn by_proxy(problem: &HandshakeProblem) -> Option<String> {
    let HandshakeProblem::Untrusted(rejected) = problem else { return None };
    // The variables that `reqwest` reads, in its order.
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let (name, proxy) = names.iter().find_map(|name| Some((name, std::env::var(name).ok()?)))?;
    is_host_of(&rejected.server, &proxy).then(|| {
        format!(
            "this is the proxy that {name} of the operator names, and payload.tls and ca.crt are about the payload's source; name a proxy with http://, through which the connection to the source is encrypted as well, or exclude the source with NO_PROXY"
        )
    })
}

/// Reports whether an `https://` URL names this host.
fn is_host_of(host: &str, url: &str) -> bool {
    let url = reqwest::Url::parse(url).ok().filter(|url| url.scheme() == "https");
    url.is_some_and(|url| url.host_str().is_some_and(|name| name.trim_matches(['[', ']']) == host))
}

/// The text of a `reqwest` error without the URL, which the message contains already.
trait WithoutUrl {
    fn without_url_ref(&self) -> CauseText;
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct CauseText(String);

impl WithoutUrl for reqwest::Error {
    fn without_url_ref(&self) -> CauseText {
        let mut words = Vec::new();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            words.push(cause.to_string());
            source = cause.source();
        }
        words.dedup();
        CauseText(if words.is_empty() { self.to_string() } else { words.join(": ") })
    }
}

fn cut_off(source: &Source, written: u64, announced: Option<u64>, error: &reqwest::Error) -> Failure {
    let of = announced.map(|a| format!(" of {a}")).unwrap_or_default();
    Failure::new(
        Reason::PayloadTruncated,
        format!(
            "{} was interrupted after {written}{of} bytes (component {}: {}); it is retried while the run has retries left",
            source.url,
            source.component,
            chain(&error.without_url_ref())
        ),
    )
}

/// Returns the failure for a fetch that exceeded its limit.
pub(super) fn too_slow(source: &Source, limit: Duration) -> Failure {
    let Source { component, url, size, .. } = source;
    let minutes = limit.as_secs() / 60;
    let hint = if size.is_none() { ", or set payload.size, from which the limit is computed" } else { "" };
    Failure::new(
        Reason::PayloadUnavailable,
        format!(
            "the payload of component {component} was not fetched from {url} within {minutes} min; check the source{hint}; it is retried while the run has retries left"
        ),
    )
}

async fn from_file(
    source: &Source,
    path: &str,
    payload_dir: Option<&Path>,
    part: &Path,
    fetched: &Counters<0>,
) -> Result<u64, Failure> {
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
        fetch(&source(url), Some(dir), &dir.join("part"), &Metrics::new().payload_fetched).await
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

    /// Otherwise a user would put the proxy's certificate into the trust of the source.
    #[test]
    fn the_certificate_of_a_proxy_is_distinguished_from_that_of_the_source() {
        assert!(is_host_of("proxy.example.net", "https://user:secret@Proxy.example.net:8443/"));
        assert!(is_host_of("fd00::1", "https://[fd00::1]:8443"));
        for other in ["http://proxy.example.net:8080", "proxy.example.net:8080", "https://repo.example.net"] {
            assert!(!is_host_of("proxy.example.net", other), "{other}");
        }
    }

    #[tokio::test]
    async fn a_wrong_size_is_distinguished_from_a_truncated_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.deb"), b"bytes").unwrap();
        for (size, reason) in [(4, Reason::PayloadSizeMismatch), (6, Reason::PayloadTruncated)] {
            let mut source = source("file:///a.deb");
            source.size = Some(size);
            let failure =
                fetch(&source, Some(dir.path()), &dir.path().join("part"), &Metrics::new().payload_fetched)
                    .await
                    .unwrap_err();
            assert_eq!(failure.reason, reason);
        }
    }
}
