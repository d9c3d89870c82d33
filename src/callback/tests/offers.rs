//! Offers: each is for one machine and one action, and is served to machines that speak HTTP and TLS in their own
//! ways.

use super::site::{LOOPBACK, Site, ask, device_of, dial_from, get, host, tls, until};
use crate::callback::{AddressSet, Limits, POSTS, RunIdentity};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::net::TcpStream;

/// Otherwise only the runner that made an offer could serve it, or a restarted one could not.
#[tokio::test]
async fn every_runner_of_the_run_serves_the_same_offers() {
    let site = Site::open(Limits::default());
    let stored = RunIdentity::from_map("r1", &site.identity.to_map()).unwrap();
    let token = site.identity.offer_token("s1", 4);
    assert_eq!(stored.offer_token("s1", 4), token);
    assert_eq!(token.len(), 32);
    let others = [stored.offer_token("s1", 5), stored.offer_token("s2", 4), stored.offer_token("s", 14)];
    assert!(!others.contains(&token), "{others:?}");
    assert_ne!(RunIdentity::generate("r1").unwrap().offer_token("s1", 4), token);
    assert_eq!(site.offers.fetches.load(Ordering::SeqCst), 0);
    let mut stream = TcpStream::connect(site.http()).await.unwrap();
    assert_eq!(get(&mut stream, &site.path(), "").await.unwrap().body.len(), site.payload.len());
    assert_eq!(site.offers.fetches.load(Ordering::SeqCst), 1, "the payload is fetched on demand");
}

/// What the status shows of a fetch.
#[tokio::test]
async fn the_position_of_a_fetch_is_noted() {
    let site = Site::open(Limits::default());
    let mut stream = TcpStream::connect(site.http()).await.unwrap();
    let head = format!("HEAD {} HTTP/1.1\r\nHost: x\r\n\r\n", site.path());
    ask(&mut stream, head.as_bytes()).await.unwrap();
    assert_eq!(*site.offers.sent.lock().unwrap(), 0);
    get(&mut stream, &site.path(), "Range: bytes=1000-1999\r\n").await.unwrap();
    assert_eq!(*site.offers.sent.lock().unwrap(), 2000);
    get(&mut stream, &site.path(), "").await.unwrap();
    assert_eq!(*site.offers.sent.lock().unwrap(), site.payload.len() as u64);
}

/// An image must not be given to another machine, nor for an action that has ended, nor under another name.
#[tokio::test]
async fn an_offer_is_for_one_machine_and_one_action() {
    let site = Site::open(Limits::default());
    site.sources.send_replace(Arc::new(AddressSet::from_iter([LOOPBACK, host(2)])));
    let status = async |from: IpAddr, path: String| {
        let mut stream = dial_from(from, site.http()).await.unwrap();
        get(&mut stream, &path, "").await.map(|answer| answer.status)
    };
    assert_eq!(status(LOOPBACK, site.path()).await, Some(200));
    assert_eq!(status(host(2), site.path()).await, Some(404), "another machine of the run");
    let other = format!("/{}/{}", site.identity.path_token(), site.identity.offer_token("s1", 5));
    assert_eq!(status(LOOPBACK, format!("{other}/farrier-s1-4-ilo%205.bin")).await, Some(404));
    site.offers.open.lock().unwrap().clear();
    assert_eq!(status(LOOPBACK, site.path()).await, Some(404), "the action has ended");
}

/// Management processors speak old or careless HTTP.
#[tokio::test]
async fn machines_that_speak_http_carelessly_are_served() {
    let site = Site::open(Limits::default());
    let (path, folder) = (site.path(), site.folder());
    for request in [
        format!("GET {path} HTTP/1.0\r\n\r\n"),
        format!("GET {path} HTTP/1.0\r\nHost: 192.0.2.77\r\nConnection: keep-alive\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nHost: \r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nHost: elsewhere.example:80\r\nUser-Agent: \r\n\r\n"),
        format!("GET http://192.0.2.77:63001{path} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET {folder}/farrier%2Ds1-4-ilo%205%2ebin HTTP/1.1\r\nHost: x\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(site.http()).await.unwrap();
        let answer = ask(&mut stream, request.as_bytes()).await.expect("an answer");
        assert_eq!((answer.status, answer.body == site.payload), (200, true), "{request:?}");
    }
    assert_eq!(site.refusals(), Vec::new());
}

/// Many management processors have no TLS 1.3, and verify the address in the URL.
#[tokio::test]
async fn a_machine_verifies_the_servers_address_with_either_version_of_tls() {
    let site = Site::open(Limits::default());
    let names = ["127.0.0.1", "::1", "farrier.example"].map(str::to_owned);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        site.names.send_replace(Arc::new(BTreeSet::from(names.clone())));
        for name in &names {
            let stream = TcpStream::connect(site.https()).await.unwrap();
            let mut stream = tls(&device_of(&site, version), name, stream).await.unwrap();
            assert_eq!(get(&mut stream, &site.path(), "").await.unwrap().status, 200, "{name}");
        }
        site.names.send_replace(Arc::new(BTreeSet::from(["127.0.0.2".to_owned()])));
        let stream = TcpStream::connect(site.https()).await.unwrap();
        let refused = tls(&device_of(&site, version), "127.0.0.1", stream).await.unwrap_err();
        assert!(refused.to_string().contains("certificate"), "{refused}");
    }
}

