//! The engine: the small program that Farrier puts on a machine for the duration of an update.
//!
//! The engine reads what is installed, installs what the runner asks for, and removes everything that it
//! created. What is installed, and in which order, is decided by the operator.
//!
//! Which modules there are, and what the command line can do, is declared in one file for each system. A module
//! that several systems share is declared here.

#[cfg_attr(unix, path = "linux.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod platform;

#[allow(clippy::wildcard_imports, reason = "a module is `crate::NAME`, whichever file declares it")]
use platform::*;
use std::process::ExitCode;

fn main() -> ExitCode {
    execute(std::env::args_os().skip(1).collect())
}

/// Prints `text`. A closed standard output is not an error of the engine.
fn print(text: &str) -> ExitCode {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
