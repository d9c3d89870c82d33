//! How the certificate of a TLS server is trusted: of a payload's source, and of a device.

use super::LocalRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the certificate of a TLS server is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// SHA-256 fingerprints of server certificates: sha256: and what openssl x509 -noout -fingerprint -sha256
    /// prints, with or without colons. A server that has the key of such a certificate is accepted whatever
    /// the certificate says about names and dates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(regex(pattern = r"^sha256:([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$")))]
    pub fingerprints: Vec<String>,

    /// A Secret, or else a ConfigMap, whose key ca.crt has certificates in PEM: of authorities, whose signature
    /// is accepted, or of the server itself. Names and dates must be right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<LocalRef>,

    /// What is done with a certificate that neither fingerprints nor ca.crt make trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<TlsPolicy>,
}

/// What is done with a certificate that neither fingerprints nor ca.crt make trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsPolicy {
    /// It is refused.
    Pinned,
    /// The first one seen is accepted and recorded; a change is refused and named.
    TrustOnFirstUse,
    /// It is accepted if the authorities of the operator's system have signed it.
    System,
}
