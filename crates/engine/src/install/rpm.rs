//! Installs RPM packages with plain rpm: only the payload is installed, nothing is fetched.
//!
//! `rpm -U` removes every other package of the payload's name, and the packages that it obsoletes; `rpm -i`
//! removes nothing. This module decides which one is used, because rpm does not ask before it removes a
//! package.

use super::Preparation;
use super::holds;
use super::identity::{self, Identity};
use super::package_lock::{Held, Locks, PackageLock};
use super::side_by_side;
use crate::apply_error::ApplyError;
use crate::command::{self, Errors, Output, TOOL};
use crate::engine::Engine;
use crate::step::Plan;
use crate::survey::booted;
use crate::survey::packages::{self, Found, Wanted};
use farrier_protocol::{FailureCode, Refusal, Step, StepExit};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

/// The locks under which rpm, dnf, yum and zypper work.
pub(crate) const LOCKS: Locks = Locks {
    front_end: "",
    own: &["/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock"],
    // zypper runs rpm once for each package. dnf has a lock for each part of its work.
    pid_files: &[
        "/run/zypp.pid",
        "/var/run/zypp.pid",
        "/run/yum.pid",
        "/var/run/yum.pid",
        "/var/cache/dnf/metadata_lock.pid",
        "/var/cache/dnf/download_lock.pid",
        "/var/lib/dnf/rpmdb_lock.pid",
    ],
};

/// What is queried of the payload: itself, what it provides, what it obsoletes. The empty first field
/// distinguishes these lines from warnings.
const PAYLOAD_FORMAT: &str = "\\t%{NAME}\\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\\t%{ARCH}\\n\
    [\\tprovides\\t%{PROVIDENAME}\\n][\\tobsoletes\\t%{OBSOLETENAME}\\n]";

/// Why an installation is not prepared.
enum Unprepared {
    /// rpm must not be started.
    Ended(StepExit),
    /// Another process has taken rpm's lock.
    Locked(Held),
    /// The check could not be made.
    Failed(ApplyError),
}

impl From<StepExit> for Unprepared {
    fn from(exit: StepExit) -> Self {
        Self::Ended(exit)
    }
}

pub(super) fn prepare(
    engine: &Engine,
    step: &Step,
    wait: Duration,
    dir: &Path,
    file: &Path,
) -> Result<Preparation, ApplyError> {
    PackageLock::wait(engine, step, wait, &LOCKS, |lock| match check(step, dir, file, lock) {
        Ok(preparation) => Ok(Ok(preparation)),
        Err(Unprepared::Ended(exit)) => Ok(Ok(Preparation::Ended { exit, output: String::new() })),
        Err(Unprepared::Failed(error)) => Ok(Err(error)),
        Err(Unprepared::Locked(held)) => Err(held),
    })?
}

fn check(step: &Step, dir: &Path, file: &Path, lock: PackageLock) -> Result<Preparation, Unprepared> {
    let mut arguments = arguments(step, file)?;
    let trial = |more: &[&str]| -> Result<Output, Unprepared> {
        let more = more.iter().map(OsString::from);
        let all: Vec<OsString> = arguments.iter().cloned().chain(more).chain([file.into()]).collect();
        let output = command::capture("rpm", &all, Errors::Merge, TOOL)
            .map_err(|message| Unprepared::Failed(ApplyError::other(&step.component, message)))?;
        unlocked(output)
    };
    let tested = trial(&["--test"])?;
    if !tested.status.success() {
        // If it succeeds without dependency checks, the dependencies are the only problem.
        let exit = if trial(&["--test", "--nodeps"])?.status.success() {
            StepExit::DependencyMissing
        } else {
            match (tested.status.code(), tested.status.signal()) {
                (Some(code), _) => StepExit::Exited { code },
                (None, signal) => StepExit::Signalled { signal: signal.unwrap_or_default() },
            }
        };
        return Ok(Preparation::Ended { exit, output: tested.text });
    }
    arguments.push(file.into());
    let program = command::find("rpm").ok_or_else(|| {
        Unprepared::Failed(ApplyError::other(&step.component, "rpm is no longer installed".into()))
    })?;
    let plan = Plan { program, arguments, dir: dir.into(), environment: Vec::new() };
    Ok(Preparation::Ready { plan, lock, held: Vec::new() })
}

/// Returns the output of a trial, unless another process had rpm's lock.
fn unlocked(output: Output) -> Result<Output, Unprepared> {
    let path = output.text.lines().find_map(held).filter(|_| !output.status.success());
    match path {
        Some(path) => Err(Unprepared::Locked(Held { path: path.into(), holder: None })),
        None => Ok(output),
    }
}

/// Reports whether an installation failed only because another process had rpm's lock. rpm takes the lock
/// before it changes anything, and waits for it only on a terminal.
pub(super) fn was_locked(output: &str) -> bool {
    // If a script of the package ran rpm, rpm's message about that script follows.
    output.lines().last().is_some_and(|line| held(line).is_some())
}

/// Returns the lock that another process has, from rpm's message.
fn held(line: &str) -> Option<&str> {
    line.split_once("transaction lock on ")?.1.strip_suffix(" (Resource temporarily unavailable)")
}

