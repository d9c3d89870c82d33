//! The resources that a client can GET: one function for each kind.

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::state::{Bmc, State};
use crate::variant::{Firmware, Variant, Verify};
use crate::{dell, hpe, service, task, trust};

/// A resource, and what may be done with it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) value: Value,
    pub(crate) allow: &'static [&'static str],
    pub(crate) etag: Option<String>,
    /// A collection, so that `$expand` and pages apply.
    pub(crate) members: bool,
}

pub(crate) const READ: &[&str] = &["GET", "HEAD"];
pub(crate) const CHANGE: &[&str] = &["GET", "HEAD", "PATCH"];
pub(crate) const COLLECT: &[&str] = &["GET", "HEAD", "POST"];
pub(crate) const REMOVE: &[&str] = &["GET", "HEAD", "DELETE"];
pub(crate) const ALL: &[&str] = &["GET", "HEAD", "PATCH", "DELETE"];

impl Found {
    pub(crate) const fn read(value: Value) -> Self {
        Self::new(value, READ)
    }

    pub(crate) const fn new(value: Value, allow: &'static [&'static str]) -> Self {
        Self { value, allow, etag: None, members: false }
    }
}

/// What is at this path below `/redfish/v1`.
pub(crate) fn find(bmc: &Bmc, state: &mut State, path: &[&str]) -> Option<Found> {
    let variant = &bmc.variant;
    let update_gone = state.faults.look(|f| matches!(f, Fault::NoUpdateService).then_some(())).is_some();
    match path {
        [] => Some(Found::read(root(variant, state, update_gone))),
        ["odata"] => Some(Found::read(odata(variant, state, update_gone))),
        ["Systems"] => {
            Some(collection("Systems", "ComputerSystem", "Computer systems", &[&variant.system.id]))
        }
        ["Systems", id] if *id == variant.system.id => Some(Found::new(system(bmc, state), CHANGE)),
        ["Managers"] => Some(collection("Managers", "Manager", "Managers", &[&variant.manager.id])),
        ["Managers", id] if *id == variant.manager.id => Some(Found::new(manager(bmc, state), CHANGE)),
        ["Managers", id, "NetworkProtocol"] if *id == variant.manager.id => {
            Some(Found::read(network_protocol(variant)))
        }
        ["Chassis"] => Some(collection("Chassis", "Chassis", "Chassis", &[&variant.chassis])),
        ["Chassis", id] if *id == variant.chassis => Some(Found::read(chassis(variant, state))),
        ["UpdateService", ..] if update_gone => None,
        ["UpdateService"] => Some(Found::new(service::update_service(bmc, state), CHANGE)),
        ["UpdateService", "FirmwareInventory"] => Some(inventory(state, "FirmwareInventory", variant)),
        ["UpdateService", "SoftwareInventory"] if !variant.software.is_empty() => {
            Some(inventory(state, "SoftwareInventory", variant))
        }
        ["UpdateService", kind @ ("FirmwareInventory" | "SoftwareInventory"), member] => {
            inventory_member(variant, state, kind, member).map(Found::read)
        }
        ["UpdateService", "RemoteServerCertificates", rest @ ..] => trust::find(bmc, state, rest),
        ["TaskService" | "JobService", ..] => task::find(bmc, state, path),
        ["SessionService" | "AccountService" | "EventService", ..] => service::find(bmc, state, path),
        ["UpdateService", "SDFlexUpdateAllActionInfo"] if variant.update.bundle.is_some() => {
            Some(Found::read(service::bundle_info()))
        }
        // There are none to read, but HPE's client wants the collections.
        ["JsonSchemas"] if variant.hpe.is_some() => {
            Some(collection("JsonSchemas", "JsonSchemaFile", "Schemas", &[]))
        }
        ["Registries"] if variant.hpe.is_some() => {
            Some(collection("Registries", "MessageRegistryFile", "Registries", &[]))
        }
        _ => hpe::find(bmc, state, path).or_else(|| dell::find(bmc, state, path)),
    }
}

pub(crate) fn link(path: &str) -> Value {
    json!({"@odata.id": path})
}

/// A collection below `/redfish/v1`.
pub(crate) fn collection(at: &str, kind: &str, name: &str, members: &[&str]) -> Found {
    let links: Vec<_> = members.iter().map(|member| link(&format!("/redfish/v1/{at}/{member}"))).collect();
    let value = json!({
        "@odata.id": format!("/redfish/v1/{at}"),
        "@odata.type": format!("#{kind}Collection.{kind}Collection"),
        "Name": name,
        "Members": links,
        "Members@odata.count": links.len(),
    });
    Found { value, allow: READ, etag: None, members: true }
}

