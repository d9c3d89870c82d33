//! The files that stay on the machine: the journal and the log; and the output of installers as they print it.

mod prune;

pub(crate) use prune::Retention;

use crate::work_dir::WorkDir;
use farrier_protocol::log_name;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Directory of the logs of all runs.
const ROOT: &str = "/var/log/farrier";

/// Maximum number of bytes of an installer's output that are reported with its end; the log has more.
const TAIL: usize = 4096;

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
        prune::prune(Path::new(ROOT), &self.dir, keep);
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

    /// Returns the end of the component's output, whichever step printed it.
    pub(crate) fn tail(&self, component: &str) -> String {
        let path = spool_path(&self.spool, &log_name(component));
        File::open(path).and_then(|file| tail(&file, 0)).unwrap_or_default()
    }
}

impl StepLog {
    /// Duplicates the descriptor, for a child process.
    pub(crate) fn share(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Returns the offset at which the step's output begins.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Returns the end of the step's output.
    pub(crate) fn tail(&self) -> String {
        tail(&self.file, self.start).unwrap_or_default()
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

/// Shortens `text` to at most its last [`TAIL`] bytes, at a character boundary.
pub(crate) fn last_part(text: &str) -> String {
    let mut from = text.len().saturating_sub(TAIL);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.get(from..).unwrap_or_default().to_owned()
}

fn tail(file: &File, start: u64) -> io::Result<String> {
    let length = file.metadata()?.len();
    let from = start.max(length.saturating_sub(TAIL as u64));
    let mut bytes = vec![0; usize::try_from(length.saturating_sub(from)).unwrap_or(TAIL)];
    file.read_exact_at(&mut bytes, from)?;
    Ok(last_part(&String::from_utf8_lossy(&bytes)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_never_cuts_a_character() {
        let text = "é".repeat(3000);
        let part = last_part(&text);
        assert_eq!(part.len(), TAIL);
        assert_eq!(last_part(&format!("x{text}y")).len(), TAIL - 1);
        assert_eq!(last_part("short"), "short");
    }
}
