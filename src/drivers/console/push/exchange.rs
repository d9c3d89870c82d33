//! One request over HTTPS, on a connection of its own.

use crate::drivers::https::{
    Connection, Content, Endpoint, NotOpen, STALLED, handshake_reason, handshake_words, stalled,
};
use crate::failure::{Failure, chain};
use crate::tls::{Fingerprint, TrustedBy, Verifier, client_config};
use farrier_update::Reason;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderValue, USER_AGENT};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// Longest answer that is read.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// A request.
pub(super) struct Message {
    /// The path.
    pub(super) path: String,
    /// The header `Cookie`.
    pub(super) cookie: Option<String>,
    /// The content.
    pub(super) content: Content,
}

/// An answer. It may repeat what was sent, and is never printed.
pub(super) struct Reply {
    /// The HTTP status.
    pub(super) status: u16,
    /// The text.
    pub(super) text: String,
}

/// No usable answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lost {
    /// Whether the device may have begun to carry the request out.
    pub(super) begun: bool,
    /// What happened.
    pub(super) failure: Failure,
}

impl Lost {
    /// The task that waited has ended.
    pub(super) fn gone(node: &str) -> Self {
        let words = format!("the request to {node} was given up; its versions show what came of it");
        Self { begun: true, failure: Failure::new(Reason::ConnectionLost, words) }
    }
}

/// Sends requests to one device.
#[derive(Clone)]
pub(super) struct Client {
    endpoint: Endpoint,
    connector: TlsConnector,
    verifier: Arc<Verifier>,
    address: Arc<Mutex<Option<String>>>,
    has_signed_in: bool,
}

impl Client {
    pub(super) fn new(endpoint: Endpoint) -> Result<Self, Failure> {
        let (config, verifier) = client_config(endpoint.trust.clone()).map_err(|error| {
            Failure::new(Reason::InternalError, format!("no HTTPS client could be made: {error}"))
        })?;
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Self { endpoint, connector, verifier, address: Arc::default(), has_signed_in: false })
    }

    pub(super) fn address(&self) -> Option<String> {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn certificate(&self) -> Option<(Fingerprint, TrustedBy)> {
        self.verifier.accepted()
    }

    /// Reports whether a sign-in was accepted that has no name.
    pub(super) const fn has_signed_in(&self) -> bool {
        self.has_signed_in
    }

    pub(super) const fn note_sign_in(&mut self) {
        self.has_signed_in = true;
    }

    pub(super) const fn forget_sign_in(&mut self) {
        self.has_signed_in = false;
    }

    /// Sends a request once, unless it is later than `until`, and reads the answer.
    pub(super) async fn send(
        &self,
        message: &Message,
        limit: Duration,
        until: Instant,
    ) -> Result<Reply, Lost> {
        let begun = AtomicBool::new(false);
        let timed_out = |limit: Duration| {
            let words = format!(
                "{} did not answer over HTTPS within {} s; check that it is healthy",
                self.node(),
                limit.as_secs()
            );
            let failure = Failure::new(Reason::ConnectionTimedOut, words);
            Err(Lost { begun: begun.load(Ordering::Relaxed), failure })
        };
        tokio::select! {
            reply = tokio::time::timeout(limit, self.exchange(message, until, &begun)) => {
                reply.unwrap_or_else(|_| timed_out(limit))
            }
            () = stalled(&message.content) => timed_out(STALLED),
        }
    }

    async fn exchange(&self, message: &Message, until: Instant, begun: &AtomicBool) -> Result<Reply, Lost> {
        let lost = |reason, words: String| {
            let begun = begun.load(Ordering::Relaxed);
            Lost { begun, failure: Failure::new(reason, words) }
        };
        let node = self.node();
        let connection = Connection::open(&self.endpoint, &self.connector).await;
        let mut connection =
            connection.map_err(|error| Lost { begun: false, failure: not_open(node, error) })?;
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.address.clone());
        let request = self.request(message, &connection.host).await.map_err(|cause| {
            lost(Reason::InternalError, format!("a request to {node} cannot be written: {cause}"))
        })?;
        if Instant::now() >= until {
            let words = format!("{node} was too slow to connect to; the request was not sent");
            return Err(lost(Reason::ConnectionTimedOut, words));
        }
        begun.store(true, Ordering::Relaxed);
        let ended = |cause: String| {
            let words = format!(
                "{node} ended the HTTPS connection before it had answered ({cause}); check that it is healthy"
            );
            lost(Reason::ConnectionLost, words)
        };
        let response = connection.sender.send_request(request).await.map_err(|error| ended(chain(&error)))?;
        let status = response.status().as_u16();
        match Limited::new(response.into_body(), ANSWER_LIMIT).collect().await {
            Ok(body) => {
                let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
                Ok(Reply { status, text })
            }
            Err(error) if error.is::<LengthLimitError>() => Err(lost(
                Reason::DeviceAnswerInvalid,
                format!(
                    "the answer of {node} over HTTPS is too long; check that this is the address of the device"
                ),
            )),
            Err(error) => Err(ended(chain(error.as_ref()))),
        }
    }

    async fn request(
        &self,
        message: &Message,
        host: &HeaderValue,
    ) -> Result<hyper::Request<crate::drivers::https::Body>, String> {
        let mut builder = hyper::Request::post(message.path.as_str())
            .header(HOST, host)
            .header(USER_AGENT, concat!("farrier/", env!("CARGO_PKG_VERSION")));
        if let Some(cookie) = &message.cookie {
            let mut value = HeaderValue::from_str(cookie).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            builder = builder.header(COOKIE, value);
        }
        if let Some(media_type) = message.content.media_type() {
            builder = builder.header(CONTENT_TYPE, media_type);
        }
        if let Some(length) = message.content.length() {
            builder = builder.header(CONTENT_LENGTH, length);
        }
        let body = message.content.open().await.map_err(|error| chain(&error))?;
        builder.body(body).map_err(|error| error.to_string())
    }

    fn node(&self) -> &str {
        &self.endpoint.target.node
    }
}

fn not_open(node: &str, error: NotOpen) -> Failure {
    match error {
        NotOpen::Unreachable(failure) => failure,
        NotOpen::Handshake(problem) => {
            let reason = handshake_reason(&problem).unwrap_or(Reason::TlsNegotiationFailed);
            Failure::new(reason, handshake_words(node, &problem))
        }
        NotOpen::TimedOut(limit) => Failure::new(
            Reason::ConnectionTimedOut,
            format!(
                "{node} did not finish the TLS handshake within {} s; check that it is healthy",
                limit.as_secs()
            ),
        ),
        NotOpen::Failed(cause) => Failure::new(
            Reason::ConnectionLost,
            format!("there is no HTTPS connection to {node} ({cause}); check that it is healthy"),
        ),
    }
}
