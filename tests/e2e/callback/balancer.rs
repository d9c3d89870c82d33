//! Exposure `LoadBalancer`, as the operator sees it. The test acts as the load balancer: it gives the
//! Service addresses of the host, where the operator listens.

use super::{block, calling, channel, is_updated_once, nothing_is_open};
use crate::harness::payload::{bmc_tool, merge};
use crate::harness::{Conditions, Run, Site, e2e, lab, outcome, wait};
use farrier::api::managed_node::Channel;
use k8s_openapi::api::core::v1::{ResourceQuota, Service};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// Starts an operator that believes it is a pod, and that soon reports that it waits for an address.
fn as_pod(site: &Site) {
    as_pod_on(site, "10.77.0.1,fd77::1");
}

/// The same on a node with these addresses.
fn as_pod_on(site: &Site, node: &str) {
    site.operator.kill();
    site.operator.options(&[
        "--pod-ips=10.77.0.1",
        &format!("--host-ips={node}"),
        "--pod-selector=app=farrier",
        "--load-balancer-seconds=3",
    ]);
    site.operator.start();
}

async fn balanced<'a>(site: &'a Site, exposure: &str) -> Run<'a> {
    let mut spec = calling("spring");
    merge(&mut spec, json!({"callback": {"exposure": exposure}}));
    site.run("r1", spec).await
}

/// Sets the addresses of the run's Service; other addresses are removed.
async fn give(site: &Site, ingress: &[Value]) {
    let api = site.api::<Service>();
    let name = wait::until("the run's Service", wait::LIMIT, async || {
        let of_run = ListParams::default().labels("farrier.dev/run-uid");
        let made = api.list(&of_run).await.expect("Services").items;
        made.first().map(ResourceExt::name_any).ok_or_else(|| "there is no Service".to_owned())
    })
    .await;
    let patch = Patch::Merge(json!({"status": {"loadBalancer": {"ingress": ingress}}}));
    api.patch_status(&name, &PatchParams::default(), &patch).await.expect("a Service with addresses");
}

fn at(address: &str) -> Value {
    json!({"ip": address, "ipMode": "VIP"})
}

async fn says_that_it_waits(site: &Site, run: &Run<'_>) {
    let told = run.until("the reason", |run| run.reason("Progressing") == "LoadBalancerPending").await;
    assert_eq!((told.state("Exposed"), told.reason("Exposed")), ("False", "LoadBalancerPending"));
    let words = told.words("Exposed");
    assert!(words.contains(&format!("Service {}/farrier-", site.name)), "{words}");
    assert!(words.contains("within 3 s") && words.contains("spec.callback.exposure"), "{words}");
    site.until_event("LoadBalancerPending UpdateRun/r1: 1 nodes are left; db: no load balancer").await;
}

/// A cluster without a load balancer: the user would not learn what the run waits for, or the run would
/// not continue when a load balancer appears. Some load balancers give a name in place of an address.
#[test]
fn a_run_reports_that_it_waits_for_an_address_and_continues_with_one() {
    e2e("pending", async |site| {
        as_pod(site);
        site.machine("db").up().await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let run = balanced(site, "LoadBalancer").await;
        says_that_it_waits(site, &run).await;
        let name = format!("balancer.{}.test", site.name);
        let learn = format!("echo '10.77.0.1 {name}' | flock \"$LAB/hosts\" tee -a /etc/hosts");
        lab::output("sh", ["-euc", &learn]).await;
        give(site, &[json!({"hostname": name})]).await;
        nothing_is_open(&run.succeeds().await);
        let update = run.node("db").await;
        assert_eq!(update.reason("CallbackReachable"), "CallbackReachable");
        assert_eq!(channel(&run, "db").await, Some(Channel::Callback));
    });
}

/// A user who does not want to wait any longer could not cancel the run, or its Service would stay.
#[test]
fn a_run_that_waits_for_an_address_is_cancelled_at_once() {
    e2e("unwanted", async |site| {
        as_pod(site);
        let db = site.machine("db").up().await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let run = balanced(site, "LoadBalancer").await;
        says_that_it_waits(site, &run).await;
        run.desire("Cancel").await;
        nothing_is_open(&run.fails().await);
        let left = site.api::<Service>().list(&ListParams::default()).await.expect("Services").items;
        assert_eq!(left, [], "the Service is still there");
        assert_eq!(db.file("/etc/bmc-tool.version"), None);
    });
}

