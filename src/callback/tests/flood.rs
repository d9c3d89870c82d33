//! Too many connections, slow ones, and ones from foreign addresses: a good engine must not notice
//! them.

use super::engine::{Engine, whole_conversation};
use super::site::{LOOPBACK, Site, ask, dial_from, host, until};
use crate::callback::transfer::MAX_TRANSFERS;
use crate::callback::{AddressSet, Cause, Limits};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Long enough for a good engine in a slow build, short enough to wait for.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn ten_thousand_connects_from_outside_do_no_harm() {
    let site = Site::open(Limits::default());
    let (engine_api, _registration) = site.session("s1");
    let mut good = Engine::call(&site, "s1").await;
    for number in 0..10_000 {
        let to = if number % 2 == 0 { site.https() } else { site.http() };
        // The reset may arrive before or after the connect completes.
        drop(dial_from(host(2), to).await);
        if number % 1000 == 0 {
            good.is_well().await;
        }
    }
    site.refused(Cause::Source, 10_000).await;
    assert_eq!((site.counters.accepted(), site.counters.open()), (1, 1));
    let told = site.server.refusals().take(&BTreeSet::new());
    assert_eq!(
        told.iter().map(|r| (r.cause, r.count, r.source)).collect::<Vec<_>>(),
        [(Cause::Source, 10_000, host(2))]
    );
    whole_conversation(&site, &engine_api, &mut good).await;
}

#[tokio::test]
async fn ten_thousand_connects_from_inside_are_counted_and_forgotten() {
    let site = Site::open(Limits::default());
    let (engine_api, _registration) = site.session("s1");
    let mut good = Engine::call(&site, "s1").await;
    for number in 0..10_000 {
        let to = if number % 2 == 0 { site.https() } else { site.http() };
        drop(TcpStream::connect(to).await);
        if number % 1000 == 0 {
            good.is_well().await;
        }
    }
    let seen = || site.counters.refused(Cause::Silent) + site.counters.refused(Cause::TooMany);
    until(|| seen() == 10_000 && site.counters.open() == 1).await;
    whole_conversation(&site, &engine_api, &mut good).await;
}

/// One of the run's machines opens a thousand connections and sends next to nothing on them.
#[tokio::test]
async fn a_thousand_slow_handshakes_keep_no_engine_waiting() {
    let site = Site::open(Limits { handshake: SOON, ..Limits::default() });
    site.sources.send_replace(Arc::new(AddressSet::from_iter([LOOPBACK, host(2)])));
    let (engine_api, _registration) = site.session("s1");
    let (late, _late_registration) = site.session("s2");
    let mut good = Engine::call(&site, "s1").await;
    let mut slow = Vec::new();
    for _ in 0..1000 {
        // The reset may arrive before the connect completes.
        let Ok(mut stream) = dial_from(host(2), site.https()).await else { continue };
        // The beginning of a handshake; the rest never comes.
        stream.write_all(&[22, 3, 1]).await.ok();
        slow.push(stream);
    }
    until(|| site.counters.refused(Cause::TooMany) >= 1000 - Limits::default().per_source as u64).await;
    good.is_well().await;
    let mut newcomer = Engine::call(&site, "s2").await;
    whole_conversation(&site, &late, &mut newcomer).await;
    until(|| site.counters.refused(Cause::TooMany) + site.counters.refused(Cause::TooSlow) == 1000).await;
    whole_conversation(&site, &engine_api, &mut good).await;
}

/// An engine gets through even from the address that the slow connections come from.
#[tokio::test]
async fn the_oldest_handshake_is_evicted_for_the_newest() {
    let site = Site::open(Limits::default());
    let (engine_api, _registration) = site.session("s1");
    let mut slow = Vec::new();
    for _ in 0..Limits::default().per_source {
        slow.push(TcpStream::connect(site.https()).await.unwrap());
    }
    until(|| site.counters.open() == slow.len() as u64).await;
    let mut good = Engine::call(&site, "s1").await;
    site.refused(Cause::TooMany, 1).await;
    assert!(slow[0].read_u8().await.is_err(), "the oldest was reset");
    whole_conversation(&site, &engine_api, &mut good).await;
}

