//! Packages from the repositories that are configured on the machine, installed by its own package manager.
//!
//! The package manager is first asked what it would do. It is started only if it would install exactly the
//! version of the step, and otherwise nothing but packages that this one needs and that are not there.
//!
//! Package managers say why they fail only in words. The words decide which obstacle is reported, never
//! whether something is installed.

mod apt;
mod dnf;
mod judge;
mod words;
mod zypper;

use super::Preparation;
use super::holds;
use super::package_lock::{Locks, PackageLock};
use crate::apply_error::ApplyError;
use crate::command::{self, Bounds, Errors, Output};
use crate::engine::Engine;
use crate::logs::StepLog;
use crate::step::Plan;
use farrier_protocol::{Change, FailureCode, Installer, PackageRef, Refusal, Simulation, Step, StepExit};
use std::cell::OnceCell;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Limits of a command that may fetch metadata. A repository that answers slowly takes as long on every
/// machine; a package manager has time limits of its own for those that do not answer.
const FETCH: Bounds = Bounds { time: Duration::from_mins(5), bytes: 4 * 1024 * 1024 };

/// Maximum number of available versions that a message names.
const MAX_VERSIONS: usize = 10;

/// The repositories of the machine, as one task uses them.
pub(crate) struct Repositories<'a> {
    /// Directory for metadata; `None`: the package manager's own.
    cache: Option<PathBuf>,
    /// The steps of the task: what one of them installs may be changed by another.
    steps: &'a [Step],
    /// The obstacles that the refresh of the metadata met. It is refreshed once in a task.
    refreshed: OnceCell<Vec<String>>,
}

/// The package that a step installs.
pub(crate) struct Request<'a> {
    /// Name of the package.
    name: &'a str,
    /// The architecture, if the step names exactly one.
    arch: Option<&'a str>,
    /// The version.
    version: &'a str,
    /// Whether an older version may replace a newer one.
    downgrade: bool,
    /// Whether the same version is installed again.
    rewrite: bool,
    /// Whether the decisions of the machine's owner count.
    respects_holds: bool,
}

/// A package manager that has repositories.
trait Manager {
    /// Name of its program, for messages.
    fn program(&self) -> &'static str;

    /// The locks under which it works.
    fn locks(&self) -> Locks;

    /// Fetches the metadata of all repositories; returns what it could not fetch, one message each.
    fn refresh(&self) -> Result<Vec<String>, String>;

