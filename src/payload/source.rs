//! The source of a payload, and how the operator accesses the source.

use crate::failure::Failure;
use crate::tls::{Policy, Trust};
use farrier_update::Reason;
use std::time::Duration;

/// Lowest throughput of a source that is allowed for, in bytes per second: a slow link, shared with others.
const SLOWEST: u64 = 32 * 1024;

/// Allows for a source that pauses, and for connecting to it.
const SLACK: Duration = Duration::from_mins(10);

/// Timeout of a payload whose size the baseline does not specify: 4 GiB at 2.3 Mbit/s.
const UNKNOWN_SIZE_LIMIT: Duration = Duration::from_hours(4);

/// The source of a payload and the expected content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name of the component, for messages.
    pub component: String,
    /// `https://…`, `oci://…`, `s3://…` or `file:///…`.
    pub url: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Length in bytes, if the baseline specifies it.
    pub size: Option<u64>,
    /// How the operator accesses the source.
    pub access: Access,
}

impl Source {
    /// The failure of a URL whose host cannot be used.
    pub(super) fn no_host(&self, error: &impl std::fmt::Display) -> Failure {
        let Self { component, url, .. } = self;
        Failure::new(
            Reason::PayloadRefused,
            format!("payload.url {url} of component {component} has no usable host ({error}); correct it"),
        )
    }

    /// Maximum duration of a fetch. The read timeout alone does not end one that receives a byte at a time.
    pub fn limit(&self) -> Duration {
        let limit = |size: u64| Duration::from_secs(size / SLOWEST).saturating_add(SLACK);
        self.size.map_or(UNKNOWN_SIZE_LIMIT, limit)
    }
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
    /// Keys for `s3://`.
    pub s3: Option<S3Keys>,
}

impl Access {
    /// Returns the values that must not get into logs.
    pub fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        let s3 = self.s3.iter().flat_map(|keys| [Some(&keys.secret_access_key), keys.session_token.as_ref()]);
        let basic = self.basic.as_ref().map(|(_, password)| password);
        [basic, self.token.as_ref()].into_iter().chain(s3).flatten().map(String::as_bytes)
    }
}

/// What requests to S3 are signed with. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Keys {
    /// Names the secret key.
    pub access_key_id: String,
    /// Signs requests; it is never sent.
    pub secret_access_key: String,
    /// Sent with each request if the keys are temporary.
    pub session_token: Option<String>,
}

/// Trusts the certificate authorities of the operator's system, and has no credentials.
impl Default for Access {
    fn default() -> Self {
        Self {
            trust: Trust { policy: Policy::System, ..Trust::default() },
            basic: None,
            token: None,
            s3: None,
        }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for S3Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Keys").finish_non_exhaustive()
    }
}
