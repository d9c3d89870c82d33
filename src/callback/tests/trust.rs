//! Those who pretend to be an engine, or to be the server.

use super::engine::{Engine, whole_conversation};
use super::site::{Site, ask, engine_tls};
use crate::callback::{Cause, Limits, RunIdentity};
use farrier_protocol::CallbackConfig;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;

/// In TLS 1.3 a client believes that it is through before the server has seen its certificate; it
/// hears of the refusal when it first wants something.
async fn refused(config: &CallbackConfig, site: &Site) -> bool {
    let stream = TcpStream::connect(site.https()).await.unwrap();
    match engine_tls(config, stream).await {
        Ok(mut stream) => ask(&mut stream, b"POST /v1/next HTTP/1.1\r\nHost: x\r\n\r\n").await.is_none(),
        Err(_) => true,
    }
}

/// The engine of one machine can do nothing in the name of another one.
#[tokio::test]
async fn a_certificate_opens_the_door_of_its_own_session_only() {
    let site = Site::open(Limits::default());
    let (conversation, _registration) = site.session("s1");
    let (_other, _other_registration) = site.session("s2");
    let mut good = Engine::call(&site, "s1").await;

    let of_s2 = site.config("s2");
    let neighbour = CallbackConfig { server_name: CallbackConfig::server_name_of("s1"), ..of_s2 };
    assert!(refused(&neighbour, &site).await);
    site.refused(Cause::WrongSession, 1).await;
    good.is_well().await;

    let other_run = RunIdentity::generate("r1").unwrap();
    let client = other_run.client_certificate("s1", Duration::from_hours(1)).unwrap();
    let of_s1 = site.config("s1");
    let foreign = CallbackConfig { certificate: client.certificate, key: client.key, ..of_s1.clone() };
    assert!(refused(&foreign, &site).await);
    site.refused(Cause::Certificate, 1).await;
    good.is_well().await;

    let long_ago = SystemTime::now() - Duration::from_hours(2);
    let client = site.identity.client_certificate_at("s1", long_ago, Duration::from_hours(1)).unwrap();
    let expired = CallbackConfig { certificate: client.certificate, key: client.key, ..of_s1.clone() };
    assert!(refused(&expired, &site).await);
    site.refused(Cause::Expired, 1).await;
    whole_conversation(&site, &conversation, &mut good).await;
}
