//! A run with a server on loopback, and clients of it.

use crate::callback::{
    AddressSet, Cause, Counters, Family, HostKeys, Limits, OfferContent, OpenOffer, OpenOffers, OpenPosts,
    OpenService, Pair, Registration, Registry, RunIdentity, Server, ServerOptions, bind, bind_service, serve,
};
use crate::engine_api::EngineApi;
use crate::failure::Failure;
use crate::payload::{PayloadFiles, Store, Tree};
use farrier_network::FileService;
use farrier_protocol::CallbackConfig;
use futures::future::BoxFuture;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Nothing in these tests takes this long, unless it never ends.
pub(super) const LONG: Duration = Duration::from_mins(2);

pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The signature algorithms that an engine supports.
static ED25519: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::aws_lc_rs::ED25519],
    mapping: &[(SignatureScheme::ED25519, &[webpki::aws_lc_rs::ED25519])],
};

/// The signature algorithms that many devices are limited to.
static P256: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::aws_lc_rs::ECDSA_P256_SHA256],
    mapping: &[(SignatureScheme::ECDSA_NISTP256_SHA256, &[webpki::aws_lc_rs::ECDSA_P256_SHA256])],
};

/// Loopback addresses that stand for other hosts.
pub(super) fn host(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}

/// One run and its server.
pub(super) struct Site {
    pub(super) server: Server,
    pub(super) identity: Arc<RunIdentity>,
    pub(super) registry: Arc<Registry>,
    pub(super) counters: Arc<Counters>,
    pub(super) sources: watch::Sender<Arc<AddressSet>>,
    pub(super) peers: watch::Sender<Arc<[IpAddr]>>,
    /// Digest and bytes of the run's payload.
    pub(super) digest: String,
    pub(super) payload: Vec<u8>,
    /// What is offered to the machine with the address 127.0.0.1.
    pub(super) offers: Arc<Offered>,
    /// Names and addresses of the server's certificate.
    pub(super) names: watch::Sender<Arc<BTreeSet<String>>>,
    dir: tempfile::TempDir,
    files: HashMap<String, PathBuf>,
}

struct Files(HashMap<String, PathBuf>);

impl PayloadFiles for Files {
    fn file(&self, digest: &str) -> Option<PathBuf> {
        self.0.get(digest).cloned()
    }
}

/// The offers of the site, and what became known of them.
#[derive(Default)]
pub(super) struct Offered {
    pub(super) open: Mutex<Vec<OpenOffer>>,
    /// Addresses of the machine.
    pub(super) owners: Mutex<Vec<IpAddr>>,
    /// Who does not fetch by a service.
    pub(super) elsewhere: Mutex<Vec<(IpAddr, FileService)>>,
    pub(super) connections: Mutex<Vec<IpAddr>>,
    pub(super) sent: Mutex<u64>,
    pub(super) fetches: AtomicUsize,
    pub(super) posts: AtomicUsize,
    pub(super) rejections: Mutex<Vec<String>>,
    pub(super) requests: Mutex<Vec<u32>>,
    path: PathBuf,
    /// What is offered as a folder instead.
    tree: Mutex<Option<Arc<Tree>>>,
    /// Up to where each file of the folder was sent.
    positions: Mutex<HashMap<u32, u64>>,
}

impl OpenOffers for Offered {
    fn to(&self, source: IpAddr) -> Vec<OpenOffer> {
        if self.owners.lock().unwrap().contains(&source) {
            self.open.lock().unwrap().clone()
        } else {
            Vec::new()
        }
    }

    fn is_served(&self, source: IpAddr, service: FileService) -> bool {
        !self.elsewhere.lock().unwrap().contains(&(source, service))
    }

    fn content(&self, _: &OpenOffer) -> BoxFuture<'static, Result<OfferContent, Failure>> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let tree = self.tree.lock().unwrap().clone();
        let content = tree.map_or_else(|| OfferContent::File(self.path.clone()), OfferContent::Tree);
        Box::pin(async move {
            // As a runner that fetches the payload first.
            tokio::task::yield_now().await;
            Ok(content)
        })
    }

    fn posts_from(&self, source: IpAddr) -> Vec<OpenPosts> {
        let posts = || OpenPosts { session: "s1".to_owned(), action: 9 };
        if self.owners.lock().unwrap().contains(&source) { vec![posts()] } else { Vec::new() }
    }

    fn note_post(&self, _: &OpenPosts) -> bool {
        self.posts.fetch_add(1, Ordering::SeqCst) < 3
    }

    fn note_rejection(&self, _: IpAddr, how: &str) {
        self.rejections.lock().unwrap().push(how.to_owned());
    }

    fn note_request(&self, offer: &OpenOffer, _: IpAddr) {
        self.requests.lock().unwrap().push(offer.action);
    }

    fn reached_at(&self, _: IpAddr) -> Option<IpAddr> {
        None
    }

    fn note_connection(&self, source: IpAddr) {
        self.connections.lock().unwrap().push(source);
    }

    fn note_sent(&self, _: &OpenOffer, number: u32, position: u64) {
        *self.sent.lock().unwrap() = position;
        self.positions.lock().unwrap().insert(number, position);
    }
}

