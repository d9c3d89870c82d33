//! The HTTP server of the engine API: routes, bodies, ranges.

use super::limits::Batch;
use super::{EngineApi, Refused};
use crate::payload::{self, Body, plain};
use bytes::Bytes;
use farrier_protocol::{Ack, Hello, LOG_CHUNK_BYTES, LogAck, NEXT_HOLD_SECONDS, Next, Welcome};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::Instrument as _;

/// Maximum length of a request body. A survey of a machine with ten thousand packages is about one
/// megabyte.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// Timeout for receiving a request body: enough for the largest body at 70 kB a second, and for a typical
/// body at a tenth of that rate. Otherwise a stream with a body that never ends would count as a live
/// stream.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_mins(2);

/// Timeout of a stream without a request. An engine sends a request every [`NEXT_HOLD_SECONDS`], and more
/// often while it works. It drops its runner after three times this interval and connects again. This
/// timeout is longer, so that the engine decides.
const SILENCE: Duration = Duration::from_secs(45);

/// Maximum size of the read and write buffers of one connection. More gains nothing, and the default is
/// four times as much (measured with a thousand connections).
const BUFFER: usize = 64 * 1024;

/// Returns an HTTP server for one connection. It closes the connection when the next request head does not
/// arrive completely within `timeout`.
pub(crate) fn http(timeout: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(timeout).max_buf_size(BUFFER);
    builder.keep_alive(true).half_close(false);
    builder
}

impl EngineApi {
    /// Serves the engine on one stream until the stream ends. Calls `refused` for each request that no
    /// engine of ours makes.
    ///
    /// # Errors
    /// When the stream breaks in the middle of a message.
    pub async fn serve(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send,
        refused: impl Fn() + Send + Sync,
    ) -> Result<(), hyper::Error> {
        self.serve_until_silent(stream, SILENCE, refused).await
    }

    /// Does the same on a stream that ends after `silence` without a request. For streams that only the runner
    /// can open again: the engine does not notice for it that the stream is dead.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub async fn serve_until_silent(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send,
        silence: Duration,
        refused: impl Fn() + Send + Sync,
    ) -> Result<(), hyper::Error> {
        let refused = &refused;
        let service = service_fn(move |request: Request<Incoming>| async move {
            let bytes = request
                .body()
                .size_hint()
                .exact()
                .map_or(BODY_LIMIT, |b| usize::try_from(b).unwrap_or(usize::MAX));
            let answer = self.answer(request).await;
            if answer.status().is_client_error() {
                refused();
            }
            // sleep: an engine that exceeds its share gets its responses later, and no other engine does.
            tokio::time::sleep(self.charge(bytes)).await;
            Ok::<_, Infallible>(answer)
        });
        let served = http(silence).serve_connection(TokioIo::new(stream), service);
        let served = served.instrument(self.span.clone()).await;
        if served.as_ref().is_err_and(hyper::Error::is_parse) {
            refused();
        }
        served
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        tracing::trace!(method = %request.method(), path = request.uri().path(), "the engine asks");
        let path = request.uri().path().to_owned();
        match (request.method().clone(), path.as_str()) {
            (Method::POST, "/v1/hello") => self.hello(request).await,
            (Method::POST, "/v1/next") => self.next(request).await,
            (Method::POST, "/v1/events") => self.events(request).await,
            (Method::POST, "/v1/log") => self.log(request).await,
            (Method::GET, path) => match path.strip_prefix("/v1/payloads/") {
                Some(digest) => self.payload(digest, &request).await,
                None => plain(StatusCode::NOT_FOUND, "no such path"),
            },
            _ => plain(StatusCode::NOT_FOUND, "no such path"),
        }
    }

    async fn hello(&self, request: Request<Incoming>) -> Response<Body> {
        match read::<Hello>(request, self.timeout).await {
            Ok((hello, _)) => match self.greet(&hello) {
                Ok((ack, protocol)) => json(&Welcome {
                    ack,
                    lease_seconds: self.lease_seconds,
                    protocol,
                    log: self.log.as_ref().map(|log| log.next()),
                }),
                Err(why) => plain(StatusCode::CONFLICT, &why),
            },
            Err(answer) => answer,
        }
    }

    async fn next(&self, request: Request<Incoming>) -> Response<Body> {
        let next = match read::<Next>(request, self.timeout).await {
            Ok((next, _)) => next,
            Err(answer) => return answer,
        };
        match tokio::time::timeout(Duration::from_secs(NEXT_HOLD_SECONDS), self.next_task(next.done)).await {
            Ok(task) => json(&task),
            Err(_) => plain(StatusCode::NO_CONTENT, ""),
        }
    }

    async fn events(&self, request: Request<Incoming>) -> Response<Body> {
        match read::<Batch>(request, self.timeout).await {
            Ok((Batch(events), bytes)) => match self.take(events, bytes) {
                Ok((ack, cancel)) => json(&Ack { ack, cancel }),
                Err(Refused::Gap(ack)) => {
                    plain(StatusCode::CONFLICT, &format!("the event after number {ack} is missing"))
                }
                Err(Refused::TooMuch) => {
                    plain(StatusCode::PAYLOAD_TOO_LARGE, "too many events for one session")
                }
            },
            Err(answer) => answer,
        }
    }

    async fn log(&self, request: Request<Incoming>) -> Response<Body> {
        let from = request.uri().query().and_then(|query| query.strip_prefix("from=")?.parse().ok());
        let (Some(log), Some(from)) = (self.log.clone(), from) else {
            return plain(StatusCode::NOT_FOUND, "no log is taken here");
        };
        let body = Limited::new(request.into_body(), LOG_CHUNK_BYTES).collect();
        let lines = match tokio::time::timeout(self.timeout, body).await {
            Ok(Ok(body)) => body.to_bytes().to_vec(),
            Ok(Err(_)) => {
                return plain(StatusCode::PAYLOAD_TOO_LARGE, "the lines are too long or were cut off");
            }
            Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the lines took too long"),
        };
        // A disk may be slow, and other machines must not wait for it.
        match tokio::task::spawn_blocking(move || log.append(from, lines)).await {
            Ok(next) => json(&LogAck { next }),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    async fn payload(self: &Arc<Self>, digest: &str, request: &Request<Incoming>) -> Response<Body> {
        let Some(path) = self.files.file(digest) else {
            return plain(StatusCode::NOT_FOUND, "no such payload in this session");
        };
        // A cancellation aborts the stream: the engine opens a new stream, and learns of the cancellation
        // there.
        let engine_api = self.clone();
        let cancelled = Box::pin(async move { engine_api.cancelled().await });
        let answer = payload::answer(path.into(), digest, request, Some(cancelled)).await;
        let engine_api = self.clone();
        answer.map(|body| {
            let counted = body.map_frame(move |frame| {
                engine_api.files.count_sent(frame.data_ref().map_or(0, Bytes::len));
                frame
            });
            counted.boxed_unsync()
        })
    }
}

/// Reads a request body. Returns its value and its length in bytes.
async fn read<T: serde::de::DeserializeOwned>(
    request: Request<Incoming>,
    timeout: Duration,
) -> Result<(T, usize), Response<Body>> {
    let body = Limited::new(request.into_body(), BODY_LIMIT).collect();
    let body = match tokio::time::timeout(timeout, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            return Err(plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or was cut off"));
        }
        Err(_) => return Err(plain(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    };
    let value = serde_json::from_slice(&body);
    value.map(|value| (value, body.len())).map_err(|e| plain(StatusCode::BAD_REQUEST, &e.to_string()))
}

fn json(value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(full(bytes));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
}
