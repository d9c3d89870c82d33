//! Devices without a certificate, and peers that try paths.

use super::engine::Engine;
use super::site::{LOOPBACK, Site, anonymous, ask, device, get, tls, until};
use crate::callback::{Cause, Limits};
use farrier_protocol::CallbackConfig;
use std::collections::BTreeSet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

impl Site {
    /// The path of the offer, without the file's name.
    pub(super) fn folder(&self) -> String {
        format!("/{}/{}", self.identity.path_token(), self.identity.offer_token("s1", 4))
    }

    pub(super) fn path(&self) -> String {
        format!("{}/farrier-s1-4-ilo%205.bin", self.folder())
    }
}

async fn fetches_everything(of: &Site, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let (path, size) = (of.path(), of.payload.len());
    let whole = get(stream, &path, "").await.unwrap();
    assert_eq!((whole.status, whole.body == of.payload), (200, true));
    let etag = whole.header("etag").unwrap().to_owned();

    let head = ask(stream, format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some(size.to_string().as_str())));

    for (range, from, end) in [("5-9", 5, 10), ("2999999-", 2_999_999, size), ("-7", size - 7, size)] {
        let part = get(stream, &path, &format!("Range: bytes={range}\r\n")).await.unwrap();
        assert_eq!((part.status, part.body == of.payload[from..end]), (206, true), "{range}");
        let expected = format!("bytes {from}-{}/{size}", end - 1);
        assert_eq!(part.header("content-range"), Some(expected.as_str()));
    }
    let part = get(stream, &path, &format!("Range: bytes=5-9\r\nIf-Range: {etag}\r\n")).await.unwrap();
    assert_eq!(part.status, 206);
    let whole = get(stream, &path, "Range: bytes=5-9\r\nIf-Range: \"sha256:00\"\r\n").await.unwrap();
    assert_eq!((whole.status, whole.body.len()), (200, size));
    let beyond = get(stream, &path, &format!("Range: bytes={size}-\r\n")).await.unwrap();
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (416, Some(format!("bytes */{size}").as_str()))
    );
    let unchanged = get(stream, &path, &format!("If-None-Match: {etag}\r\n")).await.unwrap();
    assert_eq!(unchanged.status, 304);
}

#[tokio::test]
async fn a_device_fetches_payloads_in_the_clear_and_over_tls() {
    let site = Site::open(Limits::default());
    fetches_everything(&site, &mut TcpStream::connect(site.http()).await.unwrap()).await;
    let stream = TcpStream::connect(site.https()).await.unwrap();
    let mut stream = tls(&device(&site), "127.0.0.1", stream).await.unwrap();
    fetches_everything(&site, &mut stream).await;
    assert_eq!(site.refusals(), Vec::new());
    assert_eq!(*site.offers.connections.lock().unwrap(), [LOOPBACK; 2]);
}

