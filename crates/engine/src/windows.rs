//! The engine on Windows: it starts and says that it does not work there yet.

use crate::print;
use std::ffi::OsString;
use std::process::ExitCode;

/// Output of `--help`.
const HELP: &str = "\
farrier-engine: updates this machine on behalf of a Farrier operator, then removes itself.

Usage:
  farrier-engine --version | --help

This version does nothing else on Windows. Machines that run Windows are updated by a later version.
";

/// Executes a command line without the program's name.
pub(crate) fn execute(words: Vec<OsString>) -> ExitCode {
    match words.first().and_then(|word| word.to_str()) {
        Some("-h" | "--help" | "help") => print(HELP),
        Some("-V" | "--version") => print(&format!("farrier-engine {}\n", env!("CARGO_PKG_VERSION"))),
        Some("launch" | "run" | "resume" | "attach" | "reach" | "sweep" | "step") => {
            eprintln!(
                "error: this version of farrier-engine cannot work on Windows yet\nNext: farrier-engine --help"
            );
            ExitCode::FAILURE
        }
        _ => {
            eprintln!("error: no such command\nNext: farrier-engine --help");
            ExitCode::from(2)
        }
    }
}
