//! The runner's end of channel `Callback`, for tests: certificates and a TLS server, with another
//! crypto library than the engine's.

use crate::machine::digest;
use crate::runner::Connection;
use farrier_protocol::CallbackConfig;
use rcgen::{Certificate, CertificateParams, CertifiedIssuer, Issuer, KeyPair, PKCS_ED25519};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;

/// The session that certificates are issued for.
pub(crate) const SESSION: &str = "s1";

/// The token of connections to an engine that listens.
pub(crate) const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// A certificate with its key.
pub(crate) struct Certified {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

/// The certificate authority of one run.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, ed25519()).unwrap())
    }

    pub(crate) fn issue(&self, name: &str) -> Certified {
        let key = ed25519();
        let issuer: &Issuer<'_, KeyPair> = &self.0;
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        Certified { certificate, key }
    }

    /// Returns a configuration that accepts only clients of this run.
    pub(crate) fn server_config(&self, own: &Certified) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(default_provider());
        let callers = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(callers.build().unwrap())
            .with_single_cert(vec![own.certificate.der().clone()], own.key())
            .unwrap()
    }
}

impl Certified {
    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    pub(crate) fn pin(&self) -> String {
        digest(self.certificate.der())
    }
}

fn ed25519() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).unwrap()
}

/// A runner that the engine of [`SESSION`] can connect to.
pub(crate) struct Server {
    pub(crate) authority: Authority,
    pub(crate) own: Certified,
    pub(crate) listener: TcpListener,
    pub(crate) config: Arc<ServerConfig>,
}

impl Server {
    /// Listens on `address`, on a port that the kernel chooses.
    pub(crate) fn on(address: &str) -> Self {
        let authority = Authority::new();
        let own = authority.issue("runner");
        let config = Arc::new(authority.server_config(&own));
        Self { authority, own, listener: TcpListener::bind(address).unwrap(), config }
    }

    pub(crate) fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Replaces the TLS configuration.
    pub(crate) fn with(self, config: ServerConfig) -> Self {
        Self { config: Arc::new(config), ..self }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// Returns the configuration that the engine gets.
    pub(crate) fn callback(&self) -> CallbackConfig {
        self.callback_at(&[&self.address()])
    }

    pub(crate) fn callback_at(&self, addresses: &[&str]) -> CallbackConfig {
        let engine = self.authority.issue(SESSION);
        CallbackConfig {
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            server_name: CallbackConfig::server_name_of(SESSION),
            server_pin: self.own.pin(),
            certificate: engine.certificate.pem(),
            key: engine.key.serialize_pem(),
            listen: None,
        }
    }

    /// Accepts the engine's next connection.
    pub(crate) fn connection(&self) -> Connection {
        let (tcp, _) = self.listener.accept().unwrap();
        self.shake(tcp).unwrap()
    }

    /// Performs the TLS handshake on a connection.
    pub(crate) fn shake(&self, mut tcp: TcpStream) -> io::Result<Connection> {
        let mut tls = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        assert_eq!(tls.server_name(), Some(CallbackConfig::server_name_of(SESSION).as_str()));
        let stream = Shared(Rc::new(RefCell::new(StreamOwned::new(tls, tcp))));
        Ok(Connection::on(stream.clone(), Output(stream)))
    }
}

/// Reads from and writes to the same stream.
#[derive(Clone)]
struct Shared(Rc<RefCell<StreamOwned<ServerConnection, TcpStream>>>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

/// The write half; dropping it ends our data.
struct Output(Shared);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.0.borrow_mut().flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut stream = self.0.0.borrow_mut();
        // The engine may be gone.
        stream.flush().ok();
        stream.sock.shutdown(Shutdown::Write).ok();
    }
}
