//! Finds the processes of engines, from `/proc`.

use crate::lock::Target;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A command of an engine that takes the machine's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockingCommand {
    /// `run`, the engine itself.
    Run,
    /// `launch`, which starts the engine.
    Launch,
    /// `resume`, which becomes the engine after a reboot.
    Resume,
    /// `sweep`, which removes what an engine left.
    Sweep,
}

impl LockingCommand {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "run" => Some(Self::Run),
            "launch" => Some(Self::Launch),
            "resume" => Some(Self::Resume),
            "sweep" => Some(Self::Sweep),
            _ => None,
        }
    }

    /// Reports whether the command needs the engine's directory until it ends.
    fn needs_directory(self) -> bool {
        match self {
            Self::Run | Self::Launch | Self::Resume => true,
            Self::Sweep => false,
        }
    }
}

/// A process of an engine that has the machine's lock open.
#[derive(Debug)]
pub(crate) struct LockHolder {
    /// Process id.
    pub(crate) pid: u32,
    /// What it was started as.
    pub(crate) command: LockingCommand,
    /// Value of `--dir`.
    pub(crate) dir: PathBuf,
    /// Value of `--session`.
    pub(crate) session: String,
    /// Value of `--run`; empty for `sweep`.
    pub(crate) run: String,
}

/// Returns the engine that holds the lock on `target`; a running engine is preferred to one that is
/// starting.
pub(crate) fn find(target: Target) -> Option<LockHolder> {
    let holders = processes().into_iter().filter_map(|pid| holder(pid, target));
    holders.max_by_key(|holder| holder.command == LockingCommand::Run)
}

/// Returns all processes except this one.
pub(crate) fn processes() -> Vec<u32> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own).collect()
}

/// Returns the name of a process without its arguments, which may contain passwords.
pub(crate) fn name(pid: u32) -> String {
    let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&comm).trim_end().to_owned()
}

/// Reports whether the process runs the program at `path`, even if the file was removed after the start.
pub(crate) fn runs(pid: u32, path: &Path) -> bool {
    let Ok(exe) = fs::read_link(format!("/proc/{pid}/exe")) else { return false };
    let bytes = exe.as_os_str().as_bytes();
    let living = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    Path::new(OsStr::from_bytes(living)) == path
}

/// Reports whether a detached engine runs in `dir`, or another process is about to run one there.
pub(crate) fn is_at_work_in(dir: &Path) -> bool {
    let engine = |pid| parse(pid, &fs::read(format!("/proc/{pid}/cmdline")).ok()?);
    processes()
        .into_iter()
        .filter_map(engine)
        .any(|engine| engine.command.needs_directory() && engine.dir == dir)
}

fn holder(pid: u32, target: Target) -> Option<LockHolder> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let holder = parse(pid, &line)?;
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let holds = descriptors.flatten().any(|entry| {
        fs::metadata(entry.path()).is_ok_and(|meta| meta.dev() == target.device && meta.ino() == target.inode)
    });
    holds.then_some(holder)
}

fn parse(pid: u32, line: &[u8]) -> Option<LockHolder> {
    let words: Vec<&str> =
        line.split(|byte| *byte == 0).map(str::from_utf8).collect::<Result<_, _>>().ok()?;
    let command = LockingCommand::parse(words.get(1)?)?;
    let value = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1).map(|word| (*word).to_owned())
    };
    Some(LockHolder {
        pid,
        command,
        dir: value("--dir")?.into(),
        session: value("--session")?,
        run: value("--run").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_known_by_its_command_line() {
        let line = b"farrier-engine\0run\0--dir\0/var/lib/farrier-1\0--session\0s\0--run\0spring\0";
        let holder = parse(7, line).unwrap();
        assert_eq!((holder.pid, holder.session.as_str(), holder.run.as_str()), (7, "s", "spring"));
        assert!(parse(7, b"vim\0run\0").is_none());
        assert!(parse(7, b"").is_none());
    }
}
