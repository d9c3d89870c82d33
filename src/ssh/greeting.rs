//! The first bytes that a server sends.
//!
//! A server that accepts no logins at the moment closes the connection silently, or after a line of text.
//! The handshake then fails in the same way as with a server of another protocol. The first bytes
//! distinguish the three cases.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How many bytes are kept until the handshake is over: the identification of 255 bytes, lines before it, and the
/// list of algorithms, which is 2 KiB long at most.
const KEPT: usize = 8 * 1024;

/// How many characters a message quotes.
const SHOWN: usize = 80;

/// The first bytes that a server has sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Greeting(Arc<Mutex<Vec<u8>>>);

impl Greeting {
    /// Returns the first line that is not the identification of an SSH server, sanitized for a message.
    /// `None` if the server has sent nothing, or has identified itself: lines before the identification are
    /// allowed.
    pub(super) fn unexpected_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes()).into_owned();
        if text.lines().any(|line| line.starts_with("SSH-")) {
            return None;
        }
        let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
        Some(line.chars().filter(|c| !c.is_control()).take(SHOWN).collect())
    }

    /// Returns the bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, bytes: &[u8]) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = KEPT.saturating_sub(kept.len());
        kept.extend(bytes.iter().take(room));
        // Nobody reads them after the handshake.
        kept.len() < KEPT && Arc::strong_count(&self.0) > 1
    }
}

/// A TCP connection that keeps the first bytes that are read from it.
pub(super) struct GreetingStream {
    stream: TcpStream,
    /// `None` when enough bytes are kept.
    greeting: Option<Greeting>,
}

impl GreetingStream {
    pub(super) fn new(stream: TcpStream) -> (Self, Greeting) {
        let greeting = Greeting::default();
        (Self { stream, greeting: Some(greeting.clone()) }, greeting)
    }
}

impl AsyncRead for GreetingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let more = buffer.filled().get(before..).unwrap_or_default();
        if self.greeting.as_ref().is_some_and(|greeting| !greeting.add(more)) {
            self.greeting = None;
        }
        polled
    }
}

impl AsyncWrite for GreetingStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
