//! RPM packages, by plain rpm: exactly the payload is installed, nothing is fetched.

use super::Preparation;
use super::package_lock::{Locks, PackageLock};
use crate::apply_error::ApplyError;
use crate::command::{self, Errors, Output, TOOL};
use crate::engine::Engine;
use crate::step::Plan;
use farrier_protocol::{Step, StepExit};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

const LOCKS: Locks =
    Locks { front_end: "", own: &["/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock"] };

pub(super) fn prepare(
    engine: &Engine,
    step: &Step,
    dir: PathBuf,
    file: &Path,
) -> Result<Preparation, ApplyError> {
    let lock = PackageLock::wait(engine, step, &LOCKS)?;
    let mut arguments: Vec<OsString> = vec!["-U".into()];
    if step.downgrade {
        arguments.push("--oldpackage".into());
    }
    if step.rewrite {
        arguments.push("--replacepkgs".into());
    }
    let trial = |more: &[&str]| -> Result<Output, ApplyError> {
        let more = more.iter().map(OsString::from);
        let all: Vec<OsString> = arguments.iter().cloned().chain(more).chain([file.into()]).collect();
        command::capture("rpm", &all, Errors::Merge, TOOL)
            .map_err(|message| ApplyError::other(&step.component, message))
    };
    let tested = trial(&["--test"])?;
    if !tested.status.success() {
        // It fails for its dependencies alone if it does not fail without them.
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
    let program =
        command::find("rpm").ok_or_else(|| ApplyError::other(&step.component, "rpm is gone".into()))?;
    Ok(Preparation::Ready { plan: Plan { program, arguments, dir, environment: Vec::new() }, lock })
}
