//! Trust in the TLS servers that the operator connects to: payload servers, and the management processors
//! of machines.
//!
//! [`Trust`] contains the trusted certificates. [`Trust::verify`] decides about a certificate that a server
//! presented and is a pure function; [`client_config`] uses it in a handshake. The reason for an untrusted
//! certificate is a [`CertificateProblem`], which describes the problem and its solution.
//! [`HandshakeProblem::of`] finds it in the error of any HTTP client.
//!
//! The rules are those of docs/adr/0020. This module knows neither Kubernetes nor the API types, and does
//! not handle the certificates of the callback server, where Farrier is the server.

mod bundle;
mod certificate;
mod classify;
mod fingerprint;
mod handshake;
mod presented;
mod problem;
mod trust;
mod verify;

pub use bundle::{BundleError, read_bundle};
pub use fingerprint::{Fingerprint, NotAFingerprint};
pub use handshake::HandshakeProblem;
pub use presented::Presented;
pub use problem::{CertificateProblem, Rejected, TrustFields, Whose};
pub use trust::{Policy, Trust, TrustedBy};
pub use verify::{Verifier, client_config, system_authorities};
