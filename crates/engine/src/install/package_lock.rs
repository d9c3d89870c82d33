//! Waits for other users of the package manager, and locks them out.

use super::lock_holder;
use crate::apply_error::ApplyError;
use crate::engine::Engine;
use crate::process_tree::Process;
use crate::wait::{self, Ended, Obstacle};
use farrier_protocol::{FailureCode, Holder, Step, WaitFor};
use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock, open};
use rustix::io::Errno;
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Locks other front ends out of the package manager until it is dropped. The lock belongs to the whole
/// process, as all `fcntl` locks do.
pub(crate) struct PackageLock(Option<OwnedFd>);

/// The locks of a package manager.
pub(crate) struct Locks {
    /// Lock of front ends that prepare and run the package manager, such as apt; empty if there is none.
    pub(crate) front_end: &'static str,
    /// Locks of the package manager itself. They are only tested here.
    pub(crate) own: &'static [&'static str],
    /// Files with the process id of a front end that is at work. It starts the package manager several
    /// times, which is not locked in between.
    pub(crate) pid_files: &'static [&'static str],
}

impl Locks {
    /// Those of dpkg.
    pub(super) const DPKG: Self =
        Self { front_end: "/var/lib/dpkg/lock-frontend", own: &["/var/lib/dpkg/lock"], pid_files: &[] };
}

impl PackageLock {
    /// Returns a lock for installers that need none.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Reports whether the package manager has a lock for front ends, which is held.
    pub(super) fn is_front_end(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until no other process uses the package manager, for at most `limit`, and calls `then`. If
    /// `then` meets a lock, the wait continues.
    pub(crate) fn wait<T>(
        engine: &Engine,
        step: &Step,
        limit: Duration,
        locks: &Locks,
        mut then: impl FnMut(Self) -> Result<T, Held>,
    ) -> Result<T, ApplyError> {
        let look = || {
            take(locks)
                .and_then(&mut then)
                .map_err(|Held { path, holder }| Obstacle { what: WaitFor::PackageLock { path }, holder })
        };
        wait::wait(&engine.shared, limit, look).map_err(|ended| match ended {
            Ended::Stopped(reason) => ApplyError::Stopped(reason),
            Ended::Expired(Obstacle { what: awaited, holder: other }) => {
                let path = if let WaitFor::PackageLock { path } = awaited { path } else { String::new() };
                let seconds = limit.as_secs();
                let who = other.map(|Holder { pid, name }| format!(" ({name}, process {pid})"));
                let message = format!(
                    "{path} was locked by another program{} for {seconds} s",
                    who.unwrap_or_default()
                );
                let (code, component) = (FailureCode::PackageManagerBusy, step.component.clone());
                ApplyError::Failed { code, component, message }
            }
        })
    }
}

/// A lock that another process holds.
pub(crate) struct Held {
    pub(crate) path: String,
    pub(crate) holder: Option<Holder>,
}

/// Takes the lock of front ends and tests the others.
pub(super) fn take(locks: &Locks) -> Result<PackageLock, Held> {
    for path in locks.pid_files {
        check_pid_file(path)?;
    }
    let front_end = if locks.front_end.is_empty() { None } else { lock(locks.front_end)? };
    for path in locks.own {
        drop(lock(path)?);
    }
    Ok(PackageLock(front_end))
}

/// Checks that the process whose id is in the file has ended.
fn check_pid_file(path: &str) -> Result<(), Held> {
    let text = fs::read_to_string(path).unwrap_or_default();
    match text.split_whitespace().next().and_then(|word| word.parse().ok()) {
        Some(pid) if Process::of(pid).is_some() => {
            let holder = Some(Holder { pid, name: crate::lock_holder::name(pid) });
            Err(Held { path: path.into(), holder })
        }
        Some(_) | None => Ok(()),
    }
}

/// Takes one lock; closing the descriptor releases it. Returns `None` if the file does not exist: then no
/// process can hold the lock, and the package manager creates the file itself.
fn lock(path: &str) -> Result<Option<OwnedFd>, Held> {
    let Ok(file) = open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else { return Ok(None) };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN | Errno::ACCESS) => {
            Err(Held { path: path.into(), holder: lock_holder::find(&file) })
        }
        _ => Ok(Some(file)),
    }
}
