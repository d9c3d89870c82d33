//! A run is created before the objects that it needs, as when a tool applies a folder in its own order.

use crate::harness::https::{Answer, Server};
use crate::harness::payload::{merge, of_bytes};
use crate::harness::run::{outcome, to};
use crate::harness::snapshot::LOG;
use crate::harness::{Conditions, Run, Site, e2e};
use farrier::api::{ManagedNode, NodeUpdate, UpdateRun};
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use serde_json::{Value, json};

/// Long enough for all objects to be created on a busy machine.
const PATIENT: &str = "80s";

/// Deletes the ManagedNode and the Secret of a machine, and returns them so that a test can create them
/// again.
async fn taken(site: &Site, name: &str) -> (Value, Value) {
    let node: ManagedNode = site.api().get(name).await.expect("the ManagedNode");
    let secret: Secret = site.api().get(name).await.expect("the Secret");
    site.api::<ManagedNode>().delete(name, &DeleteParams::default()).await.expect("a deleted ManagedNode");
    site.api::<Secret>().delete(name, &DeleteParams::default()).await.expect("a deleted Secret");
    let node = json!({
        "apiVersion": "farrier.dev/v1alpha1",
        "kind": "ManagedNode",
        "metadata": {"name": name, "labels": node.metadata.labels},
        "spec": node.spec,
    });
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": secret.data});
    (node, secret)
}

async fn waits_for(run: &Run<'_>, reason: &str, words: &str) -> UpdateRun {
    let waits = |run: &UpdateRun| run.state("Succeeded") == "Unknown" && run.reason("Succeeded") == reason;
    let run = run.until(&format!("the run to wait: {reason}"), waits).await;
    let message = &run.condition("Succeeded").message;
    assert!(message.contains(words) && message.contains("until 20"), "{message}");
    run
}

async fn node_waits_for(run: &Run<'_>, secret: &str) {
    let waits = |update: &NodeUpdate| {
        let said = update.words("Succeeded");
        said.starts_with("Succeeded=Unknown SecretNotFound: ") && said.contains(secret)
    };
    let update = run.node_until("db", &format!("the machine to wait for Secret {secret}"), waits).await;
    assert!(update.condition("Succeeded").message.contains("waiting until"), "{update:?}");
    assert_eq!(update.status.and_then(|status| status.step).as_deref(), Some("WaitingForObjects"));
    run.until("the run to report what its machine waits for", |run| {
        let waiting = run.status.iter().flat_map(|status| &status.waiting);
        waiting.clone().any(|on| on.reason == "SecretNotFound" && on.message.contains(secret))
    })
    .await;
}

/// Users would have to apply their objects in a certain order, or to start runs again by hand.
#[test]
fn baseline_nodes_and_secrets_may_come_after_the_run() {
    e2e("arrive", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        let (node, secret) = taken(site, "db").await;
        let server = Server::start(site).await;
        let component = |name: &str, secret: &str| {
            let bytes = format!("#!/bin/sh\necho 1.0 >/etc/{name}.version\n").into_bytes();
            let made = of_bytes(name, "1.0", "Script", &format!("{name}.sh"), &bytes);
            let url = server.at(&format!("/{name}.sh"), Answer::Whole(bytes));
            made.with(json!({
                "detect": {"file": format!("/etc/{name}.version")},
                "payload": {"url": url, "secretRef": {"name": secret}},
            }))
        };
        let with = |baseline: &str, patience: &str| {
            let mut spec = to(baseline);
            merge(&mut spec, json!({"arrivalTimeout": patience}));
            spec
        };
        let run = site.run("r1", with("spring", PATIENT)).await;
        let first = waits_for(&run, "BaselineNotFound", "baseline spring does not exist").await;
        site.baseline("spring", &[component("tool", "with-ca")]).await;
        waits_for(&run, "NoNodesSelected", "spec.selector matches no node").await;
        site.create::<ManagedNode>(&node).await.expect("a ManagedNode");
        node_waits_for(&run, "secret db").await;
        // After a restart the operator waits until the same deadline.
        site.operator.kill();
        site.operator.start();
        site.create::<Secret>(&secret).await.expect("a Secret");
        node_waits_for(&run, "with-ca").await;
        before.same_but(&db.snapshot().await, &[]);
        site.secret("with-ca", &[("ca.crt", &server.ca)]).await;
        let done = run.succeeds().await;
        assert_eq!(outcome(&run.node("db").await, "tool"), "Updated");
        let deadline =
            |run: UpdateRun| run.status.and_then(|status| status.arrival_deadline).expect("a deadline");
        assert_eq!(deadline(done), deadline(first));
        before.same_but(&db.snapshot().await, &[LOG, &["/etc/tool.version"]]);

        // The message about a Secret that is never created names the component that needs it.
        site.baseline("summer", &[component("other", "no-such-secret")]).await;
        let run = site.run("r2", with("summer", "2s")).await;
        run.fails().await;
        let update = run.node("db").await;
        let said = update.condition("Succeeded");
        assert_eq!(said.reason, "SecretNotFound");
        assert!(said.message.contains("no-such-secret") && said.message.contains("component other"));
    });
}
