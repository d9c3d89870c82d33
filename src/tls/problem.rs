//! Why a server's certificate is not trusted, and what to do about it.

use super::certificate::shown;
use super::fingerprint::Fingerprint;
use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use std::fmt;

/// One of the certificates that a server presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The server's own certificate.
    Server,
    /// The certificate of an authority between the server's and a trusted certificate, by its subject.
    Authority(String),
}

/// Why the certificate of a server is not trusted.
///
/// Its text is a fact about the certificate that follows the words "its certificate";
/// [`next_step`](Self::next_step) returns what the user can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// The certificate has expired.
    #[error("{whose}expired on {}", date(*.not_after))]
    Expired {
        /// The certificate.
        whose: Whose,
        /// The end of its validity.
        not_after: UnixTime,
    },
    /// The certificate is not valid yet.
    #[error("{whose}is not valid before {}, and it is {} by the operator's clock", date(*.not_before), date(*.now))]
    NotYetValid {
        /// The certificate.
        whose: Whose,
        /// The beginning of its validity.
        not_before: UnixTime,
        /// The time of the operator's clock.
        now: UnixTime,
    },
    /// The certificate is for other names.
    #[error("is for {}{}", list(.names), but_not_for(.names, .asked))]
    WrongName {
        /// The host name or address of the connection.
        asked: String,
        /// The names that the certificate lists.
        names: Vec<String>,
    },
    /// The certificate lists no names (subjectAltName).
    #[error("does not list the names that it is for (subjectAltName){}", only(.common_name.as_deref()))]
    NoNames {
        /// The host name or address of the connection.
        asked: String,
        /// The common name of its subject, which is not a list of host names.
        common_name: Option<String>,
    },
    /// Fingerprints or server certificates are configured, and the certificate is none of them.
    #[error("is not one of those that are accepted ({})", list(.accepted))]
    NotPinned {
        /// The configured fingerprints.
        accepted: Vec<Fingerprint>,
    },
    /// Nothing is trusted at all.
    #[error("is not known, and there is no certificate, fingerprint or authority that is trusted")]
    NothingTrusted,
    /// The certificate is self-signed and not configured.
    #[error("is self-signed{}", if *.another { ", and differs from the trusted certificate of the same name" } else { "" })]
    SelfSigned {
        /// Whether a different certificate of the same subject is trusted, as after a renewal.
        another: bool,
    },
    /// The certificate of the issuer is not trusted and was not sent: the chain is too short, or the issuer
    /// is the missing authority.
    #[error("was issued by {issuer}, whose certificate the server does not send and which is not trusted")]
    IssuerNotSent {
        /// The issuer's name.
        issuer: String,
    },
    /// The chain that the server sent ends at an authority that is not trusted.
    #[error("comes with a chain that ends at {issuer}, which is not trusted")]
    UnknownAuthority {
        /// The name of that authority.
        issuer: String,
    },
    /// An authority with the issuer's name is trusted, but its key did not make this signature, or is of a
    /// kind that the library does not support.
    #[error(
        "says that it was issued by {issuer}, but was not signed with the key of the trusted certificate of that name"
    )]
    OtherKey {
        /// The issuer's name.
        issuer: String,
    },
    /// The certificate is the certificate of an authority.
    #[error("is marked as that of an authority (CA:TRUE), which is not accepted of a server")]
    IsAuthority,
    /// The certificate was signed with a certificate that may not sign others.
    #[error("was issued by {issuer}, whose certificate is not that of an authority (CA:TRUE)")]
    IssuerIsNoAuthority {
        /// The issuer's name.
        issuer: String,
    },
    /// The X.509 version is older than the format that lists names and purposes.
    #[error("is of X.509 version {version}, and version 3 is needed")]
    OldVersion {
        /// The version.
        version: u8,
    },
    /// The signature algorithm is no longer safe, or unknown.
    #[error("{whose}was signed with {algorithm}, which is not accepted")]
    WeakSignature {
        /// The certificate.
        whose: Whose,
        /// Name or number of the algorithm.
        algorithm: String,
    },
    /// The key is too short.
    #[error("{whose}has an RSA key of {bits} bits, and 2048 are needed")]
    ShortKey {
        /// The certificate.
        whose: Whose,
        /// The length of the key in bits.
        bits: usize,
    },
    /// The certificate is not for servers (extendedKeyUsage).
    #[error("is not for servers (its extendedKeyUsage lacks serverAuth)")]
    WrongPurpose,
    /// The certificate has a critical extension that is not supported.
    #[error("has an extension that is marked critical and that is not understood")]
    CriticalExtension,
    /// A constraint of one of the authorities forbids the certificate.
    #[error("violates a constraint of one of its authorities ({0})")]
    Constraint(String),
    /// The certificate cannot be parsed.
    #[error("cannot be read as an X.509 certificate")]
    Unreadable,
    /// A rare problem.
    #[error("was refused by the TLS library ({0})")]
    Other(String),
}

