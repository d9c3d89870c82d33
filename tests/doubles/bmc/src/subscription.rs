//! `EventService` and its subscriptions, as clients see and change them; `event` posts to them.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use crate::message::Word;
use crate::reply::Reply;
use crate::state::{Bmc, State};
use crate::tree::{ALL, CHANGE, COLLECT, Found, collection, link};
use crate::trust::{self, Trust};

/// Below `/redfish/v1`.
const AT: &str = "EventService/Subscriptions";

/// `DeliveryRetryPolicy` of DSP8010.
const POLICIES: [&str; 3] = [TERMINATE, SUSPEND, FOR_EVER];
pub(crate) const TERMINATE: &str = "TerminateAfterRetries";
pub(crate) const SUSPEND: &str = "SuspendRetries";
pub(crate) const FOR_EVER: &str = "RetryForever";

/// As many certificates as a subscription keeps.
const CERTIFICATES: usize = 4;

/// Who is told, and of what.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) id: u64,
    pub(crate) destination: String,
    pub(crate) context: String,
    pub(crate) verify: bool,
    pub(crate) policy: String,
    /// Sent with every post, and never shown.
    pub(crate) headers: Vec<(String, String)>,
    /// Prefixes of registries; empty: all.
    prefixes: Vec<String>,
    /// Types of events; empty: all.
    types: Vec<String>,
    /// Types of resources; empty: all.
    resources: Vec<String>,
    /// Servers that are trusted if `verify` is set.
    pub(crate) trust: Trust,
    /// No posts until it is resumed.
    pub(crate) suspended: bool,
    /// Not posted yet.
    pub(crate) queue: VecDeque<Value>,
    /// Somebody works the queue off.
    pub(crate) busy: bool,
}

impl Subscription {
    /// Whether it wants this event of a task.
    pub(crate) fn wants(&self, message: &Value) -> bool {
        let id = message["MessageId"].as_str().unwrap_or_default();
        let has = |list: &[String], wanted: &str| list.is_empty() || list.iter().any(|one| one == wanted);
        has(&self.types, "StatusChange")
            && has(&self.resources, "Task")
            && has(&self.prefixes, id.split('.').next().unwrap_or_default())
    }
}

