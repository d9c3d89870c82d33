//! The engine: the small program that Farrier puts on a machine for the duration of an update.
//!
//! The engine reads what is installed, installs what the runner asks for, and removes everything that it
//! created. What is installed, and in which order, is decided by the operator.

mod apply;
mod apply_error;
mod args;
mod attach;
mod callback;
mod cgroup;
mod clock;
mod command;
mod contact;
mod digest;
mod engine;
mod install;
mod journal;
mod launch;
mod link;
mod lock;
mod lock_holder;
mod logs;
mod payload;
mod reach;
mod retire;
mod run;
mod shared;
mod shim;
mod space;
mod step;
mod survey;
mod sweep;
mod takeover;
mod wait;
mod work_dir;
mod worker;

use args::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let line = args::announces_line(&words).then(callback::config::read_line);
    match args::parse(words.into_iter()) {
        Ok(Command::Help) => print(args::HELP),
        Ok(Command::Version) => print(&format!("farrier-engine {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Command::Launch { session, digest }) => launch::launch(&session, &digest, line),
        Ok(Command::Run { session }) => run::run(session),
        Ok(Command::Attach { dir }) => attach::attach(&dir),
        Ok(Command::Reach { addresses, timeout }) => reach::reach(&addresses, timeout),
        Ok(Command::Sweep { dir, session }) => sweep::sweep(&dir, &session),
        Ok(Command::Step { program }) => shim::exec(&program),
        Err(message) => {
            eprintln!("error: {message}\nNext: farrier-engine --help");
            ExitCode::from(2)
        }
    }
}

/// Prints `text`. A closed standard output is not an error of the engine.
fn print(text: &str) -> ExitCode {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
