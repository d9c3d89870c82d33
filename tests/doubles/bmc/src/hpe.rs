//! HPE's own part of the update service: repository, queue of tasks, install sets.
//!
//! `hpe/upload.rs` takes components in, `hpe/queue.rs` works the queue off.

mod change;
mod queue;
mod upload;

use serde_json::{Value, json};

pub(crate) use change::{action, create, remove};
pub(crate) use queue::{uefi, work};
pub(crate) use upload::{add_from_uri, push};

use crate::fault::Fault;
use crate::image::Header;
use crate::state::{Bmc, State};
use crate::tree::{COLLECT, Found, REMOVE, collection, link, seconds};
use crate::variant::Phase;

/// As many install sets as an iLO keeps.
pub(crate) const SETS: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Hpe {
    pub(crate) service: Service,
    pub(crate) components: Vec<Component>,
    /// Sections of a component that is not whole yet: file name, bytes.
    pub(crate) partial: Option<(String, Vec<u8>)>,
    pub(crate) queue: Vec<Task>,
    pub(crate) sets: Vec<Set>,
    pub(crate) next: u64,
}

/// `UpdateService.Oem.Hpe`.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) state: &'static str,
    pub(crate) percent: Option<u8>,
    pub(crate) result: Option<Value>,
    pub(crate) etag: String,
}

impl Default for Service {
    fn default() -> Self {
        Self { state: "Idle", percent: None, result: None, etag: String::new() }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Component {
    pub(crate) id: String,
    pub(crate) file: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) header: Header,
    pub(crate) created: jiff::Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) command: String,
    pub(crate) file: String,
    pub(crate) updatable_by: Vec<String>,
    /// Which of the component's targets are meant; empty: all.
    pub(crate) targets: Vec<String>,
    pub(crate) state: &'static str,
    pub(crate) start_after: Option<jiff::Timestamp>,
    pub(crate) expire: Option<jiff::Timestamp>,
    pub(crate) wait_seconds: u64,
    pub(crate) tpm_override: bool,
    pub(crate) result: Value,
    pub(crate) created: jiff::Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) recovery: bool,
    pub(crate) sequence: Vec<Value>,
    pub(crate) created: jiff::Timestamp,
}

impl Hpe {
    pub(crate) fn number(&mut self) -> String {
        self.next += 1;
        format!("{:08x}", self.next)
    }

    /// The state of the service follows that of the update.
    pub(crate) fn service_follows(&mut self, phase: Phase, percent: u8, message: Value) {
        self.service.state = match phase {
            Phase::New | Phase::Fetching => "Uploading",
            Phase::Verifying => "Verifying",
            Phase::Writing | Phase::Scheduled | Phase::Resetting => "Updating",
            Phase::Done => "Complete",
            Phase::Failed | Phase::Intervention => "Error",
        };
        self.service.percent = (self.service.state == "Updating").then_some(percent);
        self.service.result = phase.is_over().then_some(message);
    }

    /// After a reset it knows nothing of what it did, and has no sections of a component.
    pub(crate) fn restart(&mut self) {
        self.service = Service::default();
        self.partial = None;
    }

    pub(crate) fn component(&self, file: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.file == file)
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.components.iter().map(|component| component.bytes.len() as u64).sum()
    }

    /// Components are locked while a task or a set names them.
    pub(crate) fn is_locked(&self, file: &str) -> bool {
        let by_task = self.queue.iter().any(|task| task.file == file && task.state != "Complete");
        by_task || self.sets.iter().flat_map(|set| &set.sequence).any(|step| step["Filename"] == file)
    }
}

/// Whether a fault or a reference locks it.
pub(crate) fn is_locked(state: &State, file: &str) -> bool {
    let by_fault = state.faults.look(|fault| match fault {
        Fault::LockedComponent { file: locked } => (locked == file).then_some(()),
        _ => None,
    });
    by_fault.is_some() || state.hpe.is_locked(file)
}