/// A load balancer of one family would silently exclude machines of the other family.
#[test]
fn machines_of_a_family_without_an_address_are_updated_through_ssh_and_reported() {
    e2e("onefamily", async |site| {
        as_pod(site);
        site.machine("v4").lab(&["--no-v6"]).up().await;
        site.machine("v6").lab(&["--no-v4"]).up().await;
        let pinned = site.machine("pinned").lab(&["--no-v4"]).spec(json!({"channel": "Callback"})).up().await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let run = balanced(site, "LoadBalancer").await;
        give(site, &[at("10.77.0.1")]).await;
        nothing_is_open(&run.fails().await);
        assert_eq!(channel(&run, "v4").await, Some(Channel::Callback));
        let update = run.node("v6").await;
        assert_eq!(update.reason("CallbackReachable"), "CallbackNoRoute");
        assert_eq!(outcome(&update, "bmc-tool"), "Updated", "by Session");
        let update = run.node("pinned").await;
        assert_eq!(update.reason("Succeeded"), "CallbackNoRoute", "{}", update.words("Succeeded"));
        assert_eq!(outcome(&update, "bmc-tool"), "Skipped");
        assert_eq!(pinned.file("/etc/bmc-tool.version"), None);
    });
}

/// Engines would connect for ever to an address that no longer works.
#[test]
fn an_engine_learns_that_the_balancer_has_another_address() {
    e2e("moved", async |site| {
        as_pod(site);
        let old = "10.77.0.201";
        lab::output("ip", ["address", "replace", &format!("{old}/32"), "dev", "lab0"]).await;
        let db = site.machine("db").lab(&["--no-v6"]).up().await;
        site.baseline("spring", &[site.slow(4), bmc_tool("3.1")]).await;
        let run = balanced(site, "LoadBalancer").await;
        give(site, &[at(old)]).await;
        db.is_slow().await;
        // From now on packets to the old address are lost, and neither side notices.
        block(&db, &format!("ip daddr {old} drop")).await;
        give(site, &[at("10.77.0.1")]).await;
        is_updated_once(&run, &db).await;
        assert_eq!(channel(&run, "db").await, Some(Channel::Callback));
        let update = run.node("db").await;
        assert_eq!(update.reason("CallbackReachable"), "CallbackReachable");
        // The connection timeout of half a minute would have the same result: the test ensures that it
        // was not needed.
        let log = site.operator.log();
        assert!(log.contains("the callback server has new addresses"), "{log}");
        assert!(!log.contains("has not connected for"), "{log}");
    });
}

/// The cluster has no node ports left, or does not assign any: the run would do nothing and not say
/// why.
#[test]
fn errors_of_the_api_server_about_a_service_are_reported_and_retried() {
    e2e("quota", async |site| {
        as_pod_on(site, "10.77.0.1");
        site.machine("v6").lab(&["--no-v4"]).up().await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let quota = json!({
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "none"},
            "spec": {"hard": {"services.nodeports": "0"}},
        });
        let quota: ResourceQuota = site.create(&quota).await.expect("a quota");
        wait::until("the quota to be in force", wait::LIMIT, async || {
            let now = site.api::<ResourceQuota>().get(&quota.name_any()).await.expect("the quota");
            now.status
                .and_then(|status| status.used)
                .map(|_| ())
                .ok_or_else(|| "it is not in force".to_owned())
        })
        .await;
        let run = balanced(site, "NodePort").await;
        let told = run.until("the reason", |run| run.reason("Progressing") == "ExposureFailed").await;
        assert_eq!((told.state("Exposed"), told.reason("Exposed")), ("False", "ExposureFailed"));
        let words = told.words("Exposed");
        assert!(words.contains("exceeded quota: none"), "the API server's words: {words}");
        let api = site.api::<ResourceQuota>();
        api.delete("none", &DeleteParams::default()).await.expect("no quota");
        nothing_is_open(&run.succeeds().await);
        // The node has no address of the machine's family: the run reports this, and uses the SSH
        // session.
        let update = run.node("v6").await;
        assert_eq!(update.reason("CallbackReachable"), "CallbackNoRoute");
        assert!(update.words("CallbackReachable").contains("10.77.0.1:3"), "the node's port");
        assert_eq!(channel(&run, "v6").await, Some(Channel::Session));
    });
}
