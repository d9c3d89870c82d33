//! What a server presents in a handshake.

use rustls::pki_types::{CertificateDer, ServerName};

/// What a server presented in a handshake.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// The server's own certificate.
    pub leaf: &'a CertificateDer<'a>,
    /// What it sent besides.
    pub chain: &'a [CertificateDer<'a>],
    /// The host name or address that was connected to.
    pub server: &'a ServerName<'a>,
}