pub(crate) fn extend_service(bmc: &Bmc, state: &State, value: &mut Value) {
    if bmc.variant.hpe.is_none() {
        return;
    }
    let at = "/redfish/v1/UpdateService";
    let oem = |name: &str| json!({"target": format!("{at}/Actions/Oem/Hpe/HpeiLOUpdateServiceExt.{name}")});
    value["Oem"] = json!({"Hpe": {
        "@odata.type": "#HpeiLOUpdateServiceExt.v2_2_0.HpeiLOUpdateServiceExt",
        "Accept3rdPartyFirmware": false,
        "DowngradePolicy": "AllowDowngrade",
        "CurrentTime": seconds(state.now()),
        "State": state.hpe.service.state,
        "FlashProgressPercent": state.hpe.service.percent,
        "UploadCurrentEtag": state.hpe.service.etag,
        "ComponentRepository": link(&format!("{at}/ComponentRepository")),
        "UpdateTaskQueue": link(&format!("{at}/UpdateTaskQueue")),
        "InstallSets": link(&format!("{at}/InstallSets")),
        "Actions": {
            "#HpeiLOUpdateServiceExt.AddFromUri": oem("AddFromUri"),
            "#HpeiLOUpdateServiceExt.DeleteInstallSets": oem("DeleteInstallSets"),
            "#HpeiLOUpdateServiceExt.DeleteUnlockedComponents": oem("DeleteUnlockedComponents"),
            "#HpeiLOUpdateServiceExt.DeleteUpdateTaskQueueItems": oem("DeleteUpdateTaskQueueItems"),
        },
    }});
    if let Some(result) = &state.hpe.service.result {
        value["Oem"]["Hpe"]["Result"] =
            json!({"MessageId": result["MessageId"], "MessageArgs": result["MessageArgs"]});
    }
}

pub(crate) fn find(bmc: &Bmc, state: &mut State, path: &[&str]) -> Option<Found> {
    let rules = bmc.variant.hpe.as_ref()?;
    foreign_entry(state);
    let hpe = &state.hpe;
    match path {
        ["ResourceDirectory"] => Some(Found::read(directory(&bmc.variant))),
        ["UpdateService", "ComponentRepository"] => {
            let ids: Vec<_> = hpe.components.iter().map(|component| component.id.as_str()).collect();
            let at = "UpdateService/ComponentRepository";
            let mut found = collection(at, "HpeComponent", "Component Repository", &ids);
            let free = rules.repository_bytes.saturating_sub(hpe.used_bytes());
            let full = state.faults.look(|fault| (*fault == Fault::NoRoom).then_some(())).is_some();
            found.value["Oem"] = json!({"Hpe": {
                "@odata.type": "#HpeComponentRepositoryInformation.v2_0_0.HpeComponentRepositoryInformation",
                "ComponentCount": ids.len(),
                "FreeSizeBytes": if full { 0 } else { free },
                "TotalSizeBytes": rules.repository_bytes,
            }});
            Some(found)
        }
        ["UpdateService", "ComponentRepository", id] => {
            let component = hpe.components.iter().find(|component| component.id == **id)?.clone();
            Some(Found::new(component_resource(state, &component), REMOVE))
        }
        ["UpdateService", "UpdateTaskQueue"] => {
            let ids: Vec<_> = hpe.queue.iter().map(|task| task.id.as_str()).collect();
            let at = "UpdateService/UpdateTaskQueue";
            let mut found = collection(at, "HpeComponentUpdateTaskQueue", "Update Task Queue", &ids);
            found.allow = COLLECT;
            Some(found)
        }
        ["UpdateService", "UpdateTaskQueue", id] => {
            let task = hpe.queue.iter().find(|task| task.id == **id)?;
            Some(Found::new(task_resource(task), REMOVE))
        }
        ["UpdateService", "InstallSets"] => {
            let ids: Vec<_> = hpe.sets.iter().map(|set| set.id.as_str()).collect();
            let at = "UpdateService/InstallSets";
            let mut found = collection(at, "HpeComponentInstallSet", "Install Sets", &ids);
            found.allow = COLLECT;
            Some(found)
        }
        ["UpdateService", "InstallSets", id] => {
            let set = hpe.sets.iter().find(|set| set.id == **id)?;
            Some(Found::new(set_resource(set), REMOVE))
        }
        _ => None,
    }
}

/// Where resources of each kind are, for clients that do not walk.
fn directory(variant: &crate::variant::Variant) -> Value {
    let kinds = [
        ("ComputerSystem.v1_13_0.ComputerSystem", variant.system_uri()),
        ("Manager.v1_9_0.Manager", variant.manager_uri()),
        ("UpdateService.v1_9_0.UpdateService", "/redfish/v1/UpdateService".to_owned()),
        ("AccountService.v1_7_0.AccountService", "/redfish/v1/AccountService".to_owned()),
        ("SessionService.v1_1_8.SessionService", "/redfish/v1/SessionService".to_owned()),
    ];
    let instance = |kind: &str, at: &str| json!({"@odata.id": at, "@odata.type": format!("#{kind}"), "ETag": "W/\"00000001\"", "HttpMethods": ["GET"]});
    let instances: Vec<_> = kinds.iter().map(|(kind, at)| instance(kind, at)).collect();
    json!({
        "@odata.id": "/redfish/v1/ResourceDirectory",
        "@odata.type": "#HpeiLOResourceDirectory.v2_0_0.HpeiLOResourceDirectory",
        "Id": "ResourceDirectory",
        "Name": "Resource Directory",
        "Instances": instances,
    })
}

