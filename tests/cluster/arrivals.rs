//! Objects that come in any order, and caches that are behind the API server: what a whole operator
//! makes of them. No machine is there; an attempt ends as soon as it tries to reach one.

use crate::gateway::Gateway;
use crate::server::{Server, both, server, until};
use crate::startup::Place;
use farrier::api::{Baseline, ManagedNode, NodeUpdate, UpdateRun, condition};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::process::Stdio;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// An operator at work in the test's namespace.
struct Operator {
    place: Place,
    child: Option<Child>,
}

impl Operator {
    /// Starts it and waits until it is at work; through a gateway, if there is one.
    async fn start(server: &Server, gateway: Option<&Gateway>) -> Self {
        let place = Place::new();
        let mut command: Command = place.operator();
        match gateway {
            Some(gateway) => {
                gateway.kubeconfig(&place.path("kubeconfig"));
                command.arg("--kubeconfig").arg(place.path("kubeconfig"));
            }
            None => {
                command.env("KUBECONFIG", std::env::var_os("KUBECONFIG").unwrap());
            }
        }
        // Two namespaces: the caches are filled by several watches.
        let namespaces = format!("{},{}-too", server.namespace, server.namespace);
        command.args(["--operator-namespace", &server.namespace, "--namespace", &namespaces]);
        command.args(["--runner-name", "r", "--http-addr", "127.0.0.1:0"]);
        let log = std::fs::File::create(place.path("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let operator = Self { place, child: Some(child) };
        until("the operator is at work", async || operator.log().contains("farrier is at work")).await;
        until("it leads", async || operator.log().contains("this replica is the leader")).await;
        operator
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.place.path("log")).unwrap_or_default()
    }

    /// Ends it as an upgrade does.
    async fn stop(&mut self) {
        let child = self.child.take().unwrap();
        let pid = child.id().unwrap().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).output().await.unwrap();
        assert!(told.status.success(), "{}", both(&told));
        let ended = child.wait_with_output().await.unwrap();
        assert!(ended.status.success(), "{}", self.log());
    }
}

fn api<K>(server: &Server) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(server.client.clone(), &server.namespace)
}

async fn make<K>(server: &Server, object: Value) -> K
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    api(server).create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
}

/// A machine where nobody answers, in a group, with a Secret of the same name.
async fn node(server: &Server, name: &str, group: &str) {
    let node = json!({
        "metadata": {"name": name, "labels": {"group": group}},
        "spec": {
            "type": "Linux",
            "addresses": ["127.0.0.1"],
            "credentialsRef": {"name": name},
            "ssh": {"port": 1, "hostKeyPolicy": "TrustOnFirstUse"},
        },
    });
    make::<ManagedNode>(server, node).await;
}

async fn secret(server: &Server, name: &str) {
    let secret = json!({"metadata": {"name": name}, "stringData": {"password": "x"}});
    make::<Secret>(server, secret).await;
}

/// A baseline with this version of a component, in place of an earlier one of the same name.
async fn baseline(server: &Server, name: &str, version: &str) {
    if api::<Baseline>(server).get_opt(name).await.unwrap().is_some() {
        api::<Baseline>(server).delete(name, &DeleteParams::default()).await.unwrap();
    }
    let digest = format!("sha256:{}", "0".repeat(64));
    let component = json!({
        "name": "ethtool",
        "version": version,
        "installer": "Deb",
        "payload": {"url": "https://files.example/ethtool.deb", "digest": digest},
    });
    let spec = json!({"components": [component]});
    make::<Baseline>(server, json!({"metadata": {"name": name}, "spec": spec})).await;
}

/// An inventory of a group that bears the group's name.
async fn run(server: &Server, group: &str, spec: Value) -> UpdateRun {
    let mut full = json!({"operation": "Inventory", "selector": {"matchLabels": {"group": group}}});
    json_patch::merge(&mut full, &spec);
    make(server, json!({"metadata": {"name": group}, "spec": full})).await
}

fn succeeded(conditions: Option<&Vec<Condition>>) -> (String, String, String) {
    let found = conditions.and_then(|conditions| condition::find(conditions, "Succeeded"));
    found.map_or_else(Default::default, |c| (c.status.clone(), c.reason.clone(), c.message.clone()))
}

/// Waits until the condition `Succeeded` of a run has this status and reason; returns the run.
async fn run_says(server: &Server, name: &str, status: &str, reason: &str) -> UpdateRun {
    let mut run = None;
    until(&format!("run {name} says {status} {reason}"), async || {
        let now = api::<UpdateRun>(server).get(name).await.unwrap();
        let said = succeeded(now.status.as_ref().map(|s| &s.conditions));
        assert!(said.0 != "False" || said.0 == status, "{name} has ended: {said:?}");
        run = Some(now);
        said.0 == status && said.1 == reason
    })
    .await;
    run.unwrap()
}

