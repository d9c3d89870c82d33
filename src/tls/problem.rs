//! Why a server's certificate is not trusted, and what to do about it.

use super::certificate::shown;
use super::fingerprint::Fingerprint;
use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use std::fmt;

/// One certificate of those that a server presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The server's own.
    Server,
    /// That of an authority between the server's and a trusted one, by its subject.
    Authority(String),
}

/// Why the certificate of a server is not trusted.
///
/// Its text is a fact about the certificate that reads after "its certificate"; see
/// [`next_step`](Self::next_step) for what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// Its validity has ended.
    #[error("{whose}expired on {}", date(*.not_after))]
    Expired {
        /// Which certificate.
        whose: Whose,
        /// The end of its validity.
        not_after: UnixTime,
    },
    /// Its validity has not begun.
    #[error("{whose}is not valid before {}, and it is {} by the operator's clock", date(*.not_before), date(*.now))]
    NotYetValid {
        /// Which certificate.
        whose: Whose,
        /// The beginning of its validity.
        not_before: UnixTime,
        /// The time at the operator.
        now: UnixTime,
    },
    /// It is for other names.
    #[error("is for {}, and not for {asked}", list(.names))]
    WrongName {
        /// The host name or address that was connected to.
        asked: String,
        /// Those that the certificate lists.
        names: Vec<String>,
    },
    /// It lists no names at all (subjectAltName).
    #[error("does not list the names that it is for (subjectAltName){}", only(.common_name.as_deref()))]
    NoNames {
        /// The host name or address that was connected to.
        asked: String,
        /// The common name of its subject, which is not a list of host names.
        common_name: Option<String>,
    },
    /// Fingerprints or server certificates were given, and it is none of them.
    #[error("is not one of those that are accepted ({})", list(.accepted))]
    NotPinned {
        /// Fingerprints of those that are.
        accepted: Vec<Fingerprint>,
    },
    /// Nothing is trusted at all.
    #[error("is not known, and there is no certificate, fingerprint or authority that is trusted")]
    NothingTrusted,
    /// It is self-signed, and was not given.
    #[error("is self-signed{}", if *.another { ", and another one than the certificate of the same name that is trusted" } else { "" })]
    SelfSigned {
        /// Whether a certificate of the same subject is trusted, as after a renewal.
        another: bool,
    },
    /// The certificate of its issuer is neither trusted nor was it sent: the chain is too short, or
    /// the issuer is the authority that is missing.
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
    /// An authority of the issuer's name is trusted, but its key did not make this signature, or is
    /// of a kind that the library does not know.
    #[error(
        "says that it was issued by {issuer}, but was not signed with the key of the trusted certificate of that name"
    )]
    OtherKey {
        /// The issuer's name.
        issuer: String,
    },
    /// It is the certificate of an authority.
    #[error("is marked as that of an authority (CA:TRUE), which is not accepted of a server")]
    IsAuthority,
    /// It was signed with a certificate that may not sign others.
    #[error("was issued by {issuer}, whose certificate is not that of an authority (CA:TRUE)")]
    IssuerIsNoAuthority {
        /// The issuer's name.
        issuer: String,
    },
    /// It is older than the format that lists names and purposes.
    #[error("is of X.509 version {version}, and version 3 is needed")]
    OldVersion {
        /// The version.
        version: u8,
    },
    /// It was signed with an algorithm that is no longer safe, or that is not known.
    #[error("{whose}was signed with {algorithm}, which is not accepted")]
    WeakSignature {
        /// Which certificate.
        whose: Whose,
        /// Name or number of the algorithm.
        algorithm: String,
    },
    /// A key that is too short.
    #[error("{whose}has an RSA key of {bits} bits, and 2048 are needed")]
    ShortKey {
        /// Which certificate.
        whose: Whose,
        /// Its length.
        bits: usize,
    },
    /// It is for something else than servers (extendedKeyUsage).
    #[error("is not for servers (its extendedKeyUsage lacks serverAuth)")]
    WrongPurpose,
    /// It has a critical extension that is not understood.
    #[error("has an extension that is marked critical and that is not understood")]
    CriticalExtension,
    /// One of its authorities may not issue for it.
    #[error("violates a constraint of one of its authorities ({0})")]
    Constraint(String),
    /// It cannot be read.
    #[error("cannot be read as an X.509 certificate")]
    Unreadable,
    /// Something rare.
    #[error("was refused by the TLS library ({0})")]
    Other(String),
}

/// How users say what is trusted, for the messages: the two places that they can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustFields {
    /// Where certificates go, such as "ca.crt of the Secret in payload.secretRef".
    pub certificates: &'static str,
    /// Where fingerprints go, such as "payload.tls.fingerprints".
    pub fingerprints: &'static str,
}

impl CertificateProblem {
    /// What to do about it. Reads after a semicolon.
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
            Self::WrongName { .. } => format!(
                "connect by a name that it lists, issue it again with the right subjectAltName, or {pin}"
            ),
            Self::NoNames { asked, .. } => {
                format!("issue it again with subjectAltName = {}:{asked}, or {pin}", kind_of_name(asked))
            }
            Self::NotPinned { .. } => {
                format!("somebody may be in the way; if the server was given a new certificate, {pin}")
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
                format!("if {issuer} was set up anew, put its new certificate into {certificates}")
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
            Self::CriticalExtension | Self::Constraint(_) | Self::Unreadable | Self::Other(_) => {
                format!("issue it again, or {pin}")
            }
        }
    }
}

/// A server whose certificate was refused. This is what the TLS library carries through the
/// layers above it as the cause of the failed handshake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{server} is not trusted: its certificate {problem}")]
pub struct Rejected {
    /// The host name or address that was connected to.
    pub server: String,
    /// The fingerprint of the certificate that it presented.
    pub fingerprint: Fingerprint,
    /// What is wrong with it.
    pub problem: CertificateProblem,
}

/// What goes in front of a fact about a certificate, in a sentence about the server's own.
impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => Ok(()),
            Self::Authority(subject) => write!(f, "was issued by {subject}, whose certificate "),
        }
    }
}

/// Day and time in UTC, as in `2026-11-29T10:00:00Z`.
fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "a date beyond all calendars".to_owned(), |time| time.to_string())
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    shown(items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn only(common_name: Option<&str>) -> String {
    match common_name {
        Some(name) => format!("; it has the common name {} only", shown(name)),
        None => String::new(),
    }
}

/// What an entry of subjectAltName is called in the configuration of OpenSSL.
fn kind_of_name(name: &str) -> &'static str {
    if name.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" }
}
