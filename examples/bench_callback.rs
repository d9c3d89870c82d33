//! The callback server alone, and its clients: used by `hack/bench callback` for measurements.
//!
//! ```text
//! bench_callback serve   DIR N                 the product's server, for DIR/payload
//! bench_callback fetch   DIR ADDRESS PATH N    N clients fetch the same thing at once
//! bench_callback idle    DIR N                 N engines that wait for a task, until input ends
//! bench_callback latency DIR SECONDS           one engine that says something all the time
//! bench_callback scan    ADDRESS SECONDS       connects from addresses that are not the run's
//! ```
//!
//! `serve` writes into DIR what the other commands need: `https` (the address), `engines` (a line of JSON
//! for each session) and `ca.crt` (for another server that knows the same engines). Results go to standard
//! output, one `name value` per line.

use anyhow::{Context as _, bail};
use farrier::callback::{
    AddressSet, Counters, Family, Limits, OpenOffer, OpenOffers, Pair, Registry, RunIdentity, ServerOptions,
    bind, serve,
};
use farrier::engine_api::{EngineApi, PayloadFiles};
use farrier::failure::Failure;
use farrier_protocol::{CallbackConfig, Event, Hello, Next};
use farrier_update::Reason;
use futures::future::BoxFuture;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The server serves one file under this digest, whatever its content is.
const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", dir, sessions] => answer(Path::new(dir), sessions.parse()?).await,
        ["fetch", dir, address, path, clients] => {
            let path = if *path == "payload" { format!("/v1/payloads/{DIGEST}") } else { (*path).to_owned() };
            fetch(Path::new(dir), address.parse()?, path, clients.parse()?).await
        }
        ["idle", dir, engines] => idle(Path::new(dir), engines.parse()?).await,
        ["latency", dir, seconds] => latency(Path::new(dir), Duration::from_secs(seconds.parse()?)).await,
        ["scan", address, seconds] => scan(address.parse()?, Duration::from_secs(seconds.parse()?)).await,
        _ => bail!("see the head of examples/bench_callback.rs for how this is called"),
    }
}

struct OneFile(PathBuf);

impl PayloadFiles for OneFile {
    fn file(&self, digest: &str) -> Option<PathBuf> {
        (digest == DIGEST).then(|| self.0.clone())
    }
}

/// Machines without an engine are not measured here.
struct NoOffers;

impl OpenOffers for NoOffers {
    fn to(&self, _: IpAddr) -> Vec<OpenOffer> {
        Vec::new()
    }

    fn file(&self, _: &OpenOffer) -> BoxFuture<'static, Result<PathBuf, Failure>> {
        Box::pin(std::future::ready(Err(Failure::new(Reason::PayloadNotFound, "nothing is offered"))))
    }

    fn note_connection(&self, _: IpAddr) {}

    fn note_sent(&self, _: &OpenOffer, _: u64) {}
}

async fn answer(dir: &Path, sessions: usize) -> anyhow::Result<()> {
    let identity = Arc::new(RunIdentity::generate("bench")?);
    let (registry, file) = (Registry::new(), dir.join("payload"));
    let mut registrations = Vec::new();
    let mut configs = String::new();
    let bound = bind(Pair { http: 0, https: 0 }, &[Family::V4])?;
    let https = SocketAddr::from((Ipv4Addr::LOCALHOST, bound.pair().https));
    // The last session is for `latency`.
    for number in 0..=sessions {
        let session = format!("s{number}");
        let engine_api = EngineApi::new(&session, 900, Box::new(OneFile(file.clone())));
        registrations.push(registry.register(&session, Arc::new(engine_api)));
        let client = identity.client_certificate(&session, Duration::from_hours(24))?;
        let config = CallbackConfig {
            addresses: vec![https.to_string()],
            server_name: CallbackConfig::server_name_of(&session),
            server_pin: identity.server_pin(),
            certificate: client.certificate,
            key: client.key,
        };
        configs.push_str(&serde_json::to_string(&config)?);
        configs.push('\n');
    }
    let (_sources, of_run) = watch::channel(Arc::new(AddressSet::from_iter([https.ip()])));
    let (_peers, runners) = watch::channel(Arc::from([]));
    let side = ServerOptions {
        identity: identity.clone(),
        sources: of_run,
        peers: runners,
        registry,
        offers: Arc::new(NoOffers),
        names: watch::channel(Arc::default()).1,
        counters: Arc::<Counters>::default(),
        // All engines of the bench have one address.
        limits: Limits { begins: (u32::MAX, u32::MAX), ..Limits::default() },
    };
    let _server = serve(bound, side)?;
    std::fs::write(dir.join("ca.crt"), identity.to_map().remove("ca.crt").context("a CA")?)?;
    std::fs::write(dir.join("engines"), configs)?;
    // Written last and atomically: once the file exists, clients may begin.
    std::fs::write(dir.join("https.part"), https.to_string())?;
    std::fs::rename(dir.join("https.part"), dir.join("https"))?;
    std::future::pending().await
}

fn configs(dir: &Path) -> anyhow::Result<Vec<CallbackConfig>> {
    let text = std::fs::read_to_string(dir.join("engines"))?;
    text.lines().map(|line| serde_json::from_str(line).context("a line of engines")).collect()
}

