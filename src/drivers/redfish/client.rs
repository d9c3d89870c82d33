//! Requests to one device over HTTPS.
//!
//! Not a general HTTP client: no proxy (a device is reached directly), no cookies, no redirect to another
//! host, and no request is repeated. It is written on hyper, because a connection is opened to an address
//! with a zone as well, the certificate is compared with the name in the ManagedNode whatever it resolves to,
//! and the caller must know whether a request was sent at all.

use super::answer::{self, Answer};
use super::credentials::Credential;
use super::link::Link;
use super::request::Request;
use super::retry_after::RetryAfter;
use super::trouble::{Kind, Trouble};
use crate::drivers::https::{Body, Connection, Endpoint, STALLED, stalled};
use crate::failure::{Failure, chain};
use crate::tls::{Fingerprint, HandshakeProblem, TrustedBy, Verifier, client_config};
use farrier_update::Reason;
use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderValue, LOCATION, USER_AGENT};
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio_rustls::TlsConnector;

/// Maximum number of redirects of one request. iLO answers a path without the slash at its end with one.
const REDIRECTS: usize = 3;

/// How far a request is.
struct Sending<'a> {
    begun: &'a AtomicBool,
    /// Whether the request must not be begun any more.
    is_late: &'a (dyn Fn() -> bool + Sync),
}

/// A client for one device.
///
/// It sends one request at a time over one connection: many BMCs serve no more, and those that do become slow
/// or answer 503.
pub struct Client {
    endpoint: Endpoint,
    connector: TlsConnector,
    verifier: Arc<Verifier>,
    connection: tokio::sync::Mutex<Option<Connection>>,
    address: Mutex<Option<String>>,
    retry_after: RetryAfter,
}

impl Client {
    /// Creates a client. Nothing is connected yet.
    ///
    /// # Errors
    /// `InternalError` if the cryptographic library has no TLS.
    pub fn new(endpoint: Endpoint) -> Result<Self, Failure> {
        let (config, verifier) = client_config(endpoint.trust.clone()).map_err(|error| {
            Failure::new(Reason::InternalError, format!("no HTTPS client could be made: {error}"))
        })?;
        Ok(Self {
            endpoint,
            connector: TlsConnector::from(Arc::new(config)),
            verifier,
            connection: tokio::sync::Mutex::default(),
            address: Mutex::default(),
            retry_after: RetryAfter::default(),
        })
    }

    /// Returns the name of the machine.
    pub fn node(&self) -> &str {
        &self.endpoint.target.node
    }

