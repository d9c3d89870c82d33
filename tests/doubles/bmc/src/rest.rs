//! `/rest/v1`: HP's REST interface from before Redfish, as Moonshot's chassis manager has it.
//!
//! It shows the chassis and takes no firmware: no document has a way to do that here.

use std::sync::Arc;

use hyper::Method;
use serde_json::{Value, json};

use crate::account::Caller;
use crate::change;
use crate::host;
use crate::message::Word;
use crate::reply::Reply;
use crate::route::Asked;
use crate::state::{Bmc, State};
use crate::variant::Firmware;

/// What everybody may ask: the root, and a session.
pub(crate) fn open_to_all(bmc: &Bmc, asked: &Asked) -> Option<Reply> {
    let reading = asked.method == Method::GET || asked.method == Method::HEAD;
    match asked.path.trim_end_matches('/') {
        "/rest/v1" if reading => Some(Reply::json(200, root())),
        "/rest/v1/Sessions" if asked.method == Method::POST => {
            let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
            let mut reply = change::open_session(bmc, &body);
            for (name, value) in &mut reply.headers {
                if *name == "location" {
                    *value = value.replace("/redfish/v1/SessionService/Sessions", "/rest/v1/Sessions");
                }
            }
            Some(reply)
        }
        _ => None,
    }
}

/// Everything else; links are matched without regard to case, as clients write them both ways.
pub(crate) fn answer(bmc: &Arc<Bmc>, asked: &Asked, caller: &Caller) -> Reply {
    let missing = || Reply::not_found(&bmc.variant, &asked.path);
    let path = asked.path.trim_end_matches('/').to_lowercase();
    let Some(below) = path.strip_prefix("/rest/v1/") else { return missing() };
    let parts: Vec<_> = below.split('/').collect();
    if asked.method == Method::DELETE
        && let (["sessions", id], Caller::Session { .. }) = (parts.as_slice(), caller)
    {
        bmc.lock().people.sessions.retain(|one| one.id != *id);
        return Reply::success(&bmc.variant);
    }
    if asked.method == Method::POST && parts == ["managers", "1"] {
        return reset(bmc, asked);
    }
    if asked.method != Method::GET && asked.method != Method::HEAD {
        return Reply::not_allowed(&bmc.variant, crate::tree::READ);
    }
    find(bmc, &bmc.lock(), &parts).map_or_else(missing, |value| Reply::json(200, value))
}

fn reset(bmc: &Arc<Bmc>, asked: &Asked) -> Reply {
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    if body["Action"] != "Reset" {
        let action = body["Action"].as_str().unwrap_or_default();
        return Reply::error(&bmc.variant, Word::PropertyValue, &[action, "Action"]);
    }
    let task = Arc::clone(bmc);
    tokio::spawn(async move {
        // Time for the answer to go out.
        crate::state::pause(50).await;
        host::reset_bmc(&task, "Manager.Reset").await;
    });
    Reply::success(&bmc.variant)
}

fn href(path: &str) -> Value {
    json!({"href": format!("/rest/v1{path}")})
}

fn root() -> Value {
    json!({
        "Type": "ServiceRoot.0.9.5",
        "Name": "HP RESTful Root Service",
        "ServiceVersion": "0.9.5",
        "UUID": "6f7c2b4e-1d2a-4c7a-9a51-5b7a5c1b0d42",
        "Oem": {"Hp": {"Manager": [{"ManagerType": "Moonshot Chassis Manager"}]}},
        "links": {
            "self": href(""),
            "Chassis": href("/Chassis"),
            "Managers": href("/Managers"),
            "Sessions": href("/Sessions"),
        },
    })
}

fn find(bmc: &Bmc, state: &State, path: &[&str]) -> Option<Value> {
    let parts_of = |kind: &str| -> Vec<Firmware> {
        state.firmware.iter().filter(|one| one.id.split('/').next() == Some(kind)).cloned().collect()
    };
    match path {
        ["chassis"] => Some(collection("/Chassis", &["1"])),
        ["managers"] => Some(collection("/Managers", &["1"])),
        ["sessions"] => {
            let ids: Vec<_> = state.people.sessions.iter().map(|one| one.id.as_str()).collect();
            Some(collection("/Sessions", &ids))
        }
        ["chassis", "1"] => Some(json!({
            "Type": "Chassis.0.9.5",
            "Name": "HP Moonshot 1500 Chassis",
            "Model": bmc.variant.system.model,
            "SerialNumber": "DOUBLE0001",
            "Power": state.power.word(),
            "Status": {"State": "Enabled", "Health": "OK"},
            "links": {
                "self": href("/Chassis/1"),
                "Switches": href("/Chassis/1/Switches"),
                "Cartridges": href("/Chassis/1/Cartridges"),
                "ManagedBy": [href("/Managers/1")],
            },
        })),
        ["managers", "1"] => Some(json!({
            "Type": "Manager.0.10.0",
            "Name": "Manager",
            "ManagerType": "EnclosureManager",
            "Model": bmc.variant.manager.model,
            "Firmware": {"Current": {"VersionString": state.device("bmc").map(|one| one.version.clone())}},
            "Status": {"State": "Enabled"},
            "AvailableActions": [{"Action": "Reset"}],
            "links": {"self": href("/Managers/1"), "ManagerForChassis": [href("/Chassis/1")]},
        })),
        ["chassis", "1", kind @ ("switches" | "cartridges")] => {
            let names: Vec<_> = parts_of(kind).iter().filter_map(short).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            Some(collection(&format!("/Chassis/1/{kind}"), &names))
        }
        ["chassis", "1", kind @ ("switches" | "cartridges"), name] => {
            let one = parts_of(kind).into_iter().find(|one| short(one).as_deref() == Some(*name))?;
            let info = json!({"HealthStatus": "OK", "FirmwareVersion": one.version});
            let switch = *kind == "switches";
            Some(json!({
                "Type": if switch { "HpMoonshotSwitch.0.9.5" } else { "HpMoonshotCartridge.0.9.5" },
                "Name": one.name,
                "SerialNumber": "DOUBLE0002",
                "Power": state.power.word(),
                "Status": {"State": "Enabled", "Health": "OK"},
                if switch { "SwitchInfo" } else { "CartridgeInfo" }: info,
                "links": {"self": href(&format!("/Chassis/1/{kind}/{name}"))},
            }))
        }
        _ => None,
    }
}

/// `sa` of `switches/sa`.
fn short(one: &Firmware) -> Option<String> {
    one.id.split_once('/').map(|(_, name)| name.to_owned())
}

fn collection(at: &str, members: &[&str]) -> Value {
    let members: Vec<_> = members.iter().map(|member| href(&format!("{at}/{member}"))).collect();
    json!({
        "Type": "Collection.1.0.0",
        "Total": members.len(),
        "links": {"self": href(at), "Member": members},
    })
}
