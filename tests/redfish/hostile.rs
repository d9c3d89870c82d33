//! What no device should answer, and some do: by a server of a few lines that answers what a test says.

use super::{credentials, first_use};
use farrier::drivers::redfish::{Client, Endpoint, Inventory, Kind, Link, Request, Session, Trouble};
use farrier::ssh::{Family, Target};
use farrier_update::Reason;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A server that answers each request by its first line, and ends the connection after it.
struct Hostile {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

fn acceptor() -> TlsAcceptor {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(["bmc.example.net".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = key.serialize_der().try_into().unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

impl Hostile {
    async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (acceptor, lines) = (acceptor(), asked.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
                let answer = answer(&line);
                lines.lock().unwrap().push(line);
                // A client that has seen enough ends the connection.
                drop(stream.write_all(&answer).await);
                drop(stream.shutdown().await);
            }
        });
        Self { port, asked }
    }

    fn client(&self) -> Client {
        let addresses = vec!["127.0.0.1".into()];
        let target = Target { node: "bmc-7".into(), addresses, families: vec![Family::V4], port: self.port };
        Client::new(Endpoint { target, trust: first_use() }).unwrap()
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    async fn trouble(&self) -> Trouble {
        self.client().send(&Request::get(Link::root()), None).await.err().unwrap()
    }

    async fn inventory(&self) -> Inventory {
        let session = Session::open(self.client(), &credentials("password")).await.unwrap();
        Inventory::read(&session).await.unwrap()
    }
}

fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn json(text: &str) -> Vec<u8> {
    answer(200, "Content-Type: application/json\r\n", text.as_bytes())
}

/// A service with Basic authentication and a firmware inventory.
fn service(line: &str, inventory: impl Fn(&str) -> String) -> Vec<u8> {
    let path = line.split(' ').nth(1).unwrap_or_default();
    match path {
        "/redfish/v1/" => json(r#"{"RedfishVersion": "1.0.2", "UpdateService": {"@odata.id": "/update"}}"#),
        "/update" => json(r#"{"FirmwareInventory": {"@odata.id": "/firmware"}}"#),
        _ if path.starts_with("/firmware") => json(&inventory(path)),
        _ => answer(404, "", b""),
    }
}

/// A token or a password that follows a redirect belongs to whoever made it.
#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    let other = Hostile::start(|_| json("{}")).await;
    let location = format!("Location: https://127.0.0.1:{}/redfish/v1/\r\n", other.port);
    let server = Hostile::start(move |_| answer(308, &location, b"")).await;
    let trouble = server.trouble().await;
    assert!(matches!(trouble.kind, Kind::Elsewhere(_)), "{trouble:?}");
    assert_eq!((server.asked(), other.asked()), (1, 0));
    let failure = Session::open(server.client(), &credentials("password")).await.err().unwrap();
    assert_eq!(failure.reason, Reason::NotARedfishService, "{failure}");
}

/// iLO answers a path without its slash with a redirect to the path with it.
#[tokio::test]
async fn a_redirect_on_the_same_host_is_followed_and_not_for_ever() {
    let server = Hostile::start(|line| match line {
        "GET /redfish/v1/ HTTP/1.1" => answer(308, "Location: /redfish/v1\r\n", b""),
        _ => json(r#"{"RedfishVersion": "1.0.0"}"#),
    })
    .await;
    let answer_of = server.client().send(&Request::get(Link::root()), None).await.unwrap();
    assert!(answer_of.resource().unwrap().has("/RedfishVersion"));
    let endless = Hostile::start(|_| answer(301, "Location: /redfish/v1/\r\n", b"")).await;
    let trouble = endless.trouble().await;
    assert!(matches!(trouble.kind, Kind::Unreadable(_)), "{trouble:?}");
    assert_eq!(endless.asked(), 4);
}

/// One device must not fill the memory of the operator that works on a thousand.
#[tokio::test]
async fn an_answer_that_is_too_long_is_cut_off() {
    let server = Hostile::start(|_| answer(200, "", &vec![b' '; 5 << 20])).await;
    let trouble = server.trouble().await;
    assert!(matches!(&trouble.kind, Kind::Unreadable(why) if why.contains("4 MiB")), "{trouble:?}");
}

#[tokio::test]
async fn a_compressed_answer_is_read() {
    let server = Hostile::start(|_| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, br#"{"RedfishVersion": "1.0.0"}"#).unwrap();
        answer(200, "Content-Encoding: gzip\r\n", &encoder.finish().unwrap())
    })
    .await;
    let answer = server.client().send(&Request::get(Link::root()), None).await.unwrap();
    assert_eq!(answer.resource().unwrap().text("/RedfishVersion").as_deref(), Some("1.0.0"));
}

/// The address of the operating system instead of its management processor's is the most usual mistake.
#[tokio::test]
async fn other_web_servers_are_told_from_redfish() {
    for (status, body) in [(200, "<html>It works!</html>"), (200, "{}"), (404, "<html>Not Found</html>")] {
        let server =
            Hostile::start(move |_| answer(status, "Content-Type: text/html\r\n", body.as_bytes())).await;
        let failure = Session::open(server.client(), &credentials("password")).await.err().unwrap();
        assert_eq!(failure.reason, Reason::NotARedfishService, "{status} {body}: {failure}");
        assert_eq!(server.asked(), 1, "the password is not offered to just anybody");
    }
}

/// A device whose pages never end would occupy a runner for ever.
#[tokio::test]
async fn pages_end() {
    let circle = |path: &str| match path {
        "/firmware" => r#"{"Members": [], "Members@odata.nextLink": "/firmware?2"}"#.to_owned(),
        _ => r#"{"Members": [], "Members@odata.nextLink": {"@odata.id": "/firmware"}}"#.to_owned(),
    };
    let server = Hostile::start(move |line| service(line, circle)).await;
    let inventory = server.inventory().await;
    assert!(!inventory.complete && inventory.notes[0].words.contains("circle"), "{inventory:?}");

    let endless = |path: &str| {
        let number = path.len();
        format!(r#"{{"Members": [], "Members@odata.nextLink": "/firmware?{}"}}"#, "x".repeat(number))
    };
    let server = Hostile::start(move |line| service(line, endless)).await;
    let inventory = server.inventory().await;
    assert!(!inventory.complete && inventory.notes[0].words.contains("100 pages"), "{inventory:?}");
}

/// A device must not make Farrier ask others, with its token.
#[tokio::test]
async fn members_on_other_servers_are_left_out() {
    let inventory = |path: &str| {
        match path {
        "/firmware" => r#"{"Members": [
            {"@odata.id": "https://other.example/redfish/v1/x"}, {"@odata.id": "//other.example/x"}, {"@odata.id": "/firmware/1"}
        ]}"#
        .to_owned(),
        _ => r#"{"Id": 1, "Name": "BMC", "Version": 3}"#.to_owned(),
    }
    };
    let server = Hostile::start(move |line| service(line, inventory)).await;
    let inventory = server.inventory().await;
    assert_eq!(inventory.firmware.len(), 1);
    assert_eq!(inventory.firmware[0].version.as_deref(), Some("3"));
    assert!(!inventory.complete && inventory.notes[0].words.starts_with("2 members"), "{inventory:?}");
}

/// Some devices show their service root to nobody who is not signed in.
#[tokio::test]
async fn a_service_root_that_is_not_open_is_no_obstacle() {
    let server = Hostile::start(|line| match line {
        "GET /redfish/v1/ HTTP/1.1" => answer(401, "WWW-Authenticate: Basic realm=x\r\n", b""),
        "POST /redfish/v1/SessionService/Sessions HTTP/1.1" => answer(
            201,
            "X-Auth-Token: abc\r\nLocation: https://bmc.internal/redfish/v1/SessionService/Sessions/9\r\n",
            b"",
        ),
        _ => answer(404, "", b""),
    })
    .await;
    let session = Session::open(server.client(), &credentials("password")).await.unwrap();
    assert_eq!(session.link().unwrap().as_str(), "/redfish/v1/SessionService/Sessions/9");
}
