//! The stream below the protocol: an attached local peer, or a connection to the runner.

use super::tls::{self, TlsStream};
use farrier_protocol::{Dial, DialOutcome};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

/// A stream to the runner.
pub(crate) enum Stream {
    /// A peer connected to our socket.
    Attached(UnixStream),
    /// The engine connected to the runner.
    Dialled {
        /// How the connection was established.
        route: Route,
        /// The TLS stream.
        tls: Box<TlsStream>,
    },
    /// The runner connected to the engine's port.
    Accepted(Box<TlsStream>),
}

/// How a round of connection attempts established a stream.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The address that responded.
    pub(crate) address: String,
    /// The source address of the connection.
    pub(crate) from: Option<IpAddr>,
    /// The results of the addresses tried before.
    pub(crate) before: Vec<Dial>,
}

/// Ends a stream while another thread reads from it.
pub(crate) enum StreamCloser {
    /// Closes [`Stream::Attached`].
    Attached(UnixStream),
    /// Closes [`Stream::Dialled`].
    Dialled(TcpStream),
    /// Closes [`Stream::Accepted`].
    Accepted(TcpStream),
}

impl Stream {
    /// Returns a closer for the stream.
    pub(crate) fn cut(&self) -> io::Result<StreamCloser> {
        match self {
            Self::Attached(stream) => stream.try_clone().map(StreamCloser::Attached),
            Self::Dialled { tls, .. } => tls.sock.try_clone().map(StreamCloser::Dialled),
            Self::Accepted(tls) => tls.sock.try_clone().map(StreamCloser::Accepted),
        }
    }

    /// Returns how the connection was established, if the engine opened it.
    pub(crate) fn route(&self) -> Option<&Route> {
        match self {
            Self::Attached(_) | Self::Accepted(_) => None,
            Self::Dialled { route, .. } => Some(route),
        }
    }

    /// Announces the end of the data to the peer.
    pub(crate) fn end(&mut self) {
        if let Self::Dialled { tls, .. } | Self::Accepted(tls) = self {
            tls.conn.send_close_notify();
            // Failure does not matter if the runner is already gone.
            tls.flush().ok();
        }
    }
}

/// Returns the report of a connection that was established but never carried a byte from the runner.
pub(crate) fn failed_dial(address: &str, from: Option<IpAddr>, error: &io::Error) -> Dial {
    let is_any = |kinds: &[io::ErrorKind]| kinds.contains(&error.kind());
    let (result, message) = if tls::is_distrust(error) {
        (DialOutcome::Untrusted, error.to_string())
    } else if is_any(&[io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut]) {
        // A read timeout surfaces as `WouldBlock`.
        (DialOutcome::Silent, "the connection was accepted, but no data arrived".into())
    } else if is_any(&[
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::BrokenPipe,
    ]) {
        (DialOutcome::Closed, "the connection was accepted and then closed".into())
    } else {
        (DialOutcome::Failed, error.to_string())
    };
    Dial { address: address.to_owned(), result, message, from }
}

impl StreamCloser {
    /// Reports whether the engine opened the stream.
    pub(crate) fn is_dialled(&self) -> bool {
        matches!(self, Self::Dialled(_))
    }

    /// Closes the stream. A stream that has already ended is fine.
    pub(crate) fn now(&self) {
        match self {
            Self::Attached(stream) => stream.shutdown(Shutdown::Both).ok(),
            Self::Dialled(stream) | Self::Accepted(stream) => stream.shutdown(Shutdown::Both).ok(),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Attached(stream) => stream.read(buffer),
            Self::Dialled { tls, .. } | Self::Accepted(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Attached(stream) => stream.write(bytes),
            Self::Dialled { tls, .. } | Self::Accepted(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Attached(stream) => stream.flush(),
            Self::Dialled { tls, .. } | Self::Accepted(tls) => tls.flush(),
        }
    }
}
