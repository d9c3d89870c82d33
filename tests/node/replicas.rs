//! Several operator pods behind one Service: an engine's connection arrives at any of them, and is
//! relayed to the pod that works on the machine.

use crate::harness::run::watched;
use crate::harness::{Conditions, Machine, Run, Site, outcome, wait};
use crate::pods::{connect_from, kill_process};
use crate::release::{Release, on_node};
use crate::traces::{is_as_before, traces};
use farrier::api::NodeUpdate;
use futures::future::{join, join_all, join3};
use serde_json::json;

/// Settings for three pods whose work is taken over soon after they are lost.
const THREE: [&str; 3] = ["replicas=3", "hostPorts.enabled=false", "operator.replicaLeaseSeconds=5"];

/// Concurrent machines of each run, of six. Each connection arrives at a random pod: the probability
/// that none of ten connections is relayed is 1 in 60,000.
pub(crate) const MAX_CONCURRENT: usize = 5;

/// Ends the step of [`Site::held`] on all machines.
pub(crate) async fn release_steps(machines: &[Machine]) {
    join_all(machines.iter().map(Machine::release_steps)).await;
}

/// Creates three machines of each address family, for a run with this exposure.
pub(crate) async fn six(site: &Site, exposure: &str) -> Vec<Machine> {
    let v4 = format!("{exposure}-v4");
    let v6 = format!("{exposure}-v6");
    // The last words of a pod that is lost may not arrive: its policies can be gone before its connections are.
    // Then only the SSH server itself can find out that nobody is there any more (see docs/install.md).
    let alive = ["--sshd", "ClientAliveInterval 5"];
    let v4 = site.machine(&v4).lab(&["--no-v6", alive[0], alive[1]]).label("in", exposure);
    let v6 = site.machine(&v6).lab(&["--no-v4", alive[0], alive[1]]).label("in", exposure);
    let (v4, v6) = join(v4.up_many(3), v6.up_many(3)).await;
    [v4, v6].concat()
}

pub(crate) async fn calling<'a>(site: &'a Site, name: &str, exposure: &str) -> Run<'a> {
    let spec = json!({
        "baselineRef": {"name": "slow"},
        "selector": {"matchLabels": {"in": name}},
        "channel": "Callback",
        "strategy": {"maxConcurrent": MAX_CONCURRENT},
        "callback": {"exposure": exposure},
    });
    site.run(name, spec).await
}

/// A run and its machines.
pub(crate) type Part<'a> = (&'a Run<'a>, &'a [Machine]);

