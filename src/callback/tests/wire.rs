//! A man in the middle between an engine and the server: it records, modifies and cuts.

use super::site::LOOPBACK;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What is done to the bytes in transit.
#[derive(Clone, Copy)]
pub(super) enum Tamper {
    Nothing,
    /// Flips one bit of the engine's data, after this many bytes.
    Engine(usize),
    /// Flips one bit of the server's data, after this many bytes.
    Server(usize),
}

/// A proxy for one connection after the other.
pub(super) struct Wire {
    pub(super) address: SocketAddr,
    /// All data that the engine sent, over all connections.
    pub(super) heard: Arc<Mutex<Vec<u8>>>,
    cut: watch::Sender<u32>,
}

impl Wire {
    pub(super) async fn to(server: SocketAddr, tamper: Tamper) -> Self {
        let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
        let (address, heard) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
        let (cut, cuts) = watch::channel(0);
        let ears = heard.clone();
        tokio::spawn(async move {
            while let Ok((engine, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.unwrap();
                tokio::spawn(pass(engine, server, tamper, ears.clone(), cuts.clone()));
            }
        });
        Self { address, heard, cut }
    }

    /// Resets both sides of all connections.
    pub(super) fn cut(&self) {
        self.cut.send_modify(|n| *n += 1);
    }
}

async fn pass(
    engine: TcpStream,
    server: TcpStream,
    tamper: Tamper,
    heard: Arc<Mutex<Vec<u8>>>,
    mut cuts: watch::Receiver<u32>,
) {
    engine.set_zero_linger().unwrap();
    server.set_zero_linger().unwrap();
    let ((from_engine, to_engine), (from_server, to_server)) = (engine.into_split(), server.into_split());
    let (up, down) = match tamper {
        Tamper::Nothing => (None, None),
        Tamper::Engine(at) => (Some(at), None),
        Tamper::Server(at) => (None, Some(at)),
    };
    cuts.mark_unchanged();
    tokio::select! {
        () = copy(from_engine, to_server, up, Some(heard)) => {}
        () = copy(from_server, to_engine, down, None) => {}
        _ = cuts.changed() => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    turn: Option<usize>,
    heard: Option<Arc<Mutex<Vec<u8>>>>,
) {
    let (mut buffer, mut seen) = (vec![0; 4096], 0);
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if let Some(at) = turn
            && (seen..seen + count).contains(&at)
        {
            buffer[at - seen] ^= 0x10;
        }
        seen += count;
        if let Some(heard) = &heard {
            heard.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
