//! Channel `Callback`: the engine connects to the runner, and both authenticate by TLS 1.3.
//!
//! The configuration comes through standard input of `launch` and is stored readable by root only; see
//! [`farrier_protocol::callback`]. Above the stream the protocol is that of channel `Session`.

pub(crate) mod address;
pub(crate) mod channel;
pub(crate) mod config;
mod dialler;
mod stream;
mod tls;

pub(crate) use dialler::Dialler;
pub(crate) use stream::{Route, Stream, StreamCloser, failed_dial};
