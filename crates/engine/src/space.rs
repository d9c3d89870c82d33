//! Checks whether there is enough free space before anything is fetched.

use farrier_protocol::{FailureCode, Installer, Step};
use rustix::fs::{stat, statvfs};
use std::io;
use std::path::{Path, PathBuf};

/// Reserve for the journal, the logs, and rounding to whole blocks.
const MARGIN: u64 = 4 * 1024 * 1024;

/// A package is unpacked beside the version that it replaces, before that version is removed.
const UNPACKED_FACTOR: u64 = 2;

/// A program that unpacks itself, or a package that is unpacked, does so beside its payload. The vendors state no
/// size; archives of firmware are compressed to a third at best.
const EXTRACTED_FACTOR: u64 = 3;

/// Sources, which are compressed to an eighth by xz, and what is compiled from them.
const SOURCES_FACTOR: u64 = 8;

const MIB: u64 = 1024 * 1024;

/// Why there may not be enough space.
pub(crate) enum SpaceError {
    /// There is not enough space.
    Full {
        /// A directory on the file system.
        path: PathBuf,
        /// Bytes that are needed there.
        needed: u64,
        /// Bytes that are free there.
        free: u64,
        /// What needs the space.
        what: &'static str,
    },
    /// The free space cannot be determined.
    Unknown(String),
}

impl SpaceError {
    /// Returns the code and the message of the failure.
    pub(crate) fn describe(self) -> (FailureCode, String) {
        match self {
            Self::Unknown(message) => (FailureCode::Other, message),
            Self::Full { path, needed, free, what } => {
                let (needed, free, path) = (needed.div_ceil(MIB), free / MIB, path.display());
                let message = format!("{path} has {free} MiB free, {what} need {needed} MiB there");
                (FailureCode::DiskFull, message)
            }
        }
    }
}

/// Checks the file systems that receive the task's payloads and the contents of packages. `there` is the number of
/// bytes of the payloads that are on the disk already.
pub(crate) fn check(steps: &[Step], dir: &Path, there: u64) -> Result<(), SpaceError> {
    let payloads = needed(steps, there);
    demand(dir, payloads, "the payloads", None)?;
    check_packages(steps, Some((dir, payloads)))
}

/// Returns how many bytes the payloads, and what is unpacked beside them, need in the engine's directory.
fn needed(steps: &[Step], there: u64) -> u64 {
    let extracted = |step: &Step| match step.installer {
        Installer::DellDup | Installer::HpeSmartComponent => size(step).saturating_mul(EXTRACTED_FACTOR),
        Installer::Tar => size(step).saturating_mul(SOURCES_FACTOR),
        Installer::Deb | Installer::Rpm | Installer::Script | Installer::Fwupd => 0,
    };
    let needed = |step: &Step| size(step).saturating_add(extracted(step));
    steps.iter().fold(0, |sum: u64, step| sum.saturating_add(needed(step))).saturating_sub(there)
}

/// Checks the file systems that packages are unpacked to. `shared`: see [`demand`].
pub(crate) fn check_packages(steps: &[Step], shared: Option<(&Path, u64)>) -> Result<(), SpaceError> {
    let factor = |step: &Step| match step.installer {
        Installer::Deb | Installer::Rpm => UNPACKED_FACTOR,
        Installer::Tar => SOURCES_FACTOR,
        Installer::Script | Installer::Fwupd | Installer::DellDup | Installer::HpeSmartComponent => 0,
    };
    let unpacked =
        steps.iter().fold(0, |sum: u64, step| sum.saturating_add(size(step).saturating_mul(factor(step))));
    if unpacked > 0 {
        for path in ["/usr", "/var"] {
            demand(Path::new(path), unpacked, "the packages", shared)?;
        }
    }
    Ok(())
}

/// Returns the size of the payload. For packages from repositories, the package manager checks the space.
fn size(step: &Step) -> u64 {
    step.payload.as_ref().map_or(0, |payload| payload.size)
}

/// Checks one file system. `shared` is a directory that may be in the same file system, and the number of
/// bytes that are needed there.
fn demand(
    path: &Path,
    bytes: u64,
    what: &'static str,
    shared: Option<(&Path, u64)>,
) -> Result<(), SpaceError> {
    let failed = |error: io::Error| SpaceError::Unknown(format!("{}: {error}", path.display()));
    let device = |path: &Path| Ok(stat(path)?.st_dev);
    let mut needed = bytes.saturating_add(MARGIN);
    if let Some((dir, more)) = shared {
        let same = device(dir).and_then(|one| Ok(one == device(path)?)).map_err(failed)?;
        needed = needed.saturating_add(if same { more } else { 0 });
    }
    let room = statvfs(path).map_err(|error| failed(error.into()))?;
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    if free >= needed { Ok(()) } else { Err(SpaceError::Full { path: path.to_owned(), needed, free, what }) }
}

/// Returns the failure code of a write error.
pub(crate) fn code(error: &io::Error) -> FailureCode {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    if full { FailureCode::DiskFull } else { FailureCode::Other }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_protocol::Payload;

    fn step(installer: Installer, size: u64) -> Step {
        let payload = Payload { digest: format!("sha256:{size}"), size, file_name: "f".into() };
        Step {
            component: "one".into(),
            version: "1".into(),
            installer,
            payload: Some(payload),
            after: Vec::new(),
            timeout_seconds: 60,
            interruptible: true,
            downgrade: false,
            rewrite: false,
            package: None,
            firmware: None,
            overrides_trusted_module: false,
            respect_holds: false,
        }
    }

    /// A machine whose disk is nearly full of what was staged there could not install it, or one without room would
    /// run out of it while an archive unpacks itself.
    #[test]
    fn what_is_staged_needs_no_room_but_what_is_unpacked_of_it() {
        let steps = [step(Installer::Script, 70), step(Installer::DellDup, 100)];
        let left = [0, 70, 100, 170].map(|there| needed(&steps, there));
        assert_eq!(left, [470, 400, 370, 300]);
        assert_eq!(needed(&[step(Installer::Script, u64::MAX), step(Installer::Tar, 1)], 1), u64::MAX - 1);
        assert_eq!(needed(&[], 0), 0);
    }
}
