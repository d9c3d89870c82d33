//! The limit of open files and sockets of this process.
//!
//! Many systems start a process with a soft limit of 1024 and allow it to raise the limit, because
//! programs that use `select` could not handle more. This program does not use `select`.

use rustix::process::{Resource, getrlimit, setrlimit};

/// The assumed limit if there is none, or if it does not fit the type.
const MANY: usize = 1 << 20;

/// Raises the soft limit to the hard limit. On failure the current limit stays.
pub(crate) fn raise() {
    let mut limits = getrlimit(Resource::Nofile);
    limits.current = limits.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limits) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Returns the current limit.
pub(crate) fn limit() -> usize {
    let current = getrlimit(Resource::Nofile).current;
    current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MANY)
}
