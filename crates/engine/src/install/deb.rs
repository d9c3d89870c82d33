//! Installs Debian packages with plain dpkg: only the payload is installed, nothing is fetched.
//!
//! A package replaces the package of the same name for another architecture, unless both can be installed
//! together, and it removes packages that it conflicts with and replaces. dpkg does not ask before either,
//! so both cases are checked here.
//!
//! `dpkg -i` unpacks a package before it checks `Depends`, and leaves it unconfigured if they are not met;
//! `dpkg --simulate` does not check them at all (1.21.22). So they are checked here first. `Pre-Depends`
//! and conflicts are checked by dpkg itself before it changes anything.

use super::Preparation;
use super::depends::{self, Database};
use super::holds;
use super::identity::{self, Identity};
use super::package_lock::{Locks, PackageLock};
use crate::apply_error::ApplyError;
use crate::engine::Engine;
use crate::step::Plan;
use crate::survey::booted;
use farrier_protocol::{FailureCode, Refusal, Step, StepExit};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) fn prepare(
    engine: &Engine,
    step: &Step,
    wait: Duration,
    dir: PathBuf,
    file: &Path,
) -> Result<Preparation, ApplyError> {
    let lock = PackageLock::wait(engine, step, wait, &Locks::DPKG, Ok)?;
    // A file that cannot be read is rejected by dpkg.
    let database = Database::read(file);
    if let Some(exit) = database.as_ref().ok().and_then(|database| refusal(step, database)) {
        return Ok(Preparation::Ended { exit, output: String::new() });
    }
    let check = database.as_ref().map(depends::check);
    if let Ok(check) = &check
        && !check.unmet.is_empty()
    {
        let output = check.unmet.join("\n");
        return Ok(Preparation::Ended { exit: StepExit::DependencyMissing, output });
    }
    let mut arguments: Vec<OsString> = vec!["--force-confdef".into(), "--force-confold".into()];
    arguments.push(if step.downgrade { "--force-downgrade" } else { "--refuse-downgrade" }.into());
    // A package in a bad state must be installed again even in the same version.
    if !step.rewrite && check.is_ok_and(|check| check.is_installed) {
        arguments.push("--skip-same-version".into());
    }
    arguments.extend(["-i".into(), file.into()]);
    let mut environment = Vec::new();
    if lock.is_front_end() {
        environment.push(("DPKG_FRONTEND_LOCKED", "true".into()));
    }
    let program = crate::command::find("dpkg")
        .ok_or_else(|| ApplyError::other(&step.component, "dpkg is no longer installed".into()))?;
    let plan = Plan { program, arguments, dir, environment };
    let name = database.as_ref().map_or("", |database| database.field("Package"));
    let overridden = if step.respect_holds || name.is_empty() { &[][..] } else { &[name] };
    let held = holds::on_hold(overridden).map_err(|message| ApplyError::other(&step.component, message))?;
    Ok(Preparation::Ready { plan, lock, held })
}

/// Returns why the package is not installed although dpkg would install it.
fn refusal(step: &Step, database: &Database) -> Option<StepExit> {
    let [name, version, arch, multi_arch] =
        ["Package", "Version", "Architecture", "Multi-Arch"].map(|field| database.field(field));
    if let Err(exit) = identity::check(step, &Identity { name, version, arch }) {
        return Some(exit);
    }
    if step.respect_holds {
        match holds::deb_payload(name, version) {
            Ok(None) => {}
            Ok(Some(held)) => return Some(StepExit::refused(Refusal::Held, held)),
            Err(message) => return Some(StepExit::not_started(FailureCode::Other, message)),
        }
    }
    for [other_version, other_arch, other_multi_arch] in database.named(name) {
        if identity::is_same(step, arch, other_arch) {
            continue;
        }
        let why = match (multi_arch, other_multi_arch) {
            ("same", "same") if version == other_version => continue,
            ("same", "same") => "both must have the same version",
            _ => "dpkg would replace it: they are not both Multi-Arch: same",
        };
        let detail =
            format!("{name} {other_version} for {other_arch} is installed, another package, and {why}");
        return Some(StepExit::refused(Refusal::ArchitectureConflict, detail));
    }
    if database.field("Conflicts").is_empty() || database.field("Replaces").is_empty() {
        return None;
    }
    let booted = match booted::deb() {
        Ok(booted) => booted,
        Err(message) => return Some(StepExit::not_started(FailureCode::Other, message)),
    };
    let mut booted = booted.into_iter().filter(|booted| booted != name);
    let removed = booted.find(|booted| database.conflicts_with(booted))?;
    let detail = format!("it conflicts with {removed}, which this machine was booted from, and replaces it");
    Some(StepExit::refused(Refusal::RemovesBooted, detail))
}
