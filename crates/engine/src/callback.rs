//! Channels `Callback` and `Listen`: the engine connects to the runner, or the runner to the engine, and both
//! authenticate by TLS 1.3.
//!
//! The configuration comes through standard input of `launch` and is stored readable by root only; see
//! [`farrier_protocol::callback`]. Above the stream the protocol is that of channel `Session`.

mod acceptor;
pub(crate) mod address;
pub(crate) mod channel;
pub(crate) mod config;
mod dialler;
pub(crate) mod listen;
mod stream;
mod tls;

pub(crate) use acceptor::Acceptor;
pub(crate) use dialler::Dialler;
pub(crate) use stream::{Route, Stream, StreamCloser, failed_dial};
