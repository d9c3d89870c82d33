//! Debian packages, by plain dpkg: exactly the payload is installed, nothing is fetched.
//!
//! `dpkg -i` unpacks a package before it looks at `Depends`, and leaves it unconfigured if
//! they are not met; `dpkg --simulate` does not look at them at all (1.21.22). So they are
//! checked here first. `Pre-Depends` and conflicts dpkg itself checks before it changes anything.

use super::Preparation;
use super::depends;
use super::package_lock::{Locks, PackageLock};
use crate::apply_error::ApplyError;
use crate::engine::Engine;
use crate::step::Plan;
use farrier_protocol::{Step, StepExit};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const LOCKS: Locks = Locks { front_end: "/var/lib/dpkg/lock-frontend", own: &["/var/lib/dpkg/lock"] };

pub(super) fn prepare(
    engine: &Engine,
    step: &Step,
    dir: PathBuf,
    file: &Path,
) -> Result<Preparation, ApplyError> {
    let lock = PackageLock::wait(engine, step, &LOCKS)?;
    let check = depends::check(file);
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
        .ok_or_else(|| ApplyError::other(&step.component, "dpkg is gone".into()))?;
    Ok(Preparation::Ready { plan: Plan { program, arguments, dir, environment }, lock })
}
