//! `farrier-engine sweep`: removes what a dead engine left behind, and verifies the result.

use crate::boot;
use crate::firewall;
use crate::install::holds::leases as holds;
use crate::journal::Journal;
use crate::lock::MachineLock;
use crate::lock_holder;
use crate::logs;
use crate::output::Output;
use crate::retire::remove_directory;
use crate::takeover;
use crate::work_dir::WorkDir;
use farrier_protocol::{EventBody, Lease, LeaseKind, Leftover};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// Maximum time in which a killed process must disappear.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Time between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Removes the remains of the session and prints what could not be removed.
pub(crate) fn sweep(dir: &Path, session: &str) -> ExitCode {
    let place = match WorkDir::named(dir) {
        Ok(place) => place,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(2);
        }
    };
    let leftovers = clean(&place, session);
    let json = serde_json::to_string(&leftovers).unwrap_or_default();
    match writeln!(io::stdout(), "{json}") {
        Ok(()) if leftovers.is_empty() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn clean(place: &WorkDir, session: &str) -> Vec<Leftover> {
    // The lock prevents the start of an engine meanwhile. If the engine of another session holds the
    // lock, the engine of this session is not running, and the other engine is left alone.
    let lock = MachineLock::open().ok();
    let mut leftovers = kill_engines(place);
    drop(lock.as_ref().map(MachineLock::try_take));

    let found = logs::find_journal(place, session);
    let log = found.as_ref().and_then(|(logs, _)| Output::open(&logs.output(session), place).ok());
    let mut journal = found.and_then(|(_, path)| Journal::open(&path).ok());
    let leases = journal.as_ref().map(|journal| journal.known().leases.clone()).unwrap_or_default();
    let running: Vec<&Lease> = leases
        .iter()
        .filter(|lease| lease.kind == LeaseKind::Process && takeover::is_running(lease, session))
        .collect();
    for lease in &running {
        let why = "an installer is still running and is left to finish; sweep again when it has ended".into();
        leftovers.push(Leftover { what: format!("process {}", lease.what), why });
    }
    leftovers.extend(boot::release(leases.iter(), |_| {}));
    let rules = leases.iter().filter(|lease| lease.kind == LeaseKind::Firewall);
    leftovers.extend(rules.filter_map(|lease| firewall::close(&lease.what, session).err()));
    if running.is_empty() {
        leftovers.extend(holds::put_back_without_engine(&leases));
        // What an installer has printed since the engine died.
        if let Some(log) = log {
            log.finish();
        }
        let directories = leases.iter().filter(|lease| lease.kind == LeaseKind::Directory);
        let directories =
            directories.map(|lease| lease.what.as_str()).filter(|what| Path::new(what) != place.dir());
        leftovers.extend(directories.filter_map(|what| remove_directory(what, place).err()));
        leftovers.extend(place.remove().err());
    } else {
        leftovers.extend(holds::left_to_installer(&leases));
        leftovers.push(Leftover {
            what: place.dir().display().to_string(),
            why: "the installer may still need it".into(),
        });
    }
    if let Some(journal) = &mut journal {
        close(journal, &leases, &leftovers);
    }
    leftovers
}

/// Kills every engine that runs from `place`. Installers run other programs and are not killed.
fn kill_engines(place: &WorkDir) -> Vec<Leftover> {
    let engine = place.engine();
    let engines: Vec<Pid> = lock_holder::processes()
        .into_iter()
        .filter(|pid| lock_holder::runs(*pid, &engine))
        .filter_map(|pid| Pid::from_raw(pid.cast_signed()))
        .collect();
    for pid in &engines {
        // An engine that has already exited is what we want, so the result is ignored.
        kill_process(*pid, Signal::KILL).ok();
    }
    let until = Instant::now() + TIMEOUT;
    let is_there = |pid: &&Pid| {
        test_kill_process(**pid).is_ok()
            && lock_holder::runs(pid.as_raw_nonzero().get().cast_unsigned(), &engine)
    };
    while engines.iter().any(|pid| is_there(&pid)) && Instant::now() < until {
        // sleep: a process cannot wait for processes that are not its children.
        thread::sleep(POLL_INTERVAL);
    }
    let left = engines.iter().filter(is_there);
    left.map(|pid| Leftover {
        what: format!("process {}", pid.as_raw_nonzero()),
        why: "it was killed but has not ended".into(),
    })
    .collect()
}

/// Records in the journal what became of the leases. The journal itself stays on the machine.
fn close(journal: &mut Journal, leases: &[Lease], leftovers: &[Leftover]) {
    let is_left = |lease: &Lease| {
        leftovers.iter().any(|left| left.what == lease.what || left.what == format!("process {}", lease.what))
    };
    for lease in leases.iter().filter(|lease| !is_left(lease)) {
        // Each record that the disk accepts is useful; the report goes to standard output in any case.
        journal.append(EventBody::LeaseReturned { id: lease.id.clone() }).ok();
    }
    journal.append(EventBody::Retired { leftovers: leftovers.to_vec() }).ok();
}