fn root(variant: &Variant, state: &State, update_gone: bool) -> Value {
    let mut value = json!({
        "@odata.id": "/redfish/v1/",
        "@odata.type": "#ServiceRoot.v1_5_0.ServiceRoot",
        "Id": "RootService",
        "Name": "Root Service",
        "RedfishVersion": variant.redfish_version,
        "UUID": "6f7c2b4e-1d2a-4c7a-9a51-5b7a5c1b0d42",
        "Product": variant.product,
        "Vendor": if variant.vendor == "Hpe" { "HPE" } else { variant.vendor.as_str() },
        "Systems": link("/redfish/v1/Systems"),
        "Managers": link("/redfish/v1/Managers"),
        "Chassis": link("/redfish/v1/Chassis"),
        "Links": {},
        "ProtocolFeaturesSupported": {
            "ExpandQuery": {
                "ExpandAll": variant.query.expand, "Levels": variant.query.expand,
                "Links": variant.query.expand, "NoLinks": variant.query.expand, "MaxLevels": 1,
            },
            "SelectQuery": variant.query.select,
            "FilterQuery": false,
            "OnlyMemberQuery": variant.query.only,
            "ExcerptQuery": false,
        },
        "Oem": {},
    });
    let mut add = |when: bool, name: &str, path: &str| {
        if when {
            value[name] = link(path);
        }
    };
    add(!update_gone, "UpdateService", "/redfish/v1/UpdateService");
    add(variant.sessions.is_some(), "SessionService", "/redfish/v1/SessionService");
    add(variant.accounts, "AccountService", "/redfish/v1/AccountService");
    add(variant.events.is_some(), "EventService", "/redfish/v1/EventService");
    add(variant.tasks.is_some(), "Tasks", "/redfish/v1/TaskService");
    add(variant.dell, "JobService", "/redfish/v1/JobService");
    add(variant.hpe.is_some(), "JsonSchemas", "/redfish/v1/JsonSchemas");
    add(variant.hpe.is_some(), "Registries", "/redfish/v1/Registries");
    // DSP0266 wants the link even of a service that does not allow sessions to be made.
    value["Links"]["Sessions"] = link("/redfish/v1/SessionService/Sessions");
    value["Oem"] = service::root_oem(variant, state);
    value
}

fn odata(variant: &Variant, state: &State, update_gone: bool) -> Value {
    let all = root(variant, state, update_gone);
    let services: Vec<_> = all
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name, value.get("@odata.id")?)))
        .map(|(name, url)| json!({"name": name, "kind": "Singleton", "url": url}))
        .collect();
    json!({"@odata.context": "/redfish/v1/$metadata", "value": services})
}

fn system(bmc: &Bmc, state: &mut State) -> Value {
    let variant = &bmc.variant;
    let uri = variant.system_uri();
    let post_state = service::post_state(state);
    let bios = state.device("bios").map(|entry| entry.version.clone());
    let mut value = json!({
        "@odata.id": uri,
        "@odata.type": "#ComputerSystem.v1_13_0.ComputerSystem",
        "Id": variant.system.id,
        "Name": "System",
        "SystemType": "Physical",
        "Manufacturer": variant.system.manufacturer,
        "Model": variant.system.model,
        "SerialNumber": "DOUBLE0001",
        "SKU": "P00001-B21",
        "UUID": "38947555-7742-3448-3784-823347823834",
        "HostName": "host-of-the-double",
        "BiosVersion": bios,
        "PowerState": service::power_state(state),
        "BootProgress": {"LastState": service::boot_progress(&post_state)},
        "Status": {"State": "Enabled", "Health": "OK", "HealthRollup": "OK"},
        "Links": {
            "Chassis": [link(&format!("/redfish/v1/Chassis/{}", variant.chassis))],
            "ManagedBy": [link(&variant.manager_uri())],
        },
        "Actions": {"#ComputerSystem.Reset": {
            "target": format!("{uri}/Actions/ComputerSystem.Reset"),
            "ResetType@Redfish.AllowableValues": variant.system.reset_types,
        }},
        "Oem": {},
    });
    value["Oem"] = service::system_oem(variant, state);
    value
}

fn manager(bmc: &Bmc, state: &State) -> Value {
    let variant = &bmc.variant;
    let uri = variant.manager_uri();
    let mut value = json!({
        "@odata.id": uri,
        "@odata.type": "#Manager.v1_9_0.Manager",
        "Id": variant.manager.id,
        "Name": "Manager",
        "ManagerType": "BMC",
        "Model": variant.manager.model,
        "UUID": "83590768-e977-525a-825d-9d3aee6b3d9f",
        "ServiceEntryPointUUID": "6f7c2b4e-1d2a-4c7a-9a51-5b7a5c1b0d42",
        "FirmwareVersion": state.device("bmc").map(|entry| entry.version.clone()),
        "DateTime": seconds(state.now()),
        "DateTimeLocalOffset": "+00:00",
        "PowerState": "On",
        "NetworkProtocol": link(&format!("{uri}/NetworkProtocol")),
        "Status": {"State": "Enabled", "Health": "OK"},
        "Links": {
            "ManagerForServers": [link(&variant.system_uri())],
            "ManagerForChassis": [link(&format!("/redfish/v1/Chassis/{}", variant.chassis))],
        },
        "Actions": {"#Manager.Reset": {
            "target": format!("{uri}/Actions/Manager.Reset"),
            "ResetType@Redfish.AllowableValues": variant.manager.reset_types,
        }},
        "Oem": {},
    });
    value["Oem"] = service::manager_oem(variant, state);
    value
}

