//! Users change the objects of a run on a real API server: how the next reconciliation repairs them.

mod services;

use crate::server::{Server, server, until};
use farrier::api::update_run::{FileService, ListenerState, ListenerStatus, ServiceStatus};
use farrier::api::{ManagedNode, UpdateRun};
use farrier::caches::RunObjects;
use farrier::caches::Watches;
use farrier::exposure::{ActiveMachine, ExposeOutcome, Exposer, Resolver, Site, WayBack, way_back};
use farrier::lease::{LeaseDurations, LeaseManager};
use farrier::membership::{MembershipWatcher, RunnerInfo, RunnerLocation, claim};
use farrier::metrics::Metrics;
use farrier::publish::{self, Events};
use farrier_network::policy::Ranges;
use farrier_network::{MachineType, Phase, Scheme};
use farrier_update::model::Millis;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, Config, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const RUNNER: &str = "pod-1";

/// The exposure of a leader in a pod, and a run with one machine.
struct Stage<'a> {
    server: &'a Server,
    exposer: Exposer,
    made: RunObjects,
    run: UpdateRun,
    machines: [ActiveMachine; 1],
}

impl<'a> Stage<'a> {
    async fn new(server: &'a Server, spec: Value) -> Self {
        let (client, namespace) = (&server.client, &server.namespace);
        let metrics = Metrics::default();
        let watches = Watches::start(client, std::slice::from_ref(namespace), Some(namespace), &metrics);
        watches.ready().await.unwrap();
        let (world, made, _) = watches.into_parts();
        let made = made.unwrap();
        let location = RunnerLocation::Pod {
            pod_ips: vec!["10.0.0.9".parse().unwrap()],
            host_ips: vec!["192.0.2.9".parse().unwrap()],
            node: "n".to_owned(),
            host_ports: None,
            selector: BTreeMap::from([("app".to_owned(), "farrier".to_owned())]),
        };
        let info = RunnerInfo { version: "0.1.0".to_owned(), location: location.clone() };
        let (mut keeper, _) =
            LeaseManager::new(client, claim(namespace, RUNNER, &info), LeaseDurations::new(600));
        keeper.attempt().await.unwrap();
        let (mut lookout, membership) = MembershipWatcher::new(client, namespace, LeaseDurations::new(600));
        lookout.look().await.unwrap();
        assert!(membership.live().contains_key(RUNNER));
        let site = Site {
            namespace: namespace.clone(),
            location,
            ranges: Ranges::default(),
            balancer_timeout: Duration::from_mins(2),
            objects: Some(made.clone()),
        };
        let events = Events::new(client.clone(), "farrier-controller", &metrics);
        let exposer =
            Exposer::new(client.clone(), world, site, Arc::new(Resolver::default()), membership, events);
        let run = json!({
            "apiVersion": "farrier.dev/v1alpha1",
            "kind": "UpdateRun",
            "metadata": {"name": "r1"},
            "spec": spec,
        });
        let runs: Api<UpdateRun> = Api::namespaced(client.clone(), namespace);
        let run = runs.create(&PostParams::default(), &serde_json::from_value(run).unwrap()).await.unwrap();
        let node: ManagedNode = serde_json::from_value(json!({
            "apiVersion": "farrier.dev/v1alpha1",
            "kind": "ManagedNode",
            "metadata": {"name": "m1", "namespace": namespace},
            "spec": {"type": "Linux", "addresses": ["192.0.2.7"], "credentialsRef": {"name": "c"}},
        }))
        .unwrap();
        let way_back = way_back(&node, &run, None);
        let machines =
            [ActiveMachine { node: Arc::new(node), phase: Phase::Deployment, way_back, listen: None }];
        Self { server, exposer, made, run, machines }
    }

    /// Does what every reconciliation does while machines are worked on, and returns whether all of it
    /// succeeded.
    async fn open(&mut self) -> bool {
        let runs = [Arc::new(self.run.clone())];
        match self.exposer.open(&self.run, &runs, &self.machines).await.unwrap() {
            ExposeOutcome::Unchanged => true,
            ExposeOutcome::Written(run) => {
                self.run = *run;
                true
            }
            ExposeOutcome::Failed => false,
        }
    }