/// The same of the NodeUpdate of a machine, which bears the name of its group; returns the message.
async fn node_says(server: &Server, name: &str, status: &str, reason: &str) -> String {
    let mut message = String::new();
    until(&format!("{name}-{name} says {status} {reason}"), async || {
        let Some(now) = api::<NodeUpdate>(server).get_opt(&format!("{name}-{name}")).await.unwrap() else {
            return false;
        };
        let said = succeeded(now.status.as_ref().map(|s| &s.conditions));
        assert!(said.0 != "False" || said.0 == status, "{name} has ended: {said:?}");
        message = said.2;
        said.0 == status && said.1 == reason
    })
    .await;
    message
}

fn nodes(run: &UpdateRun) -> Vec<String> {
    run.status.as_ref().and_then(|status| status.nodes.clone()).unwrap_or_default()
}

fn deadline(run: &UpdateRun) -> String {
    let status = serde_json::to_value(&run.status).unwrap();
    status["arrivalDeadline"].as_str().unwrap_or_default().to_owned()
}

/// On a fresh cluster a run ends for good as `NoNodesSelected` although its node is there, because the
/// watch of nodes begins a second after the watch of runs.
#[tokio::test]
async fn a_run_whose_nodes_no_cache_shows_yet_waits_for_the_cache_and_takes_all() {
    server(async |server| {
        let gateway = Gateway::holding(&server.client, "managednodes").await;
        let mut operator = Operator::start(server, Some(&gateway)).await;
        for name in ["a", "b"] {
            secret(server, name).await;
            node(server, name, "g").await;
        }
        run(server, "g", json!({"arrivalTimeout": "0s"})).await;
        // A list that was recorded by a replica that saw the nodes.
        let paused = json!({"arrivalTimeout": "0s", "desiredState": "Pause"});
        run(server, "old", paused).await;
        let list = Patch::Merge(json!({"status": {"nodes": ["a", "b"]}}));
        let runs = api::<UpdateRun>(server);
        runs.patch_status("old", &PatchParams::default(), &list).await.unwrap();
        let go = Patch::Merge(json!({"spec": {"desiredState": "Run"}}));
        runs.patch("old", &PatchParams::default(), &go).await.unwrap();
        for name in ["g", "old"] {
            let waits = run_says(server, name, "Unknown", "InProgress").await;
            assert!(
                succeeded(waits.status.as_ref().map(|s| &s.conditions)).2.contains("API server"),
                "{waits:?}"
            );
        }
        gateway.release();
        for name in ["g", "old"] {
            let ended = run_says(server, name, "False", "SomeFailed").await;
            assert_eq!(nodes(&ended), ["a", "b"]);
            assert_eq!(ended.status.unwrap().counts.unreachable, 2);
        }
        operator.stop().await;
    })
    .await;
}

/// Makes the NodeUpdate of a machine that bears the name of its run.
async fn started(server: &Server, run: &UpdateRun, intent: &str) {
    let (name, owner) = (run.name_any(), run.controller_owner_ref(&()).unwrap());
    let update = json!({
        "metadata": {
            "name": format!("{name}-{name}"),
            "finalizers": ["farrier.dev/clean-up"],
            "ownerReferences": [owner],
        },
        "spec": {"runRef": {"name": name}, "nodeRef": {"name": name}, "runner": "r", "intent": intent},
    });
    make::<NodeUpdate>(server, update).await;
}

/// A runner whose cache lags would otherwise end a machine as `Cancelled`, count no retries, or not wait for
/// a Secret.
#[tokio::test]
async fn a_node_update_whose_run_no_cache_shows_yet_is_not_given_up() {
    server(async |server| {
        let gateway = Gateway::holding(&server.client, "updateruns").await;
        let mut operator = Operator::start(server, Some(&gateway)).await;
        for name in ["again", "late"] {
            node(server, name, name).await;
        }
        secret(server, "again").await;
        let spec = json!({"arrivalTimeout": "1m", "desiredState": "Pause", "strategy": {"retries": 1}});
        started(server, &run(server, "again", spec.clone()).await, "Run").await;
        started(server, &run(server, "late", spec).await, "Run").await;
        // While the cache does not show the runs: the number of retries and the wait come from the API server.
        let message = node_says(server, "again", "Unknown", "WaitingForRetry").await;
        assert!(message.contains("ConnectionRefused"), "{message}");
        let message = node_says(server, "late", "Unknown", "SecretNotFound").await;
        assert!(message.contains("waiting until"), "{message}");
        gateway.release();
        secret(server, "late").await;
        for name in ["again", "late"] {
            node_says(server, name, "False", "ConnectionRefused").await;
        }
        operator.stop().await;
    })
    .await;
}