/// A time as Redfish writes it: no fraction, `Z`.
pub(crate) fn seconds(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn network_protocol(variant: &Variant) -> Value {
    json!({
        "@odata.id": format!("{}/NetworkProtocol", variant.manager_uri()),
        "@odata.type": "#ManagerNetworkProtocol.v1_5_0.ManagerNetworkProtocol",
        "Id": "NetworkProtocol",
        "Name": "Manager Network Protocol",
        "HostName": "bmc-of-the-double",
        "FQDN": "bmc-of-the-double",
        "HTTP": {"ProtocolEnabled": true, "Port": 80},
        "HTTPS": {"ProtocolEnabled": true, "Port": 443},
        "Status": {"State": "Enabled", "Health": "OK"},
    })
}

fn chassis(variant: &Variant, state: &State) -> Value {
    json!({
        "@odata.id": format!("/redfish/v1/Chassis/{}", variant.chassis),
        "@odata.type": "#Chassis.v1_14_0.Chassis",
        "Id": variant.chassis,
        "Name": "Chassis",
        "ChassisType": "RackMount",
        "Manufacturer": variant.system.manufacturer,
        "Model": variant.system.model,
        "SerialNumber": "DOUBLE0001",
        "PowerState": state.power.word(),
        "Status": {"State": "Enabled", "Health": "OK"},
        "Links": {
            "ComputerSystems": [link(&variant.system_uri())],
            "ManagedBy": [link(&variant.manager_uri())],
        },
    })
}

fn inventory(state: &mut State, kind: &str, variant: &Variant) -> Found {
    let mut names: Vec<_> = entries(state, kind, variant).iter().map(Firmware::member).collect();
    if kind == "FirmwareInventory" {
        names.extend(state.staged.iter().map(|(id, ..)| id.clone()));
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut found = collection(&format!("UpdateService/{kind}"), "SoftwareInventory", "Inventory", &names);
    if kind == "FirmwareInventory" && variant.dell {
        found.allow = COLLECT;
        found.etag = Some("\"inventory\"".to_owned());
    }
    if state.faults.has(&Fault::OddMembers)
        && let Some(members) = found.value["Members"].as_array_mut()
    {
        members.push(json!({"@odata.id": null}));
        members.push(json!("/redfish/v1/UpdateService/FirmwareInventory/Text"));
        members.push(json!({"Name": "no link"}));
        members.push(json!(null));
        found.value["Members@odata.count"] = json!("many");
    }
    found
}

fn entries<'a>(state: &'a State, kind: &str, variant: &'a Variant) -> &'a [Firmware] {
    if kind == "FirmwareInventory" { &state.firmware } else { &variant.software }
}

fn inventory_member(variant: &Variant, state: &mut State, kind: &str, member: &str) -> Option<Value> {
    if kind == "FirmwareInventory"
        && let Some((id, file, _)) = state.staged.iter().find(|(id, ..)| id == member)
    {
        return Some(entry_resource(kind, id, file, None, true));
    }
    let entry = entries(state, kind, variant).iter().find(|entry| entry.member() == member)?.clone();
    let mut value = entry_resource(kind, member, &entry.name, Some(&entry.version), entry.updateable);
    if entry.oem.is_object() {
        value["Oem"] = entry.oem.clone();
    }
    let related = match entry.device.as_str() {
        "bmc" => Some(variant.manager_uri()),
        "bios" => Some(variant.system_uri()),
        _ => None,
    };
    if let Some(related) = related {
        value["RelatedItem"] = json!([link(&related)]);
        value["RelatedItem@odata.count"] = json!(1);
    }
    let versionless = Fault::MemberWithoutVersion { device: entry.device };
    if state.faults.has(&versionless)
        && let Some(fields) = value.as_object_mut()
    {
        fields.remove("Version");
    }
    Some(value)
}

fn entry_resource(kind: &str, id: &str, name: &str, version: Option<&str>, updateable: bool) -> Value {
    json!({
        "@odata.id": format!("/redfish/v1/UpdateService/{kind}/{id}"),
        "@odata.type": "#SoftwareInventory.v1_4_0.SoftwareInventory",
        "Id": id,
        "Name": name,
        "Version": version,
        "Updateable": updateable,
        "Status": {"State": "Enabled", "Health": "OK"},
    })
}

/// Whether fetches check the server's certificate.
pub(crate) const fn verifies(rule: Verify, set: bool) -> bool {
    match rule {
        Verify::Never => false,
        Verify::Always => true,
        Verify::Settable => set,
    }
}
