//! Peers that impersonate an engine or the server.

use super::engine::{Engine, whole_conversation};
use super::site::{Site, ask, client_config, dial_from, engine_tls, host, tls, until};
use super::wire::{Tamper, Wire};
use crate::callback::{Cause, Limits, RunIdentity};
use farrier_protocol::{CallbackConfig, EventBody, PREFLIGHT};
use rcgen::{CertificateParams, KeyPair, SanType};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HOUR: Duration = Duration::from_hours(1);

/// Reports whether the server refuses this configuration. In TLS 1.3 a client's handshake completes
/// before the server has verified the certificate; the client sees the refusal with its first
/// request.
async fn refused(config: &CallbackConfig, to: SocketAddr) -> bool {
    let stream = TcpStream::connect(to).await.unwrap();
    match engine_tls(config, stream).await {
        Ok(mut stream) => ask(&mut stream, b"POST /v1/next HTTP/1.1\r\nHost: x\r\n\r\n").await.is_none(),
        Err(_) => true,
    }
}

/// Returns the configuration of the engine of session s1 with another certificate.
fn with(site: &Site, certificate: String, key: String) -> CallbackConfig {
    CallbackConfig { certificate, key, ..site.config("s1") }
}

/// Creates a self-signed certificate with the names of an engine's certificate.
fn self_signed() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    let names = ["farrier:session:s1", "farrier:run:r1"];
    params.subject_alt_names = names.map(|name| SanType::URI(name.try_into().unwrap())).to_vec();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Each certificate is refused, and the engine with the right certificate notices nothing.
#[tokio::test]
async fn a_certificate_is_valid_for_its_own_session_only() {
    let site = Site::open(Limits::default());
    let (engine_api, _registration) = site.session("s1");
    let (_other, _other_registration) = site.session("s2");
    let mut good = Engine::call(&site, "s1").await;

    let neighbour = CallbackConfig { server_name: CallbackConfig::server_name_of("s1"), ..site.config("s2") };
    let of_other_run = RunIdentity::generate("r1").unwrap().client_certificate("s1", HOUR).unwrap();
    let long_ago = SystemTime::now() - 2 * HOUR;
    let expired = site.identity.client_certificate_at("s1", long_ago, HOUR).unwrap();
    let far_off = SystemTime::now() + 2 * HOUR;
    let early = site.identity.client_certificate_at("s1", far_off, HOUR).unwrap();
    let own = self_signed();
    let map = site.identity.to_map();
    let pem = |name: &str| String::from_utf8(map[name].clone()).unwrap();
    for (what, config, cause, times) in [
        ("another machine's", neighbour, Cause::WrongSession, 1),
        ("another run's", with(&site, of_other_run.certificate, of_other_run.key), Cause::Certificate, 1),
        ("an expired one", with(&site, expired.certificate, expired.key), Cause::Expired, 1),
        ("one from the future", with(&site, early.certificate, early.key), Cause::Expired, 2),
        ("a self-signed one", with(&site, own.0, own.1), Cause::Certificate, 2),
        ("the server's own", with(&site, pem("tls.crt"), pem("tls.key")), Cause::Certificate, 3),
        ("the CA's", with(&site, pem("ca.crt"), pem("ca.key")), Cause::Certificate, 4),
    ] {
        assert!(refused(&config, site.https()).await, "{what}");
        site.refused(cause, times).await;
        good.is_well().await;
    }
    whole_conversation(&site, &engine_api, &mut good).await;
}

/// If this fails, a preflight counts as an attack, a server that answers looks like a firewall, or
/// rejected addresses are unknown.
#[tokio::test]
async fn a_preflight_is_answered_and_a_stranger_is_remembered() {
    let site = Site::open(Limits::default());
    let begun = Instant::now();
    let word = format!("{PREFLIGHT}\n");
    let mut machine = TcpStream::connect(site.https()).await.unwrap();
    machine.write_all(word.as_bytes()).await.unwrap();
    assert!(machine.read(&mut [0; 16]).await.unwrap() > 0, "an answer");
    site.refused(Cause::Silent, 1).await;
    assert_eq!(site.refusals(), []);
    let refusals = site.server.refusals();
    assert!(refusals.unknown_sources_since(begun).is_empty());
    let mut stranger = dial_from(host(9), site.https()).await.unwrap();
    // The connection may be closed before the message is sent.
    stranger.write_all(word.as_bytes()).await.ok();
    assert!(matches!(stranger.read(&mut [0; 16]).await, Ok(0) | Err(_)), "no answer");
    until(|| refusals.unknown_sources_since(begun) == [host(9)]).await;
    assert!(refusals.unknown_sources_since(Instant::now()).is_empty());
}

