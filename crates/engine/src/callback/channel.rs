//! The runner at the other end of the engine's own connection.

use super::address::Address;
use super::listen::ListenSettings;
use crate::digest::Digest;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// The validated configuration: addresses, and the identities of both sides.
pub(crate) struct Channel {
    /// Addresses in order of preference; at least one, or none on channel `Listen`.
    pub(crate) addresses: Vec<Address>,
    /// Where the engine listens, on channel `Listen`.
    pub(crate) listen: Option<ListenSettings>,
    /// Server name for SNI.
    pub(crate) server_name: ServerName<'static>,
    /// Digest of the server's certificate.
    pub(crate) server_pin: Digest,
    /// The engine's own certificate and key.
    pub(crate) own: Arc<CertifiedKey>,
}
