//! The ports: they really close, and connections really end, while the BMC starts again.

use std::sync::{Arc, Mutex, PoisonError};

use farrier_double_parts::port::Port;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::certificate::Certificate;
use crate::reply::Reply;
use crate::route::{self, Asked};
use crate::state::{Bmc, Net};
use crate::variant::PlainHttp;
use crate::wire::{Aborted, Answer, finish};

pub(crate) const BACKLOG: i32 = 128;

/// HTTPS and HTTP.
pub(crate) const PORTS: usize = 2;

/// What a port speaks.
#[derive(Debug, Clone)]
pub(crate) enum Speaks {
    Https(Arc<Mutex<Certificate>>),
    /// With the HTTPS port, for redirects.
    Http(u16),
}

/// Serves until the double ends. While the BMC is down the port is kept, but closed.
pub(crate) async fn serve(bmc: Arc<Bmc>, port: Port, speaks: Speaks) -> anyhow::Result<()> {
    let connected = |stream| drop(tokio::spawn(connection(Arc::clone(&bmc), stream, speaks.clone())));
    port.serve(bmc.net.subscribe(), &bmc.open_ports, connected, || {}).await
}

async fn connection(bmc: Arc<Bmc>, stream: TcpStream, speaks: Speaks) {
    let mut net = bmc.net.subscribe();
    if *net.borrow_and_update() != Net::Up {
        return;
    }
    let talk = async {
        match speaks {
            Speaks::Https(certificate) => {
                let acceptor = certificate.lock().unwrap_or_else(PoisonError::into_inner).acceptor.clone();
                if let Ok(stream) = acceptor.accept(stream).await {
                    talk(bmc, stream, "https", None).await;
                }
            }
            Speaks::Http(https) => talk(bmc, stream, "http", Some(https)).await,
        }
    };
    tokio::select! {
        () = talk => {}
        _ = net.changed() => {}
    }
}

async fn talk<S>(bmc: Arc<Bmc>, stream: S, scheme: &'static str, redirect: Option<u16>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let bmc = Arc::clone(&bmc);
        async move {
            match redirect
                .filter(|_| bmc.variant.plain_http == PlainHttp::Redirect && !bmc.lock().settings.serve_http)
            {
                Some(port) => redirected(&bmc, port, &request),
                None => route::answer(bmc, scheme, request).await,
            }
        }
    });
    // Connections that a client or a test breaks are none of the double's business.
    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

fn redirected(
    bmc: &Bmc,
    port: u16,
    request: &hyper::Request<hyper::body::Incoming>,
) -> Result<hyper::Response<Answer>, Aborted> {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let asked = Asked {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: String::new(),
        head: hyper::HeaderMap::new(),
        body: bytes::Bytes::new(),
        base: String::new(),
        early: None,
    };
    finish(bmc, &asked, Reply::empty(308).with("location", format!("https://{host}:{port}{}", request.uri())))
}
