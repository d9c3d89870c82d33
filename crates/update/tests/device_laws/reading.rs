//! What a driver makes of the simulated device's answers.

use crate::device::{Device, EARLIER, Firmware, Job};
use crate::dice::Dice;
use farrier_update::device::{
    Action, ActionId, Artifact, ArtifactKind, BootMarks, Earlier, Entry, Inventory, Obstacle, Progress,
    ResetTarget, Task, Ticket, Verb,
};
use farrier_update::model::Millis;
use std::time::Duration;

/// Names of the components, in the order of the plan.
pub(crate) const NAMES: [&str; 3] = ["bmc", "bios", "disk"];

/// Returns a version as the device writes it.
pub(crate) fn version(number: u8) -> String {
    char::from(b'0' + number).to_string()
}

/// Returns a version as a number.
pub(crate) fn number(version: &str) -> u8 {
    version.bytes().next().map_or(0, |digit| digit.saturating_sub(b'0'))
}

/// Reads the device. Right after a start some readings are wrong.
pub(crate) fn read(device: &mut Device, dice: &mut Dice, actions: &[Action]) -> Inventory {
    let is_wrong = device.wrong_readings > 0;
    device.wrong_readings = device.wrong_readings.saturating_sub(1);
    let boot = |tells: bool, number: u32| if tells { number.to_string() } else { String::new() };
    let tells = device.traits.tells_boot;
    let entries = NAMES.iter().zip(&device.firmware).filter(|_| !(is_wrong && dice.percent(30)));
    Inventory {
        at: Millis(device.now),
        entries: entries.map(|(name, firmware)| ((*name).to_owned(), entry(firmware, is_wrong))).collect(),
        boot: BootMarks { manager: boot(tells, device.manager_boot), host: boot(tells, device.host_boot) },
        tasks: tasks(device, actions),
        artifacts: artifacts(device, actions),
        earlier: earlier(device, actions),
        lists_sessions: device.traits.lists_sessions,
        keeps_tasks: device.traits.keeps_tasks.map(Duration::from_millis),
        obstacles: obstacles(device),
    }
}

fn obstacles(device: &Device) -> Vec<Obstacle> {
    let in_post = (device.now < device.post_until).then_some(Obstacle::HostInPost);
    in_post.into_iter().chain(device.traits.obstacle).collect()
}

/// A controller that has just started shows other versions than the ones in effect.
fn entry(firmware: &Firmware, is_wrong: bool) -> Entry {
    let shown =
        if is_wrong { firmware.pending.unwrap_or(3 - firmware.version.min(2)) } else { firmware.version };
    let pending = firmware.pending.map(|_| match firmware.takes {
        crate::device::Effect::After(target) => target,
        crate::device::Effect::AtOnce | crate::device::Effect::ByItself => ResetTarget::Manager,
    });
    Entry { version: version(shown), part: firmware.part, pending, members: Vec::new() }
}

/// Returns the action that an upload or a job belongs to; `None` if it is an earlier run's and was not taken over.
pub(crate) fn owner(actions: &[Action], action: ActionId, component: usize, verb: Verb) -> Option<ActionId> {
    if action.0 < EARLIER {
        return Some(action);
    }
    let is_it = |adoption: &&Action| {
        adoption.verb == verb && adoption.component == NAMES[component] && adoption.has_adopted()
    };
    actions.iter().find(is_it).map(|adoption| adoption.id)
}

fn owner_of(actions: &[Action], job: &Job) -> Option<ActionId> {
    let request = job.request?;
    owner(actions, request.action, request.component, Verb::AdoptWork)
}

/// Returns what an earlier run has left and nobody has taken over.
fn earlier(device: &Device, actions: &[Action]) -> Vec<Earlier> {
    let images = device.uploads.iter().filter(|upload| {
        owner(actions, upload.action, upload.component, Verb::AdoptImage).is_none() && upload.whole
    });
    let images = images.map(|upload| Earlier {
        component: NAMES[upload.component].to_owned(),
        ticket: Ticket("image".to_owned()),
        progress: None,
    });
    let jobs = device.jobs.iter().filter(|job| owner_of(actions, job).is_none());
    let jobs = jobs.filter_map(|job| {
        Some(Earlier {
            component: NAMES[job.request?.component].to_owned(),
            ticket: Ticket(job.ticket.to_string()),
            progress: Some(job.progress),
        })
    });
    images.chain(jobs).collect()
}

fn tasks(device: &Device, actions: &[Action]) -> Vec<Task> {
    let task = |job: &Job| Task {
        ticket: Ticket(job.ticket.to_string()),
        action: owner_of(actions, job),
        progress: job.progress,
    };
    device.jobs.iter().filter(|job| job.listed <= device.now).map(task).collect()
}

/// A session whose ticket is known can be looked up; others are listed by some devices only.
fn artifacts(device: &Device, actions: &[Action]) -> Vec<Artifact> {
    let artifact = |kind, action: ActionId, whole| Artifact {
        kind,
        ticket: Ticket(action.0.to_string()),
        action,
        whole,
    };
    let entries = device.jobs.iter().filter(|job| job.is_entry).filter_map(|job| owner_of(actions, job));
    let entries = entries.map(|action| artifact(ArtifactKind::QueueEntry, action, true));
    let uploads = device.uploads.iter().filter_map(|upload| {
        let action = owner(actions, upload.action, upload.component, Verb::AdoptImage)?;
        Some(artifact(ArtifactKind::Upload, action, upload.whole))
    });
    let is_known = |id: ActionId| actions.iter().any(|action| action.id == id && action.ticket.is_some());
    let sessions = device.sessions.iter().filter(|(id, _)| device.traits.lists_sessions || is_known(*id));
    let sessions = sessions.map(|(action, _)| artifact(ArtifactKind::Session, *action, true));
    let prepared = device.prepared.iter().map(|(action, verb)| {
        let is_authority = *verb == Verb::ImportAuthority;
        let kind = if is_authority { ArtifactKind::Authority } else { ArtifactKind::Subscription };
        artifact(kind, *action, true)
    });
    entries.chain(uploads).chain(prepared).chain(sessions).collect()
}

/// Returns how far a task is.
pub(crate) fn follow(device: &Device, ticket: &Ticket) -> Progress {
    let number: u32 = ticket.0.parse().unwrap_or(0);
    device.jobs.iter().find(|job| job.ticket == number).map_or(Progress::Gone, |job| job.progress)
}
