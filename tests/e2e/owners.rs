//! One owner for each machine: the Lease that whoever works on a machine holds.

use crate::harness::payload::{Component, bmc_tool, ethtool, merge};
use crate::harness::run::to;
use crate::harness::snapshot::{DPKG, ETHTOOL, LOG};
use crate::harness::{Conditions, Run, Site, e2e, outcome, wait};
use farrier::api::NodeUpdate;
use farrier::api::node_update::Waiting;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

/// The Lease of machine `db`.
const LEASE: &str = "managednode-db";

async fn lease(site: &Site) -> Option<Lease> {
    site.api::<Lease>().get_opt(LEASE).await.expect("an answer")
}

fn holder(lease: Option<&Lease>) -> String {
    lease.and_then(|lease| lease.spec.as_ref()?.holder_identity.clone()).unwrap_or_default()
}

/// Takes the Lease as another tool does, for this number of seconds.
async fn hold(site: &Site, who: &str, seconds: u32) {
    let now = jiff::Timestamp::now();
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": LEASE},
        "spec": {"holderIdentity": who, "leaseDurationSeconds": seconds,
            "acquireTime": format!("{now:.6}"), "renewTime": format!("{now:.6}")},
    });
    site.create::<Lease>(&lease).await.expect("a Lease");
}

async fn release(site: &Site) {
    site.api::<Lease>().delete(LEASE, &DeleteParams::default()).await.expect("a deleted Lease");
}

/// Waits until the NodeUpdate of `db` waits for the holder of the Lease.
async fn waits(run: &Run<'_>) -> (NodeUpdate, Waiting) {
    let seen = |update: &NodeUpdate| {
        let waiting = update.status.as_ref()?.waiting.clone()?;
        (waiting.reason == "NodeInUse").then_some(waiting)
    };
    let update = run.node_until("db", "the wait for the Lease", |update| seen(update).is_some()).await;
    let waiting = seen(&update).expect("a wait");
    (update, waiting)
}

async fn nobody_holds_it(site: &Site) {
    assert_eq!(lease(site).await.map(|lease| lease.spec), None, "the Lease stays after the run");
}

fn attempts(update: &NodeUpdate) -> Option<u32> {
    update.status.as_ref().and_then(|status| status.attempt)
}

fn without_retries(baseline: &str) -> Value {
    let mut spec = to(baseline);
    merge(&mut spec, json!({"strategy": {"retries": 0}}));
    spec
}

/// Farrier would work on a machine beside another tool, or users would not learn whom the machine waits for, or
/// it would wait for ever for a tool that has died.
#[test]
fn a_machine_that_another_tool_holds_is_waited_for_and_left_alone() {
    e2e("held", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        hold(site, "node-maintenance", 3600).await;
        site.baseline("spring", &[ethtool()]).await;
        let run = site.run("r1", without_retries("spring")).await;
        let (update, seen) = waits(&run).await;
        assert!(
            seen.what.starts_with("node-maintenance to release Lease managednode-db (held since 2"),
            "{seen:?}"
        );
        assert!(seen.what.contains(", valid until 2") && seen.until.is_some(), "{seen:?}");
        assert_eq!(update.reason("Succeeded"), "NodeInUse");
        let words = update.words("Succeeded");
        assert!(words.contains(&seen.what), "{words}");
        let status = update.status.as_ref().expect("a status");
        assert_eq!(status.step.as_deref(), Some("Connecting (waits for node-maintenance)"));
        assert_eq!((status.address.as_deref(), update.state("Reachable")), (None, "Unknown"));
        before.same_but(&db.snapshot().await, &[]);
        release(site).await;
        run.succeeds().await;
        assert_eq!(attempts(&run.node("db").await), Some(1), "a wait is no failed attempt");
        before.same_but(&db.snapshot().await, &[LOG, DPKG, ETHTOOL]);
        nobody_holds_it(site).await;
    });
}

/// A tool that was killed would keep its machines from being updated until somebody finds its Lease.
#[test]
fn a_lease_that_is_not_renewed_is_taken_when_it_has_expired() {
    e2e("dead", async |site| {
        let db = site.machine("db").up().await;
        hold(site, "node-maintenance", 10).await;
        let taken = lease(site).await.and_then(|lease| lease.spec?.renew_time).expect("its time").0;
        site.baseline("spring", &[site.held()]).await;
        let run = site.run("r1", without_retries("spring")).await;
        waits(&run).await;
        db.is_slow().await;
        let held = lease(site).await;
        let spec = held.as_ref().and_then(|lease| lease.spec.clone()).expect("a Lease");
        let name = format!("farrier/{}/{}/r1-db", site.name, site.operator.runner);
        assert_eq!(holder(held.as_ref()), name);
        let acquired = spec.acquire_time.expect("a time").0.duration_since(taken);
        assert!(acquired.as_secs() >= 10, "it was taken after {acquired}");
        let owners = held.and_then(|lease| lease.metadata.owner_references).unwrap_or_default();
        assert!(owners.iter().any(|owner| owner.kind == "ManagedNode" && owner.name == "db"), "{owners:?}");
        db.release_steps().await;
        run.succeeds().await;
        assert_eq!(attempts(&run.node("db").await), Some(1));
        nobody_holds_it(site).await;
    });
}

