//! An update as clients see it: task, task monitor, Dell job; and how it moves on.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::event;
use crate::fault::Fault;
use crate::message::Word;
use crate::reply::Reply;
use crate::state::{Bmc, State, Update};
use crate::tree::{Found, READ, REMOVE, collection, link, seconds};
use crate::variant::{Phase, TaskIds, TaskLocation, Variant};

pub(crate) fn find(bmc: &Bmc, state: &mut State, path: &[&str]) -> Option<Found> {
    let rules = bmc.variant.tasks.as_ref()?;
    let shown = |state: &State| -> Vec<String> {
        state.updates.iter().filter(|update| !update.forgotten).map(|update| update.id.clone()).collect()
    };
    match path {
        ["TaskService"] => Some(Found::read(json!({
            "@odata.id": "/redfish/v1/TaskService",
            "@odata.type": "#TaskService.v1_1_5.TaskService",
            "Id": "TaskService",
            "Name": "Task Service",
            "ServiceEnabled": true,
            "DateTime": seconds(state.now()),
            "CompletedTaskOverWritePolicy": "Oldest",
            "LifeCycleEventOnTaskStateChange": bmc.variant.events.is_some(),
            "Tasks": link("/redfish/v1/TaskService/Tasks"),
            "Status": {"State": "Enabled", "Health": "OK"},
        }))),
        ["TaskService", "Tasks"] => {
            let ids = shown(state);
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            Some(collection("TaskService/Tasks", "Task", "Tasks", &ids))
        }
        ["TaskService", "Tasks", id] => {
            let update = visible(state, id)?;
            let value = resource(&bmc.variant, update);
            Some(Found::new(value, if rules.ids == TaskIds::Jid { READ } else { REMOVE }))
        }
        ["TaskService", "Tasks", id, "SubTasks", rest @ ..] => crate::part::find(bmc, state, id, rest),
        ["JobService"] if bmc.variant.dell => Some(Found::read(json!({
            "@odata.id": "/redfish/v1/JobService",
            "@odata.type": "#JobService.v1_0_4.JobService",
            "Id": "JobService",
            "Name": "Job Service",
            "ServiceEnabled": true,
            "DateTime": seconds(state.now()),
            "Jobs": link("/redfish/v1/JobService/Jobs"),
            "Status": {"State": "Enabled", "Health": "OK"},
        }))),
        ["JobService", "Jobs"] if bmc.variant.dell => {
            let ids = shown(state);
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            Some(collection("JobService/Jobs", "Job", "Jobs", &ids))
        }
        ["JobService", "Jobs", id] if bmc.variant.dell => {
            let update = visible(state, id)?;
            Some(Found::new(crate::dell::standard_job(update), REMOVE))
        }
        _ => None,
    }
}

/// The update that a client may see; one that vanishes is seen once.
pub(crate) fn visible<'a>(state: &'a mut State, id: &str) -> Option<&'a Update> {
    let update = state.update(id).filter(|update| !update.forgotten)?;
    update.forgotten = update.vanishes;
    Some(update)
}

/// The answer of `…/TaskMonitors/ID`.
pub(crate) fn monitor(bmc: &Bmc, state: &mut State, id: &str) -> Option<Reply> {
    let rules = bmc.variant.tasks.as_ref()?;
    let update = visible(state, id)?;
    if !update.phase.is_over() {
        let reply = Reply::json(202, resource(&bmc.variant, update));
        return Some(state.later(reply.with("location", monitor_uri(id))));
    }
    if rules.monitor_end != 204 {
        return Some(Reply::json(200, resource(&bmc.variant, update)));
    }
    let update = state.update(id).filter(|update| !update.monitored)?;
    update.monitored = true;
    Some(Reply::empty(204))
}

pub(crate) fn monitor_uri(id: &str) -> String {
    format!("/redfish/v1/TaskService/TaskMonitors/{id}")
}

/// `TaskState` for a phase.
pub(crate) fn word(variant: &Variant, phase: Phase) -> String {
    let own = variant.tasks.as_ref().and_then(|rules| rules.words.get(&phase).cloned());
    own.unwrap_or_else(|| {
        match phase {
            Phase::New => "New",
            Phase::Fetching | Phase::Verifying | Phase::Writing | Phase::Resetting => "Running",
            Phase::Scheduled => "Pending",
            Phase::Done => "Completed",
            Phase::Failed => "Exception",
            Phase::Intervention => "UserIntervention",
        }
        .to_owned()
    })
}

pub(crate) fn resource(variant: &Variant, update: &Update) -> Value {
    let mut value = json!({
        "@odata.id": format!("/redfish/v1/TaskService/Tasks/{}", update.id),
        "@odata.type": "#Task.v1_5_0.Task",
        "Id": update.id,
        "Name": format!("Update with {}", update.file),
        "TaskState": word(variant, update.phase),
        "TaskStatus": update.status,
        "PercentComplete": update.percent,
        "StartTime": seconds(update.began),
        "Messages": update.messages,
        "HidePayload": true,
    });
    if !update.monitored {
        value["TaskMonitor"] = json!(monitor_uri(&update.id));
    }
    if let Some(ended) = update.ended {
        value["EndTime"] = json!(seconds(ended));
    }
    if crate::part::has_sub_tasks(variant, update) {
        value["SubTasks"] = crate::part::sub_tasks_link(&update.id);
    }
    if variant.dell {
        value["Oem"] = json!({"Dell": crate::dell::job(variant, update)});
    }
    value
}

