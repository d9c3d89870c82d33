//! The services: updates, sessions, accounts; and what vendors add to system and manager.

use serde_json::{Value, json};

use crate::account::Account;
use crate::fault::Fault;
use crate::state::{Bmc, Power, State};
use crate::tree::{ALL, COLLECT, Found, REMOVE, collection, link, seconds};
use crate::variant::{Variant, Verify};
use crate::{hpe, subscription};

pub(crate) const PASSWORD_MIN: usize = 8;
pub(crate) const PASSWORD_MAX: usize = 40;

pub(crate) fn update_service(bmc: &Bmc, state: &mut State) -> Value {
    let rules = &bmc.variant.update;
    let at = "/redfish/v1/UpdateService";
    let enabled = state.faults.look(|f| matches!(f, Fault::ServiceDisabled).then_some(())).is_none();
    let mut value = json!({
        "@odata.id": at,
        "@odata.type": "#UpdateService.v1_9_0.UpdateService",
        "Id": "UpdateService",
        "Name": "Update Service",
        "ServiceEnabled": enabled,
        "Status": {"State": if enabled { "Enabled" } else { "Disabled" }, "Health": "OK"},
        "FirmwareInventory": link(&format!("{at}/FirmwareInventory")),
        "MaxImageSizeBytes": rules.max_bytes,
        "Actions": {},
    });
    if !bmc.variant.software.is_empty() {
        value["SoftwareInventory"] = link(&format!("{at}/SoftwareInventory"));
    }
    if let Some(multipart) = &rules.multipart {
        value["MultipartHttpPushUri"] = json!(multipart);
    }
    if let Some(push) = &rules.push {
        value["HttpPushUri"] = json!(push.uri);
        if !rules.apply_times.is_empty() {
            value["HttpPushUriOptions"] = json!({"HttpPushUriApplyTime": {"ApplyTime": rules.default_apply}});
        }
    }
    if let Some(simple) = &rules.simple {
        let protocols: Vec<_> = simple.schemes.iter().map(|scheme| scheme.to_uppercase()).collect();
        value["Actions"]["#UpdateService.SimpleUpdate"] = json!({
            "target": format!("{at}/Actions/UpdateService.SimpleUpdate"),
            "TransferProtocol@Redfish.AllowableValues": protocols,
        });
        if !rules.apply_times.is_empty() {
            value["Actions"]["#UpdateService.SimpleUpdate"]["@Redfish.OperationApplyTimeSupport"] = json!({
                "@odata.type": "#Settings.v1_3_0.OperationApplyTimeSupport",
                "SupportedValues": rules.apply_times,
            });
        }
        if simple.verify == Verify::Settable {
            value["VerifyRemoteServerCertificate"] = json!(state.settings.verify_server);
        }
        if simple.certificates.is_some() {
            value["RemoteServerCertificates"] = link(&format!("{at}/RemoteServerCertificates"));
        }
    }
    if let Some(bundle) = &rules.bundle {
        value["Actions"]["Oem"] = json!({"Hpe": {&bundle.action: {
            "target": format!("{at}/Actions/{}", bundle.uri),
            "@Redfish.ActionInfo": format!("{at}/SDFlexUpdateAllActionInfo"),
        }}});
    }
    hpe::extend_service(bmc, state, &mut value);
    value
}

/// The parameters of the action that takes a bundle.
pub(crate) fn bundle_info() -> Value {
    json!({
        "@odata.id": "/redfish/v1/UpdateService/SDFlexUpdateAllActionInfo",
        "@odata.type": "#ActionInfo.v1_1_0.ActionInfo",
        "Id": "SDFlexUpdateAllActionInfo",
        "Name": "UpdateAll Action Info",
        "Parameters": [
            {"Name": "ImageURI", "Required": true, "DataType": "String"},
            {"Name": "Reinstall", "Required": false, "DataType": "Boolean"},
            {"Name": "ExcludeNparFw", "Required": false, "DataType": "Boolean"},
        ],
    })
}

pub(crate) fn find(bmc: &Bmc, state: &mut State, path: &[&str]) -> Option<Found> {
    let variant = &bmc.variant;
    match path {
        ["SessionService", ..] => sessions(variant, state, path),
        ["AccountService", ..] if variant.accounts => accounts(variant, state, path),
        ["EventService", ..] => subscription::find(bmc, state, path),
        _ => None,
    }
}

