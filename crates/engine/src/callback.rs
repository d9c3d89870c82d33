//! Channel `Callback`: the engine dials the runner, and both prove who they are by TLS 1.3.
//!
//! What it is told comes through standard input of `launch` and is kept for root alone; see
//! [`farrier_protocol::callback`]. Above the stream nothing is different from channel `Session`.

pub(crate) mod address;
pub(crate) mod channel;
pub(crate) mod config;
mod dialler;
mod stream;
mod tls;

pub(crate) use dialler::Dialler;
pub(crate) use stream::{Route, Stream, StreamCloser, fruitless};
