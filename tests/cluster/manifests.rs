//! Manifests as users write them: which defaults are set, what is refused, what may be applied again.

use crate::samples::{LEFT_OUT, Table, put};
use crate::schema::{Definition, Field};
use crate::server::{Server, server};
use serde_json::{Value, json};

/// The samples of the design document.
const DESIGN: &str = include_str!("design.yaml");

/// A manifest with only the required fields must get the documented defaults.
#[tokio::test]
async fn a_short_managed_node_gets_the_documented_defaults() {
    let mut expected = json!({
        "type": "Linux",
        "addresses": ["10.0.12.7"],
        "addressFamilies": ["IPv4", "IPv6"],
        "credentialsRef": {"name": "db-01"},
        "ssh": {"port": 22, "hostKeys": [], "hostKeyPolicy": "Pinned", "legacyAlgorithms": false, "privilege": "None"},
        "openFirewall": false,
        "hold": false,
    });
    server(async |server| {
        assert_eq!(completed(server, "ManagedNode", &[]).await, expected);
        let partly = completed(server, "ManagedNode", &[("spec.ssh.privilege", json!("Sudo"))]).await;
        expected["ssh"]["privilege"] = json!("Sudo");
        assert_eq!(partly, expected);
    })
    .await;
}

/// A wrong default would end an installer too early, or reboot a machine that should not be rebooted.
#[tokio::test]
async fn a_short_component_gets_the_documented_defaults() {
    server(async |server| {
        let spec = completed(server, "Baseline", &[]).await;
        let mut component = spec["components"][0].clone();
        for given in ["name", "version", "installer", "payload"] {
            component.as_object_mut().unwrap().remove(given).expect("it was given");
        }
        let expected =
            json!({"appliesTo": {}, "reboot": "IfRequested", "interruptible": true, "timeout": "10m"});
        assert_eq!(component, expected);
    })
    .await;
}

/// A run must not update more machines at a time, or do more to them, than documented.
#[tokio::test]
async fn a_short_update_run_gets_the_documented_defaults() {
    let mut expected = json!({
        "desiredState": "Run",
        "operation": "Update",
        "selector": {"matchLabels": {"rack": "r12"}},
        "baselineRef": {"name": "spring-2026"},
        "channel": "Session",
        "order": "ByType",
        "strategy": {"maxConcurrent": 10, "retries": 0, "stageFor": "168h"},
        "reboot": {"policy": "Never"},
        "listen": {"port": "Next"},
        "onFailedDependency": "OmitComponent",
        "force": {"downgrade": false, "rewrite": false, "holds": false, "trustedModule": false, "inhibitors": false},
        "acceptEula": false,
        "callback": {"httpPort": 63001, "httpsPort": 63002, "onConflict": "Next", "exposure": "HostPort"},
        "arrivalTimeout": "2m",
    });
    let given = [
        ("spec.strategy.retries", json!(2)),
        ("spec.strategy.window.schedule", json!("0 22 * * 6")),
        ("spec.strategy.window.duration", json!("4h")),
        ("spec.reboot.delay", json!("1m")),
        ("spec.force.rewrite", json!(true)),
        ("spec.callback.exposure", json!("NodePort")),
    ];
    server(async |server| {
        assert_eq!(completed(server, "UpdateRun", &[]).await, expected);
        let partly = completed(server, "UpdateRun", &given).await;
        for (path, value) in &given {
            put(&mut expected, path.trim_start_matches("spec."), value);
        }
        put(&mut expected, "strategy.window.timeZone", &json!("UTC"));
        assert_eq!(partly, expected);
    })
    .await;
}

/// Returns the spec that the server completes from the base object of a kind with more fields.
async fn completed(server: &Server, kind: &str, fields: &[(&str, Value)]) -> Value {
    let mut object = Table::of(kind).base;
    object["metadata"] = json!({"name": "short"});
    for (path, value) in fields {
        put(&mut object, path, value);
    }
    let created = server.create(&Definition::of(kind), &object, true).await;
    created.expect("a short object is accepted")["spec"].clone()
}

/// Templates render empty values as null. The server must not answer with an incomprehensible refusal,
/// nor store an object that the operator cannot parse, which would end the watch of its kind.
#[tokio::test]
async fn null_is_the_same_as_an_absent_field() {
    server(async |server| {
        let mut problems = Vec::new();
        for definition in Definition::all() {
            let object = whole(&definition.kind);
            for field in definition.fields().iter().filter(|field| may_be_left_out(field)) {
                let path = field.path.replace("[]", "[0]");
                let with = async |value: Value| {
                    let mut object = object.clone();
                    put(&mut object, &path, &value);
                    server.create(&definition, &object, true).await.map(|o| without_nulls(&o["spec"]))
                };
                let (left_out, null) = (with(json!(LEFT_OUT)).await, with(Value::Null).await);
                let same = match (&left_out, &null) {
                    (Ok(left_out), Ok(null)) => left_out == null,
                    (left_out, null) => left_out.is_err() && null.is_err(),
                };
                if !same {
                    let kind = &definition.kind;
                    problems.push(format!("{kind} {path}: left out: {left_out:?}; null: {null:?}"));
                }
            }
        }
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    })
    .await;
}

