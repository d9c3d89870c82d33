//! What keeps firmware from being installed: batteries, and keys that are bound to the firmware.

use crate::fwupd::{Absence, Device};
use crate::{power, trusted_module};
use farrier_protocol::{Refusal, Step, StepExit};
use std::path::Path;

/// What fwupd says of devices that it does not update because of their power.
const POWER_PROBLEMS: [(&str, &str); 3] = [
    ("require-ac-power", "it is updated only while the machine is on mains"),
    ("system-power-too-low", "the battery of the machine is too low"),
    ("power-too-low", "the battery of the device is too low"),
];

/// Checks the machine for firmware of an unknown device.
pub(crate) fn machine(step: &Step) -> Result<(), StepExit> {
    power()?;
    trusted_module(step)
}

/// Checks that the machine does not run on a battery.
pub(crate) fn power() -> Result<(), StepExit> {
    match power::on_battery(Path::new(power::SUPPLIES)) {
        Some(detail) => Err(StepExit::refused(Refusal::OnBattery, detail)),
        None => Ok(()),
    }
}

/// Checks the machine and one device that fwupd knows.
pub(crate) fn device(step: &Step, device: &Device) -> Result<(), StepExit> {
    power()?;
    let has = |problem: &str| device.problems.iter().any(|one| one == problem);
    if let Some((_, words)) = POWER_PROBLEMS.iter().find(|(problem, _)| has(problem)) {
        let detail = format!("fwupd does not update {} now: {words}", device.title());
        return Err(StepExit::refused(Refusal::OnBattery, detail));
    }
    if device.has("affects-fde") && !step.overrides_trusted_module {
        let detail = format!(
            "an update of {} may lock an encrypted disk of this machine: fwupd says that a trusted module (TPM) \
             measures it",
            device.title()
        );
        return Err(StepExit::refused(Refusal::TrustedModule, detail));
    }
    // Firmware of a device that can be unplugged is not measured.
    if device.has("internal") { trusted_module(step) } else { Ok(()) }
}

fn trusted_module(step: &Step) -> Result<(), StepExit> {
    if step.overrides_trusted_module {
        return Ok(());
    }
    match trusted_module::bound_disk() {
        Some(disk) => {
            let detail = format!("{disk}, which may stay locked after an update of firmware");
            Err(StepExit::refused(Refusal::TrustedModule, detail))
        }
        None => Ok(()),
    }
}

/// Returns the exit of a step whose device cannot be told.
pub(crate) fn absent(absence: Absence) -> StepExit {
    let refusal = match &absence {
        Absence::None(_) => Refusal::NotForMachine,
        Absence::Several(_) => Refusal::AmbiguousDevice,
    };
    StepExit::refused(refusal, absence.text())
}
