//! NodeUpdates without their run: its finalizer was removed by hand, and the run was deleted while
//! machines were being updated, sometimes together with the objects that it refers to.

use crate::harness::payload::bmc_tool;
use crate::harness::run::to;
use crate::harness::{Conditions, Machine, Run, Site, e2e, wait};
use farrier::api::{ManagedNode, NodeUpdate, UpdateRun};
use farrier::publish::Kind;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use std::time::Duration;

/// Starts a run with a script that waits for the test and a second component, and waits until the script
/// runs.
async fn at_work(site: &Site) -> (Machine, Run<'_>) {
    let db = site.machine("db").up().await;
    site.baseline("spring", &[site.held(), bmc_tool("2.0")]).await;
    let run = site.run("r1", to("spring")).await;
    db.is_slow().await;
    (db, run)
}

/// Removes the finalizers of a run and deletes it, as users do with `kubectl patch --type=merge` and
/// `kubectl delete`.
async fn force_away(site: &Site, run: &Run<'_>) {
    let none = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let api = site.api::<UpdateRun>();
    api.patch(&run.name, &PatchParams::default(), &none).await.expect("a run without finalizer");
    run.delete().await;
    run.gone().await;
}

async fn delete<K: Kind>(site: &Site, name: &str) {
    site.api::<K>().delete(name, &DeleteParams::default()).await.expect("a deleted object");
}

/// Lets the script end after the engine has learned that no other component follows. The operator tells
/// it in the response to one of its heartbeats, which it sends each second.
async fn ends_alone(site: &Site, db: &Machine) {
    wait::until("the operator to notice that the run is gone", wait::LIMIT, async || {
        let told = site.operator.log().contains("its UpdateRun is gone");
        if told { Ok(()) } else { Err("the log does not say so".to_owned()) }
    })
    .await;
    db.engine().await;
    wait::pass(Duration::from_secs(3)).await;
    db.release_steps().await;
}

/// Waits until the NodeUpdate does not exist any more. The cluster's garbage collector deletes it, and
/// its finalizer keeps it until the operator has cleaned its machine.
async fn goes(site: &Site) {
    wait::until("the NodeUpdate to be deleted", wait::LIMIT, async || {
        match site.api::<NodeUpdate>().get_opt("r1-db").await.expect("an answer") {
            None => Ok(()),
            Some(update) => Err(format!("{}; {}", update.words("Succeeded"), update.words("TornDown"))),
        }
    })
    .await;
}

/// A user who removes finalizers, or deletes everything that was applied, would leave engines on machines
/// until their lease expires, or components would be installed for a run that does not exist any more.
#[test]
fn a_machine_whose_run_was_forced_away_with_all_it_refers_to_is_cleaned_and_nothing_more_is_installed() {
    e2e("forced", async |site| {
        let (db, run) = at_work(site).await;
        delete::<ManagedNode>(site, "db").await;
        delete::<Secret>(site, "db").await;
        force_away(site, &run).await;
        ends_alone(site, &db).await;
        goes(site).await;
        assert_eq!(
            db.traces(),
            Vec::<String>::new(),
            "the NodeUpdate was deleted before its machine was clean"
        );
        assert_eq!(db.slow_runs(), 1);
        assert_eq!(db.file("/etc/bmc-tool.version"), None, "no component is started for a run that is gone");
    });
}

/// The same while no operator runs, and with a new run of the same name: the NodeUpdate of the old run
/// must not follow the new one.
#[test]
fn a_machine_whose_run_was_forced_away_without_an_operator_is_cleaned_when_there_is_one() {
    e2e("unseen", async |site| {
        let (db, run) = at_work(site).await;
        site.operator.kill();
        force_away(site, &run).await;
        site.run("r1", json!({"operation": "Inventory", "desiredState": "Pause"})).await;
        site.operator.start();
        ends_alone(site, &db).await;
        goes(site).await;
        assert_eq!(
            db.traces(),
            Vec::<String>::new(),
            "the NodeUpdate was deleted before its machine was clean"
        );
        assert_eq!((db.slow_runs(), db.file("/etc/bmc-tool.version")), (1, None));
        run.desire("Run").await;
        run.succeeds().await;
    });
}

/// If no credentials are left, users would not learn that something stays on the machine, and for how
/// long; or the NodeUpdate would prevent the deletion of its namespace for ever.
#[test]
fn what_stays_on_an_inaccessible_machine_is_reported_with_its_deadline() {
    e2e("locked-out", async |site| {
        site.operator.kill();
        site.operator.options(&["--lease-seconds", "30"]);
        site.operator.start();
        let (db, run) = at_work(site).await;
        site.operator.kill();
        delete::<ManagedNode>(site, "db").await;
        delete::<Secret>(site, "db").await;
        force_away(site, &run).await;
        site.operator.start();
        goes(site).await;
        let left = "CleanupPending NodeUpdate/r1-db: no account can sign in to db to clean it: ManagedNode db is gone";
        site.until_event(left).await;
        let events = site.events().await;
        let told = events.iter().find(|event| event.starts_with(left)).expect("the event");
        assert!(told.contains("stay until 20"), "{told}");
        assert_eq!(db.engines().len(), 1, "the engine is still on the machine, as the event says");
        // The engine removes everything by itself when its lease expires, which other tests check.
        db.labctl("rm").await;
        site.forget(&db);
    });
}
