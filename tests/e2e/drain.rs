//! Machines that carry work of others are drained before they are disrupted, and given back afterwards.

mod job;
mod rights;

use crate::harness::https::{Answer, Server};
use crate::harness::payload::{bmc_tool, merge};
use crate::harness::run::to;
use crate::harness::{Conditions, Run, Site, e2e, outcome};
use farrier::api::node_update::{DrainState, Waiting};
use farrier::api::{CORDONED_BY_ANNOTATION, NodeUpdate};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// A Node of the cluster, which no kubelet serves.
struct Worker {
    nodes: Api<Node>,
    name: String,
}

impl Worker {
    async fn up(site: &Site) -> Self {
        let (nodes, name): (Api<Node>, _) = (Api::all(site.client.clone()), format!("w-{}", site.name));
        let node = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a Node");
        nodes.create(&PostParams::default(), &node).await.expect("a new Node");
        Self { nodes, name }
    }

    /// Returns whether it is cordoned, and what its annotation says about who did that.
    async fn cordon(&self) -> (bool, Option<String>) {
        let node = self.nodes.get(&self.name).await.expect("the Node");
        let is = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default();
        (is, node.annotations().get(CORDONED_BY_ANNOTATION).cloned())
    }

    async fn set(&self, unschedulable: bool) {
        let patch = json!({"spec": {"unschedulable": unschedulable}});
        self.nodes
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("a changed Node");
    }

    /// Starts a pod on it, which a controller would replace.
    async fn pod(&self, site: &Site, name: &str) {
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("owner-of-{name}")}});
        let owner = site.create::<ConfigMap>(&owner).await.expect("an owner");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}, "ownerReferences": [{"apiVersion": "v1",
                "kind": "ConfigMap", "name": owner.name_any(), "uid": owner.uid(), "controller": true}]},
            "spec": {"nodeName": self.name, "terminationGracePeriodSeconds": 0,
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "main", "image": "example.net/none"}]},
        });
        site.create::<Pod>(&pod).await.expect("a pod");
        let status =
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        let pods = site.api::<Pod>();
        pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.expect("a running pod");
    }

    async fn remove(self) {
        self.nodes.delete(&self.name, &DeleteParams::default()).await.expect("a deleted Node");
    }
}

/// Keeps the pod from being evicted.
async fn hold(site: &Site, pod: &str) {
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "kept"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": pod}}}});
    site.create::<PodDisruptionBudget>(&budget).await.expect("a budget");
}

async fn let_go(site: &Site) {
    site.api::<PodDisruptionBudget>()
        .delete("kept", &DeleteParams::default())
        .await
        .expect("a deleted budget");
}

/// Waits until the NodeUpdate of `db` waits for this pod.
async fn waits_for(run: &Run<'_>, pod: &str) -> (NodeUpdate, Waiting) {
    let seen = |update: &NodeUpdate| {
        let waiting = update.status.as_ref()?.waiting.clone()?;
        (waiting.reason == "Draining" && waiting.what.contains(pod)).then_some(waiting)
    };
    let update = run.node_until("db", "the wait for the pod", |update| seen(update).is_some()).await;
    let waiting = seen(&update).expect("a wait");
    (update, waiting)
}

fn state(update: &NodeUpdate) -> Option<DrainState> {
    update.status.as_ref().and_then(|status| Some(status.drain.as_ref()?.state))
}

async fn pod_is_there(site: &Site, name: &str) -> bool {
    site.api::<Pod>().get_opt(name).await.expect("an answer").is_some()
}

fn drained_by(node: &str, more: Value) -> Value {
    let mut drain = json!({"kubernetesNode": node});
    merge(&mut drain, more);
    json!({"drain": drain})
}

/// Returns what a ManagedNode says whose hook is a path of this server.
pub(crate) async fn drained_over_https(site: &Site, server: &Server, url: &str) -> Value {
    let ca = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": server.ca}});
    site.create::<ConfigMap>(&ca).await.expect("a ConfigMap");
    json!({"drain": {"http": {"url": url, "tls": {"caRef": {"name": "ca"}}}}})
}

