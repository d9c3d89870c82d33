//! What is served without a client certificate: the offers of the run, each to the machine that it is for.
//!
//! `GET` or `HEAD /<run token>/<offer token>/<file name>` gets the file, or a range of it. The tokens are compared
//! in constant time and the name byte by byte after percent-decoding; no part of a path is looked up in a file
//! system, so path traversal is impossible. What follows the name of a folder is looked up in its index.
//!
//! `GET /farrier-preflight` gets that word, for machines that try the way before they depend on it.
//!
//! `POST /<run token>/<offer token>/status` is an event of a machine that was asked to post some. It is answered with
//! 204, and nothing of it is read: that it came is all that counts.
//!
//! Machines speak HTTP in many ways. HTTP/1.0, a missing `Host` and a wrong one are served, because the path alone
//! says what is wanted. The absolute form of a request target (`GET http://host/path`) is served too, as RFC 9112
//! demands; its host is ignored like `Host`, and nothing is ever forwarded.
//!
//! Budgets, so that no machine can starve another one:
//!
//! | what | limit |
//! | --- | --- |
//! | connections of an address | [`Limits::per_source`], and how fast they are opened: [`Limits::begins`] |
//! | responses to an address at the same time | [`MAX_TRANSFERS`](super::transfer::MAX_TRANSFERS), and 503 beyond |
//! | time until a request is complete | [`Limits::request`] |
//! | time that a reader may block until it has accepted 16 KiB | [`Limits::reader`] |
//! | body of a post | [`POST_LIMIT`], complete within [`Limits::request`] |
//! | posts of a machine | 20 at once and 5 per second after that, and 429 beyond |
//! | memory of a connection | one chunk of the file and the socket's buffers |
//! | connections of all runs | [`Limits::connections`] |
//!
//! Each transfer is a task of its own that waits for its own socket, so a slow reader costs the others nothing but
//! its share of the network.
//!
//! [`Limits::per_source`]: super::Limits::per_source
//! [`Limits::begins`]: super::Limits::begins
//! [`Limits::request`]: super::Limits::request
//! [`Limits::reader`]: super::Limits::reader
//! [`Limits::connections`]: super::Limits::connections

use super::admission::{PeerState, Permit};
use super::counters::Cause;
use super::offers::{Found, OfferContent, OpenOffer, OpenPosts, POSTS, is_name};
use super::state::ServerState;
use super::transfer::{CountedBody, Transfer};
use crate::engine_api::http;
use crate::payload::{self, Begin, Body, plain};
use farrier_protocol::PREFLIGHT;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// How long a machine waits for the head of the response while this runner fetches the payload itself: most
/// management processors wait for a minute.
const FETCH_PATIENCE: Duration = Duration::from_secs(50);

/// When a machine should ask again for a payload that this runner does not have yet.
const RETRY_SECONDS: u64 = 15;

/// When a machine may post again that has posted too often.
const POST_RETRY_SECONDS: u64 = 5;

/// Longest body of a post, in bytes. An event has one or two KiB; some devices put several into one post.
const POST_LIMIT: usize = 64 * 1024;

/// Status and body of a refusal.
type Rejection = (StatusCode, &'static str);

/// One connection of a device.
struct DeviceConnection<'a> {
    server: &'a ServerState,
    source: IpAddr,
    permit: &'a Permit,
    /// The device has sent a request.
    asked: AtomicBool,
}

/// Serves a device until it disconnects.
pub(super) async fn serve(
    server: &ServerState,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    source: IpAddr,
    permit: &Permit,
) {
    let device = &DeviceConnection { server, source, permit, asked: AtomicBool::new(false) };
    let service = service_fn(|request: Request<Incoming>| async move {
        let is_post = request.method() == Method::POST;
        Ok::<_, Infallible>(if is_post { device.post(request).await } else { device.answer(&request).await })
    });
    let patience = server.admission.limits().request;
    let result = http(patience).serve_connection(TokioIo::new(stream), service).await;
    let asked = device.asked.load(Ordering::Relaxed);
    match result {
        Err(error) if error.is_parse() => permit.refuse(Cause::Path),
        Err(error) if error.is_timeout() && !asked => permit.refuse(Cause::TooSlow),
        Ok(()) | Err(_) if !asked => permit.refuse(Cause::Silent),
        Ok(()) | Err(_) => {}
    }
}