fn sessions(variant: &Variant, state: &mut State, path: &[&str]) -> Option<Found> {
    let rules = variant.sessions.as_ref()?;
    state.expire_sessions(rules);
    match path {
        ["SessionService"] => Some(Found::read(json!({
            "@odata.id": "/redfish/v1/SessionService",
            "@odata.type": "#SessionService.v1_1_8.SessionService",
            "Id": "SessionService",
            "Name": "Session Service",
            "ServiceEnabled": true,
            "SessionTimeout": rules.idle_seconds.max(30),
            "Sessions": link("/redfish/v1/SessionService/Sessions"),
            "Status": {"State": "Enabled", "Health": "OK"},
        }))),
        ["SessionService", "Sessions"] => {
            let ids: Vec<_> = state.people.sessions.iter().map(|session| session.id.as_str()).collect();
            let mut found = collection("SessionService/Sessions", "Session", "Sessions", &ids);
            found.allow = COLLECT;
            Some(found)
        }
        ["SessionService", "Sessions", id] => {
            let session = state.people.sessions.iter().find(|session| session.id == **id)?;
            Some(Found::new(session_resource(session), REMOVE))
        }
        _ => None,
    }
}

pub(crate) fn session_resource(session: &crate::account::Session) -> Value {
    json!({
        "@odata.id": format!("/redfish/v1/SessionService/Sessions/{}", session.id),
        "@odata.type": "#Session.v1_4_0.Session",
        "Id": session.id,
        "Name": "User Session",
        "UserName": session.user,
        "CreatedTime": seconds(session.created),
    })
}

fn accounts(variant: &Variant, state: &mut State, path: &[&str]) -> Option<Found> {
    match path {
        ["AccountService"] => Some(Found::new(
            json!({
                "@odata.id": "/redfish/v1/AccountService",
                "@odata.type": "#AccountService.v1_7_0.AccountService",
                "Id": "AccountService",
                "Name": "Account Service",
                "ServiceEnabled": true,
                "MinPasswordLength": PASSWORD_MIN,
                "MaxPasswordLength": PASSWORD_MAX,
                "AccountLockoutThreshold": variant.lock.after,
                "AccountLockoutDuration": variant.lock.seconds,
                "Accounts": link("/redfish/v1/AccountService/Accounts"),
                "Roles": link("/redfish/v1/AccountService/Roles"),
            }),
            crate::tree::READ,
        )),
        ["AccountService", "Accounts"] => {
            let ids: Vec<_> = state.people.list.iter().map(|account| account.id.as_str()).collect();
            let mut found = collection("AccountService/Accounts", "ManagerAccount", "Accounts", &ids);
            found.allow = COLLECT;
            Some(found)
        }
        ["AccountService", "Accounts", id] => {
            let account = state.people.account(id)?;
            Some(Found {
                value: account_resource(account),
                allow: ALL,
                etag: Some(account_etag(account)),
                members: false,
            })
        }
        ["AccountService", "Roles"] => Some(collection(
            "AccountService/Roles",
            "Role",
            "Roles",
            &["Administrator", "Operator", "ReadOnly"],
        )),
        ["AccountService", "Roles", role] => role_resource(role).map(Found::read),
        _ => None,
    }
}

pub(crate) fn account_resource(account: &Account) -> Value {
    json!({
        "@odata.id": format!("/redfish/v1/AccountService/Accounts/{}", account.id),
        "@odata.type": "#ManagerAccount.v1_4_0.ManagerAccount",
        "@odata.etag": account_etag(account),
        "Id": account.id,
        "Name": "User Account",
        "UserName": account.name,
        "Password": null,
        "RoleId": account.role,
        "Enabled": account.enabled,
        "Locked": account.is_locked(),
        "AccountTypes": ["Redfish"],
        "Links": {"Role": link(&format!("/redfish/v1/AccountService/Roles/{}", account.role))},
    })
}

pub(crate) fn account_etag(account: &Account) -> String {
    format!("\"{}-{}\"", account.id, account.revision)
}

fn role_resource(role: &str) -> Option<Value> {
    let privileges = match role {
        "Administrator" => {
            json!(["Login", "ConfigureManager", "ConfigureUsers", "ConfigureSelf", "ConfigureComponents"])
        }
        "Operator" => json!(["Login", "ConfigureSelf", "ConfigureComponents"]),
        "ReadOnly" => json!(["Login", "ConfigureSelf"]),
        _ => return None,
    };
    Some(json!({
        "@odata.id": format!("/redfish/v1/AccountService/Roles/{role}"),
        "@odata.type": "#Role.v1_3_0.Role",
        "Id": role,
        "Name": format!("{role} role"),
        "RoleId": role,
        "IsPredefined": true,
        "AssignedPrivileges": privileges,
    }))
}