/// Fifty machines of the run hold all the handshakes that there may be: a new engine still gets in,
/// and an honest handshake is not evicted for them.
#[tokio::test]
async fn many_addresses_together_keep_no_engine_out() {
    let limits = Limits::for_descriptors(1024);
    assert_eq!((limits.per_source, limits.handshakes, limits.connections), (32, 128, 512));
    let site = Site::open(limits);
    let hosts: Vec<_> = (2..52).map(host).collect();
    site.sources.send_replace(Arc::new(hosts.iter().copied().chain([LOOPBACK]).collect()));
    let (engine_api, _registration) = site.session("s1");
    let mut honest = TcpStream::connect(site.https()).await.unwrap();
    until(|| site.counters.open() == 1).await;
    let mut held = Vec::new();
    for round in 0..20 {
        for host in &hosts {
            held.extend(dial_from(*host, site.https()).await.ok());
        }
        let most = limits.handshakes as u64;
        assert!(site.counters.open() <= most + 50, "{} in round {round}", site.counters.open());
    }
    until(|| site.counters.open() <= limits.handshakes as u64).await;
    let read = tokio::time::timeout(Duration::from_millis(50), honest.read_u8()).await;
    assert!(read.is_err(), "the one handshake of an address stays");
    let mut good = Engine::call(&site, "s1").await;
    whole_conversation(&site, &engine_api, &mut good).await;
}

/// A machine that does nothing but handshakes, with or without a certificate.
#[tokio::test]
async fn an_address_that_connects_too_often_is_refused_before_a_byte_is_read() {
    let site = Site::open(Limits { begins: (3, 1), ..Limits::default() });
    let (engine_api, _registration) = site.session("s1");
    for _ in 0..2 {
        drop(Engine::call(&site, "s1").await);
    }
    let mut good = Engine::call(&site, "s1").await;
    let accepted = site.counters.accepted();
    for _ in 0..100 {
        drop(TcpStream::connect(site.https()).await);
    }
    until(|| site.counters.refused(Cause::TooMany) >= 90).await;
    assert!(site.counters.accepted() < accepted + 10, "a second or two of waiting at most");
    whole_conversation(&site, &engine_api, &mut good).await;
}

/// The fetches of devices are not evicted for newer connections.
#[tokio::test]
async fn a_fetch_is_not_evicted() {
    let site = Site::open(Limits { per_source: 1, ..Limits::default() });
    let mut device = TcpStream::connect(site.http()).await.unwrap();
    let path = site.path();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(ask(&mut device, request.as_bytes()).await.unwrap().status, 200);
    let mut second = TcpStream::connect(site.http()).await.unwrap();
    assert!(second.read_u8().await.is_err());
    site.refused(Cause::TooMany, 1).await;
    assert_eq!(ask(&mut device, request.as_bytes()).await.unwrap().status, 200);
}

#[tokio::test]
async fn slow_peers_time_out() {
    let brief = Duration::from_secs(1);
    let site = Site::open(Limits { request: brief, reader: brief, ..Limits::default() });
    let (engine_api, _registration) = site.session("s1");
    let mut good = Engine::call(&site, "s1").await;

    let mut headers = TcpStream::connect(site.http()).await.unwrap();
    headers.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    site.refused(Cause::TooSlow, 1).await;

    let mut reader = dial_small(site.http()).await;
    let path = site.path();
    for _ in 0..8 {
        // Eight times three megabytes fit into no socket.
        reader.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    }
    site.refused(Cause::TooSlow, 2).await;
    whole_conversation(&site, &engine_api, &mut good).await;
}

/// A machine that opens download after download and reads none of them must not keep an image from another one.
#[tokio::test]
async fn readers_that_stand_still_starve_no_other_machine() {
    let site = Site::open(Limits::default());
    site.sources.send_replace(Arc::new(AddressSet::from_iter([LOOPBACK, host(2)])));
    site.offers.owners.lock().unwrap().push(host(2));
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", site.path());
    let mut still = Vec::new();
    for _ in 0..MAX_TRANSFERS {
        let mut reader = dial_small(site.http()).await;
        reader.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(reader.read_u8().await.unwrap(), b'H');
        still.push(reader);
    }
    let mut more = TcpStream::connect(site.http()).await.unwrap();
    let answer = ask(&mut more, request.as_bytes()).await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("15")));
    site.refused(Cause::TooMany, 1).await;
    let mut other = dial_from(host(2), site.http()).await.unwrap();
    let answer = tokio::time::timeout(SOON * 5, ask(&mut other, request.as_bytes())).await.unwrap().unwrap();
    assert!(answer.status == 200 && answer.body == site.payload);
    still.pop();
    until(|| site.transfers_of(LOOPBACK) < MAX_TRANSFERS).await;
    assert_eq!(ask(&mut more, request.as_bytes()).await.unwrap().status, 200);
}

/// Opens a connection with a receive buffer that is full at once.
async fn dial_small(to: std::net::SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(to).await.unwrap()
}