impl Site {
    /// Starts a server of the run `r1`, which accepts only 127.0.0.1.
    pub(super) fn open(limits: Limits) -> Self {
        Self::with_identity(RunIdentity::generate("r1").unwrap(), limits)
    }

    pub(super) fn with_identity(identity: RunIdentity, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Not a multiple of any buffer size, and more than any buffer holds.
        let payload: Vec<u8> =
            (0..3_000_007_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        let digest = format!("sha256:{}", crate::engines::hex(&Sha256::digest(&payload)));
        let path = dir.path().join("payload");
        std::fs::write(&path, &payload).unwrap();
        let files = HashMap::from([(digest.clone(), path)]);
        let (sources, of_run) = watch::channel(Arc::new(AddressSet::from_iter([LOOPBACK])));
        let (peers, runners) = watch::channel(Arc::from([]));
        let (identity, registry) = (Arc::new(identity), Registry::new());
        let offer = OpenOffer {
            session: "s1".to_owned(),
            action: 4,
            name: "farrier-s1-4-ilo 5.bin".to_owned(),
            digest: digest.clone(),
            unpack: false,
        };
        let path = files[&digest].clone();
        let (open, owners) = (Mutex::new(vec![offer]), Mutex::new(vec![LOOPBACK]));
        let offers = Arc::new(Offered { open, owners, path, ..Offered::default() });
        let (names, of_server) = watch::channel(Arc::new(BTreeSet::from([LOOPBACK.to_string()])));
        let counters = Arc::<Counters>::default();
        let options = ServerOptions {
            identity: identity.clone(),
            sources: of_run,
            peers: runners,
            registry: registry.clone(),
            offers: offers.clone(),
            names: of_server,
            counters: counters.clone(),
            limits,
        };
        let bound = bind(Pair { http: 0, https: 0 }, &[Family::V4, Family::V6]).unwrap();
        let server = serve(bound, options).unwrap();
        Self {
            server,
            identity,
            registry,
            counters,
            sources,
            peers,
            digest,
            payload,
            offers,
            names,
            dir,
            files,
        }
    }

    /// Offers a folder in place of the file: an archive with these files.
    pub(super) async fn offer_folder(&self, name: &str, files: &[(&str, &[u8])]) {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, *content).unwrap();
        }
        let store = Store::open(self.dir.path(), None).unwrap();
        std::fs::write(store.path(&self.digest).unwrap(), archive.into_inner().unwrap()).unwrap();
        *self.offers.tree.lock().unwrap() = Some(store.tree("fos", &self.digest).await.unwrap());
        for offer in self.offers.open.lock().unwrap().iter_mut() {
            (offer.name, offer.unpack) = (name.to_owned(), true);
        }
    }

    /// Returns how much was sent of a folder.
    pub(super) fn sent_of_folder(&self) -> u64 {
        self.offers.positions.lock().unwrap().values().sum()
    }

    /// Opens a file service on free ports.
    pub(super) fn service(&self, service: FileService) -> (OpenService, u16, HostKeys) {
        let keys = HostKeys::from_map(&HostKeys::generate().unwrap()).unwrap();
        let bound = bind_service(service, 0, &[Family::V4, Family::V6]).unwrap();
        let port = bound.port();
        (self.server.open(bound, &keys), port, keys)
    }

    /// The password of the account that sees the offer.
    pub(super) fn password(&self) -> String {
        self.identity.password("s1", 4)
    }

    /// Registers a session whose engine may connect.
    pub(super) fn session(&self, name: &str) -> (Arc<EngineApi>, Registration) {
        let files = Box::new(Files(self.files.clone()));
        let engine_api = Arc::new(EngineApi::new(name, 60, files));
        let registration = self.registry.register(name, engine_api.clone());
        (engine_api, registration)
    }

    pub(super) fn https(&self) -> SocketAddr {
        (LOOPBACK, self.server.pair().https).into()
    }

    pub(super) fn http(&self) -> SocketAddr {
        (LOOPBACK, self.server.pair().http).into()
    }

    /// Returns the configuration that the engine of a session gets.
    pub(super) fn config(&self, session: &str) -> CallbackConfig {
        let client = self.identity.client_certificate(session, Duration::from_hours(1)).unwrap();
        CallbackConfig {
            addresses: vec![self.https().to_string()],
            server_name: CallbackConfig::server_name_of(session),
            server_pin: self.identity.server_pin(),
            certificate: client.certificate,
            key: client.key,
            listen: None,
        }
    }

    /// Returns the number of transfers under way to an address.
    pub(super) fn transfers_of(&self, address: IpAddr) -> usize {
        self.server.transfers().count(address)
    }

    /// Waits until this many connections were refused for this cause.
    pub(super) async fn refused(&self, cause: Cause, times: u64) {
        until(|| self.counters.refused(cause) >= times).await;
        assert_eq!(self.counters.refused(cause), times, "{cause:?}");
    }

    /// Returns all refusals so far except [`Cause::Silent`].
    pub(super) fn refusals(&self) -> Vec<(Cause, u64)> {
        let causes = Cause::ALL.into_iter().filter(|cause| *cause != Cause::Silent);
        causes.map(|cause| (cause, self.counters.refused(cause))).filter(|(_, count)| *count > 0).collect()
    }
}

