//! Which machines are asked, and by which runs.

#![expect(clippy::needless_pass_by_value, reason = "the values are made for the calls")]

use super::*;
use serde_json::{Value, json};

/// Time at which the tests decide.
const NOW: &str = "2026-12-02T12:00:00Z";

fn now() -> Millis {
    millis(&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(NOW.parse().unwrap()))
}

fn node(name: &str, spec: Value, status: Value) -> Arc<ManagedNode> {
    let mut node = json!({
        "metadata": {"name": name, "namespace": "fleet", "uid": name, "creationTimestamp": "2026-11-01T00:00:00Z"},
        "spec": {"type": "Linux", "addresses": ["10.0.0.1"], "credentialsRef": {"name": "s"},
            "inventory": {"every": "24h"}},
        "status": status,
    });
    node["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    Arc::new(serde_json::from_value(node).unwrap())
}

fn run(nodes: &[&str], created: &str, status: Value) -> Arc<UpdateRun> {
    let mut run =
        serde_json::to_value(build("fleet", &InventoryRun { name: "inventory-1".into(), nodes: Vec::new() }))
            .unwrap();
    run["spec"]["nodes"] = json!(nodes);
    run["metadata"]["creationTimestamp"] = json!(created);
    run["status"] = status;
    Arc::new(serde_json::from_value(run).unwrap())
}

fn ended() -> Value {
    json!({"conditions": [{"type": "Succeeded", "status": "True", "reason": "AllSucceeded", "message": "",
        "lastTransitionTime": NOW}]})
}

fn update(node: &str, status: Value) -> Arc<NodeUpdate> {
    let update = json!({
        "metadata": {"name": format!("r-{node}"), "namespace": "fleet"},
        "spec": {"runRef": {"name": "r"}, "nodeRef": {"name": node}, "runner": "a", "intent": "Run"},
        "status": status,
    });
    Arc::new(serde_json::from_value(update).unwrap())
}

/// Returns the machines of the run that is created.
fn due(nodes: &[Arc<ManagedNode>], runs: &[Arc<UpdateRun>], updates: &[Arc<NodeUpdate>]) -> Vec<String> {
    let fleets = observe(&Register::default(), nodes, runs, updates);
    let fleet = fleets.get("fleet").unwrap();
    let run = schedule::decide(now(), &fleet.machines, fleet.open);
    run.into_iter().flat_map(|run| run.nodes).map(|name| name.0).collect()
}

/// A machine that is worked on, on hold or away would be asked, or one that is due would be forgotten.
#[test]
fn machines_that_are_due_and_idle_are_asked() {
    let nodes = [
        node("a", json!({}), json!({})),
        node("b-held", json!({"hold": true}), json!({})),
        node("c-working", json!({}), json!({})),
        node("d-done", json!({}), json!({})),
        node("e-taken", json!({}), json!({"inventory": {"takenAt": "2026-12-02T00:00:00Z"}})),
        node(
            "f-tried",
            json!({}),
            json!({"inventory": {"takenAt": "2026-11-02T00:00:00Z", "triedAt": "2026-12-02T00:00:00Z"}}),
        ),
        node("g-old", json!({}), json!({"inventory": {"triedAt": "2026-12-01T00:00:00Z"}})),
        node("h-no-driver", json!({"type": "Windows"}), json!({})),
    ];
    let updates = [update("c-working", json!({"conditions": []})), update("d-done", ended())];
    assert_eq!(due(&nodes, &[], &updates), ["a", "d-done", "g-old"]);
    let starting = run(&[], NOW, json!({"conditions": [], "starting": ["a"]}));
    assert_eq!(due(&nodes, &[starting], &updates), ["d-done", "g-old"]);
}

/// A machine would be asked again each minute: while it is being asked, and after a run that could not even write its
/// status.
#[test]
fn machines_of_a_scheduled_run_are_not_asked_again() {
    let nodes = [node("a", json!({}), json!({})), node("b", json!({}), json!({}))];
    let open = run(&["a"], "2026-11-01T00:00:00Z", json!({"conditions": []}));
    assert_eq!(due(&nodes, std::slice::from_ref(&open), &[]), ["b"]);
    let over = run(&["a"], "2026-12-02T11:30:00Z", ended());
    assert_eq!(due(&nodes, &[over], &[]), ["b"]);
    let long_ago = run(&["a"], "2026-11-20T11:30:00Z", ended());
    assert_eq!(due(&nodes, &[long_ago], &[]), ["a", "b"]);
    let open = vec![open; schedule::MAX_OPEN];
    assert_eq!(due(&nodes, &open, &[]), Vec::<String>::new());
}

/// A scheduled run would change machines, or stay for ever.
#[test]
fn a_scheduled_run_reads_only_and_expires() {
    let run = build("fleet", &InventoryRun { name: "inventory-1".into(), nodes: vec![NodeName("a".into())] });
    let written = serde_json::to_value(&run).unwrap();
    assert_eq!(written["spec"]["operation"], "Inventory");
    assert_eq!(written["spec"]["reboot"]["policy"], "Never");
    assert_eq!(
        (&written["spec"]["nodes"], &written["spec"]["ttlAfterFinished"]),
        (&json!(["a"]), &json!("1h"))
    );
    assert_eq!(written["metadata"]["labels"], json!({"farrier.dev/scheduled": "inventory"}));
}
