//! The HTTP face of a conversation: routes, bodies, ranges.

use super::Conversation;
use bytes::Bytes;
use farrier_protocol::{Ack, Event, Hello, NEXT_HOLD_SECONDS, Next, Welcome};
use futures::{StreamExt, TryStreamExt};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite};
use tokio_util::io::ReaderStream;

/// What an engine may post at once. A survey of a machine with ten thousand packages is about
/// one megabyte.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// How much of a payload is read at a time. Each step is handed to another thread and back, so
/// that a quarter of this costs a third more processor time; twice as much gains nothing (measured).
const CHUNK: usize = 512 * 1024;

type Body = BoxBody<Bytes, std::io::Error>;

/// Where payloads are, by digest. Only those that this conversation may hand out.
pub trait PayloadFiles: Send + Sync {
    /// The file with this digest, `None` if the engine has no business with it.
    fn file(&self, digest: &str) -> Option<PathBuf>;
}

impl Conversation {
    /// Answers the engine on one stream, until it ends.
    ///
    /// # Errors
    /// When the stream breaks in the middle of a message.
    pub async fn serve(
        self: &Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<(), hyper::Error> {
        let conversation = self.clone();
        let service = service_fn(move |request| {
            let conversation = conversation.clone();
            async move { Ok::<_, Infallible>(conversation.answer(request).await) }
        });
        hyper::server::conn::http1::Builder::new()
            .keep_alive(true)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service)
            .await
    }

    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        tracing::trace!(method = %request.method(), path = request.uri().path(), "the engine asks");
        let path = request.uri().path().to_owned();
        match (request.method().clone(), path.as_str()) {
            (Method::POST, "/v1/hello") => self.hello(request).await,
            (Method::POST, "/v1/next") => self.next(request).await,
            (Method::POST, "/v1/events") => self.events(request).await,
            (Method::GET, path) => match path.strip_prefix("/v1/payloads/") {
                Some(digest) => self.payload(digest, &request).await,
                None => plain(StatusCode::NOT_FOUND, "no such path"),
            },
            _ => plain(StatusCode::NOT_FOUND, "no such path"),
        }
    }

    async fn hello(&self, request: Request<Incoming>) -> Response<Body> {
        match read::<Hello>(request).await {
            Ok(hello) => match self.greet(&hello) {
                Ok(ack) => json(&Welcome { ack, lease_seconds: self.lease_seconds }),
                Err(why) => plain(StatusCode::CONFLICT, &why),
            },
            Err(answer) => answer,
        }
    }

    async fn next(&self, request: Request<Incoming>) -> Response<Body> {
        let next = match read::<Next>(request).await {
            Ok(next) => next,
            Err(answer) => return answer,
        };
        match tokio::time::timeout(Duration::from_secs(NEXT_HOLD_SECONDS), self.next_task(next.done)).await {
            Ok(task) => json(&task),
            Err(_) => plain(StatusCode::NO_CONTENT, ""),
        }
    }

    async fn events(&self, request: Request<Incoming>) -> Response<Body> {
        match read::<Vec<Event>>(request).await {
            Ok(events) => {
                let (ack, cancel) = self.take(events);
                json(&Ack { ack, cancel })
            }
            Err(answer) => answer,
        }
    }

    async fn payload(self: &Arc<Self>, digest: &str, request: &Request<Incoming>) -> Response<Body> {
        let Some(path) = self.files.file(digest) else {
            return plain(StatusCode::NOT_FOUND, "no such payload in this session");
        };
        let from = match request.headers().get(RANGE).map(|v| range_start(v.to_str().unwrap_or_default())) {
            None => 0,
            Some(Some(from)) => from,
            Some(None) => return plain(StatusCode::RANGE_NOT_SATISFIABLE, "only bytes=N- is understood"),
        };
        match open_at(&path, from).await {
            Ok((file, size)) if from <= size => self.clone().payload_response(file, from, size),
            Ok(_) => plain(StatusCode::RANGE_NOT_SATISFIABLE, "the payload is shorter"),
            Err(error) => {
                tracing::error!(%digest, %error, "a stored payload cannot be read");
                plain(StatusCode::SERVICE_UNAVAILABLE, "the payload cannot be read")
            }
        }
    }

    /// The bytes from `from` on. A cancellation breaks the stream off: the engine comes back with
    /// a new one, and hears of it there.
    fn payload_response(self: Arc<Self>, file: tokio::fs::File, from: u64, size: u64) -> Response<Body> {
        let length = size - from;
        let cancelled = Box::pin(async move { self.cancelled().await });
        let stream = ReaderStream::with_capacity(file.take(length), CHUNK).take_until(cancelled);
        let mut response = Response::new(BodyExt::boxed(StreamBody::new(stream.map_ok(Frame::data))));
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(ACCEPT_RANGES, hyper::header::HeaderValue::from_static("bytes"));
        if from > 0 {
            let range = format!("bytes {from}-{}/{size}", size.saturating_sub(1));
            if let Ok(value) = range.parse() {
                headers.insert(CONTENT_RANGE, value);
            }
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        response
    }
}

async fn open_at(path: &std::path::Path, from: u64) -> std::io::Result<(tokio::fs::File, u64)> {
    let mut file = tokio::fs::File::open(path).await?;
    let size = file.metadata().await?.len();
    file.seek(std::io::SeekFrom::Start(from)).await?;
    Ok((file, size))
}

/// `bytes=N-`, the only form that an engine sends.
fn range_start(header: &str) -> Option<u64> {
    header.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

async fn read<T: serde::de::DeserializeOwned>(request: Request<Incoming>) -> Result<T, Response<Body>> {
    let body = Limited::new(request.into_body(), BODY_LIMIT)
        .collect()
        .await
        .map_err(|_| plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or was cut off"))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|e| plain(StatusCode::BAD_REQUEST, &e.to_string()))
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

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(full(text.as_bytes().to_vec()));
    *response.status_mut() = status;
    response
}

fn full(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()
}

#[cfg(test)]
mod tests {
    use super::range_start;

    #[test]
    fn only_open_ranges_are_understood() {
        assert_eq!(range_start("bytes=17-"), Some(17));
        for header in ["bytes=0-5", "bytes=-5", "17-", "bytes=x-"] {
            assert_eq!(range_start(header), None, "{header}");
        }
    }
}
