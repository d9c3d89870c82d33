//! Dell's own part: jobs, the Lifecycle Controller's readiness, images that wait for `SimpleUpdate`.

use serde_json::{Value, json};

use crate::message::Word;
use crate::multipart::Part;
use crate::reply::Reply;
use crate::state::{Bmc, State, Update};
use crate::tree::{Found, READ, collection, link, seconds};
use crate::variant::{Phase, Variant};

const fn job_state(phase: Phase) -> &'static str {
    match phase {
        Phase::New => "New",
        Phase::Fetching => "Downloading",
        Phase::Verifying | Phase::Writing | Phase::Resetting => "Running",
        Phase::Scheduled => "Scheduled",
        Phase::Done => "Completed",
        Phase::Failed => "Failed",
        Phase::Intervention => "PendingActivation",
    }
}

fn job_name(update: &Update) -> String {
    let target = update.header.as_ref().and_then(|header| header.targets.first());
    target
        .map_or_else(|| "Firmware Update".to_owned(), |target| format!("Firmware Update: {}", target.device))
}

/// The job as the vendor's resource, and as `Oem.Dell` of the task.
pub(crate) fn job(variant: &Variant, update: &Update) -> Value {
    let message = update.messages.last().cloned().unwrap_or_default();
    json!({
        "@odata.type": "#DellJob.v1_4_0.DellJob",
        "@odata.id": format!("{}/Oem/Dell/Jobs/{}", variant.manager_uri(), update.id),
        "Id": update.id,
        "Name": job_name(update),
        "Description": "Job Instance",
        "JobType": "FirmwareUpdate",
        "JobState": if update.status == "Critical" { "Failed" } else { job_state(update.phase) },
        "Message": message["Message"],
        "MessageId": message["MessageId"],
        "MessageArgs": message["MessageArgs"],
        "PercentComplete": update.percent,
        "StartTime": "TIME_NOW",
        "EndTime": "TIME_NA",
        "CompletionTime": update.ended.map(seconds),
        "TargetSettingsURI": null,
    })
}

/// The job in the standard's `JobService`.
pub(crate) fn standard_job(update: &Update) -> Value {
    let state = match update.phase {
        Phase::New => "New",
        Phase::Fetching | Phase::Verifying | Phase::Writing | Phase::Resetting => "Running",
        Phase::Scheduled => "Pending",
        Phase::Done => "Completed",
        Phase::Failed => "Exception",
        Phase::Intervention => "UserIntervention",
    };
    json!({
        "@odata.id": format!("/redfish/v1/JobService/Jobs/{}", update.id),
        "@odata.type": "#Job.v1_0_7.Job",
        "Id": update.id,
        "Name": job_name(update),
        "JobState": state,
        "JobStatus": update.status,
        "PercentComplete": update.percent,
        "StartTime": seconds(update.began),
        "EndTime": update.ended.map(seconds),
        "Messages": update.messages,
        "HidePayload": true,
    })
}

