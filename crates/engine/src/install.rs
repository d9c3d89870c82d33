//! The installers: the checks before the start, and the command to run.

mod deb;
mod depends;
mod dkms;
mod fwupd;
pub(crate) mod gate;
pub(crate) mod holds;
mod identity;
mod lock_holder;
mod package_lock;
pub(crate) mod repository;
mod rpm;
mod self_extracting;
mod side_by_side;
mod unpack;

use crate::apply_error::ApplyError;
use crate::engine::Engine;
use crate::logs::StepLog;
use crate::step::Plan;
use crate::work_dir;
use farrier_protocol::{FailureCode, Installer, Step, StepExit};
use package_lock::PackageLock;
use repository::Repositories;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The result of the checks before an installer is started.
pub(crate) enum Preparation {
    /// The installer can be started.
    Ready {
        /// The command to run.
        plan: Plan,
        /// Held until the installer has ended.
        lock: PackageLock,
        /// The packages on hold that the installer changes nevertheless, as dpkg names them.
        held: Vec<String>,
    },
    /// The installer is not started, because there is nothing to do or because it would fail. Nothing was
    /// changed.
    Ended {
        /// The result of the step.
        exit: StepExit,
        /// Output of the package manager.
        output: String,
    },
}

impl Preparation {
    /// Returns an installer that needs no lock.
    fn ready(plan: Plan) -> Self {
        Self::Ready { plan, lock: PackageLock::none(), held: Vec::new() }
    }

    /// Returns the end of a step whose checks printed nothing.
    fn ended(exit: StepExit) -> Self {
        Self::Ended { exit, output: String::new() }
    }
}

/// Prepares one step of a task. Its payload, if it has one, must be on the machine and verified. Waits for
/// other users of the package manager, for at most `wait`.
pub(crate) fn prepare(
    engine: &Engine,
    number: usize,
    step: &Step,
    wait: Duration,
    repositories: &Repositories<'_>,
) -> Result<Preparation, ApplyError> {
    let trouble = |error: io::Error| ApplyError::other(&step.component, format!("the payload: {error}"));
    let dir = engine.place.work().join(number.to_string());
    // The preparation may be a repeated one.
    work_dir::remove_tree(&dir).map_err(trouble)?;
    DirBuilder::new().mode(0o700).create(&dir).map_err(trouble)?;
    let Some(payload) = &step.payload else {
        return repository::prepare(engine, step, wait, dir, repositories);
    };
    let file = engine.payload(step, payload)?;
    let file = place_payload(&file, &dir, &payload.file_name).map_err(trouble)?;
    match step.installer {
        Installer::Deb => deb::prepare(engine, step, wait, dir, &file),
        Installer::Rpm => rpm::prepare(engine, step, wait, &dir, &file),
        Installer::Fwupd => fwupd::prepare(engine, step, wait, dir, &file),
        Installer::DellDup => self_extracting::dell_dup(step, &dir, file).map_err(trouble),
        Installer::HpeSmartComponent => self_extracting::hpe(step, &dir, file).map_err(trouble),
        Installer::Tar => dkms::prepare(engine, step, wait, dir, &file),
        Installer::Script => {
            fs::set_permissions(&file, Permissions::from_mode(0o700)).map_err(trouble)?;
            if !is_program(&file).map_err(trouble)? {
                let detail = "the payload is neither a script that begins with #! nor an ELF program";
                return Ok(Preparation::ended(StepExit::not_started(FailureCode::Other, detail.into())));
            }
            let environment = vec![
                ("FARRIER_COMPONENT", step.component.clone()),
                ("FARRIER_VERSION", step.version.clone()),
            ];
            let plan = Plan { program: file, arguments: Vec::new(), dir, environment };
            Ok(Preparation::ready(plan))
        }
    }
}

/// How a step ended.
pub(crate) struct Ended {
    /// The result of the step.
    pub(crate) exit: StepExit,
    /// The end of the output.
    pub(crate) output: String,
    /// Whether the step changed nothing because another process had taken the package manager's lock, or fwupd,
    /// after the checks.
    pub(crate) was_locked: bool,
}

impl Ended {
    /// Interprets the end of a step whose installer was not started.
    pub(crate) fn unstarted(step: &Step, exit: StepExit, output: String) -> Self {
        let was_locked = has_failed(&exit) && was_locked(step, &output);
        Self { exit, output, was_locked }
    }

    /// Interprets the end of an installer, for those that say more than their exit status. `output` is the end of
    /// what is in `log`.
    pub(crate) fn of_installer(step: &Step, exit: StepExit, output: String, log: &StepLog) -> Self {
        if !has_failed(&exit) {
            return Self { exit, output, was_locked: false };
        }
        let (exit, output) = match (step.installer, &step.payload) {
            (Installer::Fwupd, _) => fwupd::ended(exit, output),
            // The end of the output may be that of a script of the package, which mentions anything.
            (Installer::Deb | Installer::Rpm, None) if repository::has_begun(log) => {
                return Self { exit, output, was_locked: false };
            }
            (Installer::Deb | Installer::Rpm, None) => (repository::explained(exit, &output), output),
            (
                Installer::Deb
                | Installer::Rpm
                | Installer::Script
                | Installer::DellDup
                | Installer::HpeSmartComponent
                | Installer::Tar,
                _,
            ) => (exit, output),
        };
        Self::unstarted(step, exit, output)
    }
}

fn has_failed(exit: &StepExit) -> bool {
    matches!(exit, StepExit::Exited { code } if *code != 0)
}

fn was_locked(step: &Step, output: &str) -> bool {
    match (step.installer, &step.payload) {
        (Installer::Rpm, Some(_)) => rpm::was_locked(output),
        (Installer::Deb | Installer::Rpm, None) => repository::was_locked(output),
        (Installer::Fwupd, _) => fwupd::was_busy(output),
        (Installer::Deb, Some(_))
        | (Installer::Script | Installer::DellDup | Installer::HpeSmartComponent | Installer::Tar, _) => {
            false
        }
    }
}

/// Returns the program that such an installer needs on the machine, and the package that has it.
pub(crate) const fn program(installer: Installer) -> Option<(&'static str, &'static str)> {
    match installer {
        Installer::Deb => Some(("dpkg", "dpkg")),
        Installer::Rpm => Some(("rpm", "rpm")),
        Installer::Fwupd => Some((crate::fwupd::PROGRAM, "fwupd")),
        Installer::Tar => Some((crate::dkms::PROGRAM, "dkms")),
        Installer::Script | Installer::DellDup | Installer::HpeSmartComponent => None,
    }
}

/// Links or copies the payload under its original name, which some installers use.
fn place_payload(payload: &Path, dir: &Path, name: &str) -> io::Result<PathBuf> {
    let plain = Path::new(name).file_name().filter(|last| *last == name);
    let file = dir.join(plain.unwrap_or("payload".as_ref()));
    if fs::hard_link(payload, &file).is_err() {
        // Not every file system has hard links.
        fs::copy(payload, &file)?;
    }
    Ok(file)
}

/// Reports whether the kernel can execute the file. Without this check the C library would pass any file to
/// the shell, which would then execute, for instance, a firmware image line by line.
fn is_program(file: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(file)?.take(4).read_to_end(&mut start)?;
    Ok(start.starts_with(b"#!") || start.starts_with(b"\x7fELF"))
}
