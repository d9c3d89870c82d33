//! Reads the `ClientHello` of a TLS connection to find the requested server name before the
//! handshake continues.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

/// Suffix of every server name.
const DOMAIN: &str = farrier_protocol::CallbackConfig::DOMAIN;

/// What the peer wants to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// The runner that serves this session.
    Session(String),
    /// No session: a device that fetches a payload.
    Any,
}

/// A connection whose `ClientHello` has been read.
pub(super) struct PeekedHello<S> {
    pub(super) destination: Destination,
    /// The bytes read so far, unchanged, so that they can be sent to another runner.
    pub(super) words: Vec<u8>,
    pub(super) start: StartHandshake<S>,
}

/// What the peer sent instead of a `ClientHello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTls {
    /// Nothing.
    Nothing,
    /// The preflight message. The TLS alert for input that is not TLS serves as its answer.
    Preflight,
    /// Something else.
    Other,
}

/// Reads the `ClientHello`, or returns what the peer sent instead.
pub(super) async fn read<S>(stream: S) -> Result<PeekedHello<S>, NotTls>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor =
        LazyConfigAcceptor::new(rustls::server::Acceptor::default(), RecordingStream::new(stream));
    let Ok(start) = (&mut acceptor).await else {
        let words = acceptor.take_io().map(|heard| heard.words).unwrap_or_default();
        return Err(match words.as_slice() {
            [] => NotTls::Nothing,
            words if words.starts_with(farrier_protocol::PREFLIGHT.as_bytes()) => NotTls::Preflight,
            _ => NotTls::Other,
        });
    };
    let destination = destination(start.client_hello().server_name());
    let StartHandshake { accepted, io: RecordingStream { inner, words }, .. } = start;
    Ok(PeekedHello { destination, words, start: StartHandshake::from_parts(accepted, inner) })
}

fn destination(name: Option<&str>) -> Destination {
    let session = name.and_then(|name| name.strip_suffix(DOMAIN)?.strip_suffix('.'));
    match session {
        Some(session) => Destination::Session(session.to_owned()),
        None => Destination::Any,
    }
}

/// A stream that records what is read from it. The acceptor reads at most one `ClientHello`, which
/// is at most 64 KiB.
struct RecordingStream<S> {
    inner: S,
    words: Vec<u8>,
}

impl<S> RecordingStream<S> {
    fn new(inner: S) -> Self {
        Self { inner, words: Vec::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RecordingStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        self.words.extend_from_slice(new);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RecordingStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
