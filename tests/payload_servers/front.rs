//! A TLS server in front of a server without TLS: it passes every byte on, remembers what was asked, and cuts
//! connections.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// An authority, and the certificate of all servers here.
pub(crate) struct Certificates {
    /// The authority's certificate in PEM.
    pub(crate) authority: String,
    /// The same in a file.
    pub(crate) file: PathBuf,
    /// The servers' certificate.
    pub(crate) server: CertificateDer<'static>,
    config: Arc<ServerConfig>,
}

pub(crate) static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| {
    let key = || KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, key()).expect("an authority");
    let mut server = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).expect("names");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server_key = key();
    let server = server.signed_by(&server_key, &authority).expect("a certificate");
    let private = PrivateKeyDer::try_from(server_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![server.der().clone()], private)
        .expect("a configuration");
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("payload-servers-ca.pem");
    std::fs::write(&file, authority.pem()).expect("a file");
    Certificates { authority: authority.pem(), file, server: server.der().clone(), config: Arc::new(config) }
});

/// One connection, as the server behind saw it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// The bytes of all requests.
    pub(crate) asked: String,
    /// Number of bytes that were sent to the client.
    pub(crate) sent: usize,
}

/// The server with TLS. It ends with the test.
pub(crate) struct Front {
    /// `localhost:PORT`
    pub(crate) host: String,
    state: Arc<State>,
}

struct State {
    seen: Mutex<Vec<Seen>>,
    /// After how many bytes the next connections are cut. When it is empty, none is.
    cuts: Mutex<VecDeque<usize>>,
}

impl Front {
    /// Passes connections on to this port of this machine.
    pub(crate) async fn of(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::on(listener, port)
    }

    /// As [`Self::of`], at a port that was bound before.
    pub(crate) fn on(listener: TcpListener, port: u16) -> Self {
        let host = format!("localhost:{}", listener.local_addr().expect("its number").port());
        let state = Arc::new(State { seen: Mutex::default(), cuts: Mutex::default() });
        let shared = state.clone();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(CERTIFICATES.config.clone());
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    let Ok(client) = acceptor.accept(stream).await else { return };
                    let server = TcpStream::connect(("127.0.0.1", port)).await.expect("the server behind");
                    state.pass_on(client, server).await;
                });
            }
        });
        Self { host, state }
    }

    /// Cuts the next connections after so many bytes that the server behind has sent.
    pub(crate) fn cut(&self, after: &[usize]) {
        *self.state.cuts.lock().expect("no panic") = after.iter().copied().collect();
    }

    /// Returns all connections so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().expect("no panic").clone()
    }

    /// Waits until a connection of Farrier has brought so many bytes and is cut: the next one comes a second
    /// later.
    pub(crate) async fn has_sent(&self, bytes: usize) {
        while !self.seen().iter().any(|seen| seen.asked.contains("farrier/") && seen.sent >= bytes) {
            // sleep: the front is looked at again
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Returns everything that was asked, in lower case.
    pub(crate) fn asked(&self) -> String {
        self.seen().iter().map(|seen| seen.asked.to_lowercase()).collect()
    }
}

impl State {
    /// Returns after how many bytes this connection is cut. Only Farrier's are.
    fn limit(&self, number: usize) -> usize {
        let is_farrier = self.seen.lock().expect("no panic")[number].asked.contains("farrier/");
        let mut cuts = self.cuts.lock().expect("no panic");
        if is_farrier { cuts.pop_front().unwrap_or(usize::MAX) } else { usize::MAX }
    }

    async fn pass_on(&self, client: impl AsyncRead + AsyncWrite, server: TcpStream) {
        let number = {
            let mut seen = self.seen.lock().expect("no panic");
            seen.push(Seen::default());
            seen.len() - 1
        };
        let note = |change: &dyn Fn(&mut Seen)| change(&mut self.seen.lock().expect("no panic")[number]);
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_server, mut to_server) = server.into_split();
        let up = async {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
                note(&|seen| seen.asked.push_str(&String::from_utf8_lossy(&buffer[..n])));
                if to_server.write_all(&buffer[..n]).await.is_err() {
                    break;
                }
            }
        };
        let down = async {
            let mut buffer = vec![0; 16 * 1024];
            let mut left = None;
            while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
                let left = left.get_or_insert_with(|| self.limit(number));
                let n = n.min(*left);
                if to_client.write_all(&buffer[..n]).await.is_err() || to_client.flush().await.is_err() {
                    break;
                }
                note(&|seen| seen.sent += n);
                *left -= n;
                // Without the end that TLS has, as when a line is lost.
                if *left == 0 {
                    break;
                }
            }
        };
        tokio::pin!(up, down);
        futures::future::select(up, down).await;
    }
}

/// A TLS server that gives these answers, one for each connection, and remembers what was asked.
pub(crate) async fn scripted(answers: Vec<Vec<u8>>) -> Front {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its number").port();
    tokio::spawn(async move {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { break };
                request.push(byte);
            }
            stream.write_all(&answer).await.ok();
            stream.shutdown().await.ok();
        }
    });
    Front::of(port).await
}

/// An answer with these headers, after which the connection ends.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}
