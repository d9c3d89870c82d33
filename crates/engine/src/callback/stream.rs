//! The stream below the conversation: of a local caller, or one that we dialled.

use super::tls::{self, TlsStream};
use farrier_protocol::{Dial, DialOutcome};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::unix::net::UnixStream;

/// A stream to the runner.
pub(crate) enum Stream {
    /// Somebody connected to our socket.
    Attached(UnixStream),
    /// We dialled.
    Dialled {
        /// How we came to it.
        route: Route,
        /// TLS on it.
        tls: Box<TlsStream>,
    },
}

/// How a round of dialling came to a stream.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The address that answered.
    pub(crate) address: String,
    /// The address of ours that it was called from.
    pub(crate) from: Option<IpAddr>,
    /// What came of those before it.
    pub(crate) before: Vec<Dial>,
}

/// Ends a stream while somebody else reads from it.
pub(crate) enum StreamCloser {
    /// Of [`Stream::Attached`].
    Attached(UnixStream),
    /// Of [`Stream::Dialled`].
    Dialled(TcpStream),
}

impl Stream {
    /// To cut it with.
    pub(crate) fn cut(&self) -> io::Result<StreamCloser> {
        match self {
            Self::Attached(stream) => stream.try_clone().map(StreamCloser::Attached),
            Self::Dialled { tls, .. } => tls.sock.try_clone().map(StreamCloser::Dialled),
        }
    }

    /// How we came to it, if we dialled.
    pub(crate) fn route(&self) -> Option<&Route> {
        match self {
            Self::Attached(_) => None,
            Self::Dialled { route, .. } => Some(route),
        }
    }

    /// Says that nothing more will come.
    pub(crate) fn end(&mut self) {
        if let Self::Dialled { tls, .. } = self {
            tls.conn.send_close_notify();
            // A runner that is gone already does not mind.
            tls.flush().ok();
        }
    }
}

/// What became of a dial that stood, but never came to a word of the runner.
pub(crate) fn fruitless(address: &str, from: Option<IpAddr>, error: &io::Error) -> Dial {
    let is_any = |kinds: &[io::ErrorKind]| kinds.contains(&error.kind());
    let (result, message) = if tls::is_distrust(error) {
        (DialOutcome::Untrusted, error.to_string())
    } else if is_any(&[io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut]) {
        // A read that times out would have blocked.
        (DialOutcome::Silent, "the connection was accepted, and then nothing came".into())
    } else if is_any(&[
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::BrokenPipe,
    ]) {
        (DialOutcome::Closed, "the connection was accepted and closed again".into())
    } else {
        (DialOutcome::Failed, error.to_string())
    };
    Dial { address: address.to_owned(), result, message, from }
}

impl StreamCloser {
    /// Whether it is of a stream that we dialled.
    pub(crate) fn is_dialled(&self) -> bool {
        matches!(self, Self::Dialled(_))
    }

    /// Ends it. One that has ended already is what we want.
    pub(crate) fn now(&self) {
        match self {
            Self::Attached(stream) => stream.shutdown(Shutdown::Both).ok(),
            Self::Dialled(stream) => stream.shutdown(Shutdown::Both).ok(),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Attached(stream) => stream.read(buffer),
            Self::Dialled { tls, .. } => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Attached(stream) => stream.write(bytes),
            Self::Dialled { tls, .. } => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Attached(stream) => stream.flush(),
            Self::Dialled { tls, .. } => tls.flush(),
        }
    }
}
