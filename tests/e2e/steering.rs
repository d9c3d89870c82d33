//! The user's settings of a run take effect: operation, desiredState, hold, ttlAfterFinished.

use crate::harness::machine::Machine;
use crate::harness::payload::{agent, bmc_tool, ethtool, merge, slow};
use crate::harness::run::to;
use crate::harness::{Conditions, e2e, outcome, snapshot};
use farrier::api::NodeInventory;
use serde_json::json;

/// An inventory would change the machine, or miss something.
#[test]
fn an_inventory_shows_the_machine_and_changes_nothing() {
    e2e("look", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        let run = site.run("r1", json!({"operation": "Inventory"})).await;
        run.succeeds().await;
        let inventory: NodeInventory = site.api().get("db").await.expect("an inventory");
        let found = inventory.status.expect("a status");
        assert_eq!((found.facts.os.as_str(), found.facts.os_version.as_str()), ("debian", "12"));
        assert_eq!(found.facts.hostname, db.host);
        assert!(
            found.packages.iter().any(|p| p.name == "ethtool" && p.version == "1:5.9-1" && p.kind == "deb")
        );
        assert_eq!(usize::try_from(found.package_count).expect("a count"), found.packages.len());
        let node = site.node("db").await;
        assert_eq!(node.state("InventoryCurrent"), "True", "{}", node.words("InventoryCurrent"));
        before.same_but(&db.snapshot().await, &[snapshot::LOG]);
    });
}

/// A plan would change something; or a run would carry out something other than the plan.
#[test]
fn a_plan_changes_nothing_and_is_then_carried_out_unchanged() {
    e2e("plan", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        site.baseline("spring", &[ethtool(), agent("1.0")]).await;
        let mut spec = to("spring");
        merge(&mut spec, json!({"desiredState": "Plan"}));
        let run = site.run("r1", spec).await;
        let planned = run.until("a plan", |r| r.reason("Planned") == "PlanOnly").await;
        let digest = planned.status.expect("a status").plan_digest.expect("a digest");
        assert!(digest.starts_with("sha256:"), "{digest}");
        let update = run.node("db").await;
        assert_eq!(update.reason("Succeeded"), "PlanOnly");
        let status = update.status.expect("a status");
        let plan: Vec<_> = status
            .plan
            .iter()
            .map(|p| (p.name.as_str(), p.action.as_str(), p.from.as_str(), p.to.as_str()))
            .collect();
        let wanted =
            [("ethtool", "Install", "1:5.9-1", "1:6.1-1"), ("farrier-agent", "UpToDate", "1.0", "1.0")];
        assert_eq!(plan, wanted);
        db.is_clean().await;
        before.same_but(&db.snapshot().await, &[snapshot::LOG]);
        run.desire("Run").await;
        let done = run.succeeds().await;
        assert_eq!(done.status.expect("a status").plan_digest, Some(digest));
        assert_eq!(outcome(&run.node("db").await, "ethtool"), "Updated");
        before.same_but(&db.snapshot().await, &[snapshot::LOG, snapshot::DPKG, snapshot::ETHTOOL]);
    });
}

/// A plan that is not wanted could not be removed.
#[test]
fn a_plan_that_is_given_up_changes_nothing() {
    e2e("unplan", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        site.baseline("spring", &[ethtool()]).await;
        let mut spec = to("spring");
        merge(&mut spec, json!({"desiredState": "Plan"}));
        let run = site.run("r1", spec).await;
        run.until("a plan", |r| r.reason("Planned") == "PlanOnly").await;
        run.desire("Cancel").await;
        assert_eq!(run.fails().await.reason("Succeeded"), "Cancelled");
        assert_eq!(run.node("db").await.reason("Succeeded"), "Cancelled");
        before.same_but(&db.snapshot().await, &[snapshot::LOG]);
    });
}

/// A user who sees something go wrong could not stop the rest of the fleet; or work in progress would
/// be interrupted.
#[test]
fn a_paused_run_finishes_work_in_progress_and_starts_nothing() {
    e2e("pause", async |site| {
        let machines = site.machine("m").up_many(3).await;
        site.baseline("spring", &[slow("1.0")]).await;
        let mut spec = to("spring");
        merge(&mut spec, json!({"strategy": {"maxConcurrent": 1}}));
        let run = site.run("r1", spec).await;
        machines[0].engine().await;
        run.desire("Pause").await;
        let paused = run
            .until("the run to be paused", |r| {
                r.reason("Progressing") == "Paused" && r.state("Progressing") == "False"
            })
            .await;
        let status = paused.status.expect("a status");
        assert_eq!((status.counts.in_progress, status.counts.succeeded, status.counts.pending), (0, 1, 2));
        assert!(status.waiting.iter().all(|w| w.reason == "Paused"), "{:?}", status.waiting);
        assert_eq!(machines.iter().map(Machine::slow_runs).collect::<Vec<_>>(), [1, 0, 0]);
        run.desire("Run").await;
        run.succeeds().await;
        assert_eq!(machines.iter().map(Machine::slow_runs).collect::<Vec<_>>(), [1, 1, 1]);
    });
}

/// A machine on hold would be updated nevertheless.
#[test]
fn a_held_machine_is_left_out_and_named() {
    e2e("hold", async |site| {
        let held = site.machine("held").spec(json!({"hold": true})).up().await;
        let free = site.machine("free").up().await;
        let before = held.snapshot().await;
        site.baseline("spring", &[bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        let done = run.succeeds().await.status.expect("a status");
        assert_eq!(done.left_out, ["held"]);
        assert_eq!(done.nodes, Some(vec!["free".to_owned()]));
        assert_eq!(run.nodes().await.len(), 1);
        assert!(free.file("/etc/bmc-tool.version").is_some());
        before.same_but(&held.snapshot().await, &[]);
    });
}

/// Finished runs would pile up in the cluster, or be deleted before anybody has read them.
#[test]
fn a_finished_run_is_deleted_after_its_ttl() {
    e2e("ttl", async |site| {
        site.machine("db").up().await;
        let run = site.run("r1", json!({"operation": "Inventory", "ttlAfterFinished": "3s"})).await;
        let done = run.succeeds().await;
        run.gone().await;
        let finished = done.status.expect("a status").finished_at.expect("a time").0;
        let lived = jiff::Timestamp::now().duration_since(finished);
        assert!(lived.as_millis() >= 3000, "the run was deleted after {lived:#}");
    });
}
