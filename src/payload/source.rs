//! Where a payload comes from, and what its source needs of the operator.

use crate::tls::{Policy, Trust};

/// Where a payload comes from and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name of the component, for messages.
    pub component: String,
    /// `https://…` or `file:///…`.
    pub url: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Length in bytes, where the baseline gives it.
    pub size: Option<u64>,
    /// What the source needs of us.
    pub access: Access,
}

/// Certificates to trust and credentials to show. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// What certificates of the source are trusted.
    pub trust: Trust,
    /// User name and password.
    pub basic: Option<(String, String)>,
    /// Bearer token.
    pub token: Option<String>,
}

/// The authorities of the operator's system, and no credentials.
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
