//! Holds of dpkg that an installation overrides, as leases of the engine.
//!
//! dpkg makes `install` of a `hold` when it installs the package. So each hold is in the journal before the
//! installer is started, and is put back by whoever is there afterwards: the engine at the end of the step,
//! the next engine, or a sweep. A lease is released when dpkg says that the package is on hold.

use super::apt::{self, Selected};
use crate::command::{self, Errors, TOOL};
use crate::engine::Engine;
use crate::install::package_lock::{self, Held, Locks};
use crate::wait::{Obstacle, Report};
use farrier_protocol::{EventBody, Holder, Lease, LeaseKind, Leftover, WaitFor};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How long another user of the package manager is waited for. If it is not enough at the end of a step, the
/// lease stays, and the engine tries again at the end of the next step and when it retires.
const PATIENCE: Duration = Duration::from_mins(1);

/// The same for a sweep, for whose end a person waits, and which can be repeated.
const PATIENCE_OF_SWEEP: Duration = Duration::from_secs(10);

/// Interval between two looks at the locks.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

const PUT_BACK: &str = include_str!("put-back.sh");

/// What a lease has before the name of the package.
const PREFIX: &str = "hold on ";

/// Takes a lease on the hold of each package, as dpkg names it. An installer that would lift them must not be
/// started if this fails.
pub(crate) fn take(engine: &Engine, packages: &[String]) -> io::Result<()> {
    for package in packages {
        let what = format!("{PREFIX}{package}");
        let lease = engine.shared.known(|known| {
            let is_there = known.leases.iter().any(|lease| lease.what == what);
            (!is_there).then(|| known.new_lease(LeaseKind::Hold, what))
        });
        if let Some(lease) = lease {
            engine.shared.record(EventBody::LeaseTaken { lease })?;
        }
    }
    Ok(())
}

/// Puts back all holds of which the engine has a lease. Returns those that could not be put back, whose leases
/// stay. The wait for another user of the package manager is reported; SIGTERM ends it.
pub(crate) fn put_back(engine: &Engine) -> Vec<Leftover> {
    let leases = engine.shared.known(|known| known.leases.clone());
    let mut report = Report::begin(&engine.shared, Some(PATIENCE));
    let pause = |Held { path, holder }: &Held| {
        let (what, holder) = (WaitFor::PackageLock { path: path.clone() }, holder.clone());
        report.show(&Obstacle { what, holder });
        report.elapsed() < PATIENCE && !engine.shared.wait_for_termination(POLL_INTERVAL)
    };
    put_back_all(&leases, pause, |id| engine.report(EventBody::LeaseReturned { id: id.to_owned() }))
}

/// Puts back the holds among the leases of an engine that is gone.
pub(crate) fn put_back_without_engine(leases: &[Lease]) -> Vec<Leftover> {
    let until = Instant::now() + PATIENCE_OF_SWEEP;
    let pause = |_: &Held| {
        // sleep: a lock of fcntl cannot be waited for with a limit.
        thread::sleep(POLL_INTERVAL);
        Instant::now() < until
    };
    put_back_all(leases, pause, |_| {})
}

/// Returns what is left of the holds while the installer that lifts them is still running.
pub(crate) fn left_to_installer(leases: &[Lease]) -> impl Iterator<Item = Leftover> {
    let why = "the installer that lifts it is still running";
    holds(leases).map(move |lease| Leftover { what: lease.what.clone(), why: why.into() })
}

fn holds(leases: &[Lease]) -> impl Iterator<Item = &Lease> {
    leases.iter().filter(|lease| lease.kind == LeaseKind::Hold)
}

/// `pause` waits a moment for the owner of a lock, and says whether that is of use any longer. `released` is
/// called with the id of each lease that has ended.
fn put_back_all(
    leases: &[Lease],
    mut pause: impl FnMut(&Held) -> bool,
    mut released: impl FnMut(&str),
) -> Vec<Leftover> {
    let mut left = Vec::new();
    for lease in holds(leases) {
        let package = lease.what.strip_prefix(PREFIX).filter(|name| is_package(name));
        let result = match package {
            Some(package) => put_back_one(package, &mut pause).map_err(|why| {
                format!("it could not be put back ({why}); put it back with apt-mark hold {package}")
            }),
            None => Err("this is not the hold of a package".to_owned()),
        };
        match result {
            Ok(()) => released(&lease.id),
            Err(why) => left.push(Leftover { what: lease.what.clone(), why }),
        }
    }
    left
}

fn put_back_one(package: &str, pause: &mut impl FnMut(&Held) -> bool) -> Result<(), String> {
    // Only what dpkg has made of the hold is changed. Another selection is a decision of somebody.
    if !is_lifted(package)? {
        return Ok(());
    }
    let _lock = loop {
        match package_lock::take(&Locks::DPKG) {
            Ok(lock) => break lock,
            Err(held) if pause(&held) => {}
            Err(Held { path, holder }) => {
                let who = holder.map(|Holder { pid, name }| format!(" by {name}, process {pid}"));
                return Err(format!("{path} was locked{}", who.unwrap_or_default()));
            }
        }
    };
    let output = command::capture("sh", &["-c", PUT_BACK, "put-back", package], Errors::Merge, TOOL)?;
    if !is_lifted(package)? {
        return Ok(());
    }
    let said = output.text.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(if said.is_empty() { format!("dpkg ended with {}", output.status) } else { said })
}

/// Reports whether dpkg has made `install` of the hold. A package that is gone cannot be on hold.
fn is_lifted(package: &str) -> Result<bool, String> {
    Ok(apt::selected(&[package])?.iter().any(|Selected { want, .. }| want == "install"))
}

/// A journal that somebody has changed must not give dpkg other orders.
fn is_package(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_packages_are_given_to_dpkg() {
        for name in ["fx", "libstdc++6:amd64", "0ad", "a-b.c"] {
            assert!(is_package(name), "{name}");
        }
        for name in ["", "-fx", "fx purge", "fx\nfy", "fx*"] {
            assert!(!is_package(name), "{name}");
        }
    }
}
