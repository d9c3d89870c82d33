//! Two runners of one run: any of them serves any engine.

use super::engine::{Engine, whole_conversation};
use super::site::{LOOPBACK, Site, engine_tls};
use crate::callback::{AddressSet, Cause, Limits, RunIdentity};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Starts the second runner's server, with the same identity, for connections that the first
/// relays.
fn second(of: &Site) -> Site {
    let identity = RunIdentity::from_map("r1", &of.identity.to_map()).unwrap();
    let second = Site::with_identity(identity, Limits::default());
    second.sources.send_replace(Arc::new(AddressSet::default()));
    second.peers.send_replace(Arc::from([LOOPBACK]));
    of.registry.set_elsewhere(HashMap::from([("s1".to_owned(), second.https())]));
    second
}

#[tokio::test]
async fn an_engine_that_connects_to_the_wrong_runner_is_relayed() {
    let first = Site::open(Limits::default());
    let second = second(&first);
    let (engine_api, mut registration) = second.session("s1");
    let mut engine = Engine::call(&first, "s1").await;
    let mut stream = registration.next_stream().await;
    whole_conversation(&second, &engine_api, &mut engine).await;
    assert_eq!((first.counters.relayed(), first.counters.engines()), (1, 0), "the first cannot read it");
    assert_eq!((second.counters.relayed(), second.counters.engines()), (0, 1));
    // The runner that relayed the stream is removed from the list of runners, so the stream ends.
    second.peers.send_replace(Arc::from(Vec::<IpAddr>::new()));
    stream.ended().await;
    engine.cut_off().await;
}

/// Two runners that each believe the other one serves a session must not relay a stream in a loop.
#[tokio::test]
async fn a_relayed_stream_is_not_relayed_again() {
    let first = Site::open(Limits::default());
    let second = second(&first);
    second.registry.set_elsewhere(HashMap::from([("s1".to_owned(), first.https())]));
    let stream = TcpStream::connect(first.https()).await.unwrap();
    assert!(engine_tls(&first.config("s1"), stream).await.is_err());
    second.refused(Cause::UnknownSession, 1).await;
    assert_eq!(first.counters.relayed(), 1);
}

#[tokio::test]
async fn an_unreachable_runner_is_a_relay_refusal() {
    let first = Site::open(Limits::default());
    let gone = second(&first);
    gone.server.close().await;
    let stream = TcpStream::connect(first.https()).await.unwrap();
    assert!(engine_tls(&first.config("s1"), stream).await.is_err());
    first.refused(Cause::Relay, 1).await;
}