/// A new update, and its id.
pub(crate) fn begin(bmc: &Arc<Bmc>, state: &mut State, how: &'static str, file: &str) -> String {
    let number = state.next_update;
    state.next_update += 1;
    let jid = bmc.variant.tasks.as_ref().is_some_and(|rules| rules.ids == TaskIds::Jid);
    // Twelve digits, as a real one has.
    let id = if jid { format!("JID_{}", 417_950_000_000_u64 + number) } else { number.to_string() };
    let hidden = bmc.variant.tasks.as_ref().is_some_and(|rules| rules.location == TaskLocation::None);
    let vanishes = state.faults.has(&Fault::TaskVanishes);
    state.updates.push(Update {
        id: id.clone(),
        how,
        file: file.to_owned(),
        phase: Phase::New,
        status: "OK",
        percent: 0,
        messages: vec![],
        began: state.now(),
        ended: None,
        monitored: false,
        // An iLO shows updates in its service only.
        forgotten: hidden,
        vanishes,
        header: None,
        failed: crate::part::Failed::default(),
        pending: vec![],
    });
    step(bmc, state, &id, Phase::New, 0, Word::TaskStarted, &[&id]);
    id
}

/// The update goes on to a phase and says a word.
pub(crate) fn step(
    bmc: &Arc<Bmc>,
    state: &mut State,
    id: &str,
    phase: Phase,
    percent: u8,
    word: Word,
    args: &[&str],
) {
    let spoilt = state.update(id).map(|update| crate::part::end(update, phase, word));
    let (phase, word, status) = spoilt.unwrap_or((phase, word, None));
    let message = bmc.variant.message(word).render(args);
    let now = state.now();
    let failed = bmc.variant.tasks.as_ref().map_or("Critical", |rules| fixed(&rules.failed_status));
    let dell = bmc.variant.dell;
    let Some(update) = state.update(id) else { return };
    update.phase = phase;
    update.percent = percent;
    if phase == Phase::Failed {
        update.status = failed;
    }
    if let Some(status) = status {
        update.status = status;
    }
    if phase.is_over() {
        update.ended = Some(now);
    }
    // Dell shows the last message only; so does whoever fails, so that the reason stands first.
    if dell || phase == Phase::Failed {
        update.messages.clear();
    }
    update.messages.push(message.clone());
    if bmc.variant.hpe.is_some() {
        state.hpe.service_follows(phase, percent, message.clone());
    }
    let parts = crate::part::results(bmc, state, id);
    if let Some(update) = state.update(id) {
        update.messages.extend(parts);
    }
    event::send(bmc, state, id, &message);
    bmc.changed.notify_waiters();
}

fn fixed(status: &str) -> &'static str {
    if status == "Warning" { "Warning" } else { "Critical" }
}

/// What a client is told about an update that was accepted.
pub(crate) fn accepted(bmc: &Bmc, state: &mut State, id: &str) -> Reply {
    let Some(rules) = &bmc.variant.tasks else {
        return Reply::empty(bmc.variant.update.accepted);
    };
    let location = match rules.location {
        TaskLocation::Task => Some(format!("/redfish/v1/TaskService/Tasks/{id}")),
        TaskLocation::Monitor => Some(monitor_uri(id)),
        TaskLocation::None => None,
    };
    if state.faults.has(&Fault::NoContent) {
        return Reply::empty(204).with("location", format!("/redfish/v1/TaskService/Tasks/{id}"));
    }
    let Some(location) = location else { return Reply::success(&bmc.variant) };
    let status = bmc.variant.update.accepted;
    let reply = match state.update(id) {
        Some(update) => Reply::json(status, resource(&bmc.variant, update)),
        None => Reply::empty(status),
    };
    let reply = reply.with("location", location);
    if status == 202 { state.later(reply) } else { reply }
}

/// An update of somebody else's, which runs until it is ended.
pub(crate) fn begin_foreign(bmc: &Arc<Bmc>, state: &mut State) {
    let id = begin(bmc, state, FOREIGN, "another.img");
    step(bmc, state, &id, Phase::Writing, 10, Word::TaskProgress, &[&id, "10"]);
}

pub(crate) fn end_foreign(bmc: &Arc<Bmc>, state: &mut State) {
    let open = |update: &&Update| update.how == FOREIGN && !update.phase.is_over();
    let ids: Vec<_> = state.updates.iter().filter(open).map(|update| update.id.clone()).collect();
    for id in ids {
        step(bmc, state, &id, Phase::Done, 100, Word::TaskDone, &[&id]);
    }
}

const FOREIGN: &str = "foreign";
