//! An update as the device goes through it, whether somebody looks on or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::device::{Device, Phase, Update};
use crate::fault::Fault;
use crate::image::Header;

/// How the new firmware comes to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    /// It waits for a restart that somebody asks for.
    Later,
    /// The whole device restarts.
    Device,
    /// A module restarts; the device stays.
    Module,
}

/// What is to be done with an image that has been checked.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// Which parts get it.
    pub(crate) parts: Vec<String>,
    pub(crate) header: Header,
    pub(crate) restart: Restart,
    /// The second partition gets it too.
    pub(crate) commit: bool,
}

/// The number of steps of a progress.
const STEPS: u8 = 50;

/// So long a session may still say something before the device restarts.
const FAREWELL: Duration = Duration::from_millis(300);

/// Starts it in the background. The caller has made sure that none runs.
pub(crate) fn begin(device: &Arc<Device>, job: Job) {
    device.lock().update = Some(Update {
        parts: job.parts.clone(),
        version: job.header.version.clone(),
        phase: Phase::Writing,
        percent: 0,
    });
    device.changed.notify_waiters();
    let device = Arc::clone(device);
    tokio::spawn(async move { work(&device, &job).await });
}

async fn work(device: &Arc<Device>, job: &Job) {
    if !write(device, job).await {
        enter(device, Phase::Failed, "failed");
        return;
    }
    enter(device, Phase::Written, "written");
    if job.restart == Restart::Later {
        let mut state = device.lock();
        for part in state.parts.iter_mut().filter(|part| job.parts.contains(&part.name)) {
            part.secondary = Some(job.header.version.clone());
        }
        state.pending = Some(Job { restart: Restart::Device, ..job.clone() });
        drop(state);
        enter(device, Phase::Done, "waits for a restart");
        return;
    }
    run_new(device, job).await;
}

/// Restarts the device in the background; what waits for it runs afterwards.
pub(crate) fn restart(device: &Arc<Device>, why: &'static str) {
    let device = Arc::clone(device);
    tokio::spawn(async move {
        let pending = device.lock().pending.take();
        if let Some(job) = pending {
            run_new(&device, &job).await;
        } else {
            // sleep: the time in which real devices say goodbye.
            tokio::time::sleep(FAREWELL).await;
            device.restart(why).await;
        }
    });
}

/// From the written image to the one that runs.
async fn run_new(device: &Arc<Device>, job: &Job) {
    // sleep: the time in which real devices say goodbye.
    tokio::time::sleep(FAREWELL).await;
    enter(device, Phase::Restarting, "restarting");
    activate(device, job);
    if job.restart == Restart::Device {
        device.restart("update").await;
    } else {
        let span = Duration::from_millis(device.settings().reboot_ms);
        // sleep: a module restarts behind the device, which stays.
        tokio::time::sleep(span).await;
    }
    if job.commit {
        enter(device, Phase::Committing, "committing");
        // The second partition takes time, which a test may shorten while it runs.
        let began = Instant::now();
        device.until(|state| began.elapsed().as_millis() >= u128::from(state.settings.commit_ms)).await;
        let mut state = device.lock();
        for part in state.parts.iter_mut().filter(|part| job.parts.contains(&part.name)) {
            part.secondary = Some(part.version.clone());
        }
    }
    enter(device, Phase::Done, "done");
}

fn enter(device: &Device, phase: Phase, says: &str) {
    let mut state = device.lock();
    state.journal.write("update", json!({"phase": phase, "says": says}));
    if let Some(update) = state.update.as_mut() {
        update.phase = phase;
    }
    drop(state);
    device.changed.notify_waiters();
}

/// The new version, or what a fault makes of it.
fn activate(device: &Device, job: &Job) {
    let mut state = device.lock();
    let wrong = state.faults.take(|fault| match fault {
        Fault::WrongVersion { version } => Some(version.clone()),
        _ => None,
    });
    for name in &job.parts {
        let is_left =
            |fault: &Fault| matches!(fault, Fault::LeavesOut { part } if part == name).then_some(());
        if state.faults.take(is_left).is_some() {
            continue;
        }
        let version = match &wrong {
            Some(version) if version.is_empty() => state.version(name),
            Some(version) => version.clone(),
            None => job.header.version.clone(),
        };
        if let Some(part) = state.parts.iter_mut().find(|part| part.name == *name) {
            if part.secondary.is_some() {
                part.secondary = Some(part.version.clone());
            }
            part.version.clone_from(&version);
        }
        state.journal.write("flash", json!({"part": name, "version": version}));
    }
}

/// Whether the image was written to its end.
async fn write(device: &Arc<Device>, job: &Job) -> bool {
    let mut dropped = false;
    for step in 0..=STEPS {
        let percent = u8::try_from(u32::from(step) * 100 / u32::from(STEPS)).unwrap_or(100);
        let stuck = device.lock().faults.look(|fault| match fault {
            Fault::Stuck { percent: at } if percent >= *at => Some(*at),
            _ => None,
        });
        progress(device, stuck.unwrap_or(percent));
        if stuck.is_some() {
            let stays = |fault: &Fault| matches!(fault, Fault::Stuck { .. }).then_some(());
            device.until(|state| state.faults.look(stays).is_none()).await;
        }
        let breaks = device.lock().faults.take(|fault| match fault {
            Fault::BreaksOff { percent: at } if percent >= *at => Some(()),
            _ => None,
        });
        if breaks.is_some() || job.header.breaks_at_percent.is_some_and(|at| percent >= at) {
            return false;
        }
        let drops = device.lock().faults.look(|fault| match fault {
            Fault::DropLine { percent: at } if percent >= *at => Some(()),
            _ => None,
        });
        if drops.is_some() && !std::mem::replace(&mut dropped, true) {
            let _used =
                device.lock().faults.take(|fault| matches!(fault, Fault::DropLine { .. }).then_some(()));
            device.cut_lines();
        }
        let span = Duration::from_millis(device.settings().flash_ms / u64::from(STEPS));
        // sleep: an image takes time to be written.
        tokio::time::sleep(span).await;
    }
    true
}

fn progress(device: &Device, percent: u8) {
    if let Some(update) = device.lock().update.as_mut() {
        update.percent = percent;
    }
    device.changed.notify_waiters();
}
