//! Events of task states, to whoever subscribed.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::state::{Bmc, State};
use crate::tree::seconds;

/// Posts in the background; who does not answer in two seconds has missed it.
pub(crate) fn send(bmc: &Arc<Bmc>, state: &State, task: &str, message: &Value) {
    if state.subscriptions.is_empty() || !bmc.variant.events {
        return;
    }
    let task = format!("/redfish/v1/TaskService/Tasks/{task}");
    for one in state.subscriptions.clone() {
        let mut record = message.clone();
        record["@odata.type"] = json!(null);
        record["EventType"] = json!("StatusChange");
        record["EventId"] = json!(one.id.to_string());
        record["MemberId"] = json!("0");
        record["EventTimestamp"] = json!(seconds(state.now()));
        record["OriginOfCondition"] = json!({"@odata.id": task});
        if let Some(fields) = record.as_object_mut() {
            fields.remove("@odata.type");
        }
        let event = json!({
            "@odata.type": "#Event.v1_7_0.Event",
            "Id": one.id.to_string(),
            "Name": "Task event",
            "Context": one.context,
            "Events": [record],
        });
        let bmc = Arc::clone(bmc);
        tokio::spawn(async move {
            let outcome = post(&one.destination, &event).await;
            let detail = json!({"destination": one.destination, "outcome": outcome});
            bmc.lock().journal.write("event", detail);
        });
    }
}

async fn post(destination: &str, event: &Value) -> String {
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .timeout(Duration::from_secs(2))
        .build();
    let sent = match client {
        Ok(client) => {
            let body = event.to_string();
            client.post(destination).header("content-type", "application/json").body(body).send().await
        }
        Err(error) => Err(error),
    };
    match sent {
        Ok(response) => response.status().as_u16().to_string(),
        Err(error) => error.to_string(),
    }
}
