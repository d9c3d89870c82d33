//! Removes the logs of old runs.
//!
//! Only directories that are provably Farrier's are touched: owned by root, with a journal, and with nothing
//! in them but the files that engines write. Files are removed one by one, so that a file that appears
//! meanwhile keeps its directory.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Runs that are kept whatever their age: on a machine whose clock is wrong, every log looks old.
const ALWAYS_KEPT: usize = 3;

/// How much of the end of a journal is read; its last line is far shorter if nothing was left behind.
const END: u64 = 4096;

/// Which logs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Number of runs.
    pub(crate) runs: u32,
    /// Age of a run in days, since it was last written to.
    pub(crate) days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { runs: 20, days: 90 }
    }
}

/// The logs of one run.
struct Run {
    dir: PathBuf,
    files: Vec<PathBuf>,
    written: SystemTime,
    /// Whether each session has removed everything from the machine.
    closed: bool,
}

/// Removes the logs below `root` that need not be kept and belong to the user `owner`. `current` is the directory of
/// this run.
///
/// A run whose journal says that something of Farrier's may still be on the machine does not count: it is
/// removed by its age only.
pub(super) fn prune(root: &Path, current: &Path, keep: Retention, owner: u32) {
    let dirs = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut runs: Vec<Run> =
        dirs.filter(|dir| dir != current).filter_map(|dir| read(dir, owner).ok().flatten()).collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.written));
    let oldest = SystemTime::now().checked_sub(Duration::from_secs(u64::from(keep.days) * 86_400));
    // This run is one of those that are kept.
    let most = usize::try_from(keep.runs).unwrap_or(usize::MAX).saturating_sub(1);
    let mut counted = 0;
    for (number, run) in runs.iter().enumerate() {
        let is_surplus = run.closed && counted >= most;
        counted += usize::from(run.closed);
        let is_old = number >= ALWAYS_KEPT && oldest.is_some_and(|oldest| run.written < oldest);
        if is_surplus || is_old {
            // What cannot be removed now is tried again by the next engine.
            remove(run).ok();
        }
    }
}

/// Reads the directory of a run; `None` if it may not be Farrier's.
fn read(dir: PathBuf, owner: u32) -> io::Result<Option<Run>> {
    let meta = fs::symlink_metadata(&dir)?;
    if !meta.is_dir() || meta.uid() != owner {
        return Ok(None);
    }
    let mut run = Run { dir, files: Vec::new(), written: SystemTime::UNIX_EPOCH, closed: true };
    let mut has_journal = false;
    for entry in fs::read_dir(&run.dir)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_journal = name.starts_with("journal-") && name.strip_suffix(".jsonl").is_some();
        // Earlier versions wrote a log for each component.
        if !meta.is_file() || meta.uid() != owner || !(is_journal || name.strip_suffix(".log").is_some()) {
            return Ok(None);
        }
        has_journal |= is_journal;
        run.closed &= !is_journal || is_closed(&path)?;
        run.written = run.written.max(meta.modified()?);
        run.files.push(path);
    }
    Ok(has_journal.then_some(run))
}