    /// Lists the versions of the package in the repositories, and what the owner's decisions leave of them.
    fn offers(&self, request: &Request<'_>) -> Result<Offers, String>;

    /// Returns the arguments that install the package; with `trial`, those that only show what would be done.
    fn arguments(&self, request: &Request<'_>, trial: bool) -> Vec<OsString>;

    /// Returns the changes from the output of a trial; `None` if the output does not tell.
    fn changes(&self, output: &Output) -> Option<Vec<Change>>;
}

/// The versions of a package in the repositories.
#[derive(Debug, Default)]
struct Offers {
    /// All of them.
    versions: Vec<String>,
    /// The repositories that could not be read, one message each.
    obstacles: Vec<String>,
    /// The owner's decision against the requested version, in words.
    held: Option<String>,
}

/// The result of all checks.
enum Answer {
    /// The package can be installed, with these changes.
    Possible(Vec<Change>),
    /// The step ends.
    Ended(StepExit, String),
}

impl<'a> Repositories<'a> {
    /// Returns the repositories for a task that installs these steps.
    pub(crate) fn of_machine(steps: &'a [Step]) -> Self {
        Self { cache: None, steps, refreshed: OnceCell::new() }
    }

    /// Returns the repositories for a task that changes nothing on the machine: metadata is kept in `cache`.
    fn beside(steps: &'a [Step], cache: PathBuf) -> Self {
        Self { cache: Some(cache), steps, refreshed: OnceCell::new() }
    }

    fn manager(&self, installer: Installer) -> Option<Box<dyn Manager + '_>> {
        let cache = self.cache.as_deref();
        match installer {
            Installer::Deb => command::find("apt-get").map(|_| Box::new(apt::Apt { cache }) as _),
            Installer::Rpm if zypper::is_in_use() => Some(Box::new(zypper::Zypper { cache }) as _),
            Installer::Rpm => command::find("dnf").map(|_| Box::new(dnf::Dnf { cache }) as _),
            Installer::Script
            | Installer::Fwupd
            | Installer::DellDup
            | Installer::HpeSmartComponent
            | Installer::Tar => None,
        }
    }

    /// Checks whether the package can be installed, and what that changes.
    fn check(&self, manager: &dyn Manager, step: &Step) -> Answer {
        let request = match Request::of(step) {
            Ok(request) => request,
            Err(exit) => return Answer::Ended(exit, String::new()),
        };
        let failed = |message: String| Answer::Ended(words::unavailable(&message), message);
        let offers = match self.refreshed(manager).and_then(|_| manager.offers(&request)) {
            Ok(offers) => offers,
            Err(message) => return failed(message),
        };
        if let Some(held) = offers.held.as_ref().filter(|_| request.respects_holds) {
            return Answer::Ended(StepExit::refused(Refusal::Held, held.clone()), String::new());
        }
        if !offers.versions.iter().any(|version| request.is_version(version)) {
            return Answer::Ended(self.missing(&request, &offers), String::new());
        }
        let arguments = manager.arguments(&request, true);
        let output = match command::capture(manager.program(), &arguments, Errors::Merge, FETCH) {
            Ok(output) => output,
            Err(message) => return failed(message),
        };
        let Some(changes) = manager.changes(&output) else {
            let exit = words::of_trial(&output.text).unwrap_or_else(|| exit_of(&output));
            return Answer::Ended(exit, output.text);
        };
        match judge::refusal(manager.program(), &request, &changes, self.steps) {
            Some(detail) => Answer::Ended(StepExit::refused(Refusal::ChangesOthers, detail), String::new()),
            None => Answer::Possible(changes),
        }
    }

    /// Refreshes the metadata, the first time.
    fn refreshed(&self, manager: &dyn Manager) -> Result<&[String], String> {
        if let Some(obstacles) = self.refreshed.get() {
            return Ok(obstacles);
        }
        let obstacles = manager.refresh()?;
        Ok(self.refreshed.get_or_init(|| obstacles))
    }

    /// Returns the exit of a step whose version no repository has. If a repository could not be read, that is
    /// the likely reason.
    fn missing(&self, request: &Request<'_>, offers: &Offers) -> StepExit {
        let Request { name, version, .. } = request;
        let from = offers.versions.len().saturating_sub(MAX_VERSIONS);
        let there = match offers.versions.get(from..).unwrap_or_default() {
            [] => format!("no repository of this machine has {name}"),
            some => format!("the repositories of this machine have {name} {}", some.join(", ")),
        };
        let obstacles: Vec<&str> =
            self.refreshed.get().into_iter().flatten().chain(&offers.obstacles).map(String::as_str).collect();
        let obstacles = obstacles.join("; ");
        if obstacles.is_empty() {
            return StepExit::refused(Refusal::VersionNotAvailable, format!("{there}, not {version}"));
        }
        StepExit::refused(words::kind_of(&obstacles), format!("{obstacles}; {there}, not {version}"))
    }
}

impl<'a> Request<'a> {
    fn of(step: &'a Step) -> Result<Self, StepExit> {
        let Some(PackageRef { name, arches }) = &step.package else {
            let detail = "the step names no package".to_owned();
            return Err(StepExit::not_started(FailureCode::Other, detail));
        };
        // Neither may be an option or a pattern of the package manager.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._:~^".contains(&byte);
        if [name, &step.version].iter().any(|text| text.starts_with('-') || !text.bytes().all(is_plain)) {
            let detail = format!("{name:?} {:?} is not a package and its version", step.version);
            return Err(StepExit::not_started(FailureCode::Other, detail));
        }
        let arch = match arches.as_slice() {
            [one] => Some(one.as_str()),
            _ => None,
        };
        let Step { version, downgrade, rewrite, respect_holds, .. } = step;
        let (downgrade, rewrite, respects_holds) = (*downgrade, *rewrite, *respect_holds);
        Ok(Self { name, arch, version, downgrade, rewrite, respects_holds })
    }