    /// The runner reports that it listens on the ports that it was given.
    async fn listens(&mut self) {
        let given = self.run.status.clone().unwrap().callback.unwrap().ports.remove(0);
        let said = ListenerStatus {
            runner: RUNNER.to_owned(),
            http_port: given.http_port,
            https_port: given.https_port,
            state: ListenerState::Bound,
            message: String::new(),
            taken: Vec::new(),
            services: given.sftp_port.into_iter().map(sftp).collect(),
        };
        publish::listener(&self.server.client, &self.run, RUNNER, Some(&said)).await.unwrap();
        let runs: Api<UpdateRun> = Api::namespaced(self.server.client.clone(), &self.server.namespace);
        self.run = runs.get("r1").await.unwrap();
    }

    fn policies(&self) -> Api<NetworkPolicy> {
        Api::namespaced(self.server.client.clone(), &self.server.namespace)
    }

    fn services(&self) -> Api<Service> {
        Api::namespaced(self.server.client.clone(), &self.server.namespace)
    }

    /// Returns the run's only policy from the API server.
    async fn policy(&self) -> NetworkPolicy {
        let mut all = self.policies().list(&ListParams::default()).await.unwrap().items;
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    /// Waits until the caches agree with the API server.
    async fn caches_show_it(&self) {
        until("the caches show what is there", async || {
            let policies = self.policies().list(&ListParams::default()).await.unwrap().items;
            let services = self.services().list(&ListParams::default()).await.unwrap().items;
            versions(policies.iter()) == versions(self.made.policies.state().iter().map(|p| &**p))
                && versions(services.iter().filter(|s| s.labels().contains_key("farrier.dev/run-uid")))
                    == versions(self.made.services.state().iter().map(|s| &**s))
        })
        .await;
    }

    /// Returns the notes of the events that report a restored object.
    async fn told(&self) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.server.client.clone(), &self.server.namespace);
        let events = api.list(&ListParams::default()).await.unwrap().items;
        let told = events.into_iter().filter(|event| event.reason.as_deref() == Some("ExposureRestored"));
        told.filter_map(|event| event.note).collect()
    }
}

fn versions<'a, K: kube::Resource<DynamicType = ()> + 'a>(
    objects: impl Iterator<Item = &'a K>,
) -> BTreeMap<String, Option<String>> {
    objects.map(|object| (object.name_any(), object.resource_version())).collect()
}

/// The report of an open SFTP service.
fn sftp(port: u16) -> ServiceStatus {
    let (message, host_keys) = (String::new(), Vec::new());
    ServiceStatus { service: FileService::SFTP, port, state: ListenerState::Bound, message, host_keys }
}

fn plain() -> Value {
    json!({"selector": {}, "operation": "Inventory"})
}

/// Manual changes that break a policy, as merge patches.
fn edits() -> [Value; 6] {
    [
        json!({"spec": {"egress": [{}]}}),
        json!({"spec": {"egress": null}}),
        json!({"spec": {"ingress": [{}]}}),
        json!({"spec": {"policyTypes": ["Egress", "Ingress"], "ingress": [{}]}}),
        json!({"spec": {"podSelector": {"matchLabels": {"and": "x"}}}}),
        json!({"spec": {"podSelector": {"matchExpressions": [{"key": "x", "operator": "Exists"}]}}}),
    ]
}

/// Additions of a user must not stay, and must not cause a write and an event at each reconciliation.
#[tokio::test]
async fn a_policy_is_restored_exactly_after_any_manual_change() {
    server(async |server| {
        let mut stage = Stage::new(server, plain()).await;
        assert!(stage.open().await);
        stage.caches_show_it().await;
        let wanted = stage.policy().await;
        for edit in edits() {
            let patch = format!("--patch={edit}");
            let name = wanted.name_any();
            server.kubectl(&["patch", "netpol", &name, "--type=merge", &patch], None).await.unwrap();
            assert_ne!(stage.policy().await.spec, wanted.spec, "{edit}");
            stage.caches_show_it().await;
            assert!(stage.open().await);
            let mended = stage.policy().await;
            assert_eq!(mended.spec, wanted.spec, "{edit}");
            stage.caches_show_it().await;
            assert!(stage.open().await);
            assert_eq!(stage.policy().await.resource_version(), mended.resource_version(), "{edit}");
        }
        let told = stage.told().await;
        assert!(
            told.first().is_some_and(|note| note.contains("was changed by somebody (egress)")),
            "{told:?}"
        );
    })
    .await;
}

