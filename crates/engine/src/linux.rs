//! The engine on Linux: everything that it does there.

pub(crate) mod apply;
pub(crate) mod apply_error;
pub(crate) mod args;
pub(crate) mod attach;
pub(crate) mod boot;
pub(crate) mod callback;
pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod contact;
pub(crate) mod digest;
pub(crate) mod dkms;
pub(crate) mod engine;
pub(crate) mod firewall;
pub(crate) mod fwupd;
pub(crate) mod install;
pub(crate) mod journal;
pub(crate) mod launch;
pub(crate) mod link;
pub(crate) mod lock;
pub(crate) mod lock_holder;
pub(crate) mod logs;
pub(crate) mod output;
pub(crate) mod payload;
pub(crate) mod power;
pub(crate) mod process_tree;
pub(crate) mod reach;
pub(crate) mod reboot;
pub(crate) mod retire;
pub(crate) mod run;
pub(crate) mod shared;
pub(crate) mod shim;
pub(crate) mod space;
pub(crate) mod step;
pub(crate) mod survey;
pub(crate) mod sweep;
pub(crate) mod takeover;
pub(crate) mod trusted_module;
pub(crate) mod wait;
pub(crate) mod work_dir;
pub(crate) mod worker;

use crate::print;
use args::Command;
use std::ffi::OsString;
use std::process::ExitCode;

/// Executes a command line without the program's name.
pub(crate) fn execute(words: Vec<OsString>) -> ExitCode {
    let line = args::announces_line(&words).then(callback::config::read_line);
    match args::parse(words.into_iter()) {
        Ok(Command::Help) => print(args::HELP),
        Ok(Command::Version) => print(&format!("farrier-engine {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Command::Launch { session, digest }) => launch::launch(&session, &digest, line),
        Ok(Command::Run { session }) => run::run(session),
        Ok(Command::Resume { session }) => launch::resume(&session),
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