/// Returns rpm's arguments, so that it removes only what the payload is meant to replace. The error says
/// why rpm is not started at all.
fn arguments(step: &Step, file: &Path) -> Result<Vec<OsString>, Unprepared> {
    let text = ask(&["-qp".as_ref(), "--qf".as_ref(), PAYLOAD_FORMAT.as_ref(), file.as_os_str()])?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix('\t'));
    let first: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    let [name, version, arch] = first[..] else { return Err(trouble(format!("the payload: {text}")).into()) };
    identity::check(step, &Identity { name, version, arch })?;
    if let Some(held) = holds::rpm(name, version, arch).filter(|_| step.respect_holds) {
        return Err(StepExit::refused(Refusal::Held, held).into());
    }
    let listed = |kind: &str| -> Vec<&str> {
        lines.clone().filter_map(|line| line.strip_prefix(kind)?.strip_prefix('\t')).collect()
    };
    let installed = packages::rpm(Wanted::Named(&[name])).map_err(trouble)?;
    let (own, others): (Vec<&Found>, Vec<&Found>) = installed
        .iter()
        .filter(|found| found.name == name)
        .partition(|found| identity::is_same(step, arch, &found.arch));
    let booted = booted::rpm().map_err(trouble)?;
    let is_added = own.len() > 1
        || own.iter().any(|found| booted.contains(found))
        || (own.is_empty() && !others.is_empty())
        || side_by_side::is_configured(name, &listed("provides"));
    if !is_added {
        check_upgrade(file, &others, &booted, &listed("obsoletes"))?;
    }
    let mut arguments: Vec<OsString> = vec![if is_added { "-i" } else { "-U" }.into()];
    // rpm treats a package for another architecture as another version of the same package.
    if step.downgrade || (is_added && own.is_empty()) {
        arguments.push("--oldpackage".into());
    }
    if step.rewrite {
        arguments.push("--replacepkgs".into());
    }
    Ok(arguments)
}

/// Checks that an upgrade keeps other packages, and the packages that the machine was booted from.
fn check_upgrade(
    file: &Path,
    others: &[&Found],
    booted: &[Found],
    obsoletes: &[&str],
) -> Result<(), Unprepared> {
    // Only rpm itself can tell: it compares the versions of obsoleted packages, and distinguishes packages
    // for two architectures by the libraries in them.
    let candidates = || booted.iter().filter(|found| obsoletes.contains(&found.name.as_str()));
    if others.is_empty() && candidates().next().is_none() {
        return Ok(());
    }
    let trial = ["-U", "--test", "--nodeps", "--oldpackage", "--replacepkgs", "-vv"];
    let trial: Vec<&OsStr> = trial.iter().map(OsStr::new).chain([file.as_os_str()]).collect();
    let removed = removals(&ask(&trial)?);
    let is_removed = |found: &Found| {
        let label = format!("{}-{}.{}", found.name, found.version, found.arch);
        removed.as_ref().is_none_or(|removed| removed.contains(&label))
    };
    if let Some(Found { name, version, .. }) = candidates().find(|found| is_removed(found)) {
        let detail = format!("rpm would replace {name} {version}, which this machine was booted from");
        return Err(StepExit::refused(Refusal::RemovesBooted, detail).into());
    }
    if let Some(Found { name, version, arch, .. }) = others.iter().find(|found| is_removed(found)) {
        let detail = format!("rpm would replace {name} {version} for {arch}, which is another package");
        return Err(StepExit::refused(Refusal::ArchitectureConflict, detail).into());
    }
    Ok(())
}

/// Returns what a transaction removes, as `name-version-release.architecture`, from rpm's debugging output:
/// `D:`, some numbers, and `+` or `-` before each package. `None` if there are no such lines.
fn removals(text: &str) -> Option<Vec<String>> {
    let element = |line: &str| {
        let words: Vec<&str> = line.strip_prefix("D:")?.split_whitespace().collect();
        let (last, numbers) = words.split_last()?;
        let is_element = numbers.len() > 1 && numbers.iter().all(|word| word.parse::<u32>().is_ok());
        is_element.then(|| (*last).to_owned())
    };
    let elements: Vec<String> = text.lines().filter_map(element).collect();
    if !elements.iter().any(|element| element.starts_with('+')) {
        return None;
    }
    Some(elements.iter().filter_map(|element| element.strip_prefix('-')).map(Into::into).collect())
}

fn ask(arguments: &[&OsStr]) -> Result<String, Unprepared> {
    let output = command::capture("rpm", arguments, Errors::Merge, TOOL).map_err(trouble)?;
    unlocked(output).map(|output| output.text)
}

fn trouble(message: String) -> StepExit {
    StepExit::not_started(FailureCode::Other, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A removal that is overlooked here would be carried out by rpm.
    #[test]
    fn removals_are_read_from_what_rpm_prints() {
        let text = "D: found 0 source and 1 binary packages\n\
                    D: ========== tsorting packages (order, #predecessors, #succesors, depth)\n\
                    D:     0    0    0    1   +fx-3-1.x86_64\n\
                    D:     1    0    0    2     -fx-1:2-1.i686\n\
                    D: 0x0000fe00     4096      8975326     16143573 rotational:-1 /\n";
        assert_eq!(removals(text), Some(vec!["fx-1:2-1.i686".to_owned()]));
        assert_eq!(removals("D: installing binary packages\n"), None);
    }

    /// rpm also reports the lock of a transaction that a script of the package attempts. Then the package may
    /// be half installed, and is not installed again.
    #[test]
    fn only_an_installation_that_did_not_begin_is_repeated() {
        let lock = "error: can't create transaction lock on /var/lib/rpm/.rpm.lock";
        let held = format!("{lock} (Resource temporarily unavailable)\n");
        assert!(was_locked(&format!("warning: fx.rpm: NOKEY\n{held}")));
        assert!(!was_locked(&format!(
            "{held}error: %prein(fx-1-1.noarch) scriptlet failed, exit status 1\n"
        )));
        assert!(!was_locked(&format!("{lock} (Read-only file system)\n")));
        assert!(!was_locked(""));
    }
}
