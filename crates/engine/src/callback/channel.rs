//! The callback server that the engine dials.

use super::address::Address;
use crate::digest::Digest;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// Where to dial and whom to trust there, checked.
pub(crate) struct Channel {
    /// Most preferred first; at least one.
    pub(crate) addresses: Vec<Address>,
    /// What the server is asked for.
    pub(crate) server_name: ServerName<'static>,
    /// Digest of the server's certificate.
    pub(crate) server_pin: Digest,
    /// The engine's own certificate and key.
    pub(crate) own: Arc<CertifiedKey>,
}
