//! `farrier-engine step PROGRAM…`: the process that becomes an installer.
//!
//! The engine must know an installer's process ID, and have it in the journal, before the installer
//! does anything. Therefore it starts itself once more; that process creates its own session, waits for
//! a byte on its standard input, and only then executes the installer.

use rustix::process::setsid;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The engine's side of the gate.
pub(crate) struct StartGate(UnixStream);

impl StartGate {
    /// Creates a gate, and the standard input for the process behind it.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self(ours), theirs.into()))
    }

    /// Lets the process execute the installer. The error is that of the operating system for a program
    /// that cannot be executed.
    pub(crate) fn open(mut self) -> io::Result<()> {
        self.0.write_all(b"g")?;
        // A successful `exec` closes the stream.
        let mut error = Vec::new();
        self.0.read_to_end(&mut error)?;
        match error.try_into() {
            Ok(number) => Err(io::Error::from_raw_os_error(i32::from_le_bytes(number))),
            Err(_) => Ok(()),
        }
    }
}

/// Waits for the gate to open and executes `program`. Returns only on failure.
pub(crate) fn exec(program: &[OsString]) -> ExitCode {
    let [program, arguments @ ..] = program else { return ExitCode::from(2) };
    match wait_for_start() {
        Ok(mut gate) => {
            let error = Command::new(program).args(arguments).exec();
            let number = error.raw_os_error().unwrap_or_default();
            // If the engine is gone, no process reads the error.
            gate.write_all(&number.to_le_bytes()).ok();
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

fn wait_for_start() -> io::Result<UnixStream> {
    let mut gate = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    setsid()?;
    // End of file without a byte: the engine died, and nothing may be started.
    gate.read_exact(&mut [0])?;
    Ok(gate)
}
