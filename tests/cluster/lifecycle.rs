//! How objects change: user changes to a run while it works, and who may write which part.

use crate::samples::Table;
use crate::schema::Definition;
use crate::server::{Server, server};
use serde_json::{Value, json};

/// Users must be able to start, pause and cancel a run as documented.
#[tokio::test]
async fn a_run_is_planned_started_paused_and_cancelled_by_hand() {
    server(async |server| {
        run(server, "by-hand", "Plan").await;
        // The editor of these tests replaces Plan by Run.
        server.kubectl(&["edit", "ur", "by-hand"], None).await.expect("Plan to Run");
        assert_eq!(desired(server, "by-hand").await, "Run");
        for to in ["Pause", "Run", "Pause", "Cancel"] {
            set(server, "by-hand", to).await.unwrap_or_else(|words| panic!("to {to}: {words}"));
            assert_eq!(desired(server, "by-hand").await, to);
        }
    })
    .await;
}

/// A cancelled run must not restart, and a run that has changed machines must not claim to be only a
/// plan.
#[tokio::test]
async fn a_run_does_not_return_to_an_earlier_state() {
    let back =
        [("Cancel", "Run"), ("Cancel", "Pause"), ("Cancel", "Plan"), ("Run", "Plan"), ("Pause", "Plan")];
    server(async |server| {
        for (from, to) in back {
            let name = format!("{from}-{to}").to_lowercase();
            run(server, &name, from).await;
            let words = set(server, &name, to).await.expect_err("it goes back");
            assert!(words.contains("make a new UpdateRun"), "the next step is not named: {words}");
            assert_eq!(desired(server, &name).await, from);
        }
    })
    .await;
}

async fn run(server: &Server, name: &str, desired: &str) {
    let mut object = Table::of("UpdateRun").base;
    object["metadata"] = json!({"name": name});
    object["spec"]["desiredState"] = json!(desired);
    server.create(&Definition::of("UpdateRun"), &object, false).await.expect("a run");
}

async fn set(server: &Server, name: &str, to: &str) -> Result<String, String> {
    let patch = json!({"spec": {"desiredState": to}}).to_string();
    server.kubectl(&["patch", "ur", name, "--type=merge", "--patch", &patch], None).await
}

async fn desired(server: &Server, name: &str) -> String {
    let path = "jsonpath={.spec.desiredState}";
    server.kubectl(&["get", "ur", name, "-o", path], None).await.expect("the run")
}

/// A user's manifest must not set the status, and the operator's status must not change the spec.
#[tokio::test]
async fn spec_and_status_are_written_separately() {
    let statuses = [
        ("ManagedNode", json!({"os": "Debian"}), "spec.hold"),
        ("Baseline", json!({"components": 3}), ""),
        ("UpdateRun", json!({"planDigest": "sha256:0"}), "spec.desiredState"),
        ("NodeUpdate", json!({"step": "Install"}), "spec.runner"),
        ("NodeInventory", json!({"run": "r1"}), ""),
        ("LogRequest", json!({"text": "a line"}), ""),
    ];
    server(async |server| {
        for (kind, status, changed) in statuses {
            let definition = Definition::of(kind);
            let mut object = Table::of(kind).base;
            object["metadata"] = json!({"name": "apart"});
            object["status"] = status.clone();
            let made = server.create(&definition, &object, false).await.expect(kind);
            assert!(made["status"].is_null(), "{kind} takes the status of whoever creates it: {made}");

            let mut report = made.clone();
            report["status"] = status.clone();
            if let Some(field) = changed.strip_prefix("spec.") {
                report["spec"][field] = other(&made["spec"][field]);
            }
            let reported = server.replace_status(&definition, &report, false).await.expect(kind);
            assert_eq!(reported["spec"], made["spec"], "{kind}: a report changes the spec");
            assert_eq!(reported["metadata"]["generation"], made["metadata"]["generation"]);
            for (field, value) in status.as_object().expect("fields") {
                assert_eq!(&reported["status"][field], value, "{kind}: the report does not arrive");
            }

            let mut wish = reported.clone();
            wish["status"] = json!({});
            let wished = server.try_replace(&definition, &wish).await.expect(kind);
            assert_eq!(wished["status"], reported["status"], "{kind}: a user changes the status");
        }
    })
    .await;
}

/// Returns another valid value of a field.
fn other(value: &Value) -> Value {
    match value {
        Value::Bool(value) => json!(!value),
        Value::String(value) if value == "Run" => json!("Pause"),
        Value::String(value) => json!(format!("{value}-2")),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => panic!("{value} has no other"),
    }
}
