//! `farrier-engine launch`: starts the detached engine, or reports the failure and cleans up.

use crate::args::Session;
use crate::callback::channel::Channel;
use crate::callback::{config, listen};
use crate::command::ENVIRONMENT;
use crate::digest::Digest;
use crate::lock::MachineLock;
use crate::lock_holder::{self, LockHolder, LockingCommand};
use crate::space;
use crate::work_dir::WorkDir;
use farrier_protocol::{self as protocol, FailureCode, LaunchError, LaunchReport, Leftover};
use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Process name of the engine.
const PROGRAM: &str = "farrier-engine";

/// How long to wait for another launch, or for an engine that is about to exit; both usually take less time.
/// After that the launch fails and the runner retries, because the runner can show a longer wait to users and
/// a launch cannot.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Interval between two attempts to take the lock.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Why no engine was started.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Kind of the failure.
    pub(crate) code: LaunchError,
    /// Description of the failure.
    pub(crate) message: String,
    /// The process that must end before a launch can succeed, if there is one.
    pub(crate) holder: Option<protocol::Holder>,
}

impl Failure {
    /// Creates a failure without a code of its own.
    #[expect(clippy::needless_pass_by_value, reason = "it is used as `map_err(Failure::other)`")]
    pub(crate) fn other(message: impl ToString) -> Self {
        Self::of(LaunchError::Other, message.to_string())
    }

    /// Creates a failure that is not caused by another process.
    pub(crate) fn of(code: LaunchError, message: String) -> Self {
        Self { code, message, holder: None }
    }

    /// Returns the failure as it is printed.
    pub(crate) fn report(self) -> LaunchReport {
        LaunchReport::Failed { code: self.code, message: self.message, holder: self.holder }
    }
}

