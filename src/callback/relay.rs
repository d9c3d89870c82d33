//! Relays a stream whose session another runner serves, still encrypted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Runners are in one cluster: a runner that does not answer within this time is unreachable.
const DIAL: Duration = Duration::from_secs(3);

/// Buffer size from the engine to its runner: requests and events.
const UP: usize = 8 * 1024;

/// Buffer size from the runner to its engine: payloads.
const DOWN: usize = 32 * 1024;

/// Connects to the other runner and sends the recorded `ClientHello` to it.
pub(super) async fn dial(to: SocketAddr, words: &[u8]) -> io::Result<TcpStream> {
    let dialled = async {
        let mut other = TcpStream::connect(to).await?;
        other.set_nodelay(true)?;
        other.write_all(words).await?;
        Ok(other)
    };
    timeout(DIAL, dialled).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Copies until both sides have ended.
pub(super) async fn copy(
    mut engine: impl AsyncRead + AsyncWrite + Unpin,
    mut other: TcpStream,
) -> io::Result<()> {
    tokio::io::copy_bidirectional_with_sizes(&mut engine, &mut other, UP, DOWN).await.map(|_| ())
}
