//! What stays on the machine: the journal and what the installers printed.

use crate::clock;
use crate::work_dir::WorkDir;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where the logs of all runs are.
const ROOT: &str = "/var/log/farrier";

/// How much of an installer's output is reported; the rest is in the log.
const TAIL: usize = 4096;

/// The folder for the logs of one run.
#[derive(Debug, Clone)]
pub(crate) struct Logs {
    dir: PathBuf,
}

/// The log of one component, opened for one step.
pub(crate) struct StepLog {
    file: File,
    /// Where the output of this step begins.
    start: u64,
}

/// The root of all logs, if there is one that is fit for it.
pub(crate) fn existing_root() -> io::Result<PathBuf> {
    check(Path::new(ROOT))?;
    Ok(PathBuf::from(ROOT))
}

/// The root of all logs; made if it is not there.
pub(crate) fn root() -> io::Result<PathBuf> {
    make(Path::new(ROOT), 0o755)?;
    Ok(PathBuf::from(ROOT))
}

/// Finds the journal of `session` whatever its run is.
pub(crate) fn find_journal(place: &WorkDir, session: &str) -> Option<(Logs, PathBuf)> {
    let runs = fs::read_dir(ROOT).into_iter().flatten().flatten().map(|entry| entry.path());
    runs.chain([place.logs()]).find_map(|dir| {
        let logs = Logs { dir };
        let path = logs.journal(session);
        path.is_file().then_some((logs, path))
    })
}

impl Logs {
    /// Makes the folder: below `/var/log`, or in `place` where that cannot be written.
    pub(crate) fn open(run: &str, place: &WorkDir) -> io::Result<Self> {
        let below_root = || {
            let dir = root()?.join(run);
            make(&dir, 0o700)?;
            // A folder that was there before may be on a file system that is read-only now.
            rustix::fs::access(&dir, rustix::fs::Access::WRITE_OK)?;
            Ok(dir)
        };
        let dir = below_root().or_else(|_: io::Error| {
            make(&place.logs(), 0o700)?;
            Ok::<_, io::Error>(place.logs())
        })?;
        Ok(Self { dir })
    }

    /// The journal of a session.
    pub(crate) fn journal(&self, session: &str) -> PathBuf {
        self.dir.join(format!("journal-{session}.jsonl"))
    }

    /// Opens the log of `component` and writes `header` as the step's first line.
    pub(crate) fn step(&self, component: &str, header: &str) -> io::Result<StepLog> {
        let mut file = open_append(&self.dir.join(format!("{}.log", file_name(component))))?;
        writeln!(file, "--- {} {header}", clock::utc(clock::now_millis()))?;
        let start = file.metadata()?.len();
        Ok(StepLog { file, start })
    }

    /// The last part of the component's log, whichever step wrote it.
    pub(crate) fn tail(&self, component: &str) -> String {
        let path = self.dir.join(format!("{}.log", file_name(component)));
        File::open(path).and_then(|file| tail(&file, 0)).unwrap_or_default()
    }
}

impl StepLog {
    /// One more descriptor, for a child.
    pub(crate) fn share(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Appends words of our own.
    pub(crate) fn note(&mut self, text: &str) {
        // The log is a convenience; the same words go to the runner as an event.
        writeln!(self.file, "{}", text.trim_end()).ok();
    }

    /// The last part of what the step printed.
    pub(crate) fn tail(&self) -> String {
        tail(&self.file, self.start).unwrap_or_default()
    }
}

/// Opens a file that only root can read, for appending and reading; never through a link.
pub(crate) fn open_append(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?))
}

/// Shortens `text` to its last [`TAIL`] bytes or a little less, at a character's edge.
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

/// A folder of root's; one that is somebody else's, or a link, is not used.
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
    Err(io::Error::other(format!("{} is not a directory of root's", path.display())))
}

fn file_name(component: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let name: String =
        component.chars().map(|letter| if plain(letter) { letter } else { '_' }).take(200).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component's name comes from a user's baseline.
    #[test]
    fn a_component_cannot_choose_where_its_log_is() {
        assert_eq!(file_name("../../etc/passwd"), "_.._.._etc_passwd");
        assert_eq!(file_name("bios-2.1"), "bios-2.1");
    }

    #[test]
    fn the_last_part_never_cuts_a_character() {
        let text = "é".repeat(3000);
        let part = last_part(&text);
        assert_eq!(part.len(), TAIL);
        assert_eq!(last_part(&format!("x{text}y")).len(), TAIL - 1);
        assert_eq!(last_part("short"), "short");
    }
}