/// The same with a client that nobody here wrote.
#[tokio::test]
async fn curl_fetches_an_offer_by_both_protocols() {
    let site = Site::open(Limits::default());
    let dir = tempfile::tempdir().unwrap();
    let authority = dir.path().join("ca.pem");
    std::fs::write(&authority, site.identity.authority()).unwrap();
    let fetch = async |more: &[&str], url: &str| {
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--cacert"]).arg(&authority);
        let output = curl.args(more).arg(url).output().await.expect("curl is installed");
        assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let http = format!("http://{}{}", site.http(), site.path());
    let https = format!("https://{}{}", site.https(), site.path());
    for more in [&[][..], &["--tls-max", "1.2"]] {
        assert!(fetch(more, &https).await == site.payload, "{more:?}");
    }
    assert!(fetch(&["--http1.0"], &http).await == site.payload);
    assert!(fetch(&["--range", "10-19"], &http).await == site.payload[10..20]);
}

/// The path to which a machine posts the events of action 9.
fn posts(site: &Site) -> String {
    format!("/{}/{}/{POSTS}", site.identity.path_token(), site.identity.offer_token("s1", 9))
}

async fn post(from: IpAddr, site: &Site, path: &str, length: usize) -> Option<u16> {
    let mut stream = dial_from(from, site.http()).await.ok()?;
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    let request = [head.into_bytes(), vec![b'x'; length]].concat();
    ask(&mut stream, &request).await.map(|answer| answer.status)
}

/// Whoever guesses nothing can make us do nothing, and whoever floods us is told to stop.
#[tokio::test]
async fn events_are_taken_from_the_machine_that_was_asked_for_them() {
    let site = Site::open(Limits::default());
    site.sources.send_replace(Arc::new(AddressSet::from_iter([LOOPBACK, host(2)])));
    let path = posts(&site);
    assert_eq!(post(host(2), &site, &path, 0).await, Some(404), "another machine of the run");
    let image = format!("{}/{POSTS}", site.folder());
    assert_eq!(post(LOOPBACK, &site, &image, 0).await, Some(404), "the token of an image");
    assert_eq!(post(LOOPBACK, &site, &format!("{path}?x=1"), 0).await, Some(404));
    assert_eq!(site.offers.posts.load(Ordering::SeqCst), 0);
    for length in [0, 10, 64 * 1024] {
        assert_eq!(post(LOOPBACK, &site, &path, length).await, Some(204), "{length}");
    }
    assert_eq!(post(LOOPBACK, &site, &path, 1).await, Some(429), "too many");
    assert_eq!(post(LOOPBACK, &site, &path, 64 * 1024 + 1).await, Some(413));
    assert_eq!(site.offers.posts.load(Ordering::SeqCst), 4, "one that is too long is not counted");
    let mut stream = TcpStream::connect(site.http()).await.unwrap();
    assert_eq!(get(&mut stream, &path, "").await.unwrap().status, 404, "nothing can be read there");
}

/// A post that never ends must not hold a connection.
#[tokio::test]
async fn a_post_that_is_not_completed_is_ended() {
    let limits = Limits { request: std::time::Duration::from_millis(200), ..Limits::default() };
    let site = Site::open(limits);
    let mut stream = TcpStream::connect(site.http()).await.unwrap();
    let head = format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf", posts(&site));
    assert_eq!(ask(&mut stream, head.as_bytes()).await.map(|answer| answer.status), Some(408));
    assert_eq!(site.offers.posts.load(Ordering::SeqCst), 0);
}

/// Otherwise a machine that trusts another authority would look as if a firewall was in its way.
#[tokio::test]
async fn a_machine_that_rejects_the_certificate_is_noticed() {
    let site = Site::open(Limits::default());
    site.names.send_replace(Arc::new(BTreeSet::from(["127.0.0.1".to_owned()])));
    let other = Site::open(Limits::default());
    let rejections = || site.offers.rejections.lock().unwrap().clone();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let stream = TcpStream::connect(site.https()).await.unwrap();
        // It trusts the authority of another run only.
        assert!(tls(&device_of(&other, version), "127.0.0.1", stream).await.is_err());
        until(|| !rejections().is_empty()).await;
        let words = rejections().concat();
        assert!(words.contains("UnknownCA") || words.contains("DecryptError"), "{words}");
        site.offers.rejections.lock().unwrap().clear();
    }
    let stream = TcpStream::connect(site.https()).await.unwrap();
    let mut stream = tls(&device_of(&site, &rustls::version::TLS13), "127.0.0.1", stream).await.unwrap();
    assert_eq!(get(&mut stream, &site.path(), "").await.unwrap().status, 200);
    assert_eq!((rejections(), site.offers.requests.lock().unwrap().clone()), (Vec::new(), vec![4]));
}
