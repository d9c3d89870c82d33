//! The source of a payload, and how the operator accesses the source.

use crate::tls::{Policy, Trust};

/// The source of a payload and the expected content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name of the component, for messages.
    pub component: String,
    /// `https://…` or `file:///…`.
    pub url: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Length in bytes, if the baseline specifies it.
    pub size: Option<u64>,
    /// How the operator accesses the source.
    pub access: Access,
}

/// Trusted certificates of the source, and credentials for it. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// The trusted certificates of the source.
    pub trust: Trust,
    /// User name and password.
    pub basic: Option<(String, String)>,
    /// Bearer token.
    pub token: Option<String>,
}

/// Trusts the certificate authorities of the operator's system, and has no credentials.
impl Default for Access {
    fn default() -> Self {
        Self { trust: Trust { policy: Policy::System, ..Trust::default() }, basic: None, token: None }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}
