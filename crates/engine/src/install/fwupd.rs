//! Installs firmware by fwupd.
//!
//! The cabinet stays in the step's own directory: the client hands it to the daemon as an open file. Whether
//! `fwupdmgr` succeeded is only a hint, as with every installer; a new version may wait for a reboot.

use super::{Preparation, gate};
use crate::apply_error::ApplyError;
use crate::engine::Engine;
use crate::fwupd::{self, Device, Fault, PROGRAM};
use crate::lock_holder;
use crate::step::Plan;
use crate::wait::{self, Ended, Obstacle};
use farrier_protocol::{FailureCode, Holder, Refusal, Step, StepExit, WaitFor};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Programs that change firmware by fwupd.
const TOOLS: [&str; 2] = [PROGRAM, "fwupdtool"];

/// Their commands that do.
const COMMANDS: [&str; 12] = [
    "activate",
    "downgrade",
    "install",
    "install-blob",
    "local-install",
    "reinstall",
    "switch-branch",
    "sync",
    "update",
    "upgrade",
    "verify-update",
    "unlock",
];

/// What the numbers of `FwupdError` mean for a step, as far as they do not mean a failure. They are numbered in
/// `libfwupd/fwupd-error.h`, and new ones are added behind.
mod error {
    pub(super) const INVALID_FILE: i32 = 7;
    pub(super) const NOT_FOUND: i32 = 8;
    pub(super) const SIGNATURE_INVALID: i32 = 11;
    pub(super) const AC_POWER_REQUIRED: i32 = 12;
    pub(super) const BATTERY_LEVEL_TOO_LOW: i32 = 15;
    pub(super) const INVALID_DATA: i32 = 18;
    pub(super) const BUSY: i32 = 20;
}

pub(super) fn prepare(
    engine: &Engine,
    step: &Step,
    wait: Duration,
    dir: PathBuf,
    file: &Path,
) -> Result<Preparation, ApplyError> {
    wait_for_others(engine, step, wait)?;
    let chosen = match choose(step, file) {
        Ok(device) => device,
        Err(exit) => return Ok(Preparation::ended(exit)),
    };
    let program = crate::command::find(PROGRAM)
        .ok_or_else(|| ApplyError::other(&step.component, format!("{PROGRAM} is no longer installed")))?;
    let mut arguments = vec!["install".into(), file.into(), chosen.id.into()];
    arguments.extend(["--assume-yes", "--no-reboot-check", "--json"].map(Into::into));
    if step.downgrade {
        arguments.push("--allow-older".into());
    }
    if step.rewrite {
        arguments.push("--allow-reinstall".into());
    }
    // The client keeps a cache, which belongs into the step's directory.
    let environment = ["XDG_CACHE_HOME", "TMPDIR"].map(|name| (name, dir.to_string_lossy().into_owned()));
    Ok(Preparation::ready(Plan { program, arguments, dir, environment: environment.into() }))
}

/// Finds the one device that the cabinet is installed to.
fn choose(step: &Step, file: &Path) -> Result<Device, StepExit> {
    let offered = fwupd::details(&file.to_string_lossy()).map_err(|(text, fault)| {
        fault
            .and_then(|fault| refusal(&fault))
            .unwrap_or_else(|| StepExit::not_started(FailureCode::Other, text))
    })?;
    // Devices of the cabinet that this machine does not have have no id.
    let is_here = |device: &Device| !device.id.is_empty();
    let present: Vec<Device> = offered.iter().filter(|device| is_here(device)).cloned().collect();
    let chosen = match &step.firmware {
        Some(entry) => {
            let devices = fwupd::devices().map_err(|text| StepExit::not_started(FailureCode::Other, text))?;
            let named = fwupd::find(&devices, entry).map_err(gate::absent)?;
            if !present.iter().any(|device| device.id == named.id) {
                return Err(not_for(&format!("the cabinet has nothing for {}", named.title()), &present));
            }
            named.clone()
        }
        None => match present.as_slice() {
            [one] => one.clone(),
            [] => return Err(not_for("the cabinet has nothing for a device of this machine", &offered)),
            several => {
                let detail =
                    format!("the cabinet is for several devices of this machine: {}", fwupd::names(several));
                return Err(StepExit::refused(Refusal::AmbiguousDevice, detail));
            }
        },
    };
    gate::device(step, &chosen)?;
    Ok(chosen)
}