/// Otherwise a plan that took attempts leaves none to its installation.
#[tokio::test]
async fn attempts_that_made_the_plan_leave_the_retries_to_the_installation() {
    server(async |server| {
        let updates = api::<NodeUpdate>(server);
        let spec = json!({"desiredState": "Pause", "strategy": {"retries": 1}});
        for name in ["approved", "planning"] {
            node(server, name, name).await;
            secret(server, name).await;
            started(server, &run(server, name, spec.clone()).await, "Plan").await;
        }
        // As an operator of an earlier version leaves it.
        let planned = json!({"status": {"attempt": 3, "conditions": [condition_of("Succeeded", "Unknown", "PlanOnly")]}});
        updates.patch_status("approved-approved", &PatchParams::default(), &Patch::Merge(planned)).await.unwrap();
        let mut operator = Operator::start(server, None).await;
        node_says(server, "planning", "Unknown", "WaitingForRetry").await;
        for (name, planning, attempt) in [("approved", 3, 4), ("planning", 1, 2)] {
            let intent = Patch::Merge(json!({"spec": {"intent": "Run"}}));
            updates.patch(&format!("{name}-{name}"), &PatchParams::default(), &intent).await.unwrap();
            until(&format!("{name} is tried again after its first installation"), async || {
                node_says(server, name, "Unknown", "WaitingForRetry").await;
                let status = updates.get(&format!("{name}-{name}")).await.unwrap().status.unwrap();
                status.attempt == Some(attempt) && status.planning_attempts == Some(planning)
            })
            .await;
        }
        operator.stop().await;
    })
    .await;
}

/// Otherwise an engine stays on the machine of a plan that is cancelled after its clean-up failed.
#[tokio::test]
async fn a_cancelled_plan_whose_machine_is_not_clean_is_cleaned() {
    server(async |server| {
        let machine = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        node(server, "m", "m").await;
        let port = Patch::Merge(json!({"spec": {"ssh": {"port": machine.local_addr().unwrap().port()}}}));
        api::<ManagedNode>(server).patch("m", &PatchParams::default(), &port).await.unwrap();
        secret(server, "m").await;
        started(server, &run(server, "m", json!({"desiredState": "Pause"})).await, "Plan").await;
        let conditions = [
            condition_of("Succeeded", "Unknown", "PlanOnly"),
            condition_of("TornDown", "False", "CleanupPending"),
        ];
        let planned = Patch::Merge(json!({"status": {"attempt": 1, "conditions": conditions}}));
        let updates = api::<NodeUpdate>(server);
        updates.patch_status("m-m", &PatchParams::default(), &planned).await.unwrap();
        let mut operator = Operator::start(server, None).await;
        let cancel = Patch::Merge(json!({"spec": {"intent": "Cancel"}}));
        updates.patch("m-m", &PatchParams::default(), &cancel).await.unwrap();
        let called = tokio::time::timeout(Duration::from_secs(30), machine.accept()).await;
        assert!(called.is_ok(), "nobody connects to the machine: {}", operator.log());
        operator.stop().await;
    })
    .await;
}

/// Otherwise half of the machines get the earlier components and half the later ones, and the run succeeds.
#[tokio::test]
async fn a_baseline_that_is_replaced_during_a_run_is_not_installed() {
    server(async |server| {
        let mut operator = Operator::start(server, None).await;
        for name in ["based", "next"] {
            node(server, name, "based").await;
        }
        baseline(server, "spring", "1.0").await;
        let spec = json!({
            "operation": "Update",
            "baselineRef": {"name": "spring"},
            "strategy": {"maxConcurrent": 1},
        });
        run(server, "based", spec).await;
        let begun = run_says(server, "based", "Unknown", "SecretNotFound").await;
        let recorded = begun.status.unwrap().baseline;
        assert!(recorded.is_some());
        baseline(server, "spring", "2.0").await;
        let message = |run: &UpdateRun| succeeded(run.status.as_ref().map(|s| &s.conditions)).2;
        until("the run says that its baseline was replaced", async || {
            let waits = run_says(server, "based", "Unknown", "BaselineNotFound").await;
            message(&waits).contains("was replaced")
        })
        .await;
        until("the machine that has loaded nothing waits for the earlier baseline", async || {
            node_says(server, "based", "Unknown", "BaselineNotFound").await.contains("was replaced")
        })
        .await;
        baseline(server, "spring", "1.0").await;
        node_says(server, "based", "Unknown", "SecretNotFound").await;
        for name in ["based", "next"] {
            secret(server, name).await;
        }
        let ended = run_says(server, "based", "False", "SomeFailed").await.status.unwrap();
        assert_eq!((ended.counts.unreachable, ended.baseline), (2, recorded));
        operator.stop().await;
    })
    .await;
}

