//! How Farrier trusts the certificate of a TLS server, of a payload's source or of a device.

use super::LocalRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How Farrier trusts the certificate of a TLS server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// SHA-256 fingerprints of server certificates: sha256: and what openssl x509 -noout -fingerprint
    /// -sha256 prints, with or without colons. A server that has the key of such a certificate is accepted,
    /// whatever names and dates the certificate has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(regex(pattern = r"^sha256:([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}$")))]
    pub fingerprints: Vec<String>,

    /// A Secret, or if there is none of this name a ConfigMap, whose key ca.crt has certificates in PEM: of
    /// authorities, or of the server itself. A certificate that is one of them or is signed by one of them
    /// is accepted if its names and dates are valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<LocalRef>,

    /// What Farrier does with a certificate that is trusted neither by fingerprints nor by ca.crt: Pinned
    /// (reject it), TrustOnFirstUse (record the first certificate, reject any other from then on) or System
    /// (accept it if an authority of the operator's system signed it). Default for payloads: System; with
    /// fingerprints or ca.crt Pinned, as with curl --cacert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<TlsPolicy>,
}

/// What Farrier does with a certificate that is trusted neither by fingerprints nor by ca.crt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsPolicy {
    /// It is rejected.
    Pinned,
    /// The first certificate is accepted and recorded. A changed certificate is rejected and reported.
    TrustOnFirstUse,
    /// It is accepted if an authority that the operator's system trusts has signed it.
    System,
}
