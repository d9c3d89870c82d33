//! Trust in the TLS servers that the operator connects to: payload servers, and the management
//! processors of machines.
//!
//! [`Trust`] says which certificates count. [`Trust::verify`] decides about one that a server
//! presented and is a pure function; [`client_config`] puts it into a handshake. A certificate that
//! does not count is a [`CertificateProblem`], which says in words what is wrong and what to do,
//! and which [`HandshakeProblem::of`] finds again in the error of whatever HTTP client was used.
//!
//! The rules are those of docs/adr/0020. This module knows neither Kubernetes nor the API types,
//! and does not deal with the certificates of the callback server, where Farrier is the server.

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