/// An entry of somebody else's, put before all others once the fault is on.
fn foreign_entry(state: &mut State) {
    let by = state.faults.look(|fault| match fault {
        Fault::ForeignEntry { updatable_by } => Some(updatable_by.clone()),
        _ => None,
    });
    let known = state.hpe.queue.iter().any(|task| task.id == "foreign");
    let Some(by) = by.filter(|_| !known) else { return };
    let task = Task {
        id: "foreign".to_owned(),
        name: "Firmware of another manager".to_owned(),
        command: "ApplyUpdate".to_owned(),
        file: "another.fwpkg".to_owned(),
        updatable_by: vec![by],
        targets: vec![],
        state: "Pending",
        start_after: None,
        expire: None,
        wait_seconds: 0,
        tpm_override: false,
        result: Value::Null,
        created: state.now(),
    };
    state.hpe.queue.insert(0, task);
}

/// Who may install it: as the image says, or the inventory.
fn updatable_by(state: &State, header: &Header) -> Vec<String> {
    if !header.updatable_by.is_empty() {
        return header.updatable_by.clone();
    }
    let first = header.targets.first().and_then(|target| state.device(&target.device));
    first.map(|entry| entry.updatable_by.clone()).unwrap_or_default()
}

fn component_resource(state: &State, component: &Component) -> Value {
    let first = component.header.targets.first();
    let target = first.and_then(|target| state.device(&target.device));
    let entries = component.header.targets.iter().filter_map(|target| state.device(&target.device));
    let numbers: Vec<_> =
        entries.filter_map(|entry| entry.oem["Hpe"]["Targets"].as_array()).flatten().cloned().collect();
    json!({
        "@odata.id": format!("/redfish/v1/UpdateService/ComponentRepository/{}", component.id),
        "@odata.type": "#HpeComponent.v1_0_1.HpeComponent",
        "Id": component.id,
        "Name": component.file,
        "Filename": component.file,
        "Filepath": format!("/repository/{}", component.file),
        "ComponentUri": format!("/fwrepo/{}", component.file),
        "Version": first.map(|target| target.version.clone()),
        "SizeBytes": component.bytes.len(),
        "Created": seconds(component.created),
        "Locked": is_locked(state, &component.file),
        "Activates": "AfterReboot",
        "UpdatableBy": updatable_by(state, &component.header),
        "Targets": numbers,
        "DeviceClass": target.map(|entry| entry.oem["Hpe"]["DeviceClass"].clone()),
    })
}

fn task_resource(task: &Task) -> Value {
    let time = |at: Option<jiff::Timestamp>| at.map(seconds);
    let mut value = json!({
        "@odata.id": format!("/redfish/v1/UpdateService/UpdateTaskQueue/{}", task.id),
        "@odata.type": "#HpeComponentUpdateTask.v1_3_0.HpeComponentUpdateTask",
        "Id": task.id,
        "Name": task.name,
        "Command": task.command,
        "UpdatableBy": task.updatable_by,
        "State": task.state,
        "Created": seconds(task.created),
        "StartAfter": time(task.start_after),
        "Expire": time(task.expire),
        "TPMOverride": task.tpm_override,
        "Result": task.result,
    });
    if !task.targets.is_empty() {
        value["Targets"] = json!(task.targets);
    }
    if task.command == "Wait" {
        value["WaitTimeSeconds"] = json!(task.wait_seconds);
    } else if !task.file.is_empty() {
        value["Filename"] = json!(task.file);
    }
    value
}

fn set_resource(set: &Set) -> Value {
    let at = format!("/redfish/v1/UpdateService/InstallSets/{}", set.id);
    json!({
        "@odata.id": at,
        "@odata.type": "#HpeComponentInstallSet.v1_3_0.HpeComponentInstallSet",
        "Id": set.id,
        "Name": set.name,
        "IsRecovery": set.recovery,
        "Created": seconds(set.created),
        "Sequence": set.sequence,
        "Actions": {"#HpeComponentInstallSet.Invoke": {
            "target": format!("{at}/Actions/HpeComponentInstallSet.Invoke"),
        }},
    })
}