pub(crate) fn find(bmc: &Bmc, state: &State, path: &[&str]) -> Option<Found> {
    let rules = bmc.variant.events.as_ref()?;
    match path {
        ["EventService"] => Some(Found::new(service(state), CHANGE)),
        ["EventService", "Subscriptions"] => {
            let ids: Vec<_> = state.subscriptions.iter().map(|one| one.id.to_string()).collect();
            let ids: Vec<_> = ids.iter().map(String::as_str).collect();
            let mut found = collection(AT, "EventDestination", "Subscriptions", &ids);
            found.allow = COLLECT;
            Some(found)
        }
        ["EventService", "Subscriptions", id, rest @ ..] => {
            let one = state.subscriptions.iter().find(|one| one.id.to_string() == **id)?;
            match rest {
                [] => Some(Found::new(resource(bmc, one), ALL)),
                ["Certificates", rest @ ..] if rules.verify => {
                    trust::find_in(&one.trust, &format!("{AT}/{id}/Certificates"), rest)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn service(state: &State) -> Value {
    let at = "/redfish/v1/EventService";
    json!({
        "@odata.id": at,
        "@odata.type": "#EventService.v1_7_0.EventService",
        "Id": "EventService",
        "Name": "Event Service",
        "ServiceEnabled": true,
        "DeliveryRetryAttempts": state.retries.0,
        "DeliveryRetryIntervalSeconds": state.retries.1,
        "EventFormatTypes": ["Event"],
        "RegistryPrefixes": ["TaskEvent"],
        "ResourceTypes": ["Task"],
        "Subscriptions": link(&format!("{at}/Subscriptions")),
        "Status": {"State": "Enabled", "Health": "OK"},
        "Actions": {"#EventService.SubmitTestEvent": {
            "target": format!("{at}/Actions/EventService.SubmitTestEvent"),
        }},
    })
}

fn resource(bmc: &Bmc, one: &Subscription) -> Value {
    let at = format!("/redfish/v1/{AT}/{}", one.id);
    let mut value = json!({
        "@odata.id": at,
        "@odata.type": "#EventDestination.v1_9_0.EventDestination",
        "Id": one.id.to_string(),
        "Name": "Event subscription",
        "Destination": one.destination,
        "Context": one.context,
        "Protocol": "Redfish",
        "SubscriptionType": "RedfishEvent",
        "EventFormatType": "Event",
        "RegistryPrefixes": one.prefixes,
        "ResourceTypes": one.resources,
        "HttpHeaders": [],
        "DeliveryRetryPolicy": one.policy,
        "Status": {"State": if one.suspended { "Disabled" } else { "Enabled" }, "Health": "OK"},
        "Actions": {"#EventDestination.ResumeSubscription": {
            "target": format!("{at}/Actions/EventDestination.ResumeSubscription"),
        }},
    });
    if bmc.variant.events.as_ref().is_some_and(|rules| rules.verify) {
        value["VerifyCertificate"] = json!(one.verify);
        value["Certificates"] = link(&format!("{at}/Certificates"));
    }
    value
}

/// POST below `EventService` but `SubmitTestEvent`. `None`: not here.
pub(crate) fn post(bmc: &Bmc, path: &[&str], body: &Value) -> Option<Reply> {
    let rules = bmc.variant.events.as_ref()?;
    let state = &mut *bmc.lock();
    match path {
        ["EventService", "Subscriptions"] => Some(match subscribe(bmc, state, body) {
            Ok(reply) | Err(reply) => reply,
        }),
        ["EventService", "Subscriptions", id, "Certificates"] if rules.verify => {
            let one = state.subscriptions.iter_mut().find(|one| one.id.to_string() == **id)?;
            let at = format!("{AT}/{id}/Certificates");
            Some(trust::add_to(bmc, &mut state.journal, &mut one.trust, (&at, CERTIFICATES), body))
        }
        ["EventService", "Subscriptions", id, "Actions", "EventDestination.ResumeSubscription"] => {
            let one = state.subscriptions.iter_mut().find(|one| one.id.to_string() == **id)?;
            one.suspended = false;
            Some(Reply::empty(204))
        }
        _ => None,
    }
}

fn subscribe(bmc: &Bmc, state: &mut State, body: &Value) -> Result<Reply, Reply> {
    let variant = &bmc.variant;
    let refuse = |value: &str, name: &str| Err(Reply::error(variant, Word::PropertyValue, &[value, name]));
    let Some(destination) = body["Destination"].as_str() else {
        return Err(Reply::error(variant, Word::PropertyMissing, &["Destination"]));
    };
    let https_only = variant.events.as_ref().is_some_and(|rules| rules.https_only);
    let known = destination.starts_with("https://") || (destination.starts_with("http://") && !https_only);
    if !known || reqwest::Url::parse(destination).is_err() {
        return refuse(destination, "Destination");
    }
    let protocol = body["Protocol"].as_str().unwrap_or("Redfish");
    if protocol != "Redfish" {
        return refuse(protocol, "Protocol");
    }
    let list = |name: &str| serde_json::from_value(body[name].clone()).unwrap_or_default();
    let mut one = Subscription {
        id: state.next_subscription,
        destination: destination.to_owned(),
        context: body["Context"].as_str().unwrap_or_default().to_owned(),
        verify: false,
        policy: TERMINATE.to_owned(),
        headers: headers(&body["HttpHeaders"]),
        prefixes: list("RegistryPrefixes"),
        types: list("EventTypes"),
        resources: list("ResourceTypes"),
        trust: Trust::default(),
        suspended: false,
        queue: VecDeque::new(),
        busy: false,
    };
    for name in ["VerifyCertificate", "DeliveryRetryPolicy"] {
        if !body[name].is_null() {
            let asked = body[name].to_string();
            set_one(bmc, &mut one, name, &body[name])
                .map_err(|word| Reply::error(variant, word, &[&asked, name]))?;
        }
    }
    state.next_subscription += 1;
    let reply =
        Reply::json(201, resource(bmc, &one)).with("location", format!("/redfish/v1/{AT}/{}", one.id));
    state.subscriptions.push(one);
    Ok(reply)
}

/// One object, or several, of names and values.
fn headers(value: &Value) -> Vec<(String, String)> {
    let pairs = |fields: &Map<String, Value>| -> Vec<_> {
        fields.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    };
    match value {
        Value::Array(all) => all.iter().filter_map(Value::as_object).flat_map(pairs).collect(),
        Value::Object(fields) => pairs(fields),
        _ => vec![],
    }
}

/// PATCH of a property of the service or of a subscription.
pub(crate) fn set(
    bmc: &Bmc,
    state: &mut State,
    path: &[&str],
    name: &str,
    value: &Value,
) -> Result<(), Word> {
    match (path, name) {
        (["EventService"], "DeliveryRetryAttempts") => {
            state.retries.0 = value.as_u64().ok_or(Word::PropertyValue)?;
        }
        (["EventService"], "DeliveryRetryIntervalSeconds") => {
            state.retries.1 = value.as_u64().ok_or(Word::PropertyValue)?;
        }
        (["EventService", "Subscriptions", id], _) => {
            let one = state.subscriptions.iter_mut().find(|one| one.id.to_string() == **id);
            return set_one(bmc, one.ok_or(Word::NotFound)?, name, value);
        }
        _ => return Err(Word::PropertyUnknown),
    }
    Ok(())
}

fn set_one(bmc: &Bmc, one: &mut Subscription, name: &str, value: &Value) -> Result<(), Word> {
    let verifies = bmc.variant.events.as_ref().is_some_and(|rules| rules.verify);
    match name {
        "Context" => value.as_str().ok_or(Word::PropertyValue)?.clone_into(&mut one.context),
        "DeliveryRetryPolicy" => {
            let known = value.as_str().filter(|policy| POLICIES.contains(policy));
            known.ok_or(Word::PropertyValue)?.clone_into(&mut one.policy);
        }
        "VerifyCertificate" if verifies => one.verify = value.as_bool().ok_or(Word::PropertyValue)?,
        "Destination" | "Protocol" => return Err(Word::PropertyReadOnly),
        _ => return Err(Word::PropertyUnknown),
    }
    Ok(())
}
