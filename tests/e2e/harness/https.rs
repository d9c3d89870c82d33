//! A payload server with TLS that counts requests, and that can stall and cut off responses.

use super::payload::digest;
use super::{Site, lab, wait};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The response to a path.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// These bytes.
    Whole(Vec<u8>),
    /// The first half of these bytes, and the rest once [`Server::release`] has been called.
    Stalled(Vec<u8>),
    /// The first half of these bytes; then the connection is closed.
    Cut(Vec<u8>),
    /// This status without a body.
    Status(u16),
}

/// A running server. It ends with the test.
pub(crate) struct Server {
    shared: Arc<Shared>,
    port: u16,
    /// The certificate to trust, in PEM.
    pub(crate) ca: String,
}

struct Shared {
    answers: Mutex<BTreeMap<String, Answer>>,
    asked: Mutex<BTreeMap<String, usize>>,
    posts: Mutex<Vec<serde_json::Value>>,
    released: watch::Sender<bool>,
}

impl Server {
    /// Starts a server on a free port of this host, with a certificate of a private authority.
    pub(crate) async fn start(site: &Site) -> Self {
        Self::start_with(site, "tls", CERTIFIED).await
    }

    /// Starts a server with a self-signed certificate as openssl creates it by default: CA:TRUE, with a
    /// common name and without alternative names. `ca` is that certificate.
    pub(crate) async fn self_signed(site: &Site) -> Self {
        Self::start_with(site, "self-signed", SELF_SIGNED).await
    }

    async fn start_with(site: &Site, name: &str, script: &str) -> Self {
        let dir = site.path(name);
        std::fs::create_dir(&dir).expect("a directory for keys");
        lab::output("bash", ["-euc", &format!("cd {}; {script}", dir.display())]).await;
        let acceptor = acceptor(&dir);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let shared = Arc::new(Shared {
            answers: Mutex::default(),
            asked: Mutex::default(),
            posts: Mutex::default(),
            released: watch::channel(false).0,
        });
        let for_all = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), for_all.clone());
                // Some tests make the client close the connection, so an error is not a failure.
                tokio::spawn(async move { shared.serve(acceptor, stream).await.ok() });
            }
        });
        let ca = std::fs::read_to_string(dir.join("ca.crt")).expect("the certificate to trust");
        Self { shared, port, ca }
    }

    /// Returns the fingerprint of the certificate in `ca`, in the form of `payload.tls.fingerprints`.
    pub(crate) fn fingerprint(&self) -> String {
        let certificate = CertificateDer::from_pem_slice(self.ca.as_bytes()).expect("a certificate");
        digest(&certificate)
    }

    /// Sets the response to `path`, such as `/a.deb`. Returns its URL.
    pub(crate) fn at(&self, path: &str, answer: Answer) -> String {
        self.shared.answers.lock().unwrap().insert(path.to_owned(), answer);
        format!("https://localhost:{}{path}", self.port)
    }

    /// Returns how often a path was requested.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.shared.asked.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    /// Returns what was posted, in the order of its arrival.
    pub(crate) fn posts(&self) -> Vec<serde_json::Value> {
        self.shared.posts.lock().unwrap().clone()
    }

    /// Waits until a path was requested.
    pub(crate) async fn is_asked(&self, path: &str) {
        wait::until("the payload to be requested", wait::LIMIT, async || {
            if self.asked(path) > 0 { Ok(()) } else { Err("it was not requested".to_owned()) }
        })
        .await;
    }

    /// Sends the rest of stalled responses.
    pub(crate) fn release(&self) {
        self.shared.released.send_replace(true);
    }
}

impl Shared {
    async fn serve(&self, acceptor: TlsAcceptor, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = acceptor.accept(stream).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        let length = lines.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if let Some(length) = length.and_then(|(_, length)| length.trim().parse().ok()) {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            self.posts.lock().unwrap().push(serde_json::from_slice(&body).unwrap_or_default());
        }
        *self.asked.lock().unwrap().entry(path.clone()).or_default() += 1;
        let answer = self.answers.lock().unwrap().get(&path).cloned().unwrap_or(Answer::Status(404));
        let (status, bytes) = match &answer {
            Answer::Whole(bytes) | Answer::Stalled(bytes) | Answer::Cut(bytes) => (200, bytes.as_slice()),
            Answer::Status(status) => (*status, &[][..]),
        };
        let head =
            format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bytes.len());
        stream.write_all(head.as_bytes()).await?;
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        stream.write_all(first).await?;
        stream.flush().await?;
        match answer {
            Answer::Cut(_) => return stream.get_mut().0.shutdown().await,
            Answer::Stalled(_) => {
                let mut released = self.released.subscribe();
                released.wait_for(|released| *released).await.map_err(std::io::Error::other)?;
            }
            Answer::Whole(_) | Answer::Status(_) => {}
        }
        stream.write_all(rest).await?;
        stream.shutdown().await
    }
}

/// Creates a private authority and a certificate for localhost, as an administrator does.
const CERTIFIED: &str = r"
    key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
    echo subjectAltName=DNS:localhost,IP:127.0.0.1 >ext
    openssl req -x509 $key -keyout ca.key -out ca.crt -days 2 -subj /CN=lab-ca
    openssl req $key -keyout key.pem -out csr.pem -subj /CN=localhost
    openssl x509 -req -in csr.pem -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out cert.pem";

/// Creates a self-signed certificate.
const SELF_SIGNED: &str = r"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -keyout key.pem -out cert.pem
    cp cert.pem ca.crt";

fn acceptor(dir: &Path) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(dir.join("cert.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem")).expect("a key");
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate that fits its key");
    TlsAcceptor::from(Arc::new(config))
}
