//! The files that stay on the machine: the journal and the log; and the output of installers as they print it.

mod prune;

pub(crate) use prune::Retention;

use crate::work_dir::WorkDir;
use farrier_protocol::log_name;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Directory of the logs of all runs.
const ROOT: &str = "/var/log/farrier";

/// The directory of the logs of one run.
#[derive(Debug, Clone)]
pub(crate) struct Logs {
    dir: PathBuf,
    /// The directory of the output of installers, which goes with the engine.
    spool: PathBuf,
}

/// The output of one component's installer, opened for one step.
pub(crate) struct StepLog {
    file: File,
    /// Offset at which the output of this step begins.
    start: u64,
}

/// Returns the root of all logs, if it exists and is safe to use.
pub(crate) fn existing_root() -> io::Result<PathBuf> {
    check(Path::new(ROOT))?;
    Ok(PathBuf::from(ROOT))
}

/// Returns the root of all logs; creates it if needed.
pub(crate) fn root() -> io::Result<PathBuf> {
    make(Path::new(ROOT), 0o755)?;
    Ok(PathBuf::from(ROOT))
}

/// Finds the journal of `session` in any run.
pub(crate) fn find_journal(place: &WorkDir, session: &str) -> Option<(Logs, PathBuf)> {
    let runs = fs::read_dir(ROOT).into_iter().flatten().flatten().map(|entry| entry.path());
    runs.chain([place.logs()]).find_map(|dir| {
        let logs = Logs { dir, spool: place.output() };
        let path = logs.journal(session);
        path.is_file().then_some((logs, path))
    })
}

impl Logs {
    /// Creates the directory: below `/var/log`, or in `place` if that is read-only.
    pub(crate) fn open(run: &str, place: &WorkDir) -> io::Result<Self> {
        let below_root = || {
            let dir = root()?.join(run);
            make(&dir, 0o700)?;
            // An existing directory may be on a file system that is read-only now.
            rustix::fs::access(&dir, rustix::fs::Access::WRITE_OK)?;
            Ok(dir)
        };
        let dir = below_root().or_else(|_: io::Error| {
            make(&place.logs(), 0o700)?;
            Ok::<_, io::Error>(place.logs())
        })?;
        let spool = place.output();
        make(&spool, 0o700)?;
        Ok(Self { dir, spool })
    }

    /// Removes the logs of old runs.
    pub(crate) fn prune(&self, keep: Retention) {
        prune::prune(Path::new(ROOT), &self.dir, keep, rustix::process::Uid::ROOT.as_raw());
    }

    /// Returns the path of the log of a session.
    pub(crate) fn output(&self, session: &str) -> PathBuf {
        self.dir.join(format!("output-{session}.log"))
    }

    /// Returns the directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the path of the journal of a session.
    pub(crate) fn journal(&self, session: &str) -> PathBuf {
        self.dir.join(format!("journal-{session}.jsonl"))
    }

    /// Opens the output of `component`'s installer, which begins after that of an earlier step.
    pub(crate) fn step(&self, component: &str) -> io::Result<StepLog> {
        let file = open_append(&spool_path(&self.spool, &log_name(component)))?;
        let start = file.metadata()?.len();
        Ok(StepLog { file, start })
    }

    /// Opens what the component's installer has printed, in whichever step, if anything.
    pub(crate) fn printed(&self, component: &str) -> io::Result<StepLog> {
        let file = File::open(spool_path(&self.spool, &log_name(component)))?;
        Ok(StepLog { file, start: 0 })
    }
}

impl StepLog {
    /// Takes an open file with the output of a step from `start` on.
    #[cfg(test)]
    pub(crate) fn of(file: File, start: u64) -> Self {
        Self { file, start }
    }

    /// Duplicates the descriptor, for a child process.
    pub(crate) fn share(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Returns the offset at which the step's output begins.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Returns the file, which is read and not written.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Reads the step's output as it is now, from its beginning. What was released from the disk reads as zeros.
    pub(crate) fn reader(&self) -> io::Result<impl Read> {
        let end = self.file.metadata()?.len();
        Ok(Reader { file: &self.file, at: self.start }.take(end.saturating_sub(self.start)))
    }
}

/// Reads at an offset of its own, because the file's offset is shared with the installer.
struct Reader<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Returns the path of the output of a component whose name in logs is `name`.
pub(crate) fn spool_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.out"))
}

/// Opens a file for appending and reading, readable by root only; never follows a link.
pub(crate) fn open_append(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?))
}

/// Creates a directory of root; a directory of another user, or a link, is an error.
fn make(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    check(path)
}

fn check(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() && meta.uid() == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!("{} is not a directory that is owned by root", path.display())))
}