/// If an admission policy changed each of our policies, the operator would otherwise rewrite them as
/// fast as the API server responds.
#[tokio::test]
async fn an_object_that_is_changed_after_each_repair_is_left_alone_for_a_while_and_named() {
    server(async |server| {
        let mut stage = Stage::new(server, plain()).await;
        assert!(stage.open().await);
        stage.caches_show_it().await;
        let name = stage.policy().await.name_any();
        let mut times = 0;
        loop {
            let patch = ["patch", "netpol", &name, "--type=merge", "--patch={\"spec\":{\"egress\":[{}]}}"];
            server.kubectl(&patch, None).await.unwrap();
            stage.caches_show_it().await;
            if !stage.open().await {
                break;
            }
            times += 1;
            assert!(times < 30, "it goes on for ever");
        }
        let before = stage.policy().await.resource_version();
        assert!(!stage.open().await);
        assert_eq!(stage.policy().await.resource_version(), before);
        let runs = [Arc::new(stage.run.clone())];
        let seen = stage.exposer.observe(&stage.run, &runs, &stage.machines, Millis(0));
        let words = format!("{seen:?}");
        assert!(words.contains("as often as the operator restores it") && words.contains(&name), "{words}");
    })
    .await;
}

/// A reconciliation based on a stale cache must not undo newer changes.
#[tokio::test]
async fn changes_newer_than_the_cache_are_not_overwritten() {
    server(async |server| {
        let mut stage = Stage::new(server, plain()).await;
        assert!(stage.open().await);
        stage.caches_show_it().await;
        let name = stage.policy().await.name_any();
        // A cache that no longer changes.
        let (still, mut writer) = kube::runtime::reflector::store();
        for policy in stage.made.policies.state() {
            let mut policy = (*policy).clone();
            policy.spec.as_mut().unwrap().egress = None;
            writer.apply_watcher_event(&kube::runtime::watcher::Event::Apply(policy));
        }
        stage.exposer.site.objects = Some(RunObjects { policies: still, ..stage.made.clone() });
        let patch =
            ["patch", "netpol", &name, "--type=merge", "--patch={\"metadata\":{\"labels\":{\"a\":\"b\"}}}"];
        server.kubectl(&patch, None).await.unwrap();
        let before = stage.policy().await.resource_version();
        assert!(!stage.open().await, "nothing is begun upon what is not known to be right");
        assert_eq!(stage.policy().await.resource_version(), before);
        assert!(stage.told().await.is_empty());
    })
    .await;
}

/// A deleted policy closes the path to the machines. The operator must recreate it, and then report the
/// deletion in an event.
#[tokio::test]
async fn a_deleted_policy_is_recreated_and_reported_even_after_a_failed_attempt() {
    server(async |server| {
        let mut stage = Stage::new(server, plain()).await;
        for _ in 0..2 {
            assert!(stage.open().await);
            stage.caches_show_it().await;
        }
        let wanted = stage.policy().await;
        stage.policies().delete(&wanted.name_any(), &DeleteParams::default()).await.unwrap();
        stage.caches_show_it().await;
        // No server listens on this address.
        let nobody = Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let client = std::mem::replace(&mut stage.exposer.client, nobody);
        assert!(!stage.open().await);
        stage.exposer.client = client;
        assert!(stage.open().await);
        assert_eq!(stage.policy().await.spec, wanted.spec);
        let told = stage.told().await;
        assert!(told.len() == 1 && told[0].contains("was deleted by somebody"), "{told:?}");
    })
    .await;
}

/// Another leader has deleted a policy in the meantime.
#[tokio::test]
async fn a_new_leader_does_not_report_objects_of_an_earlier_term_as_deleted() {
    server(async |server| {
        let mut stage = Stage::new(server, plain()).await;
        for _ in 0..2 {
            assert!(stage.open().await);
            stage.caches_show_it().await;
        }
        let name = stage.policy().await.name_any();
        stage.policies().delete(&name, &DeleteParams::default()).await.unwrap();
        stage.caches_show_it().await;
        stage.exposer.forget();
        assert!(stage.open().await);
        assert_eq!(stage.policy().await.name_any(), name);
        assert!(stage.told().await.is_empty());
    })
    .await;
}

