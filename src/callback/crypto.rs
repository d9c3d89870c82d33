//! The cryptography that the identity of a run and its TLS configurations share.

use rustls::SupportedCipherSuite;
use rustls::crypto::{CryptoProvider, aws_lc_rs, ring};
use rustls::pki_types::{CertificateDer, UnixTime};

/// Returns the library's cryptography. AES-128 comes first: it is as good here and costs a third
/// less than AES-256 per byte.
pub(super) fn provider() -> CryptoProvider {
    provider_with(AesLibrary::of_this_processor())
}

/// Returns the cryptography for machines without an engine: also the suites of TLS 1.2. All of them have ephemeral
/// keys and authenticated encryption, and fit the server's key (ECDSA).
pub(super) fn provider_for_devices() -> CryptoProvider {
    let mut provider = provider();
    provider.cipher_suites.extend([
        aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ]);
    provider
}

fn provider_with(aes: AesLibrary) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        aes.aes_128_gcm(),
        aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    provider
}

/// The library of the cipher suite AES-128-GCM-SHA256, with its SHA-256, HMAC and HKDF. Everything else, such
/// as key exchange and signatures, is done by aws-lc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AesLibrary {
    AwsLc,
    Ring,
}

impl AesLibrary {
    /// Returns the faster one on this processor. Both libraries have code for the instructions that
    /// encrypt several blocks at once (VAES): aws-lc for processors that also have AVX-512, ring
    /// for those with AVX2. On AMD Zen 3, which has AVX2 only, encrypting 1 GiB takes aws-lc 0.257
    /// seconds and ring 0.135 (measured; docs/adr/0015).
    fn of_this_processor() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("vpclmulqdq")
            && is_x86_feature_detected!("avx2")
            && !has_avx_512()
        {
            return Self::Ring;
        }
        Self::AwsLc
    }

    fn aes_128_gcm(self) -> SupportedCipherSuite {
        match self {
            Self::AwsLc => aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            Self::Ring => ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
        }
    }
}

/// Reports whether the processor has what aws-lc requires before it uses AVX-512 for AES-GCM.
#[cfg(target_arch = "x86_64")]
fn has_avx_512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
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

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::version::TLS13;
    use rustls::{
        CipherSuite, ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig,
        ServerConnection,
    };
    use std::io::{Read, Write};
    use std::sync::Arc;

    /// A client and a server that have not exchanged anything yet.
    fn connection(client: CryptoProvider, server: CryptoProvider) -> (Connection, Connection) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["server".to_owned()]).unwrap().self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(client))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = ServerConfig::builder_with_provider(Arc::new(server))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let name = ServerName::try_from("server").unwrap();
        (
            ClientConnection::new(Arc::new(client), name).unwrap().into(),
            ServerConnection::new(Arc::new(server)).unwrap().into(),
        )
    }

    /// Moves what one side has written to the other side, and returns the text that arrived.
    fn deliver(from: &mut Connection, to: &mut Connection) -> Vec<u8> {
        let mut wire = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut wire).unwrap();
        }
        let (mut wire, mut text) = (wire.as_slice(), Vec::new());
        while !wire.is_empty() {
            to.read_tls(&mut wire).unwrap();
            let length = to.process_new_packets().unwrap().plaintext_bytes_to_read();
            let begin = text.len();
            text.resize(begin + length, 0);
            to.reader().read_exact(&mut text[begin..]).unwrap();
        }
        text
    }

    /// On some processors no machine can read what the server sends.
    #[test]
    fn what_one_library_encrypts_the_other_one_decrypts() {
        let text: Vec<u8> = (0..40_000_u32).map(|at| (at / 251).to_le_bytes()[0]).collect();
        for (library, peer) in [(AesLibrary::AwsLc, AesLibrary::Ring), (AesLibrary::Ring, AesLibrary::AwsLc)]
        {
            let (mut client, mut server) = connection(provider_with(peer), provider_with(library));
            while client.is_handshaking() || server.is_handshaking() {
                deliver(&mut client, &mut server);
                deliver(&mut server, &mut client);
            }
            let suite = client.negotiated_cipher_suite().unwrap().suite();
            assert_eq!(suite, CipherSuite::TLS13_AES_128_GCM_SHA256, "{library:?}");
            server.writer().write_all(&text).unwrap();
            assert!(deliver(&mut server, &mut client) == text, "{library:?}");
            client.writer().write_all(&text).unwrap();
            assert!(deliver(&mut client, &mut server) == text, "{library:?}");
        }
    }
}
