//! Short commands whose output is read: package databases and detections.
//!
//! Installers are run by [`crate::step`] instead: their output goes to a log, and they outlive the
//! engine.

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::ffi::OsStr;
use std::io::{self, PipeReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Search path for programs, independent of the login shell.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The environment of every command: no variable is inherited from the login.
pub(crate) const ENVIRONMENT: [(&str, &str); 5] = [
    ("PATH", PATH),
    ("LC_ALL", "C"),
    ("HOME", "/root"),
    ("SHELL", "/bin/sh"),
    ("DEBIAN_FRONTEND", "noninteractive"),
];

/// How a command ended, and what it printed.
pub(crate) struct Output {
    /// Exit status.
    pub(crate) status: ExitStatus,
    /// Output, up to the limit.
    pub(crate) text: String,
}

/// Where standard error goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errors {
    /// Discarded.
    Discard,
    /// Merged with the output.
    Merge,
}

/// Limits of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Timeout after which the command is killed.
    pub(crate) time: Duration,
    /// Maximum number of output bytes; the rest is discarded.
    pub(crate) bytes: u64,
}

/// Limits for tools that are quick and whose output grows with the number of the machine's packages.
pub(crate) const TOOL: Bounds = Bounds { time: Duration::from_mins(2), bytes: 32 * 1024 * 1024 };

/// Returns the full path of a program on this machine.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    PATH.split(':').map(|dir| PathBuf::from(dir).join(program)).find(|path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// Runs a command and returns its output. The error says why it failed.
pub(crate) fn capture(
    program: &str,
    arguments: &[impl AsRef<OsStr>],
    errors: Errors,
    bounds: Bounds,
) -> Result<Output, String> {
    run(program, arguments, errors, bounds).map_err(|error| format!("{program}: {error}"))
}

fn run(program: &str, arguments: &[impl AsRef<OsStr>], errors: Errors, bounds: Bounds) -> io::Result<Output> {
    let path = find(program).ok_or(io::ErrorKind::NotFound)?;
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(path);
    command.args(arguments).env_clear().envs(ENVIRONMENT).current_dir("/").process_group(0);
    command.stdin(Stdio::null());
    match errors {
        Errors::Discard => command.stderr(Stdio::null()),
        Errors::Merge => command.stderr(writer.try_clone()?),
    };
    let mut child = command.stdout(writer).spawn()?;
    // The command holds the other end of the pipe: without this drop the reader would never see the
    // end.
    drop(command);
    let Some(pid) = Pid::from_raw(child.id().cast_signed()) else { return Err(io::ErrorKind::Other.into()) };

    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let text = read(reader, bounds.bytes);
        // The child stays a zombie until `wait` below, so its process ID cannot be reused.
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).ok();
        // After the timeout there is no receiver.
        sender.send(text).ok();
    });
    let text = receiver.recv_timeout(bounds.time);
    if text.is_err() {
        kill_process_group(pid, Signal::KILL)?;
    }
    let status = child.wait()?;
    match text {
        Ok(text) => Ok(Output { status, text: String::from_utf8_lossy(&text?).into_owned() }),
        Err(_) => Err(io::Error::other(format!("no answer within {} s", bounds.time.as_secs()))),
    }
}

/// Reads to the end and keeps the first `limit` bytes.
fn read(mut reader: PipeReader, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.by_ref().take(limit).read_to_end(&mut bytes)?;
    io::copy(&mut reader, &mut io::sink())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, bounds: Bounds) -> Result<Output, String> {
        capture("sh", &["-c", script], Errors::Discard, bounds)
    }

    #[test]
    fn output_beyond_the_limit_is_discarded_without_blocking_the_command() {
        let bounds = Bounds { bytes: 10, ..TOOL };
        let output = shell("head -c 1000000 /dev/zero | tr '\\0' x; exit 3", bounds).unwrap();
        assert_eq!((output.text.as_str(), output.status.code()), ("xxxxxxxxxx", Some(3)));
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_its_children() {
        let bounds = Bounds { time: Duration::from_millis(50), bytes: 10 };
        let error = shell("sleep 1000 & sleep 1000", bounds).err().unwrap_or_default();
        assert!(error.contains("no answer"), "{error}");
    }
}
