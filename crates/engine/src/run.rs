//! `farrier-engine run`: the detached engine. Started by `launch`, never by a person.
//!
//! Standard input is the machine's lock, standard output the pipe on which `launch` waits for
//! one [`LaunchReport`].

use crate::args::Session;
use crate::callback::{Acceptor, Dialler};
use crate::cgroup;
use crate::engine::Engine;
use crate::firewall::FirewallLeases;
use crate::journal::Journal;
use crate::launch::Failure;
use crate::link::Link;
use crate::lock::MachineLock;
use crate::logs::Logs;
use crate::output::{Output, PUMP_INTERVAL};
use crate::shared::Shared;
use crate::space;
use crate::work_dir::WorkDir;
use farrier_protocol::{EventBody, FailureCode, LaunchError, LaunchReport, Lease, LeaseKind};
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

/// An engine that is ready to serve, and the resources that it keeps open.
struct Ready {
    engine: Engine,
    listener: UnixListener,
    inherited: Vec<Lease>,
    signals: Signals,
    /// Held while the process runs.
    _lock: MachineLock,
}

/// Runs the engine until it is retired.
pub(crate) fn run(session: Session) -> ExitCode {
    let started = detach().map_err(Failure::other).and_then(|(lock, pipe)| Ok((start(session, lock)?, pipe)));
    match started {
        Ok((ready, pipe)) => {
            let report = LaunchReport::Started { pid: std::process::id(), listening: None };
            if send_report(pipe, &report).is_err() {
                // `launch` has ended, but the engine is still needed: it stays until its lease expires.
            }
            serve(ready);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            io::stdout().write_all(&line(&failure.report())).ok();
            ExitCode::FAILURE
        }
    }
}

/// Leaves the login session and releases what was inherited from it.
fn detach() -> io::Result<(MachineLock, File)> {
    let lock = MachineLock::adopt(io::stdin().as_fd().try_clone_to_owned()?);
    let pipe = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    if !lock.try_take()? {
        return Err(io::Error::other(
            "`run` is started by `launch` only: its standard input must be the machine's lock",
        ));
    }
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    match rustix::process::setsid() {
        // An init starts its services as leaders of sessions of their own.
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    cgroup::leave_login_session();
    std::env::set_current_dir("/")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok((lock, pipe))
}

fn start(session: Session, lock: MachineLock) -> Result<Ready, Failure> {
    let place = WorkDir::check(&session.dir).map_err(Failure::other)?;
    // Before the first lease, so that a signal leaves no lease behind.
    let signals = Signals::new([SIGTERM]).map_err(Failure::other)?;
    let no_journal = |error: io::Error| {
        let full = space::code(&error) == FailureCode::DiskFull;
        let code = if full { LaunchError::DiskFull } else { LaunchError::NoJournal };
        Failure::of(code, error.to_string())
    };
    let logs = Logs::open(&session.run, &place).map_err(no_journal)?;
    logs.prune(session.keep);
    let mut journal = Journal::open(&logs.journal(&session.id)).map_err(no_journal)?;
    let output = Arc::new(Output::open(&logs.output(&session.id), &place).map_err(no_journal)?);
    let inherited = take_leases(&mut journal, &place).map_err(no_journal)?;
    let no_socket = |error: io::Error| Failure::other(format!("{}: {error}", place.socket().display()));
    place.prepare_link().map_err(no_socket)?;
    let listener = place.listen(session.peer_uid).map_err(no_socket)?;
    let shared = Arc::new(Shared::new(journal, session.lease).with_output(Arc::clone(&output)));
    let firewall = Arc::new(FirewallLeases::new(Arc::clone(&shared), &session));
    Ok(Ready {
        engine: Engine { session, place, logs, output, shared, firewall },
        listener,
        inherited,
        signals,
        _lock: lock,
    })
}

/// Records what is on the machine. Returns the processes of an earlier engine.
fn take_leases(journal: &mut Journal, place: &WorkDir) -> io::Result<Vec<Lease>> {
    let former = journal.known().leases.clone();
    let dir = place.dir().display().to_string();
    let has_dir = former.iter().any(|lease| lease.kind == LeaseKind::Directory && lease.what == dir);
    if !has_dir {
        let lease = journal.known().new_lease(LeaseKind::Directory, dir);
        journal.append(EventBody::LeaseTaken { lease })?;
    }
    let lease = journal.known().new_lease(LeaseKind::Process, std::process::id().to_string());
    journal.append(EventBody::LeaseTaken { lease })?;
    Ok(former.into_iter().filter(|lease| lease.kind == LeaseKind::Process).collect())
}

fn serve(ready: Ready) {
    let Ready { engine, listener, inherited, mut signals, _lock } = ready;
    let link = || Link {
        shared: Arc::clone(&engine.shared),
        session: engine.session.id.clone(),
        peer_uid: engine.session.peer_uid,
    };
    let (acceptor, server, shared) = (link(), link(), Arc::clone(&engine.shared));
    let dialler = Dialler::new(Arc::clone(&engine.shared), engine.place.clone());
    let runner =
        Acceptor::new(Arc::clone(&engine.shared), engine.place.clone(), Arc::clone(&engine.firewall));
    let (pumped, output) = (Arc::clone(&engine.shared), Arc::clone(&engine.output));
    thread::spawn(move || pump(&output, &pumped));
    thread::spawn(move || acceptor.accept(&listener));
    thread::spawn(move || server.serve());
    thread::spawn(move || dialler.run());
    thread::spawn(move || runner.run());
    thread::spawn(move || signals.forever().for_each(|_| shared.terminate()));
    engine.work(&inherited);
}

/// Copies the output of installers into the log, forever.
fn pump(output: &Output, shared: &Shared) {
    loop {
        if output.pump() {
            shared.log_grew();
        }
        // sleep: a file does not say that it has grown.
        thread::sleep(PUMP_INTERVAL);
    }
}

/// Sends the report to `launch` and closes the pipe.
fn send_report(mut pipe: File, report: &LaunchReport) -> io::Result<()> {
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    pipe.write_all(&line(report))
}

fn line(report: &LaunchReport) -> Vec<u8> {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    line
}
