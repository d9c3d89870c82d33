//! The reason why a TLS handshake with a server failed, found in the error of an HTTP client.

use super::problem::{Rejected, TrustFields};
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use std::sync::Arc;

/// Why there is no TLS connection to a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeProblem {
    /// The server's certificate is not trusted.
    #[error("{0}")]
    Untrusted(Arc<Rejected>),
    /// The server does not have the private key of its certificate, or the key is of a rare kind.
    #[error("the server did not prove that it has the key of its certificate ({0})")]
    Unproven(String),
    /// The server does not speak TLS.
    #[error("the server does not speak TLS")]
    NotTls,
    /// The server supports only SSL 3, TLS 1.0 or TLS 1.1.
    #[error("the server supports neither TLS 1.2 nor TLS 1.3")]
    OldVersion,
    /// The two sides have no cipher, key exchange or signature algorithm in common.
    #[error("the server and the operator have no cipher, key exchange or signature algorithm in common")]
    NothingInCommon,
    /// The server ends the handshake without a reason: it has nothing in common with the operator, or it is
    /// not ready.
    #[error("the server refused the TLS handshake")]
    Refused,
    /// The server requires a client certificate.
    #[error("the server asks for a certificate of the client, or refuses the one that it got")]
    WantsClientCertificate,
    /// The server has no certificate for the requested name.
    #[error("the server has no certificate for the requested name")]
    UnknownName,
    /// A rare error.
    #[error("the TLS handshake failed ({0})")]
    Other(String),
}

impl HandshakeProblem {
    /// Finds the TLS library's error among the causes of an error. `None` if the failure was not in TLS.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(tls) = error.downcast_ref::<Error>() {
                return Some(Self::from(tls));
            }
            // The source of an I/O error that wraps another error skips the wrapped error.
            let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            cause = match wrapped {
                Some(wrapped) => Some(wrapped),
                None => error.source(),
            };
        }
        None
    }

    /// Reports whether the problem stays until a user corrects trust or server. Other problems also occur
    /// while a server or a load balancer restarts.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Untrusted(_)
            | Self::Unproven(_)
            | Self::OldVersion
            | Self::NothingInCommon
            | Self::WantsClientCertificate => true,
            Self::NotTls | Self::Refused | Self::UnknownName | Self::Other(_) => false,
        }
    }

    /// Returns what the user can do. The text follows a semicolon.
    pub fn next_step(&self, fields: TrustFields) -> String {
        let step = match self {
            Self::Untrusted(rejected) => return rejected.problem.next_step(rejected.fingerprint, fields),
            Self::Unproven(_) => {
                "the connection may be intercepted; compare certificate and key on the server"
            }
            Self::NotTls => "check host and port: this may be the port for plain HTTP",
            Self::OldVersion => "switch TLS 1.2 or 1.3 on at the server",
            Self::NothingInCommon | Self::Refused => {
                "allow ECDHE with AES-GCM or ChaCha20-Poly1305 at the server, and give it a key of ECDSA P-256 or RSA of 2048 bits or more"
            }
            Self::WantsClientCertificate => {
                "disable the request for client certificates on the server: Farrier has none"
            }
            Self::UnknownName => "connect by a name that the server has a certificate for",
            Self::Other(_) => "look at the log of the server",
        };
        step.to_owned()
    }
}

impl From<&Error> for HandshakeProblem {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's lists are open")]
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(CertificateError::Other(other)) => {
                match other.0.downcast_ref::<Rejected>() {
                    Some(rejected) => Self::Untrusted(Arc::new(rejected.clone())),
                    None => Self::Unproven(error.to_string()),
                }
            }
            // Our own verifier reports problems of certificates, so this is the signature of the handshake.
            Error::InvalidCertificate(_) => Self::Unproven(error.to_string()),
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(why) => match why {
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => Self::OldVersion,
                _ => Self::NothingInCommon,
            },
            Error::AlertReceived(alert) => match alert {
                AlertDescription::ProtocolVersion => Self::OldVersion,
                AlertDescription::InsufficientSecurity => Self::NothingInCommon,
                AlertDescription::HandshakeFailure => Self::Refused,
                AlertDescription::UnrecognisedName => Self::UnknownName,
                AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied => Self::WantsClientCertificate,
                _ => Self::Other(error.to_string()),
            },
            _ => Self::Other(error.to_string()),
        }
    }
}