#[tokio::test]
async fn nothing_older_than_tls_1_3_is_accepted() {
    let site = Site::open(Limits::default());
    let (engine_api, _registration) = site.session("s1");
    let mut good = Engine::call(&site, "s1").await;
    let config = site.config("s1");
    let old = client_config(&config, &[&rustls::version::TLS12]);
    for (times, name) in [(1, config.server_name.as_str()), (2, "127.0.0.1")] {
        let stream = TcpStream::connect(site.https()).await.unwrap();
        assert!(tls(&old, name, stream).await.is_err());
        site.refused(Cause::Handshake, times).await;
    }
    whole_conversation(&site, &engine_api, &mut good).await;
}

/// An eavesdropper records a whole connection and replays it byte by byte.
#[tokio::test]
async fn a_replay_is_refused() {
    let site = Site::open(Limits::default());
    let (engine_api, _registration) = site.session("s1");
    let wire = Wire::to(site.https(), Tamper::Nothing).await;
    let stream =
        engine_tls(&site.config("s1"), TcpStream::connect(wire.address).await.unwrap()).await.unwrap();
    let mut recorded = Engine::on(stream, "s1").await;
    recorded.post(EventBody::TaskDone { task: "t".into() }).await;
    drop(recorded);
    let words = wire.heard.lock().unwrap().clone();
    assert!(words.len() > 1000, "hello, certificate, two requests");

    let mut good = Engine::call(&site, "s1").await;
    let (engines, events) = (site.counters.engines(), engine_api.events_after(0));
    let first = 5 + usize::from(u16::from_be_bytes([words[3], words[4]]));
    let mut replay = TcpStream::connect(site.https()).await.unwrap();
    replay.write_all(&words[..first]).await.unwrap();
    replay.read_u8().await.expect("an answer to the first words");
    replay.write_all(&words[first..]).await.unwrap();
    // Whatever the client receives, it cannot be read with the recorded keys.
    replay.read_to_end(&mut Vec::new()).await.ok();
    site.refused(Cause::Handshake, 1).await;
    assert_eq!((site.counters.engines(), engine_api.events_after(0)), (engines, events));
    whole_conversation(&site, &engine_api, &mut good).await;
}

/// An impostor answers in place of the server, with a certificate for the right names by its own
/// CA.
#[tokio::test]
async fn an_engine_does_not_talk_to_an_impostor() {
    let site = Site::open(Limits::default());
    let middle = Site::open(Limits::default());
    let (engine_api, _registration) = site.session("s1");
    let (_stolen, _stolen_registration) = middle.session("s1");
    let mut good = Engine::call(&site, "s1").await;
    assert!(refused(&site.config("s1"), middle.https()).await);
    middle.refused(Cause::Handshake, 1).await;
    assert_eq!((middle.counters.engines(), site.refusals()), (0, Vec::new()));
    whole_conversation(&site, &engine_api, &mut good).await;
}

/// One bit is flipped in transit, wherever it is: the stream ends, and no wrong data is accepted.
#[tokio::test]
async fn a_flipped_bit_ends_the_stream() {
    let site = Site::open(Limits::default());
    let (engine_api, _registration) = site.session("s1");
    let (_tampered, _tampered_registration) = site.session("s2");
    let mut good = Engine::call(&site, "s1").await;
    let tampers = [20, 200, 700].map(Tamper::Engine).into_iter().chain([20, 90, 500].map(Tamper::Server));
    for (number, tamper) in tampers.enumerate() {
        let wire = Wire::to(site.https(), tamper).await;
        assert!(refused(&site.config("s2"), wire.address).await, "bit {number}");
        good.is_well().await;
    }
    whole_conversation(&site, &engine_api, &mut good).await;
}

/// Injected resets end a connection: the engine reconnects and resumes.
#[tokio::test]
async fn injected_resets_cost_a_reconnect_and_nothing_else() {
    let site = Site::open(Limits::default());
    let (engine_api, mut registration) = site.session("s1");
    let wire = Wire::to(site.https(), Tamper::Nothing).await;
    let config = site.config("s1");
    for seq in 0..5 {
        let stream = engine_tls(&config, TcpStream::connect(wire.address).await.unwrap()).await.unwrap();
        let mut engine = Engine::on(stream, "s1").await;
        let mut stream = registration.next_stream().await;
        engine.post(EventBody::TaskDone { task: format!("t{seq}") }).await;
        wire.cut();
        stream.ended().await;
        engine.cut_off().await;
    }
    assert_eq!(engine_api.events_after(0).len(), 5, "nothing is lost and nothing is there twice");
    let mut good = Engine::call(&site, "s1").await;
    whole_conversation(&site, &engine_api, &mut good).await;
}
