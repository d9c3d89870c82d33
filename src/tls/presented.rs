//! The certificates that a server presents in a handshake.

use rustls::pki_types::{CertificateDer, ServerName};

/// The certificates that a server presented in a handshake.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// The server's own certificate.
    pub leaf: &'a CertificateDer<'a>,
    /// The other certificates that the server sent.
    pub chain: &'a [CertificateDer<'a>],
    /// The host name or address of the connection.
    pub server: &'a ServerName<'a>,
}
