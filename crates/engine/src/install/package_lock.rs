//! Waits for other users of the package manager, and keeps them out.

use crate::apply_error::ApplyError;
use crate::engine::Engine;
use farrier_protocol::{FailureCode, Step};
use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock, open};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long somebody else may keep the package manager.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Between two tries.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps other front ends out of the package manager as long as it lives. It belongs to the
/// whole process, as all locks of this kind do.
pub(crate) struct PackageLock(Option<OwnedFd>);

/// Which locks a package manager has.
pub(super) struct Locks {
    /// Held by whoever prepares and runs it, such as apt; empty for none.
    pub(super) front_end: &'static str,
    /// Taken by the package manager itself; only tried here.
    pub(super) own: &'static [&'static str],
}

impl PackageLock {
    /// For installers that need none.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Whether there is a lock for front ends, and we have it.
    pub(super) fn is_front_end(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until nobody uses the package manager.
    pub(super) fn wait(engine: &Engine, step: &Step, locks: &Locks) -> Result<Self, ApplyError> {
        let until = Instant::now() + TIMEOUT;
        loop {
            let held = match take(locks) {
                Ok(lock) => return Ok(lock),
                Err(held) => held,
            };
            if Instant::now() >= until {
                let seconds = TIMEOUT.as_secs();
                let message = format!("{held} was locked by another program for {seconds} s");
                let (code, component) = (FailureCode::PackageManagerBusy, step.component.clone());
                return Err(ApplyError::Failed { code, component, message });
            }
            if let Some(stop) = engine.shared.pause(POLL_INTERVAL) {
                return Err(ApplyError::Stopped(stop));
            }
        }
    }
}

/// Takes the front end's lock and tries the others. The error names the one that is held.
fn take(locks: &Locks) -> Result<PackageLock, &'static str> {
    let front_end = if locks.front_end.is_empty() { None } else { lock(locks.front_end)? };
    for path in locks.own {
        drop(lock(path)?);
    }
    Ok(PackageLock(front_end))
}

/// Takes one lock; it is given back when the descriptor is closed. `None` if there is no such
/// file: nobody can hold it then, and making it is the package manager's business.
fn lock(path: &'static str) -> Result<Option<OwnedFd>, &'static str> {
    let Ok(file) = open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else { return Ok(None) };
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN | Errno::ACCESS) => Err(path),
        _ => Ok(Some(file)),
    }
}