fn address(config: &CallbackConfig) -> anyhow::Result<SocketAddr> {
    Ok(config.addresses.first().context("an address")?.parse()?)
}

async fn fetch(dir: &Path, to: SocketAddr, path: String, clients: usize) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut fetches = tokio::task::JoinSet::new();
    for config in configs(dir)?.into_iter().take(clients) {
        let path = path.clone();
        fetches.spawn(async move {
            let mut stream = dial(&config, to).await?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let length = ask(&mut stream, request.as_bytes()).await?;
            let (mut buffer, mut left) = (vec![0; 64 * 1024], length);
            while left > 0 {
                let count = stream.read(&mut buffer).await?;
                anyhow::ensure!(count > 0, "the answer was cut off");
                left = left.saturating_sub(count);
            }
            Ok::<_, anyhow::Error>(length)
        });
    }
    let mut bytes = 0;
    while let Some(fetched) = fetches.join_next().await {
        bytes += fetched??;
    }
    println!("bytes {bytes}\nseconds {:.6}", begin.elapsed().as_secs_f64());
    Ok(())
}

async fn idle(dir: &Path, engines: usize) -> anyhow::Result<()> {
    let mut waiting = Vec::new();
    for (number, config) in configs(dir)?.into_iter().take(engines).enumerate() {
        let mut stream = dial(&config, address(&config)?).await?;
        hello(&mut stream, &format!("s{number}")).await?;
        waiting.push(tokio::spawn(async move {
            let next = post("/v1/next", &Next { done: None })?;
            loop {
                ask(&mut stream, &next).await?;
            }
            #[expect(unreachable_code, reason = "says what kind of errors there are")]
            Ok::<_, anyhow::Error>(())
        }));
    }
    println!("connected {}", waiting.len());
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    let lost = waiting.iter().filter(|engine| engine.is_finished()).count();
    println!("lost {lost}");
    std::process::exit(0)
}

async fn latency(dir: &Path, how_long: Duration) -> anyhow::Result<()> {
    let config = configs(dir)?.pop().context("a session")?;
    let session =
        config.server_name.trim_end_matches(CallbackConfig::DOMAIN).trim_end_matches('.').to_owned();
    let mut stream = dial(&config, address(&config)?).await?;
    hello(&mut stream, &session).await?;
    let nothing = post("/v1/events", &Vec::<Event>::new())?;
    let (begin, mut took) = (Instant::now(), Vec::new());
    while begin.elapsed() < how_long {
        let asked = Instant::now();
        let length = ask(&mut stream, &nothing).await?;
        stream.read_exact(&mut vec![0; length]).await?;
        took.push(asked.elapsed().as_micros());
        // sleep: the rate of the measurement, some 500 requests a second, is part of what is measured.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    took.sort_unstable();
    for (name, share) in [("p50", 50), ("p99", 99), ("max", 100)] {
        let at = (took.len() * share / 100).min(took.len().saturating_sub(1));
        println!("{name} {}", took.get(at).context("a measurement")?);
    }
    Ok(())
}

async fn scan(to: SocketAddr, how_long: Duration) -> anyhow::Result<()> {
    let (begin, mut connects) = (Instant::now(), 0_u64);
    while begin.elapsed() < how_long {
        for last in 2..=254 {
            let socket = TcpSocket::new_v4()?;
            socket.bind((IpAddr::from([127, 0, 0, last]), 0).into())?;
            // The reset may arrive before the connection is established.
            if let Ok(stream) = socket.connect(to).await {
                drop(stream);
            }
            connects += 1;
        }
    }
    println!("connects {connects}\nseconds {:.6}", begin.elapsed().as_secs_f64());
    Ok(())
}

async fn hello(stream: &mut TlsStream<TcpStream>, session: &str) -> anyhow::Result<()> {
    let hello = Hello {
        protocol: farrier_protocol::VERSION,
        engine: "bench".into(),
        session: session.to_owned(),
        ..Hello::default()
    };
    let length = ask(stream, &post("/v1/hello", &hello)?).await?;
    stream.read_exact(&mut vec![0; length]).await?;
    Ok(())
}

fn post(path: &str, value: &impl serde::Serialize) -> anyhow::Result<Vec<u8>> {
    let body = serde_json::to_vec(value)?;
    let mut request =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend(body);
    Ok(request)
}

/// Sends a request, reads the head of the response, and returns the length of its body.
async fn ask(stream: &mut TlsStream<TcpStream>, request: &[u8]) -> anyhow::Result<usize> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?.to_lowercase();
    anyhow::ensure!(head.starts_with("http/1.1 20"), "the answer is {head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    Ok(length.map_or(Ok(0), str::parse)?)
}

async fn dial(config: &CallbackConfig, to: SocketAddr) -> anyhow::Result<TlsStream<TcpStream>> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // The cipher suite that the engine offers.
    provider.cipher_suites = vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let certificate = CertificateDer::from_pem_slice(config.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(config.key.as_bytes())?;
    let tls = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAnyServer))
        .with_client_auth_cert(vec![certificate], key)?;
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(config.server_name.clone())?;
    Ok(TlsConnector::from(Arc::new(tls)).connect(name, stream).await?)
}

/// Accepts any server, because only speed is measured.
#[derive(Debug)]
struct AcceptAnyServer;

impl ServerCertVerifier for AcceptAnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