/// A condition as a status contains it.
fn condition_of(type_: &str, status: &str, reason: &str) -> Value {
    let at = "2026-01-01T00:00:00Z";
    json!({"type": type_, "status": status, "reason": reason, "message": "as before", "lastTransitionTime": at})
}

/// Who applies a folder gets a run that has ended before its objects are there, or one that has silently
/// left out most of its nodes.
#[tokio::test]
async fn what_comes_after_the_run_is_waited_for_and_taken() {
    server(async |server| {
        let mut operator = Operator::start(server, None).await;
        let patient = json!({"arrivalTimeout": "1m"});
        run(server, "m", patient.clone()).await;
        run(server, "rack", patient).await;
        let waits = run_says(server, "m", "Unknown", "NoNodesSelected").await;
        let until_when = deadline(&waits);
        let message = succeeded(waits.status.as_ref().map(|s| &s.conditions)).2;
        assert!(message.contains(until_when.split('.').next().unwrap().trim_end_matches('Z')), "{message}");
        // One after the other, as tools do; the first one must not be the only one.
        let rack = async {
            let mut names = Vec::new();
            for number in 0..6 {
                let name = format!("rack-{number}");
                secret(server, &name).await;
                node(server, &name, "rack").await;
                names.push(name);
                // sleep: the pace of a tool.
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            names
        };
        let one = async {
            node(server, "m", "m").await;
            let message = node_says(server, "m", "Unknown", "SecretNotFound").await;
            assert!(message.contains("secret m") && message.contains("waiting until"), "{message}");
            let waits = run_says(server, "m", "Unknown", "SecretNotFound").await;
            let note = waits.status.as_ref().unwrap().waiting[0].clone();
            assert_eq!((note.node.as_str(), note.reason.as_str()), ("m", "SecretNotFound"));
            assert!(note.message.contains("waiting until"), "{note:?}");
            assert_eq!(deadline(&waits), until_when);
            secret(server, "m").await;
            node_says(server, "m", "False", "ConnectionRefused").await;
            run_says(server, "m", "False", "SomeFailed").await;
        };
        let (names, ()) = tokio::join!(rack, one);
        assert_eq!(nodes(&run_says(server, "rack", "False", "SomeFailed").await), names);
        operator.stop().await;
    })
    .await;
}

/// A typing error in a name keeps a run waiting for ever, or the wait begins anew with each restart.
#[tokio::test]
async fn missing_objects_end_the_run_at_its_deadline_also_after_a_change_of_leader() {
    server(async |server| {
        let mut operator = Operator::start(server, None).await;
        let spec = |more: Value| {
            let mut spec = json!({"arrivalTimeout": "6s"});
            json_patch::merge(&mut spec, &more);
            spec
        };
        let update = json!({"operation": "Update", "baselineRef": {"name": "no-such"}});
        for name in ["based", "m"] {
            node(server, name, name).await;
        }
        // Of this one the key is missing that the Secret exists for.
        node(server, "half", "half").await;
        make::<Secret>(server, json!({"metadata": {"name": "half"}, "stringData": {"username": "x"}})).await;
        join_all([
            run(server, "nobody", spec(json!({}))),
            run(server, "based", spec(update)),
            run(server, "m", spec(json!({}))),
            run(server, "half", spec(json!({}))),
        ])
        .await;
        let waits = [
            run_says(server, "nobody", "Unknown", "NoNodesSelected").await,
            run_says(server, "based", "Unknown", "BaselineNotFound").await,
            run_says(server, "m", "Unknown", "SecretNotFound").await,
            run_says(server, "half", "Unknown", "SecretIncomplete").await,
        ];
        operator.stop().await;
        let mut operator = Operator::start(server, None).await;
        for (was, reason) in
            waits.iter().zip(["NoNodesSelected", "BaselineNotFound", "SomeFailed", "SomeFailed"])
        {
            let ended = run_says(server, &was.name_any(), "False", reason).await;
            assert_eq!(deadline(&ended), deadline(was));
            let finished = ended.status.as_ref().unwrap().finished_at.clone().unwrap().0;
            let until = ended.status.as_ref().unwrap().arrival_deadline.clone().unwrap().0;
            let late = finished.duration_since(until).as_secs_f64();
            assert!((-1.0..10.0).contains(&late), "{} ended {late} s after its deadline", was.name_any());
        }
        node_says(server, "m", "False", "SecretNotFound").await;
        node_says(server, "half", "False", "SecretIncomplete").await;
        operator.stop().await;
    })
    .await;
}
