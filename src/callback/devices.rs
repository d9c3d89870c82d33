//! What is served without a client certificate: payloads of the run's baseline, below a path that
//! cannot be guessed.
//!
//! `GET` or `HEAD /<path token>/payloads/<digest>` is compared byte by byte: nothing is decoded,
//! normalised or looked up in a file system, so path traversal is impossible.

use super::admission::{PeerState, Permit};
use super::counters::Cause;
use super::state::ServerState;
use crate::engine_api::http;
use crate::payload::{self, Body, plain};
use hyper::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncRead, AsyncWrite};

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
    let service = service_fn(|request| async move { Ok::<_, Infallible>(device.answer(&request).await) });
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
        match self.wanted(request) {
            Ok((digest, path)) => {
                self.permit.set_state(PeerState::Device);
                payload::answer(path, digest, request, None).await
            }
            Err((status, words)) => {
                self.server.admission.refuse(Cause::Path, self.source);
                let mut refused = plain(status, words);
                refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                if status == StatusCode::METHOD_NOT_ALLOWED {
                    refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                }
                refused
            }
        }
    }

    /// Returns digest and file of the requested payload, or the refusal.
    fn wanted<'r, B>(&self, request: &'r Request<B>) -> Result<(&'r str, PathBuf), Rejection> {
        let uri = request.uri();
        if uri.scheme().is_some() || uri.authority().is_some() {
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
        let nothing = || (StatusCode::NOT_FOUND, "there is nothing here");
        let mut parts = path.split('/');
        let (root, token, folder) = (parts.next(), parts.next(), parts.next());
        if root != Some("") || !self.server.identity.is_path_token(token.unwrap_or_default()) {
            return Err(nothing());
        }
        let (digest, end) = (parts.next().unwrap_or_default(), parts.next());
        let file = self.server.files.file(digest);
        let Some(file) =
            file.filter(|_| folder == Some("payloads") && end.is_none() && uri.query().is_none())
        else {
            return Err(nothing());
        };
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD"));
        }
        Ok((digest, file))
    }
}