impl DeviceConnection<'_> {
    async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        self.asked.store(true, Ordering::Relaxed);
        if request.uri().path().strip_prefix('/') == Some(PREFLIGHT) {
            return plain(StatusCode::OK, PREFLIGHT);
        }
        let wanted = match self.wanted(request) {
            Ok(wanted) => wanted,
            Err((status, words)) => return self.reject(status, words),
        };
        let (wanted, below) = wanted;
        self.permit.set_state(PeerState::Device);
        self.server.offers.note_request(&wanted, self.source);
        let Some(transfer) = self.server.admission.transfers().begin(self.source) else {
            self.server.admission.refuse(Cause::TooMany, self.source);
            return later("too many transfers to this address are under way");
        };
        let offered = match self.content(&wanted).await {
            Ok(offered) => offered,
            Err(words) => return later(words),
        };
        // A folder has no content of its own in HTTP.
        let Some(Found::File(content, number)) = offered.find(&below) else {
            return self.reject(StatusCode::NOT_FOUND, "there is no such file here");
        };
        let tag = match offered {
            OfferContent::File(_) => wanted.digest.clone(),
            OfferContent::Tree(_) => format!("{}/{number}", wanted.digest),
        };
        let response = payload::answer(content, &tag, request, None).await;
        self.counted(response, wanted, number, transfer)
    }

    /// Takes an event of a machine.
    async fn post(&self, request: Request<Incoming>) -> Response<Body> {
        self.asked.store(true, Ordering::Relaxed);
        let Some(posts) = self.posts(request.uri()) else {
            // As if nobody could post anything, unless an image has this path.
            return self.answer(&request).await;
        };
        self.permit.set_state(PeerState::Device);
        let body = Limited::new(request.into_body(), POST_LIMIT).collect();
        match tokio::time::timeout(self.server.admission.limits().request, body).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return self.reject(StatusCode::PAYLOAD_TOO_LARGE, "a post has 64 KiB at most");
            }
            Ok(Err(_)) | Err(_) => {
                return self.reject(StatusCode::REQUEST_TIMEOUT, "the post was not complete in time");
            }
        }
        if self.server.offers.note_post(&posts) {
            return plain(StatusCode::NO_CONTENT, "");
        }
        self.server.admission.refuse(Cause::TooMany, self.source);
        let mut refused = plain(StatusCode::TOO_MANY_REQUESTS, "too many posts");
        refused.headers_mut().insert(RETRY_AFTER, POST_RETRY_SECONDS.into());
        refused
    }

    /// Returns the action for which this path takes posts.
    fn posts(&self, uri: &Uri) -> Option<OpenPosts> {
        let parts: Vec<&str> = uri.path().split('/').collect();
        let &["", run, token, POSTS] = parts.as_slice() else { return None };
        let identity = &self.server.identity;
        if !identity.is_path_token(run) || uri.query().is_some() {
            return None;
        }
        let open = self.server.offers.posts_from(self.source).into_iter();
        open.into_iter().find(|posts| identity.is_offer_token(token, &posts.session, posts.action))
    }

    fn reject(&self, status: StatusCode, words: &'static str) -> Response<Body> {
        self.server.admission.refuse(Cause::Path, self.source);
        let mut refused = plain(status, words);
        refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        refused
    }

    /// Returns what an offer has. A payload that this runner does not have is fetched, and is fetched to the
    /// end although the machine may not wait for it.
    async fn content(&self, offer: &OpenOffer) -> Result<OfferContent, &'static str> {
        let fetching = self.server.tasks.spawn(self.server.offers.content(offer));
        match tokio::time::timeout(FETCH_PATIENCE, fetching).await {
            Ok(Ok(Ok(offered))) => Ok(offered),
            Ok(Ok(Err(failure))) => {
                tracing::warn!(run = self.server.identity.run(), session = offer.session, action = offer.action, %failure, "an offered payload cannot be served");
                Err("the payload cannot be fetched at present")
            }
            Ok(Err(_)) | Err(_) => Err("the payload is being fetched"),
        }
    }

    /// Counts what the device takes of a response.
    fn counted(
        &self,
        response: Response<Body>,
        offer: OpenOffer,
        number: u32,
        transfer: Transfer,
    ) -> Response<Body> {
        let begin = response.extensions().get::<Begin>().map(|begin| begin.0);
        let Some(begin) = begin else { return response };
        let offers = self.server.offers.clone();
        let note = move |position| offers.note_sent(&offer, number, position);
        response.map(|body| CountedBody::new(body, begin, note, transfer).boxed_unsync())
    }

    /// Returns the requested offer and the path below it, or the refusal.
    fn wanted<B>(&self, request: &Request<B>) -> Result<(OpenOffer, String), Rejection> {
        let uri = request.uri();
        let is_absolute = uri.scheme().is_some();
        if !is_absolute && uri.authority().is_some() {
            return Err((StatusCode::BAD_REQUEST, "this is no proxy"));
        }
        let headers = request.headers();
        let empty = headers.get_all(CONTENT_LENGTH).iter().all(|length| length == "0");
        if headers.contains_key(TRANSFER_ENCODING) || !empty {
            return Err((StatusCode::BAD_REQUEST, "a request with a body is not understood"));
        }
        let path = uri.path();
        if path == "/v1" || path.starts_with("/v1/") {
            return Err((StatusCode::FORBIDDEN, "this needs the certificate of an engine"));
        }
        let nothing = (StatusCode::NOT_FOUND, "there is nothing here");
        let parts: Vec<&str> = path.split('/').collect();
        let ["", run, token, name, below @ ..] = parts.as_slice() else { return Err(nothing) };
        let identity = &self.server.identity;
        if !identity.is_path_token(run) || uri.query().is_some() {
            return Err(nothing);
        }
        let is_wanted = |offer: &OpenOffer| {
            let is_token = identity.is_offer_token(token, &offer.session, offer.action);
            is_token && is_name(name, &offer.name) && offer.unpack != below.is_empty()
        };
        let Some(offer) = self.server.offers.to(self.source).into_iter().find(is_wanted) else {
            return Err(nothing);
        };
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD"));
        }
        Ok((offer, below.join("/")))
    }
}

/// Asks a machine to come back.
fn later(words: &'static str) -> Response<Body> {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, words);
    response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS.into());
    response
}