/// Waits for a condition that no channel reports.
pub(super) async fn until(condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, met).await.expect("the condition came about");
}

/// Opens a TCP connection from an address of this host.
pub(super) async fn dial_from(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// Connects with TLS as an engine does.
pub(super) async fn engine_tls(
    config: &CallbackConfig,
    stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    tls(&client_config(config, &[&rustls::version::TLS13]), &config.server_name, stream).await
}

pub(super) async fn tls(
    config: &Arc<ClientConfig>,
    name: &str,
    stream: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(config.clone()).connect(name, stream).await
}

pub(super) fn client_config(
    config: &CallbackConfig,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let certificate = CertificateDer::from_pem_slice(config.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(config.key.as_bytes()).unwrap();
    let config = pinning(&config.server_pin, versions).with_client_auth_cert(vec![certificate], key).unwrap();
    Arc::new(config)
}

/// Configuration of an engine without a certificate.
pub(super) fn anonymous(pin: &str) -> Arc<ClientConfig> {
    Arc::new(pinning(pin, &[&rustls::version::TLS13]).with_no_client_auth())
}

/// Configuration of a device that knows the run's CA.
pub(super) fn device(site: &Site) -> Arc<ClientConfig> {
    device_of(site, &rustls::version::TLS13)
}

/// As [`device`], with this version of TLS only.
pub(super) fn device_of(
    site: &Site,
    version: &'static rustls::SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(site.identity.authority().as_bytes()).unwrap()).unwrap();
    let mut provider = aws_lc_rs::default_provider();
    provider.signature_verification_algorithms = P256;
    let config =
        ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[version]).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    // As a device that was configured with an address: it sends no server name.
    config.enable_sni = false;
    Arc::new(config)
}

fn pinning(
    pin: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let provider = Arc::new(of_an_engine());
    let verifier = Pin { pin: pin.to_owned(), provider: provider.clone() };
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
}

/// The few algorithms that an engine supports, and the suites of TLS 1.2 for tests that try them.
fn of_an_engine() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| {
        suite.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256 || suite.tls13().is_none()
    });
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    provider.signature_verification_algorithms = ED25519;
    provider
}

/// Accepts one certificate by its digest, as the engine does.
#[derive(Debug)]
struct Pin {
    pin: String,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if format!("sha256:{}", crate::engines::hex(&Sha256::digest(end_entity))) == self.pin {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// An answer as it arrived.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &str| line.split_once(": ").is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.head.lines().find(|l| line(l)).and_then(|l| l.split_once(": ")).map(|(_, value)| value)
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// Sends a request unchanged and reads one answer. `None` if the connection ends instead.
pub(super) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
) -> Option<Answer> {
    stream.write_all(request).await.ok()?;
    stream.flush().await.ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = Answer { status, head, body: Vec::new() };
    let bodiless = request.starts_with(b"HEAD ") || status == 304;
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    if !bodiless {
        answer.body = vec![0; length];
        stream.read_exact(&mut answer.body).await.ok()?;
    }
    Some(answer)
}

/// Sends a GET of a path, with more header lines.
pub(super) async fn get(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
    more: &str,
) -> Option<Answer> {
    ask(stream, format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n").as_bytes()).await
}

/// Sends a POST with a JSON body.
pub(super) async fn post(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
    value: &impl serde::Serialize,
) -> Option<Answer> {
    let body = serde_json::to_vec(value).unwrap();
    let mut request =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend(body);
    ask(stream, &request).await
}