    /// Returns the address that was last connected to.
    pub fn address(&self) -> Option<String> {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the fingerprint of the certificate that was last accepted, and why it was accepted.
    pub fn certificate(&self) -> Option<(Fingerprint, TrustedBy)> {
        self.verifier.accepted()
    }

    /// Returns the fingerprint to record: that of a certificate that was trusted on first use.
    pub fn first_certificate(&self) -> Option<Fingerprint> {
        self.certificate().filter(|(_, by)| *by == TrustedBy::FirstUse).map(|(fingerprint, _)| fingerprint)
    }

    /// Returns when the device wants to be asked again; the value follows the answers of this client.
    pub(super) fn retry_after(&self) -> RetryAfter {
        self.retry_after.clone()
    }

    /// Sends a request once. Redirects of GET on the same device are followed.
    ///
    /// # Errors
    /// Any [`Kind`] but `SignIn`.
    pub async fn send(&self, request: &Request, credential: Option<&Credential>) -> Result<Answer, Trouble> {
        let mut held = self.connection.lock().await;
        let begun = AtomicBool::new(false);
        let start = Instant::now();
        let is_late = || request.begin_within.is_some_and(|within| start.elapsed() >= within);
        let sending = Sending { begun: &begun, is_late: &is_late };
        let exchange = self.follow(&mut held, request, credential, &sending);
        let timed_out = |limit| Err(Kind::TimedOut { begun: begun.load(Ordering::Relaxed), limit });
        let result = tokio::select! {
            result = tokio::time::timeout(request.limit, exchange) => {
                result.unwrap_or_else(|_| timed_out(request.limit))
            }
            () = stalled(&request.content) => timed_out(STALLED),
        };
        let (status, named) = match &result {
            Ok(answer) => (Some(answer.status), answer.retry_after()),
            Err(kind) => kind.retry_after(),
        };
        self.retry_after.note(status, named);
        let (method, link, ms) = (&request.method, &request.link, start.elapsed().as_millis());
        match &result {
            Ok(answer) => tracing::debug!(%method, %link, status = answer.status, ms, "request to a device"),
            // Without the device's words, in which it may repeat a password.
            Err(kind) => tracing::debug!(%method, %link, reason = %kind.reason(), ms, "request to a device"),
        }
        result.map_err(|kind| self.trouble(request, kind))
    }

    /// Returns the trouble of a request.
    pub(super) fn trouble(&self, request: &Request, kind: Kind) -> Trouble {
        let asked = format!("{} {}", request.method, request.link);
        Trouble { node: self.node().to_owned(), asked, kind }
    }

    async fn follow(
        &self,
        held: &mut Option<Connection>,
        request: &Request,
        credential: Option<&Credential>,
        sending: &Sending<'_>,
    ) -> Result<Answer, Kind> {
        let mut link = Cow::Borrowed(&request.link);
        for _ in 0..=REDIRECTS {
            let (answer, host) = self.exchange(held, request, &link, credential, sending).await?;
            let is_redirect = matches!(answer.status, 301 | 302 | 307 | 308) && request.method == Method::GET;
            match answer.header(LOCATION).filter(|_| is_redirect) {
                Some(location) => {
                    let host = host.to_str().unwrap_or_default();
                    link = Cow::Owned(Link::of_redirect(location, host).map_err(Kind::Elsewhere)?);
                }
                None if answer.status >= 300 => return Err(Kind::Refused(answer.refusal())),
                None => return Ok(answer),
            }
        }
        Err(Kind::Unreadable(format!("it redirects more than {REDIRECTS} times")))
    }

    /// Sends one message and reads its answer. The connection is kept only if the answer was complete.
    async fn exchange(
        &self,
        held: &mut Option<Connection>,
        request: &Request,
        link: &Link,
        credential: Option<&Credential>,
        sending: &Sending<'_>,
    ) -> Result<(Answer, HeaderValue), Kind> {
        let kept = held.take().filter(Connection::is_fresh);
        let is_kept = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let message = message(request, link, &connection.host, credential).await?;
        if (sending.is_late)() {
            return Err(Kind::TimedOut { begun: false, limit: request.begin_within.unwrap_or_default() });
        }
        sending.begun.store(true, Ordering::Relaxed);
        let response = match connection.sender.try_send_request(message).await {
            Ok(response) => response,
            Err(mut error) => match error.take_message() {
                // The kept connection had ended, and the message is still here: nothing was sent.
                Some(message) if is_kept => {
                    sending.begun.store(false, Ordering::Relaxed);
                    connection = self.open().await?;
                    if (sending.is_late)() {
                        let limit = request.begin_within.unwrap_or_default();
                        return Err(Kind::TimedOut { begun: false, limit });
                    }
                    sending.begun.store(true, Ordering::Relaxed);
                    connection.sender.send_request(message).await.map_err(|error| lost(&error))?
                }
                Some(_) => {
                    return Err(Kind::Lost { begun: false, cause: chain(error.error()) });
                }
                None => return Err(lost(error.error())),
            },
        };
        let answer = answer::read(response).await?;
        let host = connection.host.clone();
        connection.touch();
        *held = Some(connection);
        Ok((answer, host))
    }

    async fn open(&self) -> Result<Connection, Kind> {
        let connection = Connection::open(&self.endpoint, &self.connector).await.map_err(Kind::from)?;
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.address.clone());
        Ok(connection)
    }
}

async fn message(
    request: &Request,
    link: &Link,
    host: &HeaderValue,
    credential: Option<&Credential>,
) -> Result<hyper::Request<Body>, Kind> {
    let mut builder = hyper::Request::builder()
        .method(&request.method)
        .uri(link.as_str())
        .header(HOST, host)
        .header(ACCEPT, "application/json")
        .header("odata-version", "4.0")
        .header(USER_AGENT, concat!("farrier/", env!("CARGO_PKG_VERSION")));
    if let Some(Credential { name, value }) = credential {
        builder = builder.header(name, value);
    }
    if let Some(cookie) = request.cookie.and_then(|name| credential?.cookie(name)) {
        builder = builder.header(COOKIE, cookie);
    }
    if let Some(media_type) = request.content.media_type() {
        builder = builder.header(CONTENT_TYPE, media_type);
    }
    if let Some(length) = request.content.length() {
        builder = builder.header(CONTENT_LENGTH, length);
    }
    let unsent = |cause: String| Kind::Lost { begun: false, cause };
    let body = request.content.open().await.map_err(|error| unsent(chain(&error)))?;
    builder.body(body).map_err(|error| unsent(error.to_string()))
}

/// Returns what the end of a connection means for a request that was sent.
fn lost(error: &hyper::Error) -> Kind {
    match HandshakeProblem::of(error) {
        // In TLS 1.3 the client learns of it only after the handshake.
        Some(HandshakeProblem::WantsClientCertificate) => {
            Kind::Handshake(HandshakeProblem::WantsClientCertificate)
        }
        _ if error.is_parse() => Kind::Unreadable(format!("it is not HTTP ({})", chain(error))),
        _ => Kind::Lost { begun: true, cause: chain(error) },
    }
}
