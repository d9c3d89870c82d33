//! The callback server that the engine connects to.

use super::address::Address;
use crate::digest::Digest;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// The validated configuration: addresses, and the identities of both sides.
pub(crate) struct Channel {
    /// Addresses in order of preference; at least one.
    pub(crate) addresses: Vec<Address>,
    /// Server name for SNI.
    pub(crate) server_name: ServerName<'static>,
    /// Digest of the server's certificate.
    pub(crate) server_pin: Digest,
    /// The engine's own certificate and key.
    pub(crate) own: Arc<CertifiedKey>,
}
