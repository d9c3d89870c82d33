//! Runs one installer in a session of its own, with its output in the log and a time limit.

use crate::command::ENVIRONMENT;
use crate::logs::StepLog;
use crate::process_tree::{Process, descendants};
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
use std::time::{Duration, Instant};

/// Time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// Time in which a process ends that was killed, unless the kernel cannot end it.
const KILLED: Duration = Duration::from_secs(5);

/// Interval between two looks at the processes that end.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Environment variable of every installer with the id of the session, so that a later engine recognises
/// the installers of its session.
pub(crate) const SESSION_VARIABLE: &str = "FARRIER_SESSION";

/// The program to run.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Full path of the program.
    pub(crate) program: PathBuf,
    /// Arguments of the program.
    pub(crate) arguments: Vec<OsString>,
    /// Working directory of the program.
    pub(crate) dir: PathBuf,
    /// Variables in addition to the common environment.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// Time limit of an installer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// Duration of the limit.
    pub(crate) span: Duration,
    /// Whether the installer is terminated at the limit, or left to finish.
    pub(crate) interruptible: bool,
}

/// Receives notifications while an installer runs.
pub(crate) trait Watch {
    /// The process exists and waits for its start. It is terminated at once if this fails.
    fn created(&mut self, pid: u32) -> io::Result<()>;
    /// The limit is exceeded.
    fn overdue(&mut self);
}

/// Runs the installer until it ends.
pub(crate) fn run(plan: &Plan, limit: Limit, log: &StepLog, watch: &mut impl Watch) -> StepExit {
    match start(plan, log, watch) {
        Ok(installer) => installer.finish(limit, watch).unwrap_or_else(|error| not_started(&error)),
        Err(error) => not_started(&error),
    }
}

struct Installer {
    child: Child,
    /// Process id, which is also the id of its session and group.
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
    // The command holds the other end of the gate.
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
        // The child stays a zombie until `wait`, so its process id cannot be reused and a signal to its
        // group cannot reach another process.
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

/// Terminates an installer and all that it has started, also in sessions of their own: apt gives one to dpkg.
/// `wait` waits until the installer ends, at most for the given time.
pub(crate) fn end(group: Pid, wait: impl FnOnce(Duration)) {
    let (leader, begun) = (group.as_raw_nonzero().get().cast_unsigned(), Instant::now());
    let apart = |process: &Process| process.group != leader;
    let mut others: Vec<Process> = descendants(&[leader]).into_iter().filter(apart).collect();
    // A group that has already ended is the desired result.
    kill_process_group(group, Signal::TERM).ok();
    for process in &others {
        process.signal(Signal::TERM);
    }
    wait(GRACE);
    await_end(&others, begun + GRACE);
    // Also if the leader has ended: some of its children may ignore SIGTERM, and have children by now.
    others.retain(|process| process.is_alive());
    let roots: Vec<u32> = others.iter().map(|process| process.pid).collect();
    others.extend(descendants(&roots).into_iter().filter(apart));
    kill_process_group(group, Signal::KILL).ok();
    for process in &others {
        process.signal(Signal::KILL);
    }
    await_end(&others, Instant::now() + KILLED);
}

/// Waits until all of the processes have ended, at most until then.
fn await_end(processes: &[Process], until: Instant) {
    while processes.iter().any(|process| process.is_alive()) && Instant::now() < until {
        // sleep: a process cannot wait for processes that are not its children.
        thread::sleep(POLL_INTERVAL);
    }
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
