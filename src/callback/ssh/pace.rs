//! Writing to a client that may stop reading.

use super::super::ftp::IDLE;
use std::io;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Writes to a channel whose client may stop reading: then it is given up after [`IDLE`].
pub(super) async fn send(output: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = timeout(IDLE, output.write(bytes)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        bytes = bytes.get(sent..).unwrap_or_default();
    }
    Ok(())
}