/// A machine would be changed with pods on it; or its Node would stay cordoned for ever because the operator was killed
/// while it was drained.
#[test]
fn a_node_is_drained_before_its_machine_is_changed_and_given_back_after_a_crash() {
    e2e("drain", async |site| {
        let worker = Worker::up(site).await;
        let db = site.machine("db").spec(drained_by(&worker.name, json!({}))).up().await;
        worker.pod(site, "free").await;
        worker.pod(site, "kept").await;
        hold(site, "kept").await;
        site.baseline("spring", &[bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        let (update, waiting) = waits_for(&run, "/kept").await;
        assert_eq!(state(&update), Some(DrainState::Draining));
        assert!(waiting.what.contains(&format!("to leave Node {}", worker.name)), "{waiting:?}");
        assert_eq!(update.status.as_ref().and_then(|s| s.step.as_deref()), Some("Draining (waits for pods)"));
        assert!(!pod_is_there(site, "free").await, "a pod without a budget stays");
        let mark = format!("{}/r1-db/{}", site.name, update.uid().expect("a UID"));
        assert_eq!(worker.cordon().await, (true, Some(mark.clone())));

        site.operator.kill();
        site.operator.start();
        waits_for(&run, "/kept").await;
        assert_eq!(worker.cordon().await, (true, Some(mark)));
        assert_eq!(db.file("/etc/bmc-tool.version"), None, "it was changed before it was drained");
        let_go(site).await;
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!((outcome(&update, "bmc-tool"), state(&update)), ("Updated", Some(DrainState::Undrained)));
        assert_eq!(worker.cordon().await, (false, None));
        assert!(!pod_is_there(site, "kept").await);
        worker.remove().await;
    });
}

/// A Node that its owner has cordoned for a repair would get pods again; or a drain that does not end would keep a
/// machine for ever, or leave its Node cordoned.
#[test]
fn a_drain_that_times_out_or_is_cancelled_leaves_machine_and_node_as_they_were() {
    e2e("undrained", async |site| {
        let worker = Worker::up(site).await;
        worker.set(true).await;
        let db = site.machine("db").spec(drained_by(&worker.name, json!({"timeout": "6s"}))).up().await;
        let before = db.snapshot().await;
        worker.pod(site, "kept").await;
        hold(site, "kept").await;
        site.baseline("spring", &[bmc_tool("2.0")]).await;
        let mut once = to("spring");
        merge(&mut once, json!({"strategy": {"retries": 0}}));
        let run = site.run("r1", once.clone()).await;
        let failed = run.fails().await;
        assert_eq!(failed.status.expect("a status").failing[0].reason, "DrainTimedOut");
        let words = run.node("db").await.words("Succeeded");
        for part in ["was not drained", "nothing was changed on db", "/kept"] {
            assert!(words.contains(part), "{words}");
        }
        assert_eq!(worker.cordon().await, (true, None), "its owner had cordoned it");

        worker.set(false).await;
        let patch = json!({"spec": {"drain": {"timeout": "10m"}}});
        let nodes = site.api::<farrier::api::ManagedNode>();
        nodes.patch("db", &PatchParams::default(), &Patch::Merge(patch)).await.expect("a longer timeout");
        let run = site.run("r2", once).await;
        waits_for(&run, "/kept").await;
        assert!(worker.cordon().await.0);
        run.desire("Cancel").await;
        assert_eq!(run.fails().await.reason("Succeeded"), "Cancelled");
        assert_eq!(worker.cordon().await, (false, None));
        assert!(pod_is_there(site, "kept").await);
        before.same_but(&db.snapshot().await, &[crate::harness::snapshot::LOG]);
        worker.remove().await;
    });
}

/// A load balancer would not be told before a machine is changed, or would never let it back.
#[test]
fn a_hook_is_asked_before_the_machine_is_changed_and_after() {
    e2e("hook", async |site| {
        let server = Server::start(site).await;
        let url = server.at("/drain", Answer::Status(503));
        site.secret("token", &[("token", "very-secret")]).await;
        let mut drain = drained_over_https(site, &server, &url).await;
        merge(&mut drain, json!({"drain": {"http": {"secretRef": {"name": "token"}}}}));
        let db = site.machine("db").spec(drain).up().await;
        site.baseline("spring", &[bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        let (update, waiting) = waits_for(&run, "503").await;
        assert_eq!(state(&update), Some(DrainState::Draining), "{waiting:?}");
        server.at("/drain", Answer::Status(204));
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!(state(&update), Some(DrainState::Undrained));
        let posts = server.posts();
        let id = format!("{}-1", update.uid().expect("a UID"));
        let of = |post: &Value| {
            assert_eq!(
                (&post["machine"], &post["run"], &post["id"]),
                (&json!("db"), &json!("r1"), &json!(id))
            );
            post["phase"].as_str().unwrap_or_default().to_owned()
        };
        let phases: Vec<String> = posts.iter().map(of).collect();
        assert!(phases.len() >= 3 && phases.iter().rev().skip(1).all(|phase| phase == "Drain"), "{phases:?}");
        assert_eq!(phases.last().map(String::as_str), Some("Undrain"));
        assert!(!site.logs().contains("very-secret"), "a credential is in the log");
        db.is_clean().await;
    });
}
