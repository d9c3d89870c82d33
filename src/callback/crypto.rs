//! The cryptography that the identity of a run and its TLS configurations share.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};

/// Returns the library's cryptography. AES-128 comes first: it is as good here and costs a third
/// less than AES-256 per byte.
pub(super) fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    provider
}

/// Checks that the CA signed this server certificate.
pub(super) fn check_signed_by(
    server: &CertificateDer<'_>,
    ca: &CertificateDer<'_>,
) -> Result<(), webpki::Error> {
    let anchor = webpki::anchor_from_trusted_cert(ca)?;
    let algorithms = provider().signature_verification_algorithms.all;
    let usage = webpki::KeyUsage::server_auth();
    let certificate = webpki::EndEntityCert::try_from(server)?;
    certificate.verify_for_usage(algorithms, &[anchor], &[], UnixTime::now(), usage, None, None).map(|_| ())
}