/// The two fields in which users configure trust, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustFields {
    /// The field for certificates, such as "ca.crt of the Secret in payload.secretRef".
    pub certificates: &'static str,
    /// The field for fingerprints, such as "payload.tls.fingerprints".
    pub fingerprints: &'static str,
}

impl CertificateProblem {
    /// Returns what the user can do. The text follows a semicolon.
    pub fn next_step(&self, presented: Fingerprint, fields: TrustFields) -> String {
        let TrustFields { certificates, fingerprints } = fields;
        let pin = format!("compare its fingerprint on the server and put {presented} into {fingerprints}");
        match self {
            Self::Expired { .. } => {
                format!("renew it on the server, or {pin}, which accepts it whatever its dates are")
            }
            Self::NotYetValid { .. } => {
                "correct the clock of the server, or of the operator's node, or issue the certificate again"
                    .to_owned()
            }
            Self::WrongName { asked, .. } => format!(
                "connect by a name that it lists, issue it again with subjectAltName = {}:{asked}, or {pin}",
                kind_of_name(asked)
            ),
            Self::NoNames { asked, .. } => {
                format!("issue it again with subjectAltName = {}:{asked}, or {pin}", kind_of_name(asked))
            }
            Self::NotPinned { .. } => {
                format!("the connection may be intercepted; if the server has a new certificate, {pin}")
            }
            Self::NothingTrusted | Self::SelfSigned { .. } => {
                format!("{pin}, or put the certificate itself into {certificates}")
            }
            Self::IssuerNotSent { issuer } => format!(
                "if {issuer} is an intermediate authority, configure the server to send its certificate too (the full chain); if not, put the certificate of {issuer} into {certificates}"
            ),
            Self::UnknownAuthority { issuer } => format!(
                "put the certificate of {issuer} into {certificates}, if this authority may vouch for the server"
            ),
            Self::OtherKey { issuer } => {
                format!("if {issuer} has a new key, put its new certificate into {certificates}")
            }
            Self::IsAuthority => format!(
                "issue one with CA:FALSE for the server, put this very certificate into {certificates}, or {pin}"
            ),
            Self::IssuerIsNoAuthority { .. } => format!("issue it by an authority, or {pin}"),
            Self::OldVersion { .. } => {
                format!("issue it again with extensions (openssl x509 -req needs -extfile for it), or {pin}")
            }
            Self::WeakSignature { .. } => format!("issue it again with SHA-256, or {pin}"),
            Self::ShortKey { .. } => {
                "issue it again with another key: ECDSA P-256, or RSA of 2048 bits or more".to_owned()
            }
            Self::WrongPurpose => format!("issue it again with extendedKeyUsage = serverAuth, or {pin}"),
            Self::CriticalExtension | Self::Constraint(_) | Self::Other(_) => {
                format!("issue it again, or {pin}")
            }
            // A fingerprint does not help: the key cannot be read either.
            Self::Unreadable => "issue it again".to_owned(),
        }
    }
}

/// A server whose certificate was rejected. The TLS library passes this value to the layers above it as the
/// cause of the failed handshake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{server} is not trusted: its certificate {problem}")]
pub struct Rejected {
    /// The host name or address of the connection.
    pub server: String,
    /// The fingerprint of the presented certificate.
    pub fingerprint: Fingerprint,
    /// The problem of the certificate.
    pub problem: CertificateProblem,
}

/// The prefix of a fact about a certificate, in a sentence about the server's own certificate.
impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => Ok(()),
            Self::Authority(subject) => write!(f, "was issued by {subject}, whose certificate "),
        }
    }
}

/// Formats date and time in UTC, for example `2026-11-29T10:00:00Z`.
fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "an unrepresentable date".to_owned(), |time| time.to_string())
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    shown(items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

/// An address among the names is an entry for a DNS name, with which no address is compared.
fn but_not_for(names: &[String], asked: &str) -> String {
    if kind_of_name(asked) == "IP" && names.iter().any(|name| name == asked) {
        " as a DNS name; an address must be an IP entry".to_owned()
    } else {
        format!(", and not for {asked}")
    }
}

fn only(common_name: Option<&str>) -> String {
    match common_name {
        Some(name) => format!("; it has the common name {} only", shown(name)),
        None => String::new(),
    }
}

/// Returns the prefix of an entry of subjectAltName in the configuration of OpenSSL.
fn kind_of_name(name: &str) -> &'static str {
    if name.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" }
}
