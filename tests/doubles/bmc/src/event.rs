//! Posts events to whoever subscribed: in order, again where that fails, and not at all if a test wants it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::reply::Reply;
use crate::state::{Bmc, Net, State, pause};
use crate::subscription::{FOR_EVER, SUSPEND, Subscription, TERMINATE};
use crate::tree::seconds;

/// A task, or the update service where tasks are not shown, has something to say.
pub(crate) fn send(bmc: &Arc<Bmc>, state: &mut State, task: &str, message: &Value) {
    let shown = state.update(task).is_some_and(|update| !update.forgotten);
    let origin = if shown {
        format!("/redfish/v1/TaskService/Tasks/{task}")
    } else {
        "/redfish/v1/UpdateService".to_owned()
    };
    let mut record = message.clone();
    if let Some(fields) = record.as_object_mut() {
        fields.remove("@odata.type");
    }
    record["EventType"] = json!("StatusChange");
    record["OriginOfCondition"] = json!({"@odata.id": origin});
    let wants = |one: &Subscription| one.wants(message);
    enqueue(bmc, state, &record, wants);
}

/// The action `SubmitTestEvent`: to all subscriptions, whatever they are for.
pub(crate) fn submit_test(bmc: &Arc<Bmc>, body: &Value) -> Reply {
    let mut record = json!({
        "EventType": "Alert", "MessageId": "ResourceEvent.1.3.TestMessage", "Message": "A test event.",
        "MessageArgs": [], "Severity": "OK", "MessageSeverity": "OK",
        "OriginOfCondition": {"@odata.id": "/redfish/v1/EventService"},
    });
    for name in ["EventType", "MessageId", "Message", "MessageArgs", "Severity", "EventTimestamp"] {
        if !body[name].is_null() {
            record[name] = body[name].clone();
        }
    }
    if let Some(origin) = body["OriginOfCondition"].as_str() {
        record["OriginOfCondition"] = json!({"@odata.id": origin});
    }
    enqueue(bmc, &mut bmc.lock(), &record, |_| true);
    if bmc.variant.hpe.is_some() { Reply::success(&bmc.variant) } else { Reply::empty(204) }
}

fn enqueue(bmc: &Arc<Bmc>, state: &mut State, record: &Value, wants: impl Fn(&Subscription) -> bool) {
    if bmc.variant.events.is_none() {
        return;
    }
    if state.faults.look(|fault| (*fault == Fault::NoEvents).then_some(())).is_some() {
        return;
    }
    let now = seconds(state.now());
    for one in state.subscriptions.iter_mut().filter(|one| !one.suspended && wants(one)) {
        state.next_event += 1;
        let number = state.next_event.to_string();
        let mut record = record.clone();
        record["EventId"] = json!(number);
        record["MemberId"] = json!("0");
        if record["EventTimestamp"].is_null() {
            record["EventTimestamp"] = json!(now);
        }
        one.queue.push_back(json!({
            "@odata.type": "#Event.v1_7_0.Event",
            "Id": number,
            "Name": "Event",
            "Context": one.context,
            "Events": [record],
        }));
        if !std::mem::replace(&mut one.busy, true) {
            tokio::spawn(deliver(Arc::clone(bmc), one.id));
        }
    }
}

/// Works off the queue of a subscription.
async fn deliver(bmc: Arc<Bmc>, id: u64) {
    let mut tried = 0;
    while let Some((one, event)) = next(&bmc, id) {
        let late = bmc.lock().faults.take(|fault| match fault {
            Fault::LateEvents { ms } => Some(*ms),
            _ => None,
        });
        if let Some(ms) = late {
            pause(ms).await;
        }
        let trust = format!("{}\n{}", bmc.settings().trust, one.trust.pem());
        let outcome = post(&one, &event, &trust).await;
        tried += 1;
        let wait = settle(&bmc, id, &event, &outcome, tried);
        match wait {
            Some(wait) => pause(wait).await,
            None => tried = 0,
        }
    }
}

/// What is to be posted now. `None`: nothing, and nobody works here any more.
fn next(bmc: &Bmc, id: u64) -> Option<(Subscription, Value)> {
    let up = *bmc.net.borrow() == Net::Up;
    let mut state = bmc.lock();
    let one = state.subscriptions.iter_mut().find(|one| one.id == id)?;
    // A BMC that starts again has forgotten what it wanted to say.
    if !up || one.suspended {
        one.queue.clear();
    }
    let Some(event) = one.queue.front().cloned() else {
        one.busy = false;
        return None;
    };
    Some((one.clone(), event))
}

/// Notes what came of it; how long to wait before the same event is tried again, in milliseconds.
fn settle(bmc: &Bmc, id: u64, event: &Value, outcome: &Result<u16, String>, tried: u64) -> Option<u64> {
    let state = &mut *bmc.lock();
    let (attempts, interval) = state.retries;
    let delivered = outcome.as_ref().is_ok_and(|status| (200..300).contains(status));
    let said = match outcome {
        Ok(status) => status.to_string(),
        Err(error) => error.clone(),
    };
    let one = state.subscriptions.iter_mut().find(|one| one.id == id)?;
    state.journal.write(
        "event",
        json!({
            "subscription": id, "destination": one.destination, "outcome": said, "tried": tried,
            "event": event["Id"], "message-id": event["Events"][0]["MessageId"],
        }),
    );
    if delivered {
        one.queue.pop_front();
        return None;
    }
    if tried <= attempts || one.policy == FOR_EVER {
        let set = state.settings.event_retry_ms;
        return Some(if set == 0 { interval * 1000 } else { set });
    }
    let policy = one.policy.clone();
    one.queue.clear();
    match policy.as_str() {
        SUSPEND => one.suspended = true,
        TERMINATE => state.subscriptions.retain(|one| one.id != id),
        _ => {}
    }
    state.journal.write("event", json!({"subscription": id, "outcome": policy}));
    None
}

async fn post(one: &Subscription, event: &Value, trust: &str) -> Result<u16, String> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(2));
    let builder = if one.verify {
        let authorities = reqwest::Certificate::from_pem_bundle(trust.as_bytes()).map_err(shown)?;
        builder.tls_certs_only(authorities)
    } else {
        builder.tls_danger_accept_invalid_certs(true)
    };
    let mut request = builder.build().map_err(shown)?.post(&one.destination);
    for (name, value) in &one.headers {
        request = request.header(name, value);
    }
    let request = request.header("content-type", "application/json").body(event.to_string());
    request.send().await.map(|answer| answer.status().as_u16()).map_err(shown)
}

/// The whole chain of an error, without the URL.
fn shown(error: reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error.without_url());
    while let Some(one) = next {
        text = if text.is_empty() { one.to_string() } else { format!("{text}: {one}") };
        next = one.source();
    }
    text
}
