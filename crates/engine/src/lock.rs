//! One engine per machine: a lock on a directory, so that no lock file is left.
//!
//! `launch` takes the lock and passes the locked descriptor to the detached engine as its standard
//! input. The lock is held at every moment in between.

use crate::logs;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// The machine's lock, held or not.
pub(crate) struct MachineLock(OwnedFd);

/// The locked directory: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// Device number.
    pub(crate) device: u64,
    /// Inode number.
    pub(crate) inode: u64,
}

impl MachineLock {
    /// Opens the directory that stands for the machine, without locking it. Creates it if needed.
    pub(crate) fn open() -> io::Result<Self> {
        Self::open_first(logs::root().ok())
    }

    /// Opens the directory that an engine would have locked, without creating it.
    pub(crate) fn open_existing() -> io::Result<Self> {
        Self::open_first(logs::existing_root().ok())
    }

    fn open_first(root: Option<PathBuf>) -> io::Result<Self> {
        let mut last = Errno::NOENT;
        // If `/var/log` is read-only, our directory may not exist.
        let fallbacks = [PathBuf::from("/var/log"), PathBuf::from("/")];
        for path in root.into_iter().chain(fallbacks) {
            match open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
                Ok(descriptor) => return Ok(Self(descriptor)),
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    /// Adopts a descriptor that another process passed on.
    pub(crate) fn adopt(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Tries to take the lock. Returns whether it was taken.
    pub(crate) fn try_take(&self) -> io::Result<bool> {
        match flock(&self.0, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the identity of the directory.
    pub(crate) fn target(&self) -> io::Result<Target> {
        let stat = fstat(&self.0)?;
        Ok(Target { device: stat.st_dev, inode: stat.st_ino })
    }

    /// Returns another descriptor of the same lock, to be passed on.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

impl AsFd for MachineLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
