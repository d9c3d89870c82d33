//! The operator's own HTTP endpoint: `/healthz`, `/readyz`, `/metrics`.
//!
//! The endpoint is reachable over the network, so everything is bounded: one small request per
//! connection, a timeout, and a maximum number of connections above which the oldest one is closed.
//! A probe that is answered in milliseconds gets through however many other connections hang. None
//! of the data is secret, and nothing can be changed through the endpoint.

use crate::health::{Loops, Readiness};
use crate::metrics::Metrics;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// The default address: reachable from this host only.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Timeout of a connection. A scrape of ten thousand machines takes some milliseconds.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// The smallest limit for a request's head that the server accepts, and plenty for a scraper's
/// request.
const HEAD_LIMIT: usize = 8 * 1024;

/// Maximum number of connections: a handful of scrapers and probes, with room to spare.
const MAX_CONNECTIONS: usize = 64;

/// Pause after a failed accept: mostly file descriptors are exhausted, which passes.
const AFTER_ERROR: Duration = Duration::from_millis(200);

/// "Address family not supported", on Linux.
const EAFNOSUPPORT: i32 = 97;

/// What the endpoint serves.
#[derive(Clone)]
pub struct Endpoint {
    /// For `/metrics`.
    pub metrics: Metrics,
    /// For `/healthz`.
    pub loops: Loops,
    /// For `/readyz`.
    pub readiness: Readiness,
}

/// Binds the requested address, or the default one. Returns `None` if the default address is in
/// use; the operator works without the endpoint then.
///
/// # Errors
/// When a requested address cannot be bound.
pub async fn bind(asked: Option<SocketAddr>) -> std::io::Result<Option<TcpListener>> {
    match asked {
        Some(address) => match TcpListener::bind(address).await {
            // On a host without IPv6, all addresses are IPv4 addresses.
            Err(error) if error.raw_os_error() == Some(EAFNOSUPPORT) && address.ip().is_unspecified() => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await.map(Some)
            }
            bound => bound.map(Some),
        },
        None => match TcpListener::bind(DEFAULT_ADDRESS).await {
            Ok(listener) => Ok(Some(listener)),
            Err(error) => {
                tracing::warn!(address = %DEFAULT_ADDRESS, %error, "health and metrics are not served, because the default address cannot be bound; set another address with --http-addr");
                Ok(None)
            }
        },
    }
}

impl Endpoint {
    /// Serves requests forever.
    pub async fn serve(self, listener: TcpListener) -> Infallible {
        let mut open: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a connection to the HTTP endpoint could not be accepted");
                    // sleep: without it a lack of descriptors is a busy loop.
                    tokio::time::sleep(AFTER_ERROR).await;
                    continue;
                }
            };
            open.retain(|connection| !connection.is_finished());
            if open.len() >= MAX_CONNECTIONS
                && let Some(oldest) = open.pop_front()
            {
                oldest.abort();
            }
            open.push_back(tokio::spawn(self.clone().connection(stream)).abort_handle());
        }
    }

    async fn connection(self, stream: TcpStream) {
        let service = service_fn(move |request| {
            let endpoint = self.clone();
            async move { Ok::<_, Infallible>(endpoint.answer(&request).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(CONNECTION_LIMIT)
            .max_buf_size(HEAD_LIMIT)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        match tokio::time::timeout(CONNECTION_LIMIT, served).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::trace!(%error, "a connection to the HTTP endpoint ended early"),
            Err(_) => tracing::trace!("a connection to the HTTP endpoint took too long"),
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n".to_owned());
        }
        match request.uri().path() {
            "/healthz" | "/livez" => report(self.loops.report()),
            "/readyz" => report(self.readiness.report().await),
            "/metrics" => match self.metrics.encode() {
                Ok(text) => {
                    typed(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text)
                }
                Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            },
            _ => plain(StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n".to_owned()),
        }
    }
}

fn report(report: crate::health::Report) -> Response<Full<Bytes>> {
    let status = if report.good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    plain(status, report.into_text())
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, type_: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(type_));
    response
}

#[cfg(test)]
mod tests;