pub(crate) fn find(bmc: &Bmc, state: &mut State, path: &[&str]) -> Option<Found> {
    let variant = &bmc.variant;
    let ["Managers", id, rest @ ..] = path else { return None };
    if !variant.dell || *id != variant.manager.id {
        return None;
    }
    // Firmware before 5.x has them directly below the manager.
    let rest = rest.strip_prefix(&["Oem", "Dell"]).unwrap_or(rest);
    let at = format!("{}/Oem/Dell", variant.manager_uri());
    match rest {
        ["Jobs"] => {
            let ids: Vec<_> = state.updates.iter().filter(|u| !u.forgotten).map(|u| u.id.clone()).collect();
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            let at = format!("Managers/{id}/Oem/Dell/Jobs");
            Some(collection(&at, "DellJob", "JobQueue", &ids))
        }
        ["Jobs", job_id] => {
            let update = crate::task::visible(state, job_id)?;
            Some(Found::new(job(variant, update), READ))
        }
        ["DellJobService"] => Some(Found::read(json!({
            "@odata.id": format!("{at}/DellJobService"),
            "@odata.type": "#DellJobService.v1_2_0.DellJobService",
            "Id": "DellJobService",
            "Name": "DellJobService",
            "Actions": {"#DellJobService.DeleteJobQueue": {
                "target": format!("{at}/DellJobService/Actions/DellJobService.DeleteJobQueue"),
            }},
            "Links": {"Jobs": [link(&format!("{at}/Jobs"))]},
        }))),
        ["DellLCService"] => Some(Found::read(json!({
            "@odata.id": format!("{at}/DellLCService"),
            "@odata.type": "#DellLCService.v1_7_0.DellLCService",
            "Id": "DellLCService",
            "Name": "DellLCService",
            "Actions": {"#DellLCService.GetRemoteServicesAPIStatus": {
                "target": format!("{at}/DellLCService/Actions/DellLCService.GetRemoteServicesAPIStatus"),
            }},
        }))),
        _ => None,
    }
}

/// POST to one of the vendor's actions.
pub(crate) fn action(bmc: &Bmc, state: &mut State, path: &[&str], body: &Value) -> Option<Reply> {
    let ["Managers", id, "Oem", "Dell", .., action] = path else { return None };
    if !bmc.variant.dell || *id != bmc.variant.manager.id {
        return None;
    }
    match *action {
        "DellLCService.GetRemoteServicesAPIStatus" => Some(Reply::json(200, readiness(state))),
        "DellJobService.DeleteJobQueue" => {
            let wanted = body["JobID"].as_str()?;
            let all = wanted.starts_with("JID_CLEARALL");
            let held = |u: &Update| !u.phase.is_over() && u.phase != Phase::Scheduled;
            if state.updates.iter().any(|u| held(u) && (all || u.id == wanted)) && !wanted.ends_with("_FORCE")
            {
                return Some(Reply::error(&bmc.variant, Word::Busy, &[]));
            }
            for update in state.updates.iter_mut().filter(|u| all || u.id == wanted) {
                update.forgotten = true;
                update.pending.clear();
            }
            Some(Reply::success(&bmc.variant))
        }
        _ => None,
    }
}

/// Whether the Lifecycle Controller takes work.
fn readiness(state: &State) -> Value {
    let works = state.updates.iter().any(|u| !u.phase.is_over() && u.phase != Phase::Scheduled);
    let server = match &*crate::service::post_state(state) {
        "PowerOff" => "PoweredOff",
        "FinishedPost" => "OutOfPOST",
        _ => "InPOST",
    };
    let warm = if state.is_warm() { "Ready" } else { "NotReady" };
    json!({
        "LCStatus": if works { "InUse" } else { warm },
        "RTStatus": warm,
        "ServerStatus": server,
        "Status": warm,
    })
}

/// A pushed file becomes an `Available` entry, which `SimpleUpdate` names.
pub(crate) fn stage(bmc: &Bmc, parts: &[Part]) -> Reply {
    let Some(part) = parts.iter().find(|part| part.file.is_some()) else {
        return Reply::error(&bmc.variant, Word::PropertyMissing, &["file"]);
    };
    let mut state = bmc.lock();
    if let Some(reply) = crate::update::refuse(bmc, &mut state, true, part.bytes.len() as u64) {
        return reply;
    }
    let id = format!("Available-{}", state.staged.len() + 1);
    let file = part.file.clone().unwrap_or_default();
    let uri = format!("/redfish/v1/UpdateService/FirmwareInventory/{id}");
    state.staged.push((id.clone(), file.clone(), part.bytes.clone()));
    drop(state);
    let value = json!({
        "@odata.id": uri,
        "@odata.type": "#SoftwareInventory.v1_4_0.SoftwareInventory",
        "Id": id,
        "Name": file,
    });
    Reply::json(201, value).with("location", uri)
}
