//! Connections over HTTPS to a device, for classes that need them: to an address with a zone too, with the certificate
//! compared with the name in the ManagedNode, and with content that is sent from a file.
//!
//! What is asked and how answers are read is for the class.

mod connection;
mod content;
mod endpoint;

pub use content::{Content, FileContent};
pub use endpoint::Endpoint;

pub(super) use connection::{Connection, NotOpen, handshake_reason, handshake_words};
pub(super) use content::{Body, Field, FormFile, STALLED, Text, stalled};
