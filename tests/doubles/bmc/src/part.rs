//! What becomes of each part of an image that is for several devices.
//!
//! The fault `partial` is decided here: its device keeps its version, the others get theirs.

use serde_json::{Value, json};

use crate::fault::{Fault, Says};
use crate::image::Target;
use crate::message::Word;
use crate::state::{Bmc, State, Update};
use crate::tree::{Found, collection, link, seconds};
use crate::variant::{Phase, Variant};

/// Parts that have failed, and whether their task admits it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failed {
    devices: Vec<String>,
    says: Says,
}

/// Takes the device of a fault out of what is installed.
pub(crate) fn spoil(state: &mut State, id: &str, targets: Vec<Target>) -> Vec<Target> {
    let hit = state.faults.take(|fault| match fault {
        Fault::Partial { device, says } if targets.iter().any(|target| target.device == *device) => {
            Some((device.clone(), *says))
        }
        _ => None,
    });
    let Some((device, says)) = hit else { return targets };
    if let Some(update) = state.update(id) {
        update.failed.devices.push(device.clone());
        update.failed.says = says;
    }
    targets.into_iter().filter(|target| target.device != device).collect()
}

/// How an update ends that would be done, if parts of it have failed.
pub(crate) fn end(update: &Update, phase: Phase, word: Word) -> (Phase, Word, Option<&'static str>) {
    if phase != Phase::Done || update.failed.devices.is_empty() {
        return (phase, word, None);
    }
    match update.failed.says {
        Says::Exception => (Phase::Failed, Word::TaskFailed, None),
        Says::Warning => (Phase::Done, word, Some("Warning")),
        Says::Nothing => (phase, word, None),
    }
}

/// A message for each part, once the update is over; none for an image with one part.
pub(crate) fn results(bmc: &Bmc, state: &mut State, id: &str) -> Vec<Value> {
    let Some(update) = state.update(id).cloned() else { return vec![] };
    let parts = parts_of(&update);
    // Dell shows one message only, and takes one device an image.
    if parts.len() < 2 || !update.phase.is_over() || bmc.variant.dell {
        return vec![];
    }
    let admits = update.failed.says != Says::Nothing;
    let shown = parts.iter().filter(|part| admits || !update.failed.devices.contains(&part.device));
    shown.map(|part| result(bmc, state, &update, part)).collect()
}

fn result(bmc: &Bmc, state: &State, update: &Update, part: &Target) -> Value {
    let entry = state.device(&part.device);
    let member = entry.map_or_else(|| part.device.clone(), crate::variant::Firmware::member);
    let uri = format!("/redfish/v1/UpdateService/FirmwareInventory/{member}");
    if fails(update, part) {
        bmc.variant.message(Word::PartFailed).render(&[&update.file, &uri])
    } else {
        bmc.variant.message(Word::PartDone).render(&[&uri, &update.file])
    }
}

fn parts_of(update: &Update) -> Vec<Target> {
    update.header.as_ref().map(|header| header.targets.clone()).unwrap_or_default()
}

/// Whether this part is told to have failed: by itself, or with the whole.
fn fails(update: &Update, part: &Target) -> bool {
    if update.failed.devices.is_empty() {
        return update.phase == Phase::Failed;
    }
    update.failed.devices.contains(&part.device) && update.failed.says != Says::Nothing
}

/// Whether this update's task has sub-tasks.
pub(crate) fn has_sub_tasks(variant: &Variant, update: &Update) -> bool {
    let shown = variant.tasks.as_ref().is_some_and(|rules| rules.sub_tasks);
    shown && parts_of(update).len() > 1
}

/// `Tasks/ID/SubTasks` and its members: one for each part, numbered from 1.
pub(crate) fn find(bmc: &Bmc, state: &mut State, id: &str, rest: &[&str]) -> Option<Found> {
    let update = crate::task::visible(state, id)?.clone();
    if !has_sub_tasks(&bmc.variant, &update) {
        return None;
    }
    let parts = parts_of(&update);
    let at = format!("TaskService/Tasks/{id}/SubTasks");
    match rest {
        [] => {
            let ids: Vec<_> = (1..=parts.len()).map(|number| number.to_string()).collect();
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            Some(collection(&at, "Task", "Sub-tasks", &ids))
        }
        [number] => {
            let part = parts.get(number.parse::<usize>().ok()?.checked_sub(1)?)?;
            let over = update.phase.is_over();
            let failed = over && fails(&update, part);
            let word = |phase| crate::task::word(&bmc.variant, phase);
            let phase = if over && !failed { Phase::Done } else { update.phase };
            let mut value = json!({
                "@odata.id": format!("/redfish/v1/{at}/{number}"),
                "@odata.type": "#Task.v1_5_0.Task",
                "Id": number,
                "Name": format!("Update of {} with {}", part.device, update.file),
                "TaskState": if failed { word(Phase::Failed) } else { word(phase) },
                "TaskStatus": if failed { "Critical" } else { "OK" },
                "PercentComplete": update.percent,
                "StartTime": seconds(update.began),
                "Messages": if over { vec![result(bmc, state, &update, part)] } else { vec![] },
                "HidePayload": true,
            });
            if let Some(ended) = update.ended {
                value["EndTime"] = json!(seconds(ended));
            }
            Some(Found::read(value))
        }
        _ => None,
    }
}

/// For the task itself.
pub(crate) fn sub_tasks_link(id: &str) -> Value {
    link(&format!("/redfish/v1/TaskService/Tasks/{id}/SubTasks"))
}