/// Starts the engine and prints the report. `callback` is the line from standard input for channel
/// `Callback`, if that is the channel.
pub(crate) fn launch(
    session: &Session,
    digest: &Digest,
    callback: Option<Result<Vec<u8>, String>>,
) -> ExitCode {
    let report = match try_launch(session, digest, callback) {
        Ok(report) => report,
        Err(mut failure) => {
            if let Err(left) = clean_up(session) {
                failure.message = format!("{}; {} is still there: {}", failure.message, left.what, left.why);
            }
            failure.report()
        }
    };
    let json = serde_json::to_string(&report).unwrap_or_default();
    let printed = writeln!(io::stdout(), "{}{json}", LaunchReport::PREFIX);
    match (report, printed) {
        (LaunchReport::Started { .. } | LaunchReport::AlreadyRunning { .. }, Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Becomes the detached engine again after a reboot of the machine, which executes this command when it boots.
/// Does nothing if the runner was faster and has launched the engine.
pub(crate) fn resume(session: &Session) -> ExitCode {
    match try_resume(session) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            ExitCode::FAILURE
        }
    }
}

fn try_resume(session: &Session) -> Result<(), Failure> {
    let place = WorkDir::check(&session.dir).map_err(Failure::other)?;
    let lock = MachineLock::open().map_err(context("the machine's lock"))?;
    if wait_for_lock(&lock, session, &place)?.is_some() {
        return Ok(());
    }
    place.close();
    let mut command = detached(&lock, session)?;
    // The process stays the same one, which the machine's init watches. Nobody reads the report.
    Err(context("the engine")(command.stdout(Stdio::null()).exec()))
}

fn try_launch(
    session: &Session,
    digest: &Digest,
    callback: Option<Result<Vec<u8>, String>>,
) -> Result<LaunchReport, Failure> {
    if !rustix::process::geteuid().is_root() {
        let message = "the engine must be started as root".into();
        return Err(Failure::of(LaunchError::NotRoot, message));
    }
    let place = WorkDir::check(&session.dir).map_err(Failure::other)?;
    let callback = callback.transpose().map_err(Failure::other)?;
    let channel = callback.as_deref().map(Channel::parse).transpose().map_err(Failure::other)?;
    let listens = callback.as_deref().filter(|_| channel.is_some_and(|channel| channel.listen.is_some()));
    let verified = verify(digest);
    // A binary with the wrong digest must leave no trace. It may still report that an engine is running: an
    // engine that an earlier version of the operator started is equally good.
    let lock = if verified.is_ok() { MachineLock::open() } else { MachineLock::open_existing() };
    let lock = lock.map_err(context("the machine's lock"))?;
    if let Some(pid) = wait_for_lock(&lock, session, &place)? {
        store_callback(&place, callback.as_deref())?;
        let listening = listens.map(|json| listen::await_report(&place, json));
        return Ok(LaunchReport::AlreadyRunning { pid, listening });
    }
    verified?;
    store_callback(&place, callback.as_deref())?;
    // A socket that a dead engine left would look like the socket of a running engine.
    place.close();
    let started = start(&lock, session)?;
    let listening = listens.map(|json| listen::await_report(&place, json));
    Ok(match started {
        LaunchReport::Started { pid, .. } => LaunchReport::Started { pid, listening },
        other @ (LaunchReport::AlreadyRunning { .. } | LaunchReport::Failed { .. }) => other,
    })
}

/// Stores the configuration of the callback channel, or removes it for channel `Session`.
fn store_callback(place: &WorkDir, callback: Option<&[u8]>) -> Result<(), Failure> {
    let kept = callback.map_or_else(|| config::forget(place), |json| config::store(place, json));
    kept.map_err(|error| {
        let full = space::code(&error) == FailureCode::DiskFull;
        let code = if full { LaunchError::DiskFull } else { LaunchError::Other };
        Failure::of(code, format!("{}: {error}", place.callback().display()))
    })
}

/// Removes the directory, unless an engine runs in it or another launch starts one.
fn clean_up(session: &Session) -> Result<(), Leftover> {
    match WorkDir::named(&session.dir) {
        Ok(place) if !lock_holder::is_at_work_in(&session.dir) => place.remove(),
        // A directory with another name does not belong to Farrier; the error was already reported.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Checks that the running binary has the digest of the binary that the runner sent.
fn verify(digest: &Digest) -> Result<(), Failure> {
    let found = Digest::of_self().map_err(context("/proc/self/exe"))?;
    if found == *digest {
        return Ok(());
    }
    let message = format!("this engine is {found}, the operator sent {digest}");
    Err(Failure::of(LaunchError::DigestMismatch, message))
}

/// Takes the lock, or returns the process id of the engine of the same session that holds it.
fn wait_for_lock(lock: &MachineLock, session: &Session, place: &WorkDir) -> Result<Option<u32>, Failure> {
    let is_ours = |holder: &LockHolder| {
        holder.command == LockingCommand::Run && holder.session == session.id && holder.dir == session.dir
    };
    let begun = Instant::now();
    loop {
        if lock.try_take().map_err(context("the machine's lock"))? {
            return Ok(None);
        }
        let holder = lock.target().map(lock_holder::find).map_err(context("the machine's lock"))?;
        match &holder {
            // An engine that exits removes its socket first.
            Some(holder) if is_ours(holder) && place.socket().exists() => return Ok(Some(holder.pid)),
            Some(holder) if holder.command == LockingCommand::Run && !is_ours(holder) => {
                return Err(busy(Some(holder)));
            }
            Some(_) | None => {}
        }
        if begun.elapsed() >= LOCK_TIMEOUT {
            return Err(busy(holder.as_ref()));
        }
        // sleep: a lock that another process holds cannot be awaited with a limit.
        thread::sleep(POLL_INTERVAL);
    }
}

fn busy(holder: Option<&LockHolder>) -> Failure {
    let message = match holder {
        Some(LockHolder { command, run, session, dir, pid }) => {
            let what = match command {
                LockingCommand::Run => format!("run {run} is working"),
                LockingCommand::Launch | LockingCommand::Resume | LockingCommand::Sweep => {
                    "an engine is being started or removed".into()
                }
            };
            format!("{what} on this machine: session {session}, process {pid} in {}", dir.display())
        }
        None => "another engine is working on this machine; its process is not visible".into(),
    };
    // The engine's name for itself: the kernel shows `exe`, the name by which it was started.
    let holder = holder.map(|LockHolder { pid, .. }| protocol::Holder { pid: *pid, name: PROGRAM.into() });
    Failure { code: LaunchError::MachineBusy, message, holder }
}

/// Returns the command that runs the detached engine, which holds the lock.
fn detached(lock: &MachineLock, session: &Session) -> Result<Command, Failure> {
    let lock = lock.share().map_err(context("the machine's lock"))?;
    // A process that waits for the end of an inherited pipe would wait until the engine exits.
    close_fds::set_fds_cloexec(3, &[]);
    let mut command = Command::new("/proc/self/exe");
    command.arg0(PROGRAM).args(session.run_arguments());
    command.env_clear().envs(ENVIRONMENT).current_dir("/");
    command.stdin(lock).stderr(Stdio::null());
    Ok(command)
}

/// Starts the detached engine and waits for its report.
fn start(lock: &MachineLock, session: &Session) -> Result<LaunchReport, Failure> {
    let mut command = detached(lock, session)?;
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(context("the detached engine"))?;
    let report =
        child.stdout.take().map(read_report).transpose().map_err(context("the detached engine"))?.flatten();
    match report {
        Some(LaunchReport::Failed { code, message, holder }) => {
            child.wait().map_err(context("the detached engine"))?;
            Err(Failure { code, message, holder })
        }
        Some(report) => Ok(report),
        None => {
            let status = child.wait().map_err(context("the detached engine"))?;
            Err(Failure::other(format!("the detached engine ended before it was ready: {status}")))
        }
    }
}

/// Returns the report of the detached engine; `None` if the engine ended without one.
fn read_report(stdout: ChildStdout) -> io::Result<Option<LaunchReport>> {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Ok(serde_json::from_str(&line).ok())
}

fn context<E: Display>(what: &str) -> impl Fn(E) -> Failure {
    move |error| Failure::other(format!("{what}: {error}"))
}