/// Requests that must get nothing, and the statuses that say so. No answer at all is accepted too.
fn tricks(site: &Site) -> Vec<(String, &'static [u16])> {
    let (token, digest) = (site.identity.path_token(), &site.digest);
    let (offer, name) = (site.identity.offer_token("s1", 4), "farrier-s1-4-ilo%205.bin");
    let turned = |token: &str| format!("{}{}", &token[1..], &token[..1]);
    let (wrong, other) = (turned(token), turned(&offer));
    let mut requests: Vec<(String, &'static [u16])> = [
        "/".to_owned(),
        format!("/{wrong}/{offer}/{name}"),
        format!("/{}/{offer}/{name}", token.to_uppercase()),
        format!("/{token}/{other}/{name}"),
        format!("/{token}/{}/{name}", offer.to_uppercase()),
        format!("/{token}/{}/{name}", &offer[..31]),
        format!("/{token}//{name}"),
        format!("/{token}/{offer}/"),
        format!("/{token}/{offer}"),
        format!("/{token}/payloads/{digest}"),
        format!("/{token}/{offer}/{digest}"),
        format!("/{token}/{offer}/{}", name.to_uppercase()),
        format!("/{token}/{offer}/farrier-s1-4-ilo%205"),
        format!("/{token}/{offer}/{name}/"),
        format!("/{token}/{offer}/{name}?x=1"),
        format!("//{token}/{offer}/{name}"),
        format!("/{token}//{offer}/{name}"),
        format!("/{token}/{offer}/../{offer}/{name}"),
        format!("/{token}/{offer}/../../../../../../etc/passwd"),
        format!("/{token}/{offer}/%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
        format!("/{token}/{offer}/..%5c..%5cetc"),
        format!("/%2e/{token}/{offer}/{name}"),
        format!("/{token}/{offer}/{name}%00"),
    ]
    .into_iter()
    .map(|path| (format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"), [404].as_slice()))
    .collect();
    let path = site.path();
    requests.extend([
        ("POST /v1/hello HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), [403].as_slice()),
        (format!("POST {path} HTTP/1.1\r\nHost: x\r\n\r\n"), &[405]),
        (format!("DELETE {path} HTTP/1.1\r\nHost: x\r\n\r\n"), &[405]),
        (format!("GET http://evil/{token}/{name} HTTP/1.1\r\nHost: x\r\n\r\n"), &[404]),
        ("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), &[400]),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), &[404]),
        (format!("GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /"), &[400]),
        (
            format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            &[400],
        ),
        (format!("GET {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n"), &[400]),
        (format!("GET {path} HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), &[400]),
        (format!("GET {path}\0 HTTP/1.1\r\nHost: x\r\n\r\n"), &[400]),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(200_000)), &[400, 404, 414, 431]),
        (format!("GET {path} HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(200_000)), &[400, 431]),
        (format!("GET {path} HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1000)), &[400, 431]),
        ("\x16\x03\x01\x02\x00 is no request\r\n\r\n".to_owned(), &[400]),
    ]);
    requests
}

/// Each request gets its refusal and nothing after it, and is counted once.
#[tokio::test]
async fn no_path_and_no_malformed_request_gets_anything() {
    let site = Site::open(Limits::default());
    let (_conversation, _registration) = site.session("s1");
    let mut good = Engine::call(&site, "s1").await;
    for (number, (request, statuses)) in tricks(&site).into_iter().enumerate() {
        let shown: String = request.chars().take(100).collect();
        let mut stream = TcpStream::connect(site.http()).await.unwrap();
        let answer = ask(&mut stream, request.as_bytes()).await;
        if let Some(answer) = answer {
            assert!(statuses.contains(&answer.status), "{shown:?} gets {}", answer.status);
        }
        let mut rest = Vec::new();
        // A reset is accepted as an end too.
        stream.read_to_end(&mut rest).await.ok();
        assert!(rest.is_empty(), "{shown:?} is followed by {} bytes", rest.len());
        site.refused(Cause::Path, number as u64 + 1).await;
        good.is_well().await;
    }
    let told = site.server.refusals().take(&BTreeSet::new());
    assert_eq!(told.iter().map(|r| r.cause).collect::<Vec<_>>(), [Cause::Path], "one for all");
}

/// The name of a session makes the server ask for the certificate: without a certificate the engine
/// API is not served.
#[tokio::test]
async fn without_a_certificate_the_engine_api_is_not_served() {
    let site = Site::open(Limits::default());
    let (_conversation, _registration) = site.session("s1");
    let mut good = Engine::call(&site, "s1").await;
    let config = anonymous(&site.identity.server_pin());
    let stream = TcpStream::connect(site.https()).await.unwrap();
    let named = tls(&config, &CallbackConfig::server_name_of("s1"), stream).await;
    let refused = match named {
        Ok(mut stream) => ask(&mut stream, b"POST /v1/next HTTP/1.1\r\nHost: x\r\n\r\n").await.is_none(),
        Err(_) => true,
    };
    assert!(refused);
    site.refused(Cause::Certificate, 1).await;
    let stream = TcpStream::connect(site.https()).await.unwrap();
    let mut unnamed = tls(&device(&site), "127.0.0.1", stream).await.unwrap();
    let answer = ask(&mut unnamed, b"POST /v1/next HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(answer.status, 403);
    site.refused(Cause::Path, 1).await;
    good.is_well().await;
    drop(good);
    until(|| site.counters.open() == 0).await;
}
