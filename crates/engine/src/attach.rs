//! `farrier-engine attach`: joins standard input and output to the detached engine.
//!
//! It does not interpret the data. It needs no privilege except to open the socket.

use crate::work_dir::WorkDir;
use farrier_protocol::ATTACH_MARKER;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

/// Exit code: no engine listens on the socket.
const NOBODY: u8 = 3;

/// Copies in both directions until the engine closes its side, or our output is closed.
pub(crate) fn attach(dir: &Path) -> ExitCode {
    let socket = match WorkDir::named(dir) {
        Ok(place) => place.socket(),
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(2);
        }
    };
    let joined = UnixStream::connect(&socket);
    match joined {
        Ok(stream) => join(&stream).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("error: no engine listens on {}: {error}", socket.display());
            ExitCode::from(NOBODY)
        }
    }
}

fn join(stream: &UnixStream) -> io::Result<()> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    writeln!(output, "{ATTACH_MARKER}")?;
    let mut to_engine = stream.try_clone()?;
    let mut from_engine = stream.try_clone()?;
    thread::spawn(move || {
        // The result does not matter: no more input follows.
        copy(&mut input, &mut to_engine).ok();
        to_engine.shutdown(Shutdown::Write).ok();
    });
    copy(&mut from_engine, &mut output)
}

/// Copies until the end of `from`. Not [`io::copy`], which uses splice: a splice that waits for the
/// socket keeps the pipe of standard output locked meanwhile, so that sshd hangs while it reads data
/// that is already in the pipe (seen with Linux 6.18).
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
