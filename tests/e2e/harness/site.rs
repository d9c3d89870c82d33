//! The environment of one test: a namespace, an operator, machines.

use super::machine::{Builder, Machine};
use super::operator::Operator;
use super::payload::Component;
use super::run::Run;
use super::{lab, payload, wait};
use farrier::api::{Baseline, FINALIZER, ManagedNode, NodeUpdate, UpdateRun};
use farrier::publish::{Kind, is_gone};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Set once the CRDs are installed, which all tests of the process share.
static DEFINITIONS: OnceCell<()> = OnceCell::const_new();

/// The environment of one test.
pub(crate) struct Site {
    /// Name of the namespace, and prefix of every name in the lab.
    pub(crate) name: String,
    /// Client of the API server.
    pub(crate) client: Client,
    /// The operator.
    pub(crate) operator: Operator,
    replicas: Mutex<Vec<Arc<Operator>>>,
    dir: TempDir,
    hosts: Mutex<Vec<String>>,
    machines: Mutex<Vec<Machine>>,
}

impl Site {
    /// Creates a namespace, and starts an operator that watches it.
    pub(crate) async fn new(name: &str) -> Self {
        let site = Self::without_operator(name).await;
        site.operator.start();
        site
    }

    /// Creates a namespace, and an operator that is not started.
    pub(crate) async fn without_operator(name: &str) -> Self {
        let client = Client::try_default().await.expect("the cluster of KUBECONFIG");
        DEFINITIONS.get_or_init(|| define(&client)).await;
        let name = format!("{name}-{}", random());
        let dir = tempfile::Builder::new().prefix(&format!("e2e-{name}-")).tempdir().expect("a directory");
        payload::fill(&dir.path().join("payloads"));
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let namespace: Namespace = serde_json::from_value(namespace).expect("a namespace");
        let api: Api<Namespace> = Api::all(client.clone());
        api.create(&PostParams::default(), &namespace).await.expect("a new namespace");
        let operator = Operator::new(&name, "runner", dir.path());
        let (hosts, machines, replicas) = Default::default();
        Self { name, client, operator, replicas, dir, hosts, machines }
    }

    /// Creates another operator process for the same namespace without starting it.
    pub(crate) fn replica(&self, name: &str) -> Arc<Operator> {
        let replica = Arc::new(Operator::new(&self.name, name, self.dir.path()));
        self.replicas.lock().unwrap().push(replica.clone());
        replica
    }

    /// Returns the logs of all operators.
    pub(crate) fn logs(&self) -> String {
        let others = self.replicas.lock().unwrap().clone();
        std::iter::once(self.operator.log()).chain(others.iter().map(|o| o.log())).collect()
    }