    /// Reports whether `found` is the requested version.
    fn is_version(&self, found: &str) -> bool {
        is_version(self.version, found)
    }
}

/// Reports whether `found` is the version that a step names. A version without a release means any release, as
/// in the plan; an epoch of 0 may be left out.
fn is_version(wanted: &str, found: &str) -> bool {
    let [wanted, found] = [wanted, found].map(|text| text.strip_prefix("0:").unwrap_or(text));
    found == wanted || (!wanted.contains('-') && found.rsplit_once('-').is_some_and(|(it, _)| it == wanted))
}

/// Prepares a step without a payload.
pub(crate) fn prepare(
    engine: &Engine,
    step: &Step,
    wait: Duration,
    dir: PathBuf,
    repositories: &Repositories<'_>,
) -> Result<Preparation, ApplyError> {
    let Some(manager) = repositories.manager(step.installer) else {
        return Err(ApplyError::Failed {
            code: FailureCode::InstallerMissing,
            component: step.component.clone(),
            message: missing_manager(step.installer),
        });
    };
    // The package manager takes its locks itself. Held until it is started, so that nothing changes meanwhile.
    let lock = PackageLock::wait(engine, step, wait, &manager.locks(), Ok)?;
    let answer = repositories.check(&*manager, step);
    drop(lock);
    let (changes, request) = match (answer, Request::of(step)) {
        (Answer::Possible(changes), Ok(request)) => (changes, request),
        (Answer::Ended(exit, output), _) => return Ok(Preparation::Ended { exit, output }),
        (Answer::Possible(_), Err(exit)) => return Ok(Preparation::Ended { exit, output: String::new() }),
    };
    let arguments = manager.arguments(&request, false);
    let program = command::find(manager.program())
        .ok_or_else(|| ApplyError::other(&step.component, missing_manager(step.installer)))?;
    let plan = Plan { program, arguments, dir, environment: environment() };
    let held = if step.installer == Installer::Deb && !step.respect_holds {
        let names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
        holds::on_hold(&names).map_err(|message| ApplyError::other(&step.component, message))?
    } else {
        Vec::new()
    };
    Ok(Preparation::Ready { plan, lock: PackageLock::none(), held })
}

/// Determines what the steps without a payload would change. Nothing is changed on the machine: the metadata
/// of the repositories is fetched into `cache`, which is removed.
pub(crate) fn simulate(steps: &[Step], cache: &Path) -> Vec<(String, Simulation)> {
    for dir in ["lists/partial", "apt/archives/partial", "log"] {
        // apt creates none of them, and says so itself if they are not there.
        fs::create_dir_all(cache.join(dir)).ok();
    }
    let repositories = Repositories::beside(steps, cache.to_owned());
    let simulated = |step: &Step| {
        let Some(manager) = repositories.manager(step.installer) else {
            return Simulation::Failed { message: missing_manager(step.installer) };
        };
        match repositories.check(&*manager, step) {
            Answer::Possible(changes) => Simulation::Possible { changes },
            Answer::Ended(StepExit::NotStarted { refusal: Some(refusal), detail, .. }, _) => {
                Simulation::Refused { refusal, detail }
            }
            Answer::Ended(StepExit::NotStarted { detail, .. }, _) => Simulation::Failed { message: detail },
            Answer::Ended(_, output) => Simulation::Failed { message: words::last(&output) },
        }
    };
    let wanted = steps.iter().filter(|step| step.payload.is_none());
    let found = wanted.map(|step| (step.component.clone(), simulated(step))).collect();
    // What is left is removed with the engine's directory.
    fs::remove_dir_all(cache).ok();
    found
}

/// Reports whether the package manager has begun to change packages.
pub(crate) fn has_begun(log: &StepLog) -> bool {
    // If the output cannot be read, nothing says that the machine is as it was.
    log.reader().and_then(words::has_begun).unwrap_or(true)
}

/// Returns the exit that says more than the exit status of a package manager that failed and changed nothing.
pub(crate) fn explained(exit: StepExit, output: &str) -> StepExit {
    words::of_run(output).unwrap_or(exit)
}

/// Reports whether the package manager changed nothing because another process had its lock, if it changed nothing.
pub(crate) fn was_locked(output: &str) -> bool {
    words::is_locked(output)
}

/// Returns why a package cannot be installed from a repository at all.
pub(crate) fn missing_manager(installer: Installer) -> String {
    match installer {
        Installer::Deb => "this machine has no apt-get".into(),
        Installer::Rpm
        | Installer::Script
        | Installer::Fwupd
        | Installer::DellDup
        | Installer::HpeSmartComponent
        | Installer::Tar => "this machine has neither dnf nor zypper; yum 3 is not supported".into(),
    }
}

/// Returns the program that installs packages from repositories; `None` if the machine has none.
pub(crate) fn has_manager(installer: Installer) -> bool {
    Repositories::of_machine(&[]).manager(installer).is_some()
}

/// No question is asked: changed configuration files are kept, and programs that hook into apt print nothing.
fn environment() -> Vec<(&'static str, String)> {
    [("APT_LISTCHANGES_FRONTEND", "none"), ("APT_LISTBUGS_FRONTEND", "none"), ("UCF_FORCE_CONFFOLD", "1")]
        .map(|(name, value)| (name, value.to_owned()))
        .into()
}

fn exit_of(output: &Output) -> StepExit {
    match (output.status.code(), output.status.signal()) {
        // A trial that succeeds and cannot be understood: the package manager is of another version.
        (Some(0), _) => StepExit::not_started(
            FailureCode::Other,
            "the package manager's simulation was not understood".to_owned(),
        ),
        (Some(code), _) => StepExit::Exited { code },
        (None, signal) => StepExit::Signalled { signal: signal.unwrap_or_default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An epoch of 0 is not written by all package managers, and a release is not written by all users.
    #[test]
    fn versions_are_exact_but_for_what_may_be_left_out() {
        let is = |wanted: &str, found: &str| {
            let (name, arch) = ("fx", None);
            let (downgrade, rewrite, respects_holds) = (false, false, true);
            let request = Request { name, arch, version: wanted, downgrade, rewrite, respects_holds };
            request.is_version(found)
        };
        for (wanted, found) in
            [("2-1", "2-1"), ("0:2-1", "2-1"), ("2-1", "0:2-1"), ("1:2-1", "1:2-1"), ("2", "2-1.el9")]
        {
            assert!(is(wanted, found), "{wanted} {found}");
        }
        for (wanted, found) in [("2-1", "1:2-1"), ("2-1", "2-10"), ("2", "20-1"), ("1:2", "2-1")] {
            assert!(!is(wanted, found), "{wanted} {found}");
        }
    }
}
