//! What clients change in repository, queue and install sets.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{SETS, Set, Task, is_locked};
use crate::flash::device_of;
use crate::image::digest;
use crate::message::Word;
use crate::reply::{Reply, extended};
use crate::state::{Bmc, State};
use crate::variant::Targets;

/// POST to a collection.
pub(crate) fn create(bmc: &Arc<Bmc>, state: &mut State, path: &[&str], body: &Value) -> Option<Reply> {
    bmc.variant.hpe.as_ref()?;
    match path {
        ["UpdateService", "UpdateTaskQueue"] => Some(match new_task(bmc, state, body) {
            Ok(task) => {
                let reply = created(bmc, "UpdateTaskQueue", &task.id);
                state.hpe.queue.push(task);
                bmc.changed.notify_waiters();
                reply
            }
            Err(reply) => reply,
        }),
        ["UpdateService", "InstallSets"] => Some(new_set(bmc, state, body)),
        _ => None,
    }
}

fn created(bmc: &Bmc, collection: &str, id: &str) -> Reply {
    let body = extended(&[bmc.variant.message(Word::Created).render(&[])]);
    Reply::json(201, body).with("location", format!("/redfish/v1/UpdateService/{collection}/{id}"))
}

/// The same name has the same link on every iLO.
fn id_of(name: &str) -> String {
    digest(name.as_bytes()).chars().take(8).collect()
}

/// The component that a task or a step names. The manual says `Component`, as a name or as a link; the
/// vendor's client says `Filename`.
fn file_of(state: &State, body: &Value) -> String {
    let link = body["Component"]["@odata.id"].as_str().map(|link| link.trim_end_matches('/'));
    let id = link.and_then(|link| link.rsplit('/').next());
    let linked = id.and_then(|id| state.hpe.components.iter().find(|one| one.id == id));
    let named = body["Filename"].as_str().or_else(|| body["Component"].as_str());
    linked.map_or_else(|| named.unwrap_or_default().to_owned(), |one| one.file.clone())
}

fn text<'a>(bmc: &Bmc, body: &'a Value, name: &str) -> Result<&'a str, Reply> {
    body[name].as_str().ok_or_else(|| Reply::error(&bmc.variant, Word::PropertyMissing, &[name]))
}

fn new_task(bmc: &Bmc, state: &mut State, body: &Value) -> Result<Task, Reply> {
    let name = text(bmc, body, "Name")?;
    let command = text(bmc, body, "Command")?;
    if state.hpe.queue.iter().any(|task| task.name == name) {
        return Err(Reply::error(&bmc.variant, Word::AlreadyExists, &["UpdateTask", "Name", name]));
    }
    if !["ApplyUpdate", "ResetServer", "ResetBmc", "Wait"].contains(&command) {
        return Err(Reply::error(&bmc.variant, Word::PropertyValue, &[command, "Command"]));
    }
    let file = &*file_of(state, body);
    if command == "ApplyUpdate" && state.hpe.component(file).is_none() {
        return Err(Reply::error(&bmc.variant, Word::PropertyValue, &[file, "Filename"]));
    }
    let time = |name: &str| match &body[name] {
        Value::String(text) => text
            .parse::<jiff::Timestamp>()
            .map(Some)
            .map_err(|_| Reply::error(&bmc.variant, Word::PropertyValue, &[text, name])),
        _ => Ok(None),
    };
    let (start_after, expire) = (time("StartAfter")?, time("Expire")?);
    let agents: Vec<String> = serde_json::from_value(body["UpdatableBy"].clone()).unwrap_or_default();
    let agents = match (agents.is_empty(), state.hpe.component(file)) {
        (true, Some(component)) => super::updatable_by(state, &component.header),
        (true, None) => vec!["Bmc".to_owned()],
        (false, _) => agents,
    };
    let targets: Vec<String> = serde_json::from_value(body["Targets"].clone()).unwrap_or_default();
    let unknown = targets.iter().find(|target| {
        bmc.variant.update.targets == Targets::None || device_of(bmc, state, target).is_none()
    });
    if let Some(target) = unknown {
        return Err(Reply::error(&bmc.variant, Word::WrongTarget, &[target, "Targets"]));
    }
    Ok(Task {
        targets,
        id: id_of(name),
        name: name.to_owned(),
        command: command.to_owned(),
        file: file.to_owned(),
        updatable_by: agents,
        state: "Pending",
        start_after,
        expire,
        wait_seconds: body["WaitTimeSeconds"].as_u64().unwrap_or(0),
        tpm_override: body["TPMOverride"].as_bool().unwrap_or(false),
        result: json!({"MessageId": "", "MessageArgs": []}),
        created: state.now(),
    })
}