/// Returns the NodeUpdates of machines on which the script is running.
pub(crate) async fn at_work(runs: &[Part<'_>]) -> Vec<NodeUpdate> {
    let mut found = Vec::new();
    for (run, machines) in runs {
        for update in run.nodes().await {
            let of = machines.iter().find(|machine| machine.name == update.spec.node_ref.name);
            if of.is_some_and(|of| of.slow_runs() > 0 && of.file("/etc/slow.version").is_none()) {
                found.push(update);
            }
        }
    }
    found
}

/// Returns the runner that relays the stream of a machine.
pub(crate) fn relay(update: &NodeUpdate) -> Option<String> {
    let words = update.words("CallbackReachable");
    let (_, after) = words.split_once("connected through runner ")?;
    after.split(' ').next().map(str::to_owned)
}

/// Waits until the maximum number of machines is working.
pub(crate) async fn all_at_work(runs: &[Part<'_>]) {
    wait::until("machines to be at work", wait::LIMIT, async || {
        let busy = at_work(runs).await.len();
        if busy == MAX_CONCURRENT * runs.len() { Ok(()) } else { Err(format!("{busy} are")) }
    })
    .await;
}

/// Waits until `which` returns a value for a machine that is working.
pub(crate) async fn some<T>(what: &str, runs: &[Part<'_>], which: impl Fn(&NodeUpdate) -> Option<T>) -> T {
    wait::until(what, wait::LIMIT, async || {
        let updates = at_work(runs).await;
        let words: Vec<String> = updates.iter().map(|u| u.words("CallbackReachable")).collect();
        updates.iter().find_map(&which).ok_or_else(|| format!("{words:#?}"))
    })
    .await
}

/// Pods may reach each other only on the ports that engines call.
async fn pods_reach_only_what_they_must(release: &Release<'_>, run: &Run<'_>, stranger: &Machine) {
    let pods = release.pods().await;
    let ports = run.get().await.status.expect("a status").callback.expect("ports").ports;
    let (from, to) = (&pods[0].name, &pods[1]);
    let pair = ports.iter().find(|ports| ports.runner == to.name).expect("the pod's ports");
    for &address in &to.addresses {
        assert_eq!(connect_from(from, address, pair.https_port).await, "open", "{address}");
        assert_eq!(connect_from(from, address, pair.http_port).await, "closed", "{address}");
        assert_eq!(connect_from(from, address, 8080).await, "closed", "{address}");
    }
    let stranger = stranger.v4.as_ref().expect("an address").parse().expect("an address");
    assert_eq!(connect_from(from, stranger, 22).await, "closed", "a machine that belongs to no run");
}

/// Waits until this runner has no machines.
pub(crate) async fn handed_over(runs: &[Part<'_>], lost: &str) {
    wait::until("its machines to be handed over", wait::LIMIT, async || {
        let left = at_work(runs).await.into_iter().filter(|update| update.spec.runner == lost).count();
        if left == 0 { Ok(()) } else { Err(format!("{left} are not")) }
    })
    .await;
}

/// Kills, one after the other, a pod that relays streams, a pod that works on machines, and the leader.
async fn kills(release: &Release<'_>, runs: &[Part<'_>]) {
    let relays = some("a relayed connection", runs, relay).await;
    let counted = release.counted(&relays, "farrier_callback_relayed_total").await;
    assert!(counted.as_ref().is_ok_and(|streams| *streams > 0.0), "{counted:?}");
    kill_process(&relays).await;
    let leader = release.leader().await;
    let working = |update: &NodeUpdate| (update.spec.runner != leader).then(|| update.spec.runner.clone());
    let lost = some("a runner that works and does not lead", runs, working).await;
    release.lose(&lost).await;
    handed_over(runs, &lost).await;
    let leader = release.leader().await;
    release.lose(&leader).await;
    wait::until("another leader", wait::LIMIT, async || {
        let now = release.leader().await;
        if now == leader { Err(now) } else { Ok(()) }
    })
    .await;
}

/// Asserts that every machine was updated once, through the callback server, and is clean.
pub(crate) async fn went_well(run: &Run<'_>, machines: &[Machine]) {
    for machine in machines {
        let update = run.node(&machine.name).await;
        assert_eq!(machine.slow_runs(), 1, "{}", machine.name);
        assert_eq!(outcome(&update, "slow"), "Updated", "{}", machine.name);
        assert_eq!(update.state("TornDown"), "True", "{}: {}", machine.name, update.words("TornDown"));
    }
}

/// With several pods most connections arrive at the wrong pod. They must be relayed, policies must
/// allow that, and a lost pod must not take the machines of others with it.
#[test]
fn streams_are_relayed_between_pods_whichever_pod_is_killed() {
    on_node("relay", async |site, release| {
        site.baseline("slow", &[site.held()]).await;
        let stranger = site.machine("stranger").spec(json!({"hold": true})).up().await;
        let chart = Release::chart();
        let install = release.install(&chart, &THREE);
        let (by_node, by_balancer, ()) = join3(six(site, "port"), six(site, "balancer"), install).await;
        let before = traces(site, release, &site.machines()).await;
        let first = calling(site, "port", "NodePort").await;
        let second = calling(site, "balancer", "LoadBalancer").await;
        release.balance().await;
        let runs = [(&first, &by_node[..]), (&second, &by_balancer[..])];
        let meanwhile = async {
            all_at_work(&runs).await;
            pods_reach_only_what_they_must(release, &first, &stranger).await;
            kills(release, &runs).await;
            release_steps(&site.machines()).await;
        };
        join(watched(&first, MAX_CONCURRENT, meanwhile), watched(&second, MAX_CONCURRENT, async {})).await;
        went_well(&first, &by_node).await;
        went_well(&second, &by_balancer).await;
        release.is_rolled_out().await;
        is_as_before(&before, site, release, &site.machines(), "after both runs").await;
        release.uninstall().await.expect("an uninstallation");
    });
}

/// Evicts the pods one after the other, as a drain of nodes does: never two at once.
async fn evictions(release: &Release<'_>) {
    release.is_rolled_out().await;
    release.may_lose_one().await;
    let pods = release.pods().await;
    assert_eq!(pods.len(), 3, "{pods:?}");
    assert!(release.evict(&pods[0].name).await, "all pods are ready, so one may be evicted");
    assert!(!release.evict(&pods[1].name).await, "the budget allows one at a time");
    for pod in &pods[1..] {
        wait::until("the eviction of the next pod to be allowed", wait::LIMIT, async || {
            if release.evict(&pod.name).await { Ok(()) } else { Err(format!("{} must stay", pod.name)) }
        })
        .await;
    }
}

/// With `--long`.
mod long {
    use super::*;

    /// An upgrade, or maintenance of the cluster's own nodes, must not disturb runs in progress.
    #[test]
    fn a_run_continues_while_all_pods_are_replaced_by_an_upgrade_and_by_a_drain() {
        on_node("replaced", async |site, release| {
            site.baseline("slow", &[site.held()]).await;
            let chart = Release::chart();
            let install = release.install(&chart, &THREE);
            let (machines, ()) = join(six(site, "port"), install).await;
            let before = traces(site, release, &machines).await;
            let run = calling(site, "port", "NodePort").await;
            let meanwhile = async {
                all_at_work(&[(&run, &machines)]).await;
                // A changed value in the pods' environment causes new pods.
                let changed = ["operator.engineLeaseSeconds=800"];
                release.upgrade(&Release::chart(), &[&THREE[..], &changed].concat()).await;
                evictions(release).await;
                release_steps(&machines).await;
            };
            watched(&run, MAX_CONCURRENT, meanwhile).await;
            went_well(&run, &machines).await;
            release.is_rolled_out().await;
            is_as_before(&before, site, release, &machines, "after the run").await;
            release.uninstall().await.expect("an uninstallation");
        });
    }
}
