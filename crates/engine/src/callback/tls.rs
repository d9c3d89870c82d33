//! TLS 1.3 as a client, reduced to what the runner supports: AES-128-GCM, X25519 and Ed25519.
//!
//! The runner's certificate is pinned by its digest, so there are no chains and no validity times to
//! check; the machine's clock may be years off.

use super::channel::Channel;
use crate::digest::Digest;
use farrier_protocol::NEXT_HOLD_SECONDS;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::ring::{cipher_suite, kx_group, sign::any_eddsa_type};
use rustls::crypto::{
    CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms,
    verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme,
    StreamOwned,
};
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A TLS connection over TCP.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Timeout for the whole handshake, even if bytes keep trickling in. A handshake is two round trips and
/// less than a millisecond of arithmetic; a loaded server takes longer.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Read timeout, after which the runner counts as gone: it answers each request within
/// [`NEXT_HOLD_SECONDS`], and the engine always has a request in progress or sends one each second.
const SILENCE: Duration = Duration::from_secs(3 * NEXT_HOLD_SECONDS);

/// The only signature algorithm of our certificates.
static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[webpki::ring::ED25519],
    mapping: &[(SignatureScheme::ED25519, &[webpki::ring::ED25519])],
};

/// Parses the engine's own certificate and key, and checks that they are of the right type and belong
/// together.
pub(crate) fn identity(certificate: &str, key: &str) -> Result<CertifiedKey, String> {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes());
    let certificate = certificate.map_err(|_| "the engine's certificate is not PEM".to_owned())?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes());
    let key = key.map_err(|_| "the engine's key is not PEM with PKCS #8".to_owned())?;
    let key = any_eddsa_type(&key).map_err(|_| "the engine's key is not an Ed25519 key".to_owned())?;
    let own = CertifiedKey::new(vec![certificate], key);
    own.keys_match().map_err(|_| "the engine's key does not belong to its certificate".to_owned())?;
    Ok(own)
}

/// Performs the handshake; from then on [`SILENCE`] is the timeout of the stream. A TLS error contains
/// a [`rustls::Error`].
pub(crate) fn secure(mut tcp: TcpStream, channel: &Channel) -> io::Result<TlsStream> {
    let until = Instant::now() + HANDSHAKE;
    let caller =
        Arc::new(ClientCertResolver { own: Arc::clone(&channel.own), was_asked: AtomicBool::new(false) });
    let config = Arc::new(config(channel, Arc::clone(&caller)).map_err(tls_error)?);
    let mut tls = ClientConnection::new(config, channel.server_name.clone()).map_err(tls_error)?;
    tcp.set_nodelay(true)?;
    tcp.set_write_timeout(Some(HANDSHAKE))?;
    loop {
        while tls.wants_write() {
            tls.write_tls(&mut tcp)?;
        }
        if !tls.is_handshaking() {
            break;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        tcp.set_read_timeout(Some(left))?;
        if tls.read_tls(&mut tcp)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Err(error) = tls.process_new_packets() {
            // Sends the alert to the peer; whether it arrives does not matter.
            tls.write_tls(&mut tcp).ok();
            return Err(tls_error(error));
        }
    }
    if !caller.was_asked.load(Ordering::Relaxed) {
        return Err(tls_error(Error::General("the server does not request a client certificate".into())));
    }
    tcp.set_read_timeout(Some(SILENCE))?;
    tcp.set_write_timeout(Some(SILENCE))?;
    Ok(StreamOwned::new(tls, tcp))
}

/// Reports whether the TLS negotiation or authentication failed, in contrast to a broken connection.
pub(crate) fn is_distrust(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Error>() || inner.is::<UntrustedPeer>())
}

/// A TLS error with our own message, if there is one.
#[derive(Debug)]
struct UntrustedPeer(String);

impl std::fmt::Display for UntrustedPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UntrustedPeer {}

fn tls_error(error: Error) -> io::Error {
    let text = if let Error::General(text) = error { text } else { error.to_string() };
    io::Error::other(UntrustedPeer(text))
}

fn config(channel: &Channel, caller: Arc<ClientCertResolver>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![kx_group::X25519],
        signature_verification_algorithms: ALGORITHMS,
        secure_random: &RingProvider,
        key_provider: &RingProvider,
    });
    let verifier = Arc::new(Pinned(channel.server_pin.clone()));
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(NoTime))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(caller);
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Randomness and keys by *ring*. Not from rustls' own provider, because a reference to it keeps every
/// algorithm in the binary.
#[derive(Debug)]
struct RingProvider;

impl SecureRandom for RingProvider {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        SystemRandom::new().fill(bytes).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for RingProvider {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        let PrivateKeyDer::Pkcs8(key) = key else {
            return Err(Error::General("the key is not PKCS #8".into()));
        };
        any_eddsa_type(&key)
    }
}

/// Time matters only for resumption, which is disabled.
#[derive(Debug)]
struct NoTime;

impl TimeProvider for NoTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::ZERO))
    }
}

/// Accepts only the certificate with this digest.
#[derive(Debug)]
struct Pinned(Digest);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = Digest::of(certificate);
        if found == self.0 {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::General(format!("the server's certificate is {found}, the runner's is {}", self.0)))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SelectedUnofferedCipherSuite.into())
    }

    /// Verifies that the server has the certificate's key.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}

/// Presents our certificate, and records whether the server requested it: a runner that does not
/// request it would take any machine for this one.
#[derive(Debug)]
struct ClientCertResolver {
    own: Arc<CertifiedKey>,
    was_asked: AtomicBool,
}

impl ResolvesClientCert for ClientCertResolver {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked.store(true, Ordering::Relaxed);
        Some(Arc::clone(&self.own))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
