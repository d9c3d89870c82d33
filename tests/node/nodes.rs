//! A cluster of two nodes, one of which fails with all its pods.

use crate::harness::lab::{output, try_output};
use crate::harness::run::watched;
use crate::harness::{Conditions, Machine, Run, wait};
use crate::release::{Release, on_node};
use crate::replicas::{
    MAX_CONCURRENT, all_at_work, at_work, calling, handed_over, relay, release_steps, six, some, went_well,
};
use crate::traces::{is_as_before, traces};
use futures::future::{join, join3};
use std::collections::BTreeSet;

/// With host ports each pod needs a node of its own.
const TWO: [&str; 4] =
    ["replicas=2", "hostPorts.first=63001", "hostPorts.count=6", "operator.replicaLeaseSeconds=5"];

/// Adds a second node and loads the operator's image on it.
async fn second_node() {
    let image = std::env::var("IMAGE").expect("IMAGE, the operator's image. Next: hack/test node");
    output("hack/node", ["add"]).await;
    output("hack/node", ["load", &image]).await;
}

/// Removes the second node and the pods that the cluster believes to be on it.
async fn forget_second_node(release: &Release<'_>, lost: &str) {
    output("kubectl", ["delete", "node", "node2", "--ignore-not-found"]).await;
    // The cluster's own controllers may have deleted the pod already.
    let gone = ["delete", "pod", lost, "--namespace", &release.namespace, "--grace-period=0", "--force"];
    try_output("kubectl", gone.iter().copied().chain(["--ignore-not-found"]))
        .await
        .expect("a pod that is gone");
}

/// Returns the conditions that name the addresses from which the engines of a run connected.
async fn callers(run: &Run<'_>, machines: &[Machine]) -> Vec<String> {
    let mut said = Vec::new();
    for machine in machines {
        said.push(run.node(&machine.name).await.words("CallbackReachable"));
    }
    said
}

/// A node of the cluster loses its power. The machines of its pod must be neither lost nor updated
/// twice, and pods on two nodes must reach each other before that.
#[test]
fn a_node_fails_and_the_pod_on_the_other_node_takes_over() {
    on_node("nodes", async |site, release| {
        second_node().await;
        site.baseline("slow", &[site.held()]).await;
        let chart = Release::chart();
        let install = release.install(&chart, &TWO);
        let (by_host, by_service, ()) = join3(six(site, "host"), six(site, "port"), install).await;
        let before = traces(site, release, &site.machines()).await;
        let first = calling(site, "host", "HostPort").await;
        let second = calling(site, "port", "NodePort").await;
        let runs = [(&first, &by_host[..]), (&second, &by_service[..])];
        let pods = release.pods().await;
        let nodes: BTreeSet<&str> = pods.iter().map(|pod| pod.node.as_str()).collect();
        assert_eq!(nodes, BTreeSet::from(["node", "node2"]));
        let lost = pods.iter().find(|pod| pod.node == "node2").expect("a pod on the second node");
        let meanwhile = async {
            all_at_work(&runs).await;
            let busy: BTreeSet<String> =
                at_work(&runs[..1]).await.into_iter().map(|u| u.spec.runner).collect();
            assert!(busy.contains(&lost.name), "{busy:?}");
            // The Service's port on a node leads to that node's pod, which relays to the other node's
            // pod.
            some("a connection that was relayed between nodes", &runs[1..], relay).await;
            output("hack/node", ["lose"]).await;
            handed_over(&runs, &lost.name).await;
            release_steps(&site.machines()).await;
        };
        join(watched(&first, MAX_CONCURRENT, meanwhile), watched(&second, MAX_CONCURRENT, async {})).await;
        went_well(&first, &by_host).await;
        went_well(&second, &by_service).await;
        site.until_event("RunnerLost").await;
        for words in callers(&first, &by_host).await {
            assert!(words.starts_with("CallbackReachable=True"), "{words}");
        }
        wait::until("the Lease of the lost pod to go", wait::LIMIT, async || {
            let leases = output("kubectl", ["get", "leases", "--namespace", &release.namespace]).await;
            if leases.contains(&lost.name) { Err(leases) } else { Ok(()) }
        })
        .await;
        forget_second_node(release, &lost.name).await;
        is_as_before(&before, site, release, &site.machines(), "after both runs").await;
        release.uninstall().await.expect("an uninstallation");
    });
}
