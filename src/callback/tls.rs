//! TLS: what the server offers, and which client certificates it accepts.
//!
//! TLS 1.3 only, full handshakes only: no tickets, no resumption, no early data, so that recorded
//! traffic is of no use later.

use super::counters::Cause;
use super::crypto::provider;
use super::identity::{RunIdentity, names, run_name, session_name};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use std::sync::Arc;

/// Creates the TLS configurations of one run.
pub(super) struct Tls {
    run: String,
    provider: Arc<CryptoProvider>,
    certificate: Arc<SingleCertAndKey>,
    of_this_run: Arc<dyn ClientCertVerifier>,
    for_devices: Arc<ServerConfig>,
}

impl Tls {
    pub(super) fn new(identity: &RunIdentity) -> Result<Self, Error> {
        let provider = Arc::new(provider());
        let certified = |(certificate, key)| {
            let certified = CertifiedKey::from_der(vec![certificate], key, &provider)?;
            Ok::<_, Error>(Arc::new(SingleCertAndKey::from(certified)))
        };
        let certificate = certified(identity.server())?;
        let for_devices = identity.for_devices().map_err(|error| Error::General(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        roots.add(identity.ca().clone())?;
        let of_this_run =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let of_this_run = of_this_run.map_err(|error| Error::General(error.to_string()))?;
        let for_devices = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(certified(for_devices)?);
        let for_devices = Arc::new(strict(for_devices));
        Ok(Self { run: identity.run().to_owned(), provider, certificate, of_this_run, for_devices })
    }

    /// Returns the configuration for peers without a certificate.
    pub(super) fn for_devices(&self) -> Arc<ServerConfig> {
        self.for_devices.clone()
    }

    /// Returns the configuration for the engine of one session only.
    pub(super) fn for_session(&self, session: &str) -> Result<Arc<ServerConfig>, Error> {
        let verifier = SessionVerifier {
            run: run_name(&self.run),
            session: session_name(session),
            of_this_run: self.of_this_run.clone(),
        };
        let config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(self.certificate.clone());
        Ok(Arc::new(strict(config)))
    }
}

fn strict(mut config: ServerConfig) -> ServerConfig {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.ignore_client_order = true;
    config
}

/// Accepts the certificate of one session only: signed by the run's CA, valid now, issued for the
/// session that the peer asked for.
#[derive(Debug)]
struct SessionVerifier {
    run: String,
    session: String,
    of_this_run: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for SessionVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.of_this_run.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.of_this_run.verify_client_cert(end_entity, intermediates, now)?;
        let names = names(end_entity);
        if names.contains(&self.session) && names.contains(&self.run) {
            Ok(verified)
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.of_this_run.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.of_this_run.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.of_this_run.supported_verify_schemes()
    }
}

/// Maps the error of a failed handshake to a cause.
pub(super) fn cause(error: &std::io::Error) -> Cause {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    #[expect(clippy::wildcard_enum_match_arm, reason = "both lists of rustls are open")]
    match inner {
        Some(Error::NoCertificatesPresented) => Cause::Certificate,
        Some(Error::InvalidCertificate(why)) => match why {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Cause::Expired,
            CertificateError::ApplicationVerificationFailure => Cause::WrongSession,
            _ => Cause::Certificate,
        },
        _ => Cause::Handshake,
    }
}
