//! One HTTP connection over TLS to a device.

use super::content::Body;
use super::endpoint::Endpoint;
use crate::failure::{Failure, chain};
use crate::ssh::dial::dial;
use crate::tls::{CertificateProblem, HandshakeProblem, TrustFields};
use farrier_update::Reason;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// Timeout of the TLS handshake. The processors of BMCs need seconds for an RSA signature when they are busy.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);

/// How long an idle connection is used again. Web servers end idle connections after 5 s (Apache's
/// `KeepAliveTimeout`) or later; a request on a connection that is ending would be lost without a trace.
const IDLE_LIMIT: Duration = Duration::from_secs(4);

/// Buffer for the headers of an answer. hyper's least is 8 KiB; policies of content in web interfaces are long.
const HEADERS_LIMIT: usize = 64 * 1024;

/// The fields in which users specify the trust in a device.
const FIELDS: TrustFields =
    TrustFields { certificates: "ca.crt of spec.tls.caRef", fingerprints: "spec.tls.fingerprints" };

/// What listens on the port, for messages.
const SERVER: &str = "web server of the device";

/// Why there is no connection. Nothing was sent.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::drivers) enum NotOpen {
    /// No address was connected to.
    Unreachable(Failure),
    /// The TLS handshake failed.
    Handshake(HandshakeProblem),
    /// The TLS handshake took longer than this.
    TimedOut(Duration),
    /// Something else; the text says what.
    Failed(String),
}

/// A connection that waits for a request.
pub(in crate::drivers) struct Connection {
    /// Takes requests.
    pub(in crate::drivers) sender: SendRequest<Body>,
    /// The address that was connected to.
    pub(in crate::drivers) address: String,
    /// The value of the header `Host`.
    pub(in crate::drivers) host: HeaderValue,
    used: Instant,
    /// Moves the bytes; ends with the connection.
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// Connects to the first address that answers. Only the name or address in the user's list is compared
    /// with the certificate.
    ///
    /// # Errors
    /// [`NotOpen`].
    pub(in crate::drivers) async fn open(
        endpoint: &Endpoint,
        connector: &TlsConnector,
    ) -> Result<Self, NotOpen> {
        let dialled = dial(&endpoint.target, SERVER).await.map_err(NotOpen::Unreachable)?;
        let name = bare(&dialled.entry);
        let server = ServerName::try_from(name.to_owned())
            .map_err(|error| NotOpen::Failed(format!("{name} is no name of a server: {error}")))?;
        // Requests are small, and each waits for its answer.
        drop(dialled.stream.set_nodelay(true));
        let handshake = connector.connect(server, dialled.stream);
        let stream = match tokio::time::timeout(HANDSHAKE_LIMIT, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(refused(&error)),
            Err(_) => return Err(NotOpen::TimedOut(HANDSHAKE_LIMIT)),
        };
        let lost = |error: hyper::Error| NotOpen::Failed(chain(&error));
        // Headers of old devices are not what the standard of today allows.
        let (sender, connection) = Builder::new()
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .ignore_invalid_headers_in_responses(true)
            .max_buf_size(HEADERS_LIMIT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(lost)?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer gets the error.
            drop(connection.await);
        });
        let host = HeaderValue::from_str(&host(name, endpoint.target.port));
        Ok(Self {
            sender,
            address: dialled.address,
            host: host.map_err(|error| NotOpen::Failed(chain(&error)))?,
            used: Instant::now(),
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    /// Reports whether a request can be sent over it.
    pub(in crate::drivers) fn is_fresh(&self) -> bool {
        self.used.elapsed() < IDLE_LIMIT && !self.sender.is_closed()
    }

    /// Notes the end of an exchange.
    pub(in crate::drivers) fn touch(&mut self) {
        self.used = Instant::now();
    }
}

/// Returns what a failed handshake means; `None` if the server does not speak TLS, which has another meaning for each
/// class.
pub(in crate::drivers) fn handshake_reason(problem: &HandshakeProblem) -> Option<Reason> {
    match problem {
        HandshakeProblem::Untrusted(rejected) if is_change(&rejected.problem) => {
            Some(Reason::CertificateChanged)
        }
        HandshakeProblem::Untrusted(_) | HandshakeProblem::Unproven(_) => Some(Reason::CertificateUntrusted),
        HandshakeProblem::NotTls => None,
        HandshakeProblem::OldVersion
        | HandshakeProblem::NothingInCommon
        | HandshakeProblem::WantsClientCertificate => Some(Reason::TlsNegotiationFailed),
        HandshakeProblem::Refused | HandshakeProblem::UnknownName | HandshakeProblem::Other(_) => {
            Some(Reason::ConnectionClosed)
        }
    }
}

/// Returns what the user is told about a failed handshake, with the next step.
pub(in crate::drivers) fn handshake_words(node: &str, problem: &HandshakeProblem) -> String {
    format!("there is no trusted connection to {node}: {problem}; {}", problem.next_step(FIELDS))
}

/// Reports whether another certificate is known for this device.
fn is_change(problem: &CertificateProblem) -> bool {
    matches!(problem, CertificateProblem::NotPinned { .. } | CertificateProblem::SelfSigned { another: true })
}

fn refused(error: &std::io::Error) -> NotOpen {
    match HandshakeProblem::of(error) {
        Some(problem) => NotOpen::Handshake(problem),
        None => NotOpen::Failed(format!("during the TLS handshake: {}", chain(error))),
    }
}

/// Removes brackets and zone from an address: neither is part of a name in a certificate.
fn bare(entry: &str) -> &str {
    let bare = entry.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(entry);
    match bare.split_once('%') {
        Some((address, _)) if address.parse::<IpAddr>().is_ok() => address,
        _ => bare,
    }
}

fn host(name: &str, port: u16) -> String {
    let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    if port == 443 { name } else { format!("{name}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Web servers refuse a `Host` with a zone, and certificates have none.
    #[test]
    fn names_are_as_certificates_and_headers_have_them() {
        for (entry, name, header) in [
            ("db-01.example.net", "db-01.example.net", "db-01.example.net"),
            ("10.0.0.7", "10.0.0.7", "10.0.0.7"),
            ("[fd00::7]", "fd00::7", "[fd00::7]"),
            ("fe80::1%mgmt0", "fe80::1", "[fe80::1]"),
        ] {
            assert_eq!((bare(entry), host(bare(entry), 443).as_str()), (name, header));
        }
        assert_eq!(host("fe80::1", 8443), "[fe80::1]:8443");
    }
}