/// Reports whether a journal ends with the removal of everything.
fn is_closed(journal: &Path) -> io::Result<bool> {
    let file = File::open(journal)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(END);
    let mut bytes = vec![0; usize::try_from(length - from).unwrap_or_default()];
    file.read_exact_at(&mut bytes, from)?;
    let end = String::from_utf8_lossy(&bytes);
    Ok(end.lines().next_back().is_some_and(|line| line.contains(r#""kind":"retired","leftovers":[]"#)))
}

fn remove(run: &Run) -> io::Result<()> {
    run.files.iter().try_for_each(fs::remove_file)?;
    fs::remove_dir(&run.dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::FileTimes;

    const CLOSED: &str = r#"{"seq":9,"at":1,"body":{"kind":"retired","leftovers":[]}}"#;

    /// Directories of logs below one that is removed at the end.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("farrier-prune-{name}-{}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            Self(root)
        }

        /// Makes the logs of a run that ended so many days ago.
        fn run(&self, name: &str, days: u64, journal: &str) -> PathBuf {
            let dir = self.0.join(name);
            fs::create_dir(&dir).unwrap();
            let at = SystemTime::now() - Duration::from_secs(days * 86_400 + 60);
            for (file, text) in [("journal-s.jsonl", journal), ("output-s.log", "x"), ("old.log", "y")] {
                fs::write(dir.join(file), format!("{text}\n")).unwrap();
                let file = File::options().write(true).open(dir.join(file)).unwrap();
                file.set_times(FileTimes::new().set_modified(at)).unwrap();
            }
            dir
        }

        fn left(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap().flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// The user whose files the test makes.
    fn owner() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn the_newest_runs_are_kept_and_this_one_is_one_of_them() {
        let root = Root::new("count");
        for days in 0..6 {
            root.run(&format!("r{days}"), days, CLOSED);
        }
        let current = root.run("now", 400, "");
        prune(&root.0, &current, Retention { runs: 3, days: 90 }, owner());
        assert_eq!(root.left(), ["now", "r0", "r1"]);
    }

    #[test]
    fn old_runs_go_but_never_the_last_three() {
        let root = Root::new("age");
        for days in [10, 100, 200, 300, 400] {
            root.run(&format!("r{days}"), days, CLOSED);
        }
        prune(&root.0, Path::new("/"), Retention { runs: 20, days: 90 }, owner());
        assert_eq!(root.left(), ["r10", "r100", "r200"]);
    }

    /// The journal of a session that was never cleaned up says what is left on the machine.
    #[test]
    fn a_run_that_may_have_left_something_goes_by_age_only() {
        let root = Root::new("open");
        for days in [1, 2, 3] {
            root.run(&format!("closed{days}"), days, CLOSED);
        }
        root.run("open", 50, r#"{"seq":1,"at":1,"body":{"kind":"stepStarted"}}"#);
        root.run("open-old", 100, r#"{"seq":1,"at":1,"body":{"kind":"stepStarted"}}"#);
        prune(&root.0, Path::new("/"), Retention { runs: 2, days: 90 }, owner());
        assert_eq!(root.left(), ["closed1", "open"]);
    }

    /// A machine on which something was left behind would keep fewer logs of the runs after that.
    #[test]
    fn a_run_that_may_have_left_something_takes_no_place_of_others() {
        let root = Root::new("place");
        root.run("open", 0, r#"{"seq":1,"at":1,"body":{"kind":"stepStarted"}}"#);
        for days in [1, 2, 3] {
            root.run(&format!("closed{days}"), days, CLOSED);
        }
        prune(&root.0, Path::new("/"), Retention { runs: 3, days: 90 }, owner());
        assert_eq!(root.left(), ["closed1", "closed2", "open"]);
    }

    #[test]
    fn what_is_not_farriers_is_not_touched() {
        let root = Root::new("foreign");
        fs::create_dir(root.0.join("empty")).unwrap();
        fs::write(root.run("notes", 400, CLOSED).join("notes.txt"), "mine").unwrap();
        fs::create_dir(root.run("deeper", 400, CLOSED).join("dir")).unwrap();
        let link = root.run("link", 400, CLOSED).join("x.log");
        std::os::unix::fs::symlink("/etc/passwd", link).unwrap();
        std::os::unix::fs::symlink("/var/log", root.0.join("linked")).unwrap();
        fs::remove_file(root.run("nojournal", 400, CLOSED).join("journal-s.jsonl")).unwrap();
        let none = Retention { runs: 1, days: 0 };
        root.run("another's", 400, CLOSED);
        prune(&root.0, Path::new("/"), none, owner() + 1);
        assert!(root.left().contains(&"another's".to_owned()));
        prune(&root.0, Path::new("/"), none, owner());
        assert_eq!(root.left(), ["deeper", "empty", "link", "linked", "nojournal", "notes"]);
    }
}