fn may_be_left_out(field: &Field) -> bool {
    field.path.starts_with("spec.") && !field.required && !field.path.ends_with(['}', ']'])
}

/// Returns an object of the kind with as many fields as there are samples for.
fn whole(kind: &str) -> Value {
    let documents: Vec<Value> = serde_saphyr::from_multiple(DESIGN).expect("YAML");
    let mut object =
        documents.into_iter().find(|d| d["kind"] == kind).unwrap_or_else(|| Table::of(kind).base);
    object["metadata"] = json!({"name": "whole"});
    object
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            fields.map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        Value::Array(elements) => elements.iter().map(without_nulls).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// The samples in the documentation must work.
#[tokio::test]
async fn the_samples_of_the_design_are_accepted_unchanged() {
    server(async |server| {
        let manifest = DESIGN.replace("namespace: fleet", &format!("namespace: {}", server.namespace));
        let ways: [&[&str]; 2] =
            [&["create", "--dry-run=server", "-f", "-"], &["apply", "--server-side", "-f", "-"]];
        for way in ways {
            let said = server.kubectl(way, Some(&manifest)).await;
            assert!(said.as_ref().is_ok_and(|words| !words.contains("Warning")), "{said:?}");
        }
    })
    .await;
}

/// A pipeline that applies its manifests repeatedly, by any of these methods, must not fail at a run
/// that it has not changed.
#[tokio::test]
async fn an_unchanged_manifest_may_be_applied_again_by_every_method() {
    server(async |server| {
        let manifest = DESIGN.replace("namespace: fleet", &format!("namespace: {}", server.namespace));
        let apply = async |arguments: &[&str]| {
            let said = server.kubectl(arguments, Some(&manifest)).await;
            said.unwrap_or_else(|words| panic!("{arguments:?}: {words}"))
        };
        apply(&["apply", "-f", "-"]).await;
        let again = apply(&["apply", "-f", "-"]).await;
        assert_eq!(again.matches(" unchanged").count(), 3, "{again}");
        let ways: [&[&str]; 3] = [
            &["apply", "--server-side", "--force-conflicts", "-f", "-"],
            &["replace", "-f", "-"],
            &["apply", "-f", "-"],
        ];
        for way in ways.iter().chain(&ways) {
            apply(way).await;
            let before = generations(server).await;
            apply(way).await;
            assert_eq!(before, generations(server).await, "{way:?}: the same again counts as a change");
        }
    })
    .await;
}

async fn generations(server: &Server) -> String {
    let path = "jsonpath={.items[*].metadata.generation}";
    server.kubectl(&["get", "farrier", "-o", path], None).await.expect("the objects")
}

/// If a misspelt field were dropped silently, the machine would not be treated as intended.
#[tokio::test]
async fn an_unknown_field_is_refused_by_its_name() {
    let misspelt = [
        ("ManagedNode", "spec.adresses"),
        ("ManagedNode", "spec.ssh.prot"),
        ("ManagedNode", "spec.credentialsRef.namespace"),
        ("Baseline", "spec.component"),
        ("Baseline", "spec.components[0].instaler"),
        ("Baseline", "spec.components[0].payload.sha256"),
        ("UpdateRun", "spec.desiredstate"),
        ("UpdateRun", "spec.strategy.maxConcurent"),
        ("UpdateRun", "spec.callback.ftpport"),
        ("NodeUpdate", "spec.node"),
        ("NodeInventory", "spec.nodeRef.uid"),
        ("LogRequest", "spec.ofset"),
    ];
    server(async |server| {
        for (kind, path) in misspelt {
            let mut object = Table::of(kind).base;
            put(&mut object, path, &json!("x"));
            object["apiVersion"] = json!("farrier.dev/v1alpha1");
            object["kind"] = json!(kind);
            object["metadata"] = json!({"name": "misspelt"});
            let said = server.kubectl(&["apply", "-f", "-"], Some(&object.to_string())).await;
            let words = said.expect_err(path);
            assert!(words.contains(&format!("unknown field \"{path}\"")), "{kind} {path}: {words}");
        }
    })
    .await;
}
