//! Channel `Listen`: the runner connects to the engine. Above TCP the roles are those of a call: the runner is
//! the server of TLS and of HTTP.
//!
//! The identity is not that of the run's Secret. Runner and engine meet through SSH before each such
//! connection, so each attempt makes its own, and no key is ever stored in the cluster.

use super::identity::{IdentityError, RunIdentity};
use super::server::settle;
use super::tls::Tls;
use crate::engines::hex;
use farrier_protocol::{CallbackConfig, ListenConfig};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// Random bytes of the token.
const TOKEN_BYTES: usize = 16;

/// Validity of the engine's certificate, longer than any run lasts.
const CERTIFICATE_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// Timeout of the handshake: two round trips, on a machine under load.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The runner's side of the connections to one engine. `Debug` shows no secret.
pub struct DialIdentity {
    config: CallbackConfig,
    first_line: String,
    tls: Arc<ServerConfig>,
}

/// Why an identity could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DialIdentityError {
    /// A certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The TLS configuration.
    #[error("no TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
}

impl DialIdentity {
    /// Makes keys, certificates and a token for one session.
    ///
    /// # Errors
    /// When the operating system returns no random numbers.
    pub fn generate(session: &str) -> Result<Self, DialIdentityError> {
        let identity = RunIdentity::generate(session)?;
        let made = identity.client_certificate(session, CERTIFICATE_LIFETIME)?;
        let tls = Tls::new(&identity)?.for_session(session)?;
        let mut token = [0; TOKEN_BYTES];
        let random = super::crypto::provider().secure_random;
        random.fill(&mut token).map_err(|_| IdentityError::NoRandomness)?;
        let listen = ListenConfig {
            first_port: 0,
            last_port: 0,
            local: String::new(),
            peer: String::new(),
            token: hex(&token),
            open_firewall: false,
        };
        let first_line = format!("{}\n", listen.first_line());
        let config = CallbackConfig {
            addresses: Vec::new(),
            server_name: CallbackConfig::server_name_of(session),
            server_pin: identity.server_pin(),
            certificate: made.certificate,
            key: made.key,
            listen: Some(listen),
        };
        Ok(Self { config, first_line, tls })
    }

    /// Returns the configuration for the engine. `place` is where it listens; its token is ignored.
    pub fn config(&self, place: ListenConfig) -> CallbackConfig {
        let token = self.config.listen.as_ref().map(|listen| listen.token.clone()).unwrap_or_default();
        CallbackConfig { listen: Some(ListenConfig { token, ..place }), ..self.config.clone() }
    }

    /// Identifies this side on a connection to the engine, and the engine to this side.
    ///
    /// # Errors
    /// The connection ended, the engine took too long, or it is not the one that has the configuration.
    pub async fn secure(&self, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        settle(&stream);
        stream.write_all(self.first_line.as_bytes()).await?;
        let accepting = TlsAcceptor::from(self.tls.clone()).accept(stream);
        tokio::time::timeout(HANDSHAKE, accepting)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl std::fmt::Debug for DialIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DialIdentity").field("config", &self.config).finish_non_exhaustive()
    }
}