pub(crate) fn root_oem(variant: &Variant, state: &State) -> Value {
    if variant.hpe.is_none() {
        return json!({});
    }
    let mut manager = json!({
        "ManagerType": variant.manager.model,
        // "2.72 Sep 04 2022" is told as "2.72".
        "ManagerFirmwareVersion": state
            .device("bmc")
            .and_then(|entry| entry.version.split(' ').next().map(str::to_owned)),
        "Languages": [],
    });
    if let Some((by, firmware)) = other_manager(state) {
        manager["IPManager"] = json!({
            "Type": "HPQ_iLOManagerDescriptor/1.1.0",
            "Name": "Management Console Information",
            "ManagerType": by,
            "ManagerProductName": format!("HPE {by}"),
            "ManagerUrl": {"xref": "https://192.0.2.1"},
            "ManagerVersion": "6.60.00",
            "FirmwareManaged": firmware,
            "BiosManaged": false,
            "StorageManaged": false,
            "iLOManaged": true,
            "OvManagesiLOIP": false,
            "SppVersion": null,
        });
    }
    json!({"Hpe": {
        "@odata.type": "#HpeiLOServiceExt.v2_3_0.HpeiLOServiceExt",
        "Manager": [manager],
        "Links": {"ResourceDirectory": link("/redfish/v1/ResourceDirectory")},
    }})
}

/// Who else manages the machine, and whether the firmware too.
fn other_manager(state: &State) -> Option<(String, bool)> {
    state.faults.look(|fault| match fault {
        Fault::Maintenance { by } => Some((by.clone(), true)),
        Fault::ManagedBy { by, firmware } => Some((by.clone(), *firmware)),
        _ => None,
    })
}

/// How far the host has started, in HPE's words.
pub(crate) fn post_state(state: &State) -> String {
    let shown = state.faults.look(|fault| match fault {
        Fault::PostState { state } => Some(state.clone()),
        Fault::InPost => Some("InPost".to_owned()),
        _ => None,
    });
    match (state.power, state.post, shown) {
        (Power::Off, ..) => "PowerOff".to_owned(),
        (Power::On, _, Some(shown)) => shown,
        (Power::On, true, None) => "InPost".to_owned(),
        (Power::On, false, None) => "FinishedPost".to_owned(),
    }
}

/// `BootProgress.LastState` of DMTF for it.
pub(crate) fn boot_progress(post_state: &str) -> &'static str {
    match post_state {
        "FinishedPost" => "OSRunning",
        "InPost" => "SystemHardwareInitializationComplete",
        "InPostDiscoveryComplete" => "OSBootStarted",
        _ => "None",
    }
}

/// `PowerState` as clients see it.
pub(crate) fn power_state(state: &State) -> String {
    let shown = state.faults.look(|fault| match fault {
        Fault::PowerState { state } => Some(state.clone()),
        _ => None,
    });
    shown.unwrap_or_else(|| state.power.word().to_owned())
}

pub(crate) fn system_oem(variant: &Variant, state: &State) -> Value {
    let mut oem = if variant.hpe.is_some() {
        json!({"Hpe": {
            "@odata.type": "#HpeComputerSystemExt.v2_10_1.HpeComputerSystemExt",
            "PostState": post_state(state),
            "DeviceDiscoveryComplete": {"DeviceDiscovery": "vMainDeviceDiscoveryComplete"},
        }})
    } else {
        json!({})
    };
    if let Some((by, _)) = other_manager(state) {
        oem[&variant.vendor]["ManagedBy"] = json!(by);
    }
    oem
}

pub(crate) fn manager_oem(variant: &Variant, state: &State) -> Value {
    if let Some(rules) = &variant.hpe {
        let without = state.faults.look(|fault| (*fault == Fault::NoLicence).then_some(())).is_some();
        let licence = if without { "iLO Standard" } else { rules.licence.as_str() };
        return json!({"Hpe": {
            "@odata.type": "#HpeiLO.v2_8_0.HpeiLO",
            "License": {"LicenseString": licence, "LicenseType": "Perpetual"},
        }});
    }
    if variant.dell {
        let at = format!("{}/Oem/Dell", variant.manager_uri());
        return json!({"Dell": {
            "@odata.type": "#DellManager.v1_3_0.DellManager",
            "Jobs": link(&format!("{at}/Jobs")),
            "DellJobService": link(&format!("{at}/DellJobService")),
            "DellLCService": link(&format!("{at}/DellLCService")),
        }});
    }
    json!({})
}
