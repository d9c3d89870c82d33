//! Two runners of one run: any of them answers any engine.

use super::engine::{Engine, whole_conversation};
use super::site::{LOOPBACK, Site, engine_tls};
use crate::callback::{AddressSet, Cause, Limits, RunIdentity};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// The second runner's server, with the same identity, for connections that the first passes on.
fn second(of: &Site) -> Site {
    let identity = RunIdentity::from_map("r1", &of.identity.to_map()).unwrap();
    let second = Site::with_identity(identity, Limits::default());
    second.sources.send_replace(Arc::new(AddressSet::default()));
    second.peers.send_replace(Arc::from([LOOPBACK]));
    of.registry.set_elsewhere(HashMap::from([("s1".to_owned(), second.https())]));
    second
}

#[tokio::test]
async fn an_engine_that_calls_the_wrong_runner_is_passed_on() {
    let first = Site::open(Limits::default());
    let second = second(&first);
    let (engine_api, mut registration) = second.session("s1");
    let mut engine = Engine::call(&first, "s1").await;
    let mut stream = registration.next_stream().await;
    whole_conversation(&second, &engine_api, &mut engine).await;
    assert_eq!((first.counters.relayed(), first.counters.engines()), (1, 0), "the first cannot read it");
    assert_eq!((second.counters.relayed(), second.counters.engines()), (0, 1));
    // The runner that passed it on is gone from the list of runners: so is its stream.
    second.peers.send_replace(Arc::from(Vec::<IpAddr>::new()));
    stream.ended().await;
    engine.cut_off().await;
}

/// Two runners that believe of each other that they answer must not send a stream round and round.
#[tokio::test]
async fn what_was_passed_on_is_not_passed_on_again() {
    let first = Site::open(Limits::default());
    let second = second(&first);
    second.registry.set_elsewhere(HashMap::from([("s1".to_owned(), first.https())]));
    let stream = TcpStream::connect(first.https()).await.unwrap();
    assert!(engine_tls(&first.config("s1"), stream).await.is_err());
    second.refused(Cause::UnknownSession, 1).await;
    assert_eq!(first.counters.relayed(), 1);
}

#[tokio::test]
async fn a_runner_that_is_not_there_is_said_to_be_missing() {
    let first = Site::open(Limits::default());
    let gone = second(&first);
    gone.server.close().await;
    let stream = TcpStream::connect(first.https()).await.unwrap();
    assert!(engine_tls(&first.config("s1"), stream).await.is_err());
    first.refused(Cause::Relay, 1).await;
}
