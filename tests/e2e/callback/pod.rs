//! The objects of an operator that is a pod: policies, ports out of a block, checks of addresses.

use super::{calling, nothing_is_open};
use crate::harness::payload::{bmc_tool, merge};
use crate::harness::run::to;
use crate::harness::{Conditions, Run, Site, e2e, lab, wait};
use farrier::api::{ManagedNode, UpdateRun};
use futures::StreamExt;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::TcpListener;

/// Starts an operator that believes it is a pod. The cluster of these tests has no nodes, so its
/// policies are not enforced, but the operator creates them as in a real cluster.
fn as_pod(site: &Site, host_ports: &str) {
    site.operator.options(&[
        "--pod-ips=10.77.0.1",
        "--host-ips=10.77.0.1,fd77::1",
        &format!("--host-ports={host_ports}"),
        "--pod-selector=app=farrier",
        "--service-ranges=10.96.0.0/16",
    ]);
}

async fn policies(site: &Site) -> Vec<NetworkPolicy> {
    let made = ListParams::default().labels("farrier.dev/run-uid");
    site.api::<NetworkPolicy>().list(&made).await.expect("policies").items
}

/// Policies would admit more than the run's machines, or stay after the run.
#[test]
fn policies_name_the_runs_machines_and_go_with_it() {
    e2e("policies", async |site| {
        site.operator.kill();
        as_pod(site, "64301+4");
        site.operator.start();
        let db = site.machine("db").up().await;
        site.baseline("spring", &[site.slow(4)]).await;
        let run = site.run("r1", calling("spring")).await;
        db.is_slow().await;
        let made = policies(site).await;
        let specs: Vec<_> = made.iter().filter_map(|policy| policy.spec.as_ref()).collect();
        let ingress: Vec<_> = specs.iter().flat_map(|spec| spec.ingress.iter().flatten()).collect();
        let egress: Vec<_> = specs.iter().flat_map(|spec| spec.egress.iter().flatten()).collect();
        let from: Vec<String> = ingress
            .iter()
            .flat_map(|rule| rule.from.iter().flatten())
            .filter_map(|peer| Some(peer.ip_block.as_ref()?.cidr.clone()))
            .collect();
        let node = site.node("db").await;
        for address in &node.spec.addresses {
            let single = [format!("{address}/32"), format!("{address}/128")];
            assert!(from.iter().any(|cidr| single.contains(cidr)), "{address} in {from:?}");
        }
        assert!(from.iter().all(|cidr| cidr.ends_with("/32") || cidr.ends_with("/128")), "{from:?}");
        assert!(!ingress.is_empty() && !egress.is_empty());
        // One write before the ports are bound, and one after.
        assert!(made.iter().all(|policy| policy.metadata.generation <= Some(2)), "{made:?}");
        let ports = run.get().await.status.expect("a status").callback.expect("ports").ports;
        assert!(ports.iter().all(|p| (64301..64305).contains(&p.https_port)), "{ports:?}");
        nothing_is_open(&run.succeeds().await);
        assert_eq!(policies(site).await, []);
    });
}

