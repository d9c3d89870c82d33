//! TLS: what the server offers, and which client certificates it accepts.
//!
//! Full handshakes only: no tickets, no resumption, no early data, so that recorded traffic is of no use
//! later. Engines speak TLS 1.3 only. Machines without an engine may use TLS 1.2, with ephemeral keys and
//! authenticated encryption: many management processors know nothing newer. Their certificate names the
//! addresses by which they reach the server.

use super::counters::Cause;
use super::crypto::{provider, provider_for_devices};
use super::identity::{RunIdentity, names, run_name, session_name};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};

/// Creates the TLS configurations of one run.
pub(super) struct Tls {
    run: String,
    provider: Arc<CryptoProvider>,
    certificate: Arc<SingleCertAndKey>,
    of_this_run: Arc<dyn ClientCertVerifier>,
    for_devices: Mutex<Option<DeviceConfig>>,
}

/// The configuration for machines without a certificate, with the names for which its certificate is valid.
type DeviceConfig = (Arc<BTreeSet<String>>, Arc<ServerConfig>);

impl Tls {
    pub(super) fn new(identity: &RunIdentity) -> Result<Self, Error> {
        let provider = Arc::new(provider());
        let certificate = certified(identity.server(), &provider)?;
        let mut roots = RootCertStore::empty();
        roots.add(identity.ca().clone())?;
        let of_this_run =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let of_this_run = of_this_run.map_err(|error| Error::General(error.to_string()))?;
        let run = identity.run().to_owned();
        Ok(Self { run, provider, certificate, of_this_run, for_devices: Mutex::default() })
    }

    /// Returns the configuration for peers without a certificate. The server's certificate is valid for these
    /// names and addresses; it is made again only when they change.
    pub(super) fn for_devices(
        &self,
        identity: &RunIdentity,
        names: &Arc<BTreeSet<String>>,
    ) -> Result<Arc<ServerConfig>, Error> {
        let mut made = self.for_devices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = made.as_ref().filter(|(of, _)| of == names) {
            return Ok(config.clone());
        }
        let certificate = identity.for_devices(names).map_err(|error| Error::General(error.to_string()))?;
        let provider = Arc::new(provider_for_devices());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(certified(certificate, &provider)?);
        let config = Arc::new(strict(config));
        *made = Some((names.clone(), config.clone()));
        Ok(config)
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

fn certified(
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
    provider: &CryptoProvider,
) -> Result<Arc<SingleCertAndKey>, Error> {
    Ok(Arc::new(SingleCertAndKey::from(CertifiedKey::from_der(vec![certificate], key, provider)?)))
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

/// Describes how a machine has rejected the server; `None` if the handshake failed for another reason. Some close the
/// connection without a word.
pub(super) fn rejection(error: &std::io::Error) -> Option<String> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::AlertReceived(alert)) => Some(format!("TLS alert {alert:?}")),
        Some(Error::PeerIncompatible(why)) => {
            Some(format!("no TLS in common, {why:?}; it may accept RSA certificates only"))
        }
        Some(_) => None,
        None => {
            let kinds = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            let words = "the connection was closed when the certificate had been sent";
            kinds.contains(&error.kind()).then(|| words.to_owned())
        }
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
