//! Clients that are engines: mutual TLS, and the engine's requests.

use super::client::{self, ask, discard};
use anyhow::Context as _;
use farrier_protocol::{CallbackConfig, Event, Hello, Next};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn configs(dir: &Path) -> anyhow::Result<Vec<CallbackConfig>> {
    let text = std::fs::read_to_string(dir.join("engines"))?;
    text.lines().map(|line| serde_json::from_str(line).context("a line of engines")).collect()
}

fn address(config: &CallbackConfig) -> anyhow::Result<SocketAddr> {
    Ok(config.addresses.first().context("an address")?.parse()?)
}

pub(super) async fn fetch(dir: &Path, to: SocketAddr, path: String, clients: usize) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut fetches = tokio::task::JoinSet::new();
    for config in configs(dir)?.into_iter().take(clients) {
        let path = path.clone();
        fetches.spawn(async move {
            let mut stream = dial(&config, to).await?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let length = ask(&mut stream, request.as_bytes()).await?;
            discard(&mut stream, length).await?;
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

pub(super) async fn idle(dir: &Path, engines: usize) -> anyhow::Result<()> {
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

pub(super) async fn latency(dir: &Path, how_long: Duration) -> anyhow::Result<()> {
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

async fn dial(config: &CallbackConfig, to: SocketAddr) -> anyhow::Result<TlsStream<TcpStream>> {
    let certificate = CertificateDer::from_pem_slice(config.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(config.key.as_bytes())?;
    let tls = client::tls()?.with_client_auth_cert(vec![certificate], key)?;
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(config.server_name.clone())?;
    Ok(TlsConnector::from(Arc::new(tls)).connect(name, stream).await?)
}