/// Manual changes of a policy in the middle of a run would cut the run off, or leave more open than it
/// needs, for the rest of the run.
#[test]
fn a_policy_that_is_changed_or_deleted_manually_is_repaired_during_the_run() {
    e2e("policy-hands", async |site| {
        site.operator.kill();
        as_pod(site, "64321+4");
        site.operator.start();
        let db = site.machine("db").up().await;
        site.baseline("spring", &[site.held()]).await;
        let run = site.run("r1", calling("spring")).await;
        db.is_slow().await;
        let specs = async || {
            let named = policies(site).await.into_iter().map(|policy| (policy.name_any(), policy.spec));
            named.collect::<BTreeMap<_, _>>()
        };
        let wanted = specs().await;
        assert!(wanted.len() > 1, "more than one policy is expected: {wanted:?}");
        let put_right = async || {
            wait::until("the policies to be repaired", wait::LIMIT, async || {
                let now = specs().await;
                if now == wanted { Ok(()) } else { Err(format!("{now:?} instead of {wanted:?}")) }
            })
            .await;
        };
        let api = site.api::<NetworkPolicy>();
        let all = json!({"spec": {"policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}});
        for name in wanted.keys() {
            api.patch(name, &PatchParams::default(), &Patch::Merge(&all)).await.expect("a change");
            put_right().await;
        }
        site.until_event("ExposureRestored UpdateRun/r1: ").await;
        for name in wanted.keys() {
            api.delete(name, &DeleteParams::default()).await.expect("a deletion");
            put_right().await;
        }
        db.release_steps().await;
        nothing_is_open(&run.succeeds().await);
        assert_eq!(policies(site).await, []);
    });
}

/// Objects that a user had created, or a crash had left, would stay for ever.
#[test]
fn objects_of_a_dead_operator_are_removed_by_the_next_one() {
    e2e("swept", async |site| {
        site.operator.kill();
        as_pod(site, "64311+4");
        site.operator.start();
        let db = site.machine("db").up().await;
        site.baseline("spring", &[site.slow(2)]).await;
        let run = site.run("r1", calling("spring")).await;
        db.is_slow().await;
        site.operator.kill();
        run.annotate("farrier.dev/abandon").await;
        run.delete().await;
        assert!(!policies(site).await.is_empty());
        site.operator.start();
        run.gone().await;
        wait::until("the policies to be deleted", wait::LIMIT, async || {
            let left = policies(site).await.len();
            if left == 0 { Ok(()) } else { Err(format!("{left} are there")) }
        })
        .await;
        wait::until("the engine to exit by itself", wait::LIMIT, async || {
            let left = db.engines();
            for pid in &left {
                lab::try_output("kill", [pid.to_string()]).await.ok();
            }
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    });
}

/// All ports of the host are taken: the run waits, reports this, and continues when a port is free.
#[test]
fn a_run_waits_for_ports_and_continues_when_some_are_free() {
    e2e("exhausted", async |site| {
        site.operator.kill();
        as_pod(site, "64341+2");
        site.operator.start();
        let foreign = TcpListener::bind("[::]:64341").expect("a free port");
        site.machine("db").label("rack", "r1").up().await;
        site.machine("other").label("rack", "r2").up().await;
        site.baseline("spring", &[site.slow(4), bmc_tool("3.1")]).await;
        let mut spec = calling("spring");
        merge(&mut spec, json!({"callback": {"httpPort": 64341, "httpsPort": 64342}}));
        merge(&mut spec, json!({"selector": {"matchLabels": {"rack": "r1"}}}));
        let run = site.run("r1", spec).await;
        let told = run.until("the reason", |run| run.reason("Progressing") == "PortsExhausted").await;
        assert_eq!((told.state("Exposed"), told.reason("Exposed")), ("False", "PortsExhausted"));
        assert!(told.words("Exposed").contains("64341"), "{}", told.words("Exposed"));
        // While another run does all of its work, hardly any status of this run is written.
        let mut spec = to("spring");
        merge(&mut spec, json!({"selector": {"matchLabels": {"rack": "r2"}}}));
        let versions = written_meanwhile(site, &run, async {
            site.run("other", spec).await.succeeds().await;
        })
        .await;
        assert!(versions.len() <= 12, "written all the time: {versions:#?}");
        drop(foreign);
        nothing_is_open(&run.succeeds().await);
    });
}

/// Returns the state of a run's return path in each version of the run that is written during `work`.
async fn written_meanwhile(site: &Site, run: &Run<'_>, work: impl Future<Output = ()>) -> Vec<String> {
    let name = format!("metadata.name={}", run.name);
    let params = WatchParams::default().fields(&name);
    let since = run.get().await.resource_version().expect("a version");
    let mut changes = site.api::<UpdateRun>().watch(&params, &since).await.expect("a watch").boxed();
    let mut versions = Vec::new();
    tokio::pin!(work);
    loop {
        tokio::select! {
            () = &mut work => return versions,
            change = changes.next() => match change.expect("the watch lasts").expect("a change") {
                WatchEvent::Modified(run) => versions.push(run.words("Exposed")),
                WatchEvent::Added(_) | WatchEvent::Bookmark(_) => {}
                WatchEvent::Deleted(_) | WatchEvent::Error(_) => panic!("the run is gone, or the watch is"),
            },
        }
    }
}

/// A machine's address that is the cluster's own would open the path to pods.
#[test]
fn an_address_in_the_clusters_own_range_stops_the_run_until_it_is_corrected() {
    e2e("range", async |site| {
        site.operator.kill();
        as_pod(site, "64331+4");
        site.operator.start();
        let db = site.machine("db").up().await;
        let good = site.node("db").await.spec.addresses;
        let set = async |addresses: &[String]| {
            let patch = Patch::Merge(json!({"spec": {"addresses": addresses}}));
            site.api::<ManagedNode>().patch("db", &PatchParams::default(), &patch).await.expect("patched");
        };
        set(&["10.96.0.10".to_owned()]).await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let run = site.run("r1", to("spring")).await;
        let told = run.until("the reason", |run| run.reason("Progressing") == "AddressInClusterRange").await;
        assert!(told.words("Progressing").contains("ManagedNode db"), "{}", told.words("Progressing"));
        set(&good).await;
        run.succeeds().await;
        assert_eq!(db.file("/etc/bmc-tool.version").as_deref(), Some("3.1\n"));
    });
}