    /// Returns the API for a kind in this namespace.
    pub(crate) fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Creates an object. The API server may reject it.
    pub(crate) async fn create<K: Kind>(&self, object: &Value) -> Result<K, kube::Error> {
        // The JSON is sent unchanged, so that wrong fields reach the API server.
        let resource = kube::api::ApiResource::erase::<K>(&());
        let api: Api<kube::api::DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.name, &resource);
        let object = serde_json::from_value(object.clone()).expect("an object with kind and name");
        let created = api.create(&PostParams::default(), &object).await?;
        Ok(created.try_parse().expect("an accepted object can be parsed"))
    }

    /// Returns a builder for a machine, which `up` starts.
    pub(crate) fn machine(&self, name: &str) -> Builder<'_> {
        Builder::new(self, name)
    }

    /// Creates a Baseline.
    pub(crate) async fn baseline(&self, name: &str, components: &[Component]) {
        let components: Vec<&Value> = components.iter().map(|c| &c.0).collect();
        let baseline = json!({
            "apiVersion": "farrier.dev/v1alpha1",
            "kind": "Baseline",
            "metadata": {"name": name},
            "spec": {"components": components},
        });
        self.create::<Baseline>(&baseline).await.expect("a Baseline that the API server accepts");
    }

    /// Creates an UpdateRun. Without a selector in `spec` it selects every machine of the site. Without an
    /// arrivalTimeout it does not wait for objects, because most tests create them before the run.
    pub(crate) async fn run(&self, name: &str, spec: Value) -> Run<'_> {
        let mut full = json!({"arrivalTimeout": "0s"});
        if spec["nodes"].is_null() && spec["retryOf"].is_null() {
            full["selector"] = json!({});
        }
        payload::merge(&mut full, spec);
        let run = json!({
            "apiVersion": "farrier.dev/v1alpha1",
            "kind": "UpdateRun",
            "metadata": {"name": name},
            "spec": full,
        });
        self.create::<UpdateRun>(&run).await.expect("an UpdateRun that the API server accepts");
        Run::new(self, name)
    }

    /// Creates a Secret.
    pub(crate) async fn secret(&self, name: &str, values: &[(&str, &str)]) {
        let values: BTreeMap<&str, &str> = values.iter().copied().collect();
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values});
        self.create::<Secret>(&secret).await.expect("a Secret that the API server accepts");
    }

    /// Writes a file into the operator's payload directory, and returns a component with this payload.
    pub(crate) fn payload(&self, name: &str, version: &str, installer: &str, bytes: &[u8]) -> Component {
        std::fs::write(self.path("payloads").join(name), bytes).expect("a payload");
        payload::of_bytes(name, version, installer, name, bytes)
    }

    /// Returns a component like [`payload::slow`] that takes this number of seconds.
    pub(crate) fn slow(&self, seconds: u32) -> Component {
        let script = format!(
            "#!/bin/sh\necho start >>/var/log/slow.runs\nsleep {seconds}\necho 1.0 >/etc/slow.version\n"
        );
        let component = self.payload("slow-here.sh", "1.0", "Script", script.as_bytes());
        component.with(json!({"name": "slow", "detect": {"file": "/etc/slow.version"}}))
    }

    /// Returns a component like [`payload::slow`] that runs until [`Machine::release_steps`] is called.
    pub(crate) fn held(&self) -> Component {
        // It ends by itself after five minutes, so that a failed test leaves no process behind.
        let script = "#!/bin/sh\necho start >>/var/log/slow.runs\nn=0\nwhile [ ! -e /run/let-go ] && [ $n -lt 1500 ]; do sleep 0.2; n=$((n + 1)); done\necho 1.0 >/etc/slow.version\n";
        let component = self.payload("held-here.sh", "1.0", "Script", script.as_bytes());
        component.with(json!({"name": "slow", "detect": {"file": "/etc/slow.version"}}))
    }

    /// Returns a path in the directory of this test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns a ManagedNode.
    pub(crate) async fn node(&self, name: &str) -> ManagedNode {
        self.api().get(name).await.expect(name)
    }

    /// Returns all events as lines with reason, object and note, in chronological order.
    pub(crate) async fn events(&self) -> Vec<String> {
        let list = self.api::<Event>().list(&ListParams::default()).await.expect("events");
        let mut lines: Vec<(String, String)> = list
            .items
            .iter()
            .map(|e| {
                let when = e.event_time.as_ref().map(|t| t.0.to_string()).unwrap_or_default();
                let kind = e.involved_object.kind.clone().unwrap_or_default();
                let object = e.involved_object.name.clone().unwrap_or_default();
                let reason = e.reason.clone().unwrap_or_default();
                (when, format!("{reason} {kind}/{object}: {}", e.message.clone().unwrap_or_default()))
            })
            .collect();
        lines.sort();
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// Waits for an event whose line in [`Self::events`] has this beginning. An event may be written a moment
    /// after the status that it belongs to.
    pub(crate) async fn until_event(&self, beginning: &str) {
        wait::until(&format!("the event {beginning}"), wait::LIMIT, async || {
            let events = self.events().await;
            if events.iter().any(|e| e.starts_with(beginning)) { Ok(()) } else { Err(format!("{events:#?}")) }
        })
        .await;
    }

    /// Returns the machines of the test.
    pub(crate) fn machines(&self) -> Vec<Machine> {
        self.machines.lock().unwrap().clone()
    }

    /// Excludes a machine that the test has removed itself from the checks at the end.
    pub(crate) fn forget(&self, machine: &Machine) {
        self.hosts.lock().unwrap().retain(|host| *host != machine.host);
        self.machines.lock().unwrap().retain(|other| other.host != machine.host);
    }

    pub(crate) fn expect_machine(&self, host: &str) {
        self.hosts.lock().unwrap().push(host.to_owned());
    }

    pub(crate) fn arrived(&self, machine: &Machine) {
        self.machines.lock().unwrap().push(machine.clone());
    }

    /// The checks after a test that passed: the machines are clean, the UpdateRuns can be deleted, and the
    /// operators end by themselves.
    pub(crate) async fn nothing_is_left(&self) {
        for machine in self.machines() {
            machine.is_clean().await;
        }
        let others = self.replicas.lock().unwrap().clone();
        if self.operator.runs() || others.iter().any(|o| o.runs()) {
            self.runs_go().await;
            self.machines_are_free().await;
            self.operator.stop().await;
        }
        for other in others {
            other.stop().await;
        }
        let panics: Vec<String> =
            self.logs().lines().filter(|l| l.contains("panicked at")).map(str::to_owned).collect();
        assert!(panics.is_empty(), "the operator panicked: {panics:#?}");
    }

    /// Deletes the UpdateRuns and waits until they are gone. Their NodeUpdates must be ready for the
    /// cluster's garbage collector. The test does not wait until it deletes them, because the collector of
    /// a new cluster needs half a minute to discover new kinds.
    async fn runs_go(&self) {
        let all = ListParams::default();
        let background = DeleteParams::background();
        self.api::<UpdateRun>().delete_collection(&background, &all).await.expect("deleted UpdateRuns");
        wait::until("all UpdateRuns to be deleted", wait::LIMIT, async || {
            let runs = self.api::<UpdateRun>().list_metadata(&all).await.expect("UpdateRuns").items;
            let left: Vec<String> = runs.iter().map(ResourceExt::name_any).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("there still are {left:?}")) }
        })
        .await;
        wait::until("all NodeUpdates to be ready for deletion", wait::LIMIT, async || {
            let updates = self.api::<NodeUpdate>().list_metadata(&all).await.expect("NodeUpdates").items;
            let stays = |u: &&PartialObjectMeta<NodeUpdate>| {
                !u.finalizers().is_empty() || !u.owner_references().iter().any(|o| o.kind == "UpdateRun")
            };
            let stay: Vec<String> = updates.iter().filter(stays).map(ResourceExt::name_any).collect();
            if stay.is_empty() { Ok(()) } else { Err(format!("these are not: {stay:?}")) }
        })
        .await;
    }

    /// Checks that no Lease of a machine is held any more. One that was left because the machine could not be
    /// cleaned expires.
    async fn machines_are_free(&self) {
        let of_machines = ListParams::default().labels("farrier.dev/part=machine");
        let leases = self.api::<Lease>().list(&of_machines).await.expect("Leases").items;
        let is_left = |lease: &&Lease| {
            lease.annotations().get("farrier.dev/owner").is_some_and(|owner| owner.contains("\"left\":true"))
        };
        let held: Vec<String> = leases.iter().filter(|l| !is_left(l)).map(ResourceExt::name_any).collect();
        assert!(held.is_empty(), "these Leases of machines are still held: {held:?}");
    }

    /// Removes everything, whatever its state is.
    pub(crate) async fn remove(&self) {
        self.operator.kill();
        for other in self.replicas.lock().unwrap().iter() {
            other.kill();
        }
        self.release::<NodeUpdate>().await;
        self.release::<UpdateRun>().await;
        let api: Api<Namespace> = Api::all(self.client.clone());
        if let Err(error) = api.delete(&self.name, &DeleteParams::background()).await {
            println!("the namespace {} could not be deleted: {error}", self.name);
        }
        let hosts = self.hosts.lock().unwrap().clone();
        let removals = hosts.iter().map(|host| lab::try_output("labctl", ["rm", host.as_str()]));
        for words in futures::future::join_all(removals).await.into_iter().filter_map(Result::err) {
            println!("a machine could not be removed: {words}");
        }
    }

    /// Removes the finalizers, because no operator is left to remove them.
    async fn release<K: Kind>(&self) {
        let Ok(list) = self.api::<K>().list(&ListParams::default()).await else { return };
        let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        for object in list.items.iter().filter(|o| o.finalizers().iter().any(|f| f == FINALIZER)) {
            match self.api::<K>().patch(&object.name_any(), &PatchParams::default(), &none).await {
                Ok(_) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => println!("{} keeps its finalizer: {error}", object.name_any()),
            }
        }
    }
}

/// Applies the definitions and waits until the API server serves them.
async fn define(client: &Client) {
    let api = Api::all(client.clone());
    for definition in farrier::api::definitions() {
        let name = definition.name_any();
        let parameters = PatchParams::apply("farrier-e2e").force();
        api.patch(&name, &parameters, &Patch::Apply(&definition)).await.expect("a definition");
        let established = await_condition(api.clone(), &name, is_crd_established());
        tokio::time::timeout(wait::LIMIT, established)
            .await
            .expect("in time")
            .expect("an established definition");
    }
}

/// Returns four random characters, which distinguish the tests of a lab.
fn random() -> String {
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").expect("a random number");
    uuid.chars().take(4).collect()
}
