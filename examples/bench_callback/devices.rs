//! Clients that are devices: each has an address of its own and fetches what it is offered.

use super::client::{self, ask, discard};
use anyhow::Context as _;
use rustls::pki_types::ServerName;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// How many devices have an offer.
pub(super) const DEVICES: u16 = 1000;

/// How a device fetches.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Http,
    Https,
}

/// Returns the address of a device, which is one of loopback.
pub(super) fn device(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low).into()
}

/// As many devices fetch at once: the path, or if it is `offer`, each its own offer.
pub(super) async fn pull(
    dir: &Path,
    way: Way,
    to: SocketAddr,
    path: &str,
    devices: u16,
) -> anyhow::Result<()> {
    let offers = std::fs::read_to_string(dir.join("offers"))?;
    let tls = TlsConnector::from(Arc::new(client::tls()?.with_no_client_auth()));
    let begin = Instant::now();
    let mut pulls = tokio::task::JoinSet::new();
    for (number, offer) in (0..devices).zip(offers.lines()) {
        let path = if path == "offer" { offer } else { path };
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let tls = tls.clone();
        pulls.spawn(async move {
            let mut stream = dial(device(number), to).await?;
            let length = match way {
                Way::Http => {
                    let length = ask(&mut stream, request.as_bytes()).await?;
                    discard(&mut stream, length).await?;
                    length
                }
                Way::Https => {
                    let mut stream = tls.connect(ServerName::IpAddress(to.ip().into()), stream).await?;
                    let length = ask(&mut stream, request.as_bytes()).await?;
                    discard(&mut stream, length).await?;
                    length
                }
            };
            Ok::<_, anyhow::Error>((length, begin.elapsed()))
        });
    }
    let (mut bytes, mut took) = (0, Vec::new());
    while let Some(pulled) = pulls.join_next().await {
        let (length, elapsed) = pulled??;
        bytes += length;
        took.push(elapsed);
    }
    took.sort_unstable();
    let median = took.get(took.len() / 2).context("a device")?;
    let slowest = took.last().context("a device")?;
    println!("bytes {bytes}\nseconds {:.6}\nmedian {:.6}", slowest.as_secs_f64(), median.as_secs_f64());
    Ok(())
}

async fn dial(from: IpAddr, to: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    Ok(socket.connect(to).await?)
}

/// Connects from addresses that are not the run's.
pub(super) async fn scan(to: SocketAddr, how_long: Duration) -> anyhow::Result<()> {
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
