//! `farrier-engine attach`: joins standard input and output to the detached engine.
//!
//! Knows nothing of what is said. Needs no privilege but the one to open the socket.

use crate::place::Place;
use farrier_protocol::ATTACH_MARKER;
use std::fs::File;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

/// Nobody listens.
const NOBODY: u8 = 3;

/// Copies both ways until the engine closes its side, or nobody reads ours.
pub(crate) fn attach(dir: &Path) -> ExitCode {
    let socket = match Place::named(dir) {
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
    // Plain descriptors without a buffer of ours: the kernel may move the bytes by itself.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    writeln!(output, "{ATTACH_MARKER}")?;
    let mut to_engine = stream.try_clone()?;
    let mut from_engine = stream.try_clone()?;
    thread::spawn(move || {
        // How it ended makes no difference: nothing more comes.
        drop(io::copy(&mut input, &mut to_engine));
        drop(to_engine.shutdown(Shutdown::Write));
    });
    io::copy(&mut from_engine, &mut output)?;
    Ok(())
}