/// A run would occupy its place for ever behind a tool that does not end, or could not be cancelled.
#[test]
fn the_wait_for_a_holder_has_a_limit_and_can_be_cancelled() {
    e2e("stuck", async |site| {
        site.operator.restart(&["--wait-seconds", "3"]);
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        hold(site, "alice", 3600).await;
        site.baseline("spring", &[ethtool()]).await;
        let run = site.run("r1", without_retries("spring")).await;
        let failed = run.fails().await;
        assert_eq!(failed.status.expect("a status").failing[0].reason, "NodeInUse");
        let update = run.node("db").await;
        let words = update.condition("Succeeded").message.clone();
        for part in ["db is in use: alice holds Lease managednode-db", "--wait-seconds", "delete the Lease"] {
            assert!(words.contains(part), "{words}");
        }
        assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));

        site.operator.restart(&[]);
        let run = site.run("r2", without_retries("spring")).await;
        waits(&run).await;
        run.desire("Cancel").await;
        assert_eq!(run.fails().await.reason("Succeeded"), "Cancelled");
        assert_eq!(holder(lease(site).await.as_ref()), "alice", "a foreign Lease was touched");
        before.same_but(&db.snapshot().await, &[]);
        release(site).await;
    });
}

/// After a crash of the operator its own Lease would keep it from its machines for a quarter of an hour; or
/// another tool would work on a machine on which an installer still runs.
#[test]
fn a_runner_that_was_killed_takes_its_machine_again_at_once() {
    e2e("again", async |site| {
        let db = site.machine("db").up().await;
        site.baseline("spring", &[site.held()]).await;
        let run = site.run("r1", without_retries("spring")).await;
        db.is_slow().await;
        let held = lease(site).await.expect("a Lease");
        site.operator.kill();
        assert_eq!(lease(site).await.and_then(|lease| lease.metadata.uid), held.metadata.uid);
        site.operator.start();
        wait::until("the successor to take the Lease", wait::LIMIT, async || {
            let now = lease(site).await.expect("a Lease");
            let is_newer = now.metadata.resource_version != held.metadata.resource_version;
            if is_newer { Ok(()) } else { Err(format!("{:?}", now.spec)) }
        })
        .await;
        assert_eq!(holder(lease(site).await.as_ref()), holder(Some(&held)));
        assert!(site.operator.log().contains("Succession"), "the Lease was not taken over by right");
        db.release_steps().await;
        run.succeeds().await;
        assert_eq!(db.slow_runs(), 1);
        nobody_holds_it(site).await;
    });
}

/// Returns a component that runs until `release_steps` is called, and for ten seconds more: until then the
/// engine has heard that it is to begin nothing else, which nobody can see.
fn lingering(site: &Site) -> Component {
    let script = "#!/bin/sh\necho start >>/var/log/slow.runs\nn=0\nwhile [ ! -e /run/let-go ] && [ $n -lt 1500 ]; do sleep 0.2; n=$((n + 1)); done\nsleep 10\necho 1.0 >/etc/slow.version\n";
    let component = site.payload("lingering.sh", "1.0", "Script", script.as_bytes());
    component.with(json!({"name": "slow", "detect": {"file": "/etc/slow.version"}}))
}

/// Farrier would begin more work beside a tool that has taken the machine by force, or would stop an installer in
/// the middle, or nobody would learn of it.
#[test]
fn a_machine_that_is_taken_by_force_is_left_after_the_component_in_progress() {
    e2e("force", async |site| {
        // The Lease is renewed every two seconds.
        site.operator.restart(&["--lease-seconds", "30"]);
        let db = site.machine("db").up().await;
        site.baseline("spring", &[lingering(site), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        db.is_slow().await;
        let spec = json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3600}});
        let api = site.api::<Lease>();
        api.patch(LEASE, &PatchParams::default(), &Patch::Merge(spec)).await.expect("a taken Lease");
        site.until_event("NodeInUse NodeUpdate/r1-db: thief has taken Lease managednode-db").await;
        assert_eq!(db.file("/etc/slow.version"), None, "the installer still runs");
        db.release_steps().await;
        let (update, seen) = waits(&run).await;
        assert!(seen.what.starts_with("thief to release"), "{seen:?}");
        assert_eq!(attempts(&update), Some(2));
        db.is_clean().await;
        assert!(db.file("/etc/slow.version").is_some(), "the component in progress was left to finish");
        assert_eq!(db.file("/etc/bmc-tool.version"), None, "another component was begun");
        release(site).await;
        run.succeeds().await;
        assert_eq!(db.slow_runs(), 1);
        assert_eq!(outcome(&run.node("db").await, "bmc-tool"), "Updated");
        nobody_holds_it(site).await;
    });
}
