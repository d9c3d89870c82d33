//! The HTTP client that payloads are fetched with, whatever their scheme, and why it reaches no server.

use super::source::Source;
use crate::failure::{Failure, chain};
use crate::tls::{HandshakeProblem, TrustFields, client_config};
use farrier_update::Reason;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use std::time::Duration;

/// Timeout of connecting to a source.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Read timeout of a source.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);

/// The fields in which users specify the trust in a payload's source.
const FIELDS: TrustFields = TrustFields {
    certificates: "ca.crt of the Secret in payload.secretRef",
    fingerprints: "payload.tls.fingerprints",
};

/// What a client does when a server refers to another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Redirects {
    /// It asks there, by https. User name, password and token are not sent to another host or port.
    Followed,
    /// It returns the reference as the answer.
    Refused,
}

/// Creates a client that trusts what the payload's source is trusted by.
pub(super) fn client(source: &Source, redirects: Redirects) -> Result<Client, Failure> {
    let refuse = |error: &dyn std::error::Error| {
        Failure::new(Reason::InternalError, format!("no HTTPS client could be made: {}", chain(error)))
    };
    let (tls, _) = client_config(source.access.trust.clone()).map_err(|error| refuse(&error))?;
    Client::builder()
        .https_only(true)
        // A presigned URL carries its credentials in the query.
        .referer(false)
        .redirect(match redirects {
            Redirects::Followed => Policy::default(),
            Redirects::Refused => Policy::none(),
        })
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(SILENCE_LIMIT)
        .user_agent(concat!("farrier/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| refuse(&error))
}

/// Returns the failure for a server that gave no answer. `asked` is the URL that was requested; its query
/// and that of a redirect may be secret and are not shown.
pub(super) fn unavailable(source: &Source, asked: &Url, error: &reqwest::Error) -> Failure {
    let Source { component, url, .. } = source;
    let place = match error.url().filter(|at| !is_same_host(at, asked)) {
        Some(at) => format!("{url} (which refers to {})", host(at)),
        None if url.starts_with("https://") => url.clone(),
        None => format!("{url} ({})", host(asked)),
    };
    match HandshakeProblem::of(error) {
        Some(problem) => Failure::new(
            if problem.is_lasting() { Reason::PayloadUntrusted } else { Reason::PayloadUnavailable },
            format!(
                "the payload of component {component} was not fetched from {place}: {problem}; {}",
                by_proxy(&problem).unwrap_or_else(|| problem.next_step(FIELDS))
            ),
        ),
        None => Failure::new(
            Reason::PayloadUnavailable,
            format!(
                "the payload of component {component} could not be fetched from {place} ({}); check that the operator reaches it",
                causes(error)
            ),
        ),
    }
}

/// Returns host and port of a URL.
pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Reports whether both are one server, which may see what is meant for the other.
pub(super) fn is_same_host(one: &Url, other: &Url) -> bool {
    one.host_str() == other.host_str() && one.port_or_known_default() == other.port_or_known_default()
}

/// Reads a short answer, at most `limit` bytes of it. `None` if it is longer.
pub(super) async fn short_body(
    mut response: Response,
    limit: usize,
) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await? {
        if body.len() + bytes.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&bytes);
    }
    Ok(Some(body))
}

/// Returns the causes of an error without the URL, which the message contains already.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words.push(cause.to_string());
        source = cause.source();
    }
    words.dedup();
    if words.is_empty() { without_url(error) } else { words.join(": ") }
}

/// The text of an error that has no causes, such as a timeout.
fn without_url(error: &reqwest::Error) -> String {
    let text = error.to_string();
    match error.url() {
        Some(url) => text.replace(&format!(" for url ({url})"), ""),
        None => text,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a user would put the proxy's certificate into the trust of the source.
    #[test]
    fn the_certificate_of_a_proxy_is_distinguished_from_that_of_the_source() {
        assert!(is_host_of("proxy.example.net", "https://user:secret@Proxy.example.net:8443/"));
        assert!(is_host_of("fd00::1", "https://[fd00::1]:8443"));
        for other in ["http://proxy.example.net:8080", "proxy.example.net:8080", "https://repo.example.net"] {
            assert!(!is_host_of("proxy.example.net", other), "{other}");
        }
    }
}