fn new_set(bmc: &Bmc, state: &mut State, body: &Value) -> Reply {
    let name = match text(bmc, body, "Name") {
        Ok(name) => name.to_owned(),
        Err(reply) => return reply,
    };
    let mut sequence = body["Sequence"].as_array().cloned().unwrap_or_default();
    if state.hpe.sets.iter().any(|set| set.name == name) {
        return Reply::error(&bmc.variant, Word::AlreadyExists, &["InstallSet", "Name", &name]);
    }
    if state.hpe.sets.len() >= SETS {
        return Reply::error(&bmc.variant, Word::NoRoom, &[]);
    }
    let mut names = vec![];
    for step in &mut sequence {
        let file = file_of(state, step);
        if step["Command"] == "ApplyUpdate" {
            if state.hpe.component(&file).is_none() {
                return Reply::error(&bmc.variant, Word::PropertyValue, &[&file, "Filename"]);
            }
            // So that the component is locked, however it was named.
            step["Filename"] = json!(file);
        }
        // They become the names of tasks.
        let Some(name) = step["Name"].as_str().filter(|name| !names.contains(&(*name).to_owned())) else {
            return Reply::error(&bmc.variant, Word::PropertyValue, &[&step["Name"].to_string(), "Name"]);
        };
        names.push(name.to_owned());
    }
    let set = Set {
        id: id_of(&name),
        name,
        recovery: body["IsRecovery"].as_bool().unwrap_or(false),
        sequence,
        created: state.now(),
    };
    let reply = created(bmc, "InstallSets", &set.id);
    state.hpe.sets.push(set);
    reply
}

/// DELETE of a member.
pub(crate) fn remove(bmc: &Bmc, state: &mut State, path: &[&str]) -> Option<Reply> {
    bmc.variant.hpe.as_ref()?;
    match path {
        ["UpdateService", "UpdateTaskQueue", id] => {
            state.hpe.queue.iter().find(|task| task.id == **id)?;
            state.hpe.queue.retain(|task| task.id != **id);
        }
        ["UpdateService", "InstallSets", id] => {
            state.hpe.sets.iter().find(|set| set.id == **id)?;
            state.hpe.sets.retain(|set| set.id != **id);
        }
        ["UpdateService", "ComponentRepository", id] => {
            let file = state.hpe.components.iter().find(|one| one.id == **id)?.file.clone();
            if is_locked(state, &file) {
                return Some(Reply::error(&bmc.variant, Word::Locked, &[]));
            }
            state.hpe.components.retain(|component| component.id != **id);
        }
        _ => return None,
    }
    bmc.changed.notify_waiters();
    Some(Reply::success(&bmc.variant))
}

/// POST to an action that needs no waiting.
pub(crate) fn action(bmc: &Arc<Bmc>, state: &mut State, path: &[&str], body: &Value) -> Option<Reply> {
    bmc.variant.hpe.as_ref()?;
    match path {
        ["UpdateService", "InstallSets", id, "Actions", "HpeComponentInstallSet.Invoke"] => {
            let set = state.hpe.sets.iter().find(|set| set.id == **id)?.clone();
            Some(invoke(bmc, state, &set, body))
        }
        ["UpdateService", "Actions", "Oem", "Hpe", action] => {
            match *action {
                "HpeiLOUpdateServiceExt.DeleteInstallSets" => state.hpe.sets.retain(|set| set.recovery),
                "HpeiLOUpdateServiceExt.DeleteUpdateTaskQueueItems" => state.hpe.queue.clear(),
                "HpeiLOUpdateServiceExt.DeleteUnlockedComponents" => {
                    let files: Vec<_> = state.hpe.components.iter().map(|one| one.file.clone()).collect();
                    let locked: Vec<_> = files.into_iter().filter(|file| is_locked(state, file)).collect();
                    state.hpe.components.retain(|component| locked.contains(&component.file));
                }
                _ => return None,
            }
            Some(Reply::success(&bmc.variant))
        }
        _ => None,
    }
}

fn invoke(bmc: &Arc<Bmc>, state: &mut State, set: &Set, body: &Value) -> Reply {
    if body["ClearTaskQueue"] == true {
        state.hpe.queue.retain(|task| task.state == "InProgress");
    }
    let mut tasks = vec![];
    for step in &set.sequence {
        let mut wanted = step.clone();
        for name in ["StartAfter", "Expire", "TPMOverride"] {
            if !body[name].is_null() {
                wanted[name] = body[name].clone();
            }
        }
        match new_task(bmc, state, &wanted) {
            Ok(task) => tasks.push(task),
            Err(reply) => return reply,
        }
    }
    state.hpe.queue.extend(tasks);
    bmc.changed.notify_waiters();
    Reply::success(&bmc.variant)
}
