//! Checks before the first step that everything that the steps need is available.

use super::firmware;
use super::room::wait_for_room;
use crate::apply_error::ApplyError;
use crate::digest::Digest;
use crate::engine::{Engine, payload_digest};
use crate::install::repository;
use crate::payload::{Download, FetchError, disk};
use crate::work_dir::WorkDir;
use crate::{command, install, space};
use farrier_protocol::{EventBody, FailureCode, Payload, STAGED_DIRECTORY, Step, StepExit};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::time::Duration;

/// Checks the machine, then fetches and verifies the payload of every step that has one but those that are
/// refused, which it returns by component. Waits at most `wait` for free space.
pub(super) fn fetch_all(
    engine: &Engine,
    task: &str,
    steps: &[Step],
    wait: Duration,
) -> Result<BTreeMap<String, StepExit>, ApplyError> {
    let payloads = steps.iter().filter_map(|step| {
        let payload = step.payload.as_ref()?;
        Some(payload_digest(step, payload).map(|digest| (step, payload, digest)))
    });
    let payloads = payloads.collect::<Result<Vec<_>, _>>()?;
    for step in steps {
        if step.payload.is_none() && !repository::has_manager(step.installer) {
            let (component, message) = (step.component.clone(), repository::missing_manager(step.installer));
            return Err(ApplyError::Failed { code: FailureCode::InstallerMissing, component, message });
        }
        let Some((program, package)) = install::program(step.installer) else { continue };
        if command::find(program).is_none() {
            let message = format!("this machine has no {program}; install its package {package}");
            let component = step.component.clone();
            return Err(ApplyError::Failed { code: FailureCode::InstallerMissing, component, message });
        }
    }
    let refused = firmware::refusals(steps);
    engine.place.prepare_work().map_err(|error| {
        let FetchError { code, message } = disk(&error);
        ApplyError::Failed { code, component: String::new(), message }
    })?;
    let mut there = 0;
    for (_, payload, digest) in &payloads {
        if take_staged(&engine.place, digest) {
            there += payload.size;
        }
    }
    wait_for_room(&engine.shared, "", wait, || space::check(steps, engine.place.dir(), there))?;
    let wanted = |(step, ..): &(&Step, &Payload, Digest)| !refused.contains_key(&step.component);
    for (step, payload, digest) in payloads.into_iter().filter(wanted) {
        fetch(engine, step, payload, &digest)?;
        let (task, component) = (task.into(), step.component.clone());
        engine.report(EventBody::PayloadVerified { task, component, digest: digest.to_string() });
    }
    Ok(refused)
}

fn fetch(engine: &Engine, step: &Step, payload: &Payload, digest: &Digest) -> Result<(), ApplyError> {
    let path = engine.place.payloads().join(digest.hex());
    if path.exists() {
        // It was staged, or another step of this task has the same payload.
        return Ok(());
    }
    let failed = |error: FetchError| {
        let component = step.component.clone();
        ApplyError::Failed { code: error.code, component, message: error.message }
    };
    let empty =
        Download::create(&path, digest.clone(), payload.size).map_err(|error| failed(disk(&error)))?;
    engine.shared.fetch(empty).map_err(ApplyError::Stopped)?.map_err(failed)
}

/// Takes over a payload that an earlier run has staged beside the engine's directory, without a copy. Returns
/// false if there is none, or not the one with this digest any more.
fn take_staged(place: &WorkDir, digest: &Digest) -> bool {
    // Any user can write to some of the parent directories, and could change a file of his own after the check.
    let Ok(staged) = WorkDir::check(&place.dir().with_file_name(STAGED_DIRECTORY)) else { return false };
    let path = &place.payloads().join(digest.hex());
    if fs::hard_link(staged.dir().join(digest.hex()), path).is_err() {
        return false;
    }
    let is_it = File::open(path).and_then(Digest::of_reader).is_ok_and(|found| found == *digest);
    if !is_it {
        // Otherwise the download would be written into the staged file.
        fs::remove_file(path).ok();
    }
    is_it
}
