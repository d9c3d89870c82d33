//! Runs one installer: in a session of its own, its output to the log, within its limit.

use crate::command::ENVIRONMENT;
use crate::logs::StepLog;
use crate::shim::StartGate;
use crate::space;
use farrier_protocol::StepExit;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// Set for every installer to the id of the session, so that a later engine knows its own.
pub(crate) const SESSION_VARIABLE: &str = "FARRIER_SESSION";

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Full path of the program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// Its working directory.
    pub(crate) dir: PathBuf,
    /// Added to the common environment.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// How long an installer may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// This long.
    pub(crate) span: Duration,
    /// Whether it is ended after that, or left.
    pub(crate) interruptible: bool,
}

/// Who is told what while an installer runs.
pub(crate) trait Watch {
    /// The process exists and waits. It is ended at once if this fails.
    fn created(&mut self, pid: u32) -> io::Result<()>;
    /// The limit is exceeded.
    fn overdue(&mut self);
}

/// Runs the installer to its end.
pub(crate) fn run(plan: &Plan, limit: Limit, log: &StepLog, watch: &mut impl Watch) -> StepExit {
    match start(plan, log, watch) {
        Ok(installer) => installer.finish(limit, watch).unwrap_or_else(|error| not_started(&error)),
        Err(error) => not_started(&error),
    }
}

struct Installer {
    child: Child,
    /// Its process id, and that of its session and group.
    group: Pid,
    ended: Receiver<()>,
}

fn start(plan: &Plan, log: &StepLog, watch: &mut impl Watch) -> io::Result<Installer> {
    let (gate, stdin) = StartGate::new()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("farrier-engine").arg("step").arg(&plan.program).args(&plan.arguments);
    command.env_clear().envs(ENVIRONMENT).envs(plan.environment.iter().map(|(name, value)| (name, value)));
    command.current_dir(&plan.dir).stdin(stdin).stdout(log.share()?).stderr(log.share()?);
    let mut child = command.spawn()?;
    // It holds the other end of the gate.
    drop(command);
    let opened = watch.created(child.id()).and_then(|()| gate.open());
    if let Err(error) = opened {
        child.wait()?;
        return Err(error);
    }
    let Some(group) = Pid::from_raw(child.id().cast_signed()) else {
        return Err(io::ErrorKind::Other.into());
    };
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || {
        // The child stays a zombie until it is waited for, so that a signal to its group
        // cannot reach a stranger.
        waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).ok();
        sender.send(()).ok();
    });
    Ok(Installer { child, group, ended })
}

impl Installer {
    fn finish(mut self, limit: Limit, watch: &mut impl Watch) -> io::Result<StepExit> {
        if self.ended.recv_timeout(limit.span).is_ok() {
            return Ok(exit(self.child.wait()?));
        }
        watch.overdue();
        if !limit.interruptible {
            return Ok(exit(self.child.wait()?));
        }
        end(self.group, |grace| {
            self.ended.recv_timeout(grace).ok();
        });
        self.child.wait()?;
        Ok(StepExit::TimedOut)
    }
}

/// Ends an installer with its children. `wait` waits for its end, at most as long as it is told.
pub(crate) fn end(group: Pid, wait: impl FnOnce(Duration)) {
    // A group that is gone already is what we want.
    kill_process_group(group, Signal::TERM).ok();
    wait(GRACE);
    // Also when the leader has ended: some of its children may ignore SIGTERM.
    kill_process_group(group, Signal::KILL).ok();
}

fn exit(status: ExitStatus) -> StepExit {
    match (status.code(), status.signal()) {
        (Some(code), _) => StepExit::Exited { code },
        (None, signal) => StepExit::Signalled { signal: signal.unwrap_or_default() },
    }
}

fn not_started(error: &io::Error) -> StepExit {
    StepExit::not_started(space::code(error), error.to_string())
}
