//! The server from which doubles fetch their images, a few lines long: HTTP, and HTTPS with an authority of its own.

use farrier::attempt::{Fetch, FetchWay, Offer, OfferedFile, Offers, Place, Scheme, Waiting, WaysBack};
use farrier::failure::Failure;
use farrier_update::Reason;
use farrier_update::device::ActionId;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A server for the images of one double.
pub(crate) struct Server {
    https: SocketAddr,
    http: SocketAddr,
    /// The authority of its certificate, in PEM.
    pub(crate) authority: String,
    /// Directory of the images, by digest.
    files: BTreeMap<String, PathBuf>,
    offered: Mutex<BTreeMap<ActionId, Offered>>,
}

struct Offered {
    path: String,
    file: PathBuf,
    size: u64,
    at: Instant,
    seen: bool,
    bytes: u64,
}

impl Server {
    /// Starts a server that serves until the runtime ends; one that `is_shut` accepts no connection.
    pub(crate) async fn start(files: BTreeMap<String, PathBuf>, is_shut: bool) -> Arc<Self> {
        let secure = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let server = Arc::new(Self {
            https: secure.local_addr().unwrap(),
            http: plain.local_addr().unwrap(),
            authority: certificate.pem(),
            files,
            offered: Mutex::default(),
        });
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        if !is_shut {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            tokio::spawn(Arc::clone(&server).accept(secure, Some(acceptor)));
            tokio::spawn(Arc::clone(&server).accept(plain, None));
        }
        server
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
        while let Ok((stream, _)) = listener.accept().await {
            let (server, acceptor) = (Arc::clone(&self), acceptor.clone());
            tokio::spawn(async move {
                // A double that hangs up has what it wants.
                drop(match acceptor {
                    Some(acceptor) => server.serve_tls(stream, acceptor).await,
                    None => server.serve(stream).await,
                });
            });
        }
    }

    async fn serve_tls(&self, stream: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<()> {
        self.serve(acceptor.accept(stream).await?).await
    }

    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await?);
        }
        let asked = String::from_utf8_lossy(&asked).into_owned();
        let path = asked.split(' ').nth(1).unwrap_or_default();
        let Some(body) = self.found(path) else {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).await?;
        stream.shutdown().await
    }

    fn found(&self, path: &str) -> Option<Vec<u8>> {
        if path == "/farrier-preflight" {
            return Some(b"farrier-preflight".to_vec());
        }
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let offer = offered.values_mut().find(|offer| offer.path == path)?;
        let body = std::fs::read(&offer.file).unwrap();
        (offer.seen, offer.bytes) = (true, offer.size);
        Some(body)
    }
}

/// The offers of one attempt.
pub(crate) struct Pulls {
    pub(crate) server: Arc<Server>,
    own: Mutex<BTreeSet<ActionId>>,
}

impl Pulls {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { server: Arc::clone(server), own: Mutex::default() }
    }
}

impl Offers for Pulls {
    fn pick(&self, ways: &[FetchWay], _: Option<IpAddr>) -> Result<FetchWay, Failure> {
        ways.first().copied().ok_or_else(|| Failure::new(Reason::NotYetSupported, "it fetches by nothing"))
    }

    fn wait(&self) -> Waiting {
        Waiting::new(Reason::Exposing, "the server of the test", "ports", Duration::from_secs(1))
    }

    fn offer<'a>(&'a self, way: FetchWay, file: OfferedFile<'a>) -> BoxFuture<'a, Result<Offer, Failure>> {
        Box::pin(async move {
            let scheme = way.scheme;
            let path = format!("/{}/{}", file.action.0, file.name);
            let offer = Offered {
                path: path.clone(),
                file: self.server.files.get(file.digest).unwrap().clone(),
                size: file.size.unwrap_or_default(),
                at: Instant::now(),
                seen: false,
                bytes: 0,
            };
            self.server.offered.lock().unwrap_or_else(PoisonError::into_inner).insert(file.action, offer);
            self.own.lock().unwrap_or_else(PoisonError::into_inner).insert(file.action);
            let url = match scheme {
                Scheme::Https => format!("https://{}{path}", self.server.https),
                Scheme::Http => format!("http://{}{path}", self.server.http),
                Scheme::Sftp | Scheme::Scp | Scheme::Ftp => {
                    return Err(Failure::new(Reason::NotYetSupported, format!("no server for {scheme}")));
                }
            };
            Ok(Offer { url, scheme, authority: self.server.authority.clone(), login: None })
        })
    }

    fn ways_back(&self, reached: Option<IpAddr>) -> BoxFuture<'_, Result<WaysBack, Failure>> {
        // Otherwise a machine of a mixed site tries an address of the family that it was not reached in.
        assert!(reached.is_some(), "the address at which the machine answered is known by now");
        let place = |scheme, at: SocketAddr, authority: &str| {
            let (host, port) = (at.ip().to_string(), at.port());
            Place { scheme, host, port, authority: authority.to_owned() }
        };
        let places = vec![
            place(Scheme::Https, self.server.https, &self.server.authority),
            place(Scheme::Http, self.server.http, ""),
        ];
        Box::pin(std::future::ready(Ok(WaysBack { places, ..WaysBack::default() })))
    }

    fn fetched(&self, action: ActionId) -> Option<Fetch> {
        if !self.own.lock().unwrap_or_else(PoisonError::into_inner).contains(&action) {
            return None;
        }
        let offered = self.server.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let offer = offered.get(&action)?;
        let address: IpAddr = Ipv4Addr::LOCALHOST.into();
        Some(Fetch {
            seen: offer.seen.then_some(address),
            rejected: None,
            is_shared: false,
            resumed: None,
            is_certain: true,
            bytes: offer.bytes,
            size: Some(offer.size),
            idle: offer.seen.then(|| offer.at.elapsed()),
            age: offer.at.elapsed(),
            place: (address.to_string(), self.server.https.port()),
            own: vec![address],
            strangers: Vec::new(),
        })
    }

    fn withdraw(&self, action: ActionId) -> bool {
        let mut offered = self.server.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unseen = offered.get(&action).is_some_and(|offer| !offer.seen);
        if is_unseen {
            // Nothing is found any more, and what is known stays known.
            offered.entry(action).and_modify(|offer| offer.path.clear());
        }
        is_unseen
    }

    fn keep(&self, actions: &[ActionId]) {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut offered = self.server.offered.lock().unwrap_or_else(PoisonError::into_inner);
        offered.retain(|action, _| actions.contains(action) || !own.contains(action));
    }
}