fn not_for(what: &str, others: &[Device]) -> StepExit {
    let detail = format!("{what}; it is for {}", fwupd::names(others));
    StepExit::refused(Refusal::NotForMachine, detail)
}

/// Returns the exit of a step that fwupd refused before it wrote anything; `None` for other errors.
fn refusal(fault: &Fault) -> Option<StepExit> {
    let refusal = match fault.code {
        error::NOT_FOUND => Refusal::NotForMachine,
        error::INVALID_FILE | error::SIGNATURE_INVALID | error::INVALID_DATA => Refusal::ImageRefused,
        error::AC_POWER_REQUIRED | error::BATTERY_LEVEL_TOO_LOW => Refusal::OnBattery,
        _ => return None,
    };
    Some(StepExit::refused(refusal, fault.text()))
}

/// Interprets the end of the client: exit and output of the step. The errors of the client have numbers, which say
/// more than its exit status.
pub(super) fn ended(exit: StepExit, output: String) -> (StepExit, String) {
    let has_failed = matches!(exit, StepExit::Exited { code } if code != 0);
    let Some(fault) = has_failed.then(|| Fault::parse(&output)).flatten() else { return (exit, output) };
    (refusal(&fault).unwrap_or(exit), fault.text())
}

/// Reports whether the daemon was busy with another request.
pub(super) fn was_busy(output: &str) -> bool {
    output.starts_with(&format!("fwupd error {}:", error::BUSY))
}

/// Waits until no other program changes firmware by fwupd.
fn wait_for_others(engine: &Engine, step: &Step, limit: Duration) -> Result<(), ApplyError> {
    let look = || match other() {
        Some(holder) => Err(Obstacle { what: WaitFor::Firmware, holder: Some(holder) }),
        None => Ok(()),
    };
    wait::wait(&engine.shared, limit, look).map_err(|ended| match ended {
        Ended::Stopped(reason) => ApplyError::Stopped(reason),
        Ended::Expired(Obstacle { holder, .. }) => {
            let who =
                holder.map(|Holder { pid, name }| format!("{name}, process {pid}, ")).unwrap_or_default();
            let message = format!("{who}changed firmware by fwupd for {} s", limit.as_secs());
            ApplyError::Failed {
                code: FailureCode::PackageManagerBusy,
                component: step.component.clone(),
                message,
            }
        }
    })
}

/// Finds another program that changes firmware by fwupd.
fn other() -> Option<Holder> {
    let holders =
        lock_holder::processes().into_iter().map(|pid| Holder { pid, name: lock_holder::name(pid) });
    let mut tools = holders.filter(|holder| TOOLS.contains(&holder.name.as_str()));
    tools.find(|holder| {
        let line = fs::read(format!("/proc/{}/cmdline", holder.pid)).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| COMMANDS.iter().any(|command| command.as_bytes() == word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on battery would be reported as one whose installer failed, and tried again and again.
    #[test]
    fn refusals_of_fwupd_are_told_from_failures() {
        let end = |code: i32| {
            let output = format!(
                "{{\"Error\": {{\"Domain\": \"FwupdError\", \"Code\": {code}, \"Message\": \"m\"}}}}"
            );
            ended(StepExit::Exited { code: 1 }, output)
        };
        for (code, expected) in [
            (8, Some(Refusal::NotForMachine)),
            (7, Some(Refusal::ImageRefused)),
            (11, Some(Refusal::ImageRefused)),
            (12, Some(Refusal::OnBattery)),
            (15, Some(Refusal::OnBattery)),
            (6, None),
            (10, None),
        ] {
            let (exit, output) = end(code);
            let wanted = expected
                .map_or(StepExit::Exited { code: 1 }, |refusal| StepExit::refused(refusal, output.clone()));
            assert_eq!(exit, wanted, "{code}");
            assert_eq!(output, format!("fwupd error {code}: m"));
        }
        assert!(was_busy(&end(20).1) && !was_busy(&end(2).1));
        let good = ended(StepExit::Exited { code: 0 }, "{\"Error\": {\"Code\": 12}}".into());
        assert_eq!(good.0, StepExit::Exited { code: 0 });
    }
}
