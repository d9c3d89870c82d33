//! Checks before anything is fetched whether firmware may be installed on this machine now.

use crate::fwupd::{self, Device};
use crate::install::gate;
use farrier_protocol::{Installer, Step, StepExit};
use std::collections::BTreeMap;

/// Returns the steps that are not carried out, by component. Their payloads are not fetched.
pub(super) fn refusals(steps: &[Step]) -> BTreeMap<String, StepExit> {
    let named = |step: &&Step| step.installer == Installer::Fwupd && step.firmware.is_some();
    // fwupd is asked once, and only if a step names a device.
    let devices = steps.iter().find(named).map(|_| fwupd::devices());
    let refusal = |step: &Step| match (step.installer, &step.firmware) {
        (Installer::Deb | Installer::Rpm | Installer::Script | Installer::Tar, _) => Ok(()),
        (Installer::DellDup | Installer::HpeSmartComponent, _) => gate::machine(step),
        (Installer::Fwupd, Some(entry)) => match &devices {
            Some(Ok(devices)) => named_device(step, devices, entry),
            // The same question is asked again when the step begins.
            Some(Err(_)) | None => gate::power(),
        },
        (Installer::Fwupd, None) => gate::power(),
    };
    let refused = steps.iter().filter_map(|step| Some((step.component.clone(), refusal(step).err()?)));
    refused.collect()
}

fn named_device(step: &Step, devices: &[Device], entry: &str) -> Result<(), StepExit> {
    gate::device(step, fwupd::find(devices, entry).map_err(gate::absent)?)
}
