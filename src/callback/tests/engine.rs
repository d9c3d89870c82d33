//! A good engine: all exchanges of a session, also after a reconnect.

use super::site::{LONG, Site, ask, dial_from, engine_tls, get, host, post, until};
use crate::callback::{AddressSet, Limits, Registration};
use crate::engine_api::{EngineApi, TaskEnd};
use farrier_protocol::{Ack, Event, EventBody, Hello, Next, Task, Welcome, Work};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The engine of a session, played by the test.
pub(super) struct Engine<S> {
    session: String,
    seq: u64,
    stream: S,
}

impl Engine<TlsStream<TcpStream>> {
    pub(super) async fn call(site: &Site, session: &str) -> Self {
        let config = site.config(session);
        let stream = engine_tls(&config, TcpStream::connect(site.https()).await.unwrap()).await.unwrap();
        Self::on(stream, session).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Engine<S> {
    pub(super) async fn on(stream: S, session: &str) -> Self {
        let mut engine = Self { session: session.to_owned(), seq: 0, stream };
        let hello = engine.hello();
        let answer = post(&mut engine.stream, "/v1/hello", &hello).await.expect("an answer to hello");
        assert_eq!(answer.status, 200);
        engine.seq = answer.json::<Welcome>().ack;
        engine
    }

    fn hello(&self) -> Hello {
        Hello {
            protocol: farrier_protocol::VERSION,
            engine: "0".into(),
            session: self.session.clone(),
            last_seq: self.seq,
            ..Hello::default()
        }
    }

    pub(super) async fn next(&mut self) -> Task {
        post(&mut self.stream, "/v1/next", &Next { done: None }).await.expect("a task").json()
    }

    pub(super) async fn post(&mut self, body: EventBody) {
        self.seq += 1;
        let answer = post(&mut self.stream, "/v1/events", &vec![Event { seq: self.seq, at: 0, body }]).await;
        assert_eq!(answer.expect("an acknowledgement").json::<Ack>().ack, self.seq);
    }

    /// Asserts that the stream still works: the engine can send and is answered.
    pub(super) async fn is_well(&mut self) {
        let answer = post(&mut self.stream, "/v1/events", &Vec::<Event>::new()).await;
        assert_eq!(answer.expect("the stream stands").json::<Ack>().ack, self.seq);
    }

    pub(super) async fn payload(&mut self, site: &Site, from: usize) {
        let path = format!("/v1/payloads/{}", site.digest);
        let more = if from > 0 { format!("Range: bytes={from}-\r\n") } else { String::new() };
        let answer = get(&mut self.stream, &path, &more).await.expect("a payload");
        assert_eq!(answer.status, if from > 0 { 206 } else { 200 });
        assert!(answer.body == site.payload[from..], "the bytes are right");
    }

    /// Asserts that the server ended the stream.
    pub(super) async fn cut_off(mut self) {
        let read = tokio::time::timeout(LONG, self.stream.read_u8()).await.expect("an end");
        assert!(read.is_err(), "nothing more comes");
    }
}

/// All that a session does with an engine, from hello to the end.
pub(super) async fn whole_conversation<S: AsyncRead + AsyncWrite + Unpin>(
    site: &Site,
    engine_api: &Arc<EngineApi>,
    engine: &mut Engine<S>,
) {
    let task = Task { id: "retire".into(), work: Work::Retire };
    let ((), end) = tokio::join!(
        async {
            assert_eq!(engine.next().await.id, "retire");
            engine.payload(site, 0).await;
            engine.payload(site, 1_234_567).await;
            engine.post(EventBody::Retired { leftovers: Vec::new() }).await;
        },
        engine_api.perform(task)
    );
    assert_eq!(end, TaskEnd::Done);
}

#[tokio::test]
async fn an_engine_connects_works_and_disconnects() {
    let site = Site::open(Limits::default());
    let (engine_api, mut registration) = site.session("s1");
    let mut engine = Engine::call(&site, "s1").await;
    let mut stream = registration.next_stream().await;
    assert!(stream.source().ip().is_loopback());
    whole_conversation(&site, &engine_api, &mut engine).await;
    drop(engine);
    stream.ended().await;
    assert!(!registration.is_connected());
    assert!(site.counters.sent_bytes() > 4_000_000);
    assert_eq!((site.counters.engines(), site.refusals()), (1, Vec::new()));
    until(|| site.counters.open() == 0).await;
}

#[tokio::test]
async fn an_engine_connects_over_ipv6() {
    let site = Site::open(Limits::default());
    let (engine_api, _registration) = site.session("s1");
    let address = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, site.server.pair().https));
    let outside = TcpStream::connect(address).await;
    assert!(outside.is_err() || ask(&mut outside.unwrap(), b"x").await.is_none());
    site.sources.send_replace(Arc::new(AddressSet::from_iter([address.ip()])));
    let stream = TcpStream::connect(address).await.unwrap();
    let mut engine = Engine::on(engine_tls(&site.config("s1"), stream).await.unwrap(), "s1").await;
    whole_conversation(&site, &engine_api, &mut engine).await;
    site.refused(crate::callback::Cause::Source, 1).await;
}

