//! [`Trust`] in a TLS handshake.

use super::certificate::Details;
use super::fingerprint::Fingerprint;
use super::presented::Presented;
use super::problem::{CertificateProblem, Rejected};
use super::trust::{Policy, Trust, TrustedBy, system_authority};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use std::sync::{Arc, Mutex, PoisonError};
use webpki::{EndEntityCert, RawPublicKeyEntity};

/// Returns a TLS 1.2 and 1.3 client configuration that accepts the servers that `trust` accepts.
///
/// A rejected server ends the handshake with an error that
/// [`HandshakeProblem::of`](super::HandshakeProblem::of) understands.
///
/// # Errors
/// When the cryptographic library supports no version of TLS, which is a defect.
pub fn client_config(trust: Trust) -> Result<(ClientConfig, Arc<Verifier>), Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Verifier::new(trust, &provider));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();
    Ok((config, verifier))
}

/// Returns the authorities that the operator's system trusts: those in `SSL_CERT_FILE` and `SSL_CERT_DIR`,
/// or in the directories of the distribution. Unreadable certificates and server certificates are left out.
pub fn system_authorities() -> Vec<TrustAnchor<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "certificates of the system's authorities cannot be read");
    }
    found.certs.iter().filter_map(system_authority).map(|anchor| anchor.to_owned()).collect()
}

/// The certificate verifier for rustls.
#[derive(Debug)]
pub struct Verifier {
    trust: Trust,
    system: Vec<TrustAnchor<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
    accepted: Mutex<Option<(Fingerprint, TrustedBy)>>,
}

impl Verifier {
    fn new(trust: Trust, provider: &CryptoProvider) -> Self {
        let system = if trust.policy == Policy::System { system_authorities() } else { Vec::new() };
        let algorithms = provider.signature_verification_algorithms;
        Self { trust, system, algorithms, accepted: Mutex::default() }
    }

    /// Returns the fingerprint of the certificate that was last accepted, and why it was accepted.
    pub fn accepted(&self) -> Option<(Fingerprint, TrustedBy)> {
        *self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = Presented { leaf, chain, server };
        let fingerprint = Fingerprint::of(leaf);
        let verified = self.trust.verify(presented, &self.system, self.algorithms.all, now);
        match verified.and_then(|trusted_by| self.accept(fingerprint, trusted_by)) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(problem) => {
                let rejected = Rejected { server: server.to_str().into_owned(), fingerprint, problem };
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(rejected)))))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match unparsable_certificate(leaf) {
            Some(details) => self.verify_tls12_with_key(message, &details, signature),
            None => verify_tls12_signature(message, leaf, signature, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match unparsable_certificate(leaf) {
            Some(details) => {
                verify_tls13_signature_with_raw_key(message, &details.public_key, signature, &self.algorithms)
            }
            None => verify_tls13_signature(message, leaf, signature, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl Verifier {
    /// Records an accepted certificate. After a first use, every connection must present the same one.
    fn accept(&self, fingerprint: Fingerprint, trusted_by: TrustedBy) -> Result<(), CertificateProblem> {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, TrustedBy::FirstUse)) = *accepted
            && first != fingerprint
        {
            return Err(CertificateProblem::NotPinned { accepted: vec![first] });
        }
        *accepted = Some((fingerprint, trusted_by));
        Ok(())
    }

    /// Does the same as [`verify_tls12_signature`], for a certificate that the library cannot parse.
    fn verify_tls12_with_key(
        &self,
        message: &[u8],
        details: &Details,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let refuse = |why| Error::InvalidCertificate(why);
        let key = RawPublicKeyEntity::try_from(&details.public_key);
        let key = key.map_err(|_| refuse(CertificateError::BadEncoding))?;
        let of_scheme = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signature.scheme);
        let mut possible = of_scheme.into_iter().flat_map(|(_, algorithms)| algorithms.iter());
        if possible.any(|algorithm| key.verify_signature(*algorithm, message, signature.signature()).is_ok())
        {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(refuse(CertificateError::BadSignature))
        }
    }
}

/// Parses a certificate whose key the library cannot extract: X.509 version 1, which old appliances have, an
/// unknown critical extension, unique identifiers. Such a certificate can be trusted by its fingerprint or
/// because it is configured.
fn unparsable_certificate(leaf: &CertificateDer<'_>) -> Option<Details> {
    if EndEntityCert::try_from(leaf).is_ok() { None } else { Details::of(leaf) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn verify(verifier: &Verifier, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        let server = ServerName::try_from("bmc.example.net").unwrap();
        verifier.verify_server_cert(leaf, &[], &server, &[], UnixTime::now()).map(|_| ())
    }

    /// Otherwise an attacker in the path of the second connection of a client would be accepted as the
    /// device, because the caller has not recorded the first fingerprint yet.
    #[test]
    fn a_client_accepts_one_certificate_on_first_use() {
        let made = || {
            let key = KeyPair::generate().unwrap();
            CertificateParams::new(["anything".to_owned()]).unwrap().self_signed(&key).unwrap().der().clone()
        };
        let (first, second) = (made(), made());
        let trust = Trust { policy: Policy::TrustOnFirstUse, ..Trust::default() };
        let verifier = Verifier::new(trust, &aws_lc_rs::default_provider());
        assert_eq!(verify(&verifier, &first), Ok(()));
        assert_eq!(verify(&verifier, &first), Ok(()));
        let refused = verify(&verifier, &second).unwrap_err();
        let Error::InvalidCertificate(CertificateError::Other(other)) = refused else {
            panic!("{refused}");
        };
        let accepted = vec![Fingerprint::of(&first)];
        let problem = &other.0.downcast_ref::<Rejected>().unwrap().problem;
        assert_eq!(*problem, CertificateProblem::NotPinned { accepted });
        assert_eq!(verifier.accepted(), Some((Fingerprint::of(&first), TrustedBy::FirstUse)));
    }
}
