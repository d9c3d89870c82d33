//! How many files and sockets this process may have open.
//!
//! Many systems start a process with 1024 and let it have more when it asks: a program that uses
//! `select` could not cope with them. This one does not use it.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Where there is no limit, or none that fits.
const MANY: usize = 1 << 20;

/// Takes as many as the system gives without being asked by an administrator. Where it does not,
/// what there is must do.
pub(crate) fn raise() {
    let mut limits = getrlimit(Resource::Nofile);
    limits.current = limits.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limits) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// How many there may be now.
pub(crate) fn limit() -> usize {
    let current = getrlimit(Resource::Nofile).current;
    current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MANY)
}