/// A machine whose network failed reconnects before the runner has noticed.
#[tokio::test]
async fn the_newer_stream_of_a_session_replaces_the_older() {
    let site = Site::open(Limits::default());
    let (engine_api, mut registration) = site.session("s1");
    let older = Engine::call(&site, "s1").await;
    let mut first = registration.next_stream().await;
    let mut newer = Engine::call(&site, "s1").await;
    registration.next_stream().await;
    first.ended().await;
    older.cut_off().await;
    assert!(registration.is_connected());
    whole_conversation(&site, &engine_api, &mut newer).await;
}

async fn connected(site: &Site, session: &str) -> (Engine<TlsStream<TcpStream>>, Registration) {
    let (_, mut registration) = site.session(session);
    let engine = Engine::call(site, session).await;
    registration.next_stream().await;
    (engine, registration)
}

/// A NetworkPolicy does not end open connections, so the server does.
#[tokio::test]
async fn the_connections_of_a_removed_address_are_closed() {
    let site = Site::open(Limits::default());
    let (engine, _registration) = connected(&site, "s1").await;
    site.sources.send_replace(Arc::new(AddressSet::from_iter([host(2)])));
    engine.cut_off().await;
    let late = dial_from(host(1), site.https()).await;
    assert!(late.is_err() || ask(&mut late.unwrap(), b"x").await.is_none());
}

#[tokio::test]
async fn closing_ends_every_connection_and_frees_the_ports() {
    let site = Site::open(Limits::default());
    let (engine, _registration) = connected(&site, "s1").await;
    let pair = site.server.pair();
    site.server.close().await;
    engine.cut_off().await;
    crate::callback::bind(pair, &[crate::callback::Family::V4, crate::callback::Family::V6])
        .expect("free again");
}

#[tokio::test]
async fn a_session_that_has_ended_is_no_longer_served() {
    let site = Site::open(Limits::default());
    let (engine, registration) = connected(&site, "s1").await;
    drop(registration);
    engine.cut_off().await;
    let config = site.config("s1");
    let again = engine_tls(&config, TcpStream::connect(site.https()).await.unwrap()).await;
    assert!(again.is_err());
    site.refused(crate::callback::Cause::UnknownSession, 1).await;
}

/// Root on a machine has its engine's certificate: requests that no engine sends are counted and
/// reported.
#[tokio::test]
async fn requests_that_no_engine_sends_are_counted() {
    let site = Site::open(Limits::default());
    let (engine_api, _registration) = site.session("s1");
    let mut engine = Engine::call(&site, "s1").await;
    let seq = |seq| vec![Event { seq, at: 0, body: EventBody::Unknown }];
    let answer = post(&mut engine.stream, "/v1/events", &seq(u64::MAX)).await.unwrap();
    assert_eq!((answer.status, engine_api.events_after(0).len()), (409, 0));
    let answer = get(&mut engine.stream, "/v1/payloads/../../etc/passwd", "").await.unwrap();
    assert_eq!(answer.status, 404);
    let answer = post(&mut engine.stream, "/v1/next", &"no Next").await.unwrap();
    assert_eq!(answer.status, 400);
    site.refused(crate::callback::Cause::Request, 3).await;
    assert!(ask(&mut engine.stream, b"no HTTP\r\n\r\n").await.is_none_or(|answer| answer.status == 400));
    site.refused(crate::callback::Cause::Request, 4).await;
    let mut good = Engine::call(&site, "s1").await;
    whole_conversation(&site, &engine_api, &mut good).await;
}