/// Machines know the port that they call. If the port cannot be assigned again, only the run's status
/// tells the next leader.
#[tokio::test]
async fn node_ports_that_are_taken_leave_the_status_before_others_are_assigned() {
    server(async |server| {
        let spec = json!({
            "selector": {}, "operation": "Inventory", "channel": "Callback", "callback": {"exposure": "NodePort"},
        });
        let mut stage = Stage::new(server, spec).await;
        assert!(stage.open().await);
        stage.listens().await;
        for _ in 0..3 {
            assert!(stage.open().await);
            stage.caches_show_it().await;
        }
        let ports = |run: &UpdateRun| run.status.clone().unwrap().callback.unwrap().https_port;
        let old = ports(&stage.run).expect("a node port");
        let name = format!("farrier-{}", stage.run.uid().unwrap());
        stage.services().delete(&name, &DeleteParams::default()).await.unwrap();
        let theirs = json!({
            "metadata": {"name": "theirs"},
            "spec": {"type": "NodePort", "ports": [{"port": 1, "nodePort": old}]},
        });
        let theirs: Service = serde_json::from_value(theirs).unwrap();
        stage.services().create(&PostParams::default(), &theirs).await.unwrap();
        stage.caches_show_it().await;
        assert!(stage.open().await);
        assert_eq!(ports(&stage.run), None);
        stage.caches_show_it().await;
        // The next leader knows only what is written in the status.
        stage.exposer.forget();
        let before = stage.services().get(&name).await.unwrap().resource_version();
        assert!(stage.open().await);
        assert!(ports(&stage.run).is_some_and(|new| new != old));
        assert_eq!(stage.services().get(&name).await.unwrap().resource_version(), before);
        let told = stage.told().await;
        assert!(told.len() == 1 && told[0].contains("was deleted by somebody"), "{told:?}");
    })
    .await;
}

/// In a cluster the paths to machines stay open during a run. The ports for a BMC that fetched its image would stay
/// open with them, or its whole run would have the wrong port open.
#[tokio::test]
async fn ports_for_a_machine_that_fetches_are_closed_while_the_run_goes_on() {
    server(async |server| {
        let spec = json!({"selector": {}, "operation": "Inventory", "callback": {"exposure": "NodePort"}});
        let mut stage = Stage::new(server, spec).await;
        let mut ilo = (*stage.machines[0].node).clone();
        ilo.spec.type_ = MachineType::ILO;
        stage.machines[0].node = Arc::new(ilo);
        stage.machines[0].way_back = None;
        assert!(stage.open().await);
        stage.caches_show_it().await;
        assert_eq!(stage.run.status.clone().and_then(|status| status.callback), None, "it takes a push");
        let plain = stage.policy().await.spec;

        stage.machines[0].way_back = Some(WayBack::Fetch(Scheme::Http));
        assert!(stage.open().await);
        let given = stage.run.status.clone().unwrap().callback.unwrap().ports.remove(0);
        stage.listens().await;
        for _ in 0..3 {
            assert!(stage.open().await);
            stage.caches_show_it().await;
        }
        let policies = stage.policies().list(&ListParams::default()).await.unwrap().items;
        let ingress =
            policies.iter().flat_map(|p| p.spec.iter().flat_map(|spec| spec.ingress.iter().flatten()));
        let ports: Vec<_> =
            ingress.flat_map(|rule| rule.ports.iter().flatten().map(|p| p.port.clone())).collect();
        assert_eq!(ports, [Some(IntOrString::Int(given.http_port.into()))]);
        let is_ours = |service: &Service| service.labels().contains_key("farrier.dev/run-uid");
        let all = stage.services().list(&ListParams::default()).await.unwrap().items;
        assert_eq!(all.into_iter().filter(is_ours).count(), 1);

        stage.machines[0].way_back = None;
        for _ in 0..2 {
            assert!(stage.open().await);
            stage.caches_show_it().await;
        }
        assert_eq!(stage.run.status.clone().and_then(|status| status.callback), None);
        assert_eq!(stage.policy().await.spec, plain);
        let secrets: Api<Secret> = Api::namespaced(server.client.clone(), &server.namespace);
        assert!(
            secrets.get_opt("r1-callback").await.unwrap().is_none(),
            "offers of later are not those of before"
        );
        let left = stage.services().list(&ListParams::default()).await.unwrap().items;
        assert_eq!(left.into_iter().filter(is_ours).count(), 0);
    })
    .await;
}
