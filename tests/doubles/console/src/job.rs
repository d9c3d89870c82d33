//! An update as the device goes through it, whether somebody looks on or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::device::{Device, Phase, Update};
use crate::fault::Fault;
use crate::image::Header;
use crate::product::{Product, director};

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
    if device.product == Product::Director && job.restart == Restart::Device {
        return work_in_turn(device, job).await;
    }
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

/// The way of a device whose modules take the image one after the other, with a failover between them.
async fn work_in_turn(device: &Arc<Device>, job: &Job) {
    if !director::upgrade(device, job).await {
        return enter(device, Phase::Failed, "failed");
    }
    if job.commit {
        director::tell_end(device, false);
        commit(device, job).await;
        director::tell_end(device, true);
    }
    enter(device, Phase::Done, "done");
}

/// The time in which real devices say goodbye.
pub(crate) async fn farewell() {
    // sleep: what is said before the lines end has to reach the client.
    tokio::time::sleep(FAREWELL).await;
}

/// Restarts the device in the background; what waits for it runs afterwards.
pub(crate) fn restart(device: &Arc<Device>, why: &'static str) {
    let device = Arc::clone(device);
    tokio::spawn(async move {
        let pending = device.lock().pending.take();
        if let Some(job) = pending {
            run_new(&device, &job).await;
        } else {
            farewell().await;
            device.restart(why).await;
        }
    });
}

/// From the written image to the one that runs.
async fn run_new(device: &Arc<Device>, job: &Job) {
    farewell().await;
    enter(device, Phase::Restarting, "restarting");
    let wrong = wrong_version(device);
    activate(device, job, &job.parts, wrong.as_deref());
    if job.restart == Restart::Device {
        device.restart("update").await;
    } else {
        let span = Duration::from_millis(device.settings().reboot_ms);
        // sleep: a module restarts behind the device, which stays.
        tokio::time::sleep(span).await;
    }
    if job.commit {
        commit(device, job).await;
    }
    enter(device, Phase::Done, "done");
}

/// The second partition gets the image too.
async fn commit(device: &Device, job: &Job) {
    enter(device, Phase::Committing, "committing");
    // It takes time, which a test may shorten while it runs.
    let began = Instant::now();
    device.until(|state| began.elapsed().as_millis() >= u128::from(state.settings.commit_ms)).await;
    let mut state = device.lock();
    for part in state.parts.iter_mut().filter(|part| job.parts.contains(&part.name)) {
        part.secondary = Some(part.version.clone());
    }
}

pub(crate) fn enter(device: &Device, phase: Phase, says: &str) {
    let mut state = device.lock();
    state.journal.write("update", json!({"phase": phase, "says": says}));
    if let Some(update) = state.update.as_mut() {
        update.phase = phase;
    }
    drop(state);
    device.changed.notify_waiters();
}

/// The version that a fault puts in the place of the image's; empty: the old one.
pub(crate) fn wrong_version(device: &Device) -> Option<String> {
    device.lock().faults.take(|fault| match fault {
        Fault::WrongVersion { version } => Some(version.clone()),
        _ => None,
    })
}

/// The new version runs on these parts, or what a fault makes of it.
pub(crate) fn activate(device: &Device, job: &Job, parts: &[String], wrong: Option<&str>) {
    let mut state = device.lock();
    for name in parts {
        let is_left =
            |fault: &Fault| matches!(fault, Fault::LeavesOut { part } if part == name).then_some(());
        if state.faults.take(is_left).is_some() {
            continue;
        }
        let version = match wrong {
            Some("") => state.version(name),
            Some(version) => version.to_owned(),
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
pub(crate) async fn write(device: &Device, job: &Job) -> bool {
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
