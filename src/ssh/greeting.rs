//! What a server says before anything else.
//!
//! A server that admits nobody at the moment closes the connection without a word, or after a line
//! of its own. The handshake then fails as it does with a server of another protocol. The first
//! bytes tell the three apart.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How much of it is kept. RFC 4253 limits the identification to 255 bytes.
const KEPT: usize = 256;

/// How much of it a message repeats.
const SHOWN: usize = 80;

/// The beginning of what a server has said.
#[derive(Debug, Clone, Default)]
pub(super) struct Greeting(Arc<Mutex<Vec<u8>>>);

impl Greeting {
    /// The first line that is no identification of an SSH server, fit for a message. `None` if the
    /// server has said nothing, or has identified itself: lines before that are allowed.
    pub(super) fn other_words(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.text()).into_owned();
        if text.lines().any(|line| line.starts_with("SSH-")) {
            return None;
        }
        let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
        Some(line.chars().filter(|c| !c.is_control()).take(SHOWN).collect())
    }

    fn text(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, bytes: &[u8]) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = KEPT.saturating_sub(kept.len());
        kept.extend(bytes.iter().take(room));
        kept.len() < KEPT
    }
}

/// A TCP connection that keeps the beginning of what is read from it.
pub(super) struct Overheard {
    stream: TcpStream,
    /// `None` when enough is kept.
    greeting: Option<Greeting>,
}

impl Overheard {
    pub(super) fn new(stream: TcpStream) -> (Self, Greeting) {
        let greeting = Greeting::default();
        (Self { stream, greeting: Some(greeting.clone()) }, greeting)
    }
}

impl AsyncRead for Overheard {
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

impl AsyncWrite for Overheard {
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
