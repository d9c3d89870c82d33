//! Machines that change after their update: scheduled inventories notice it, and nothing is installed.

use crate::harness::machine::Machine;
use crate::harness::payload::agent;
use crate::harness::run::to;
use crate::harness::writes::Writes;
use crate::harness::{Conditions, Site, e2e, lab, snapshot, wait};
use farrier::api::update_run::Operation;
use farrier::api::{LABEL_SCHEDULED, ManagedNode, NodeUpdate, UpdateRun};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// The operator looks for machines that are due once a minute; on a busy host, an inventory may take as long as a run.
const LIMIT: Duration = Duration::from_mins(4);

/// Nobody would learn that a machine has changed since its update; or it would be changed back at any time.
#[test]
fn a_package_that_is_downgraded_by_hand_is_noticed_and_only_a_run_repairs_it() {
    e2e("drift", async |site| {
        let writes = Writes::of(site).await;
        let db = site.machine("db").spec(json!({"inventory": {"every": "24h"}})).up().await;
        site.baseline("spring", &[agent("2.0")]).await;
        site.run("r1", to("spring")).await.succeeds().await;
        let node = until_baseline(site, "True").await;
        let applied = node.status.and_then(|status| status.baseline).expect("the baseline");
        assert_eq!((applied.name.as_str(), applied.run.as_str()), ("spring", "r1"));
        downgrade(&db).await;
        let before = db.snapshot().await;
        assert_eq!(scheduled(site).await.len(), 0, "nothing was due yet");
        site.until_event("AllSucceeded UpdateRun/r1").await;
        let counted = writes.count().await;
        a_day_passes(site).await;
        let node = until_baseline(site, "False").await;
        let words = node.words("InBaseline");
        assert_eq!(node.reason("InBaseline"), "BehindBaseline", "{words}");
        assert!(words.contains("farrier-agent is 1.0 (2.0 in the baseline)"), "{words}");
        let runs = scheduled(site).await;
        let [run] = runs.as_slice() else { panic!("{runs:?}") };
        assert_eq!(
            (run.spec.operation, run.spec.nodes.as_slice()),
            (Operation::Inventory, ["db".to_owned()].as_slice())
        );
        assert!(words.contains(&run.name_any()), "{words}");
        few_writes(site, &run.name_any(), &writes, &counted).await;
        db.is_clean().await;
        before.same_but(&db.snapshot().await, &[snapshot::LOG]);
        site.run("r2", to("spring")).await.succeeds().await;
        until_baseline(site, "True").await;
        before.same_but(&db.snapshot().await, &[snapshot::LOG, snapshot::DPKG, snapshot::AGENT]);
    });
}

/// A fleet of ten thousand machines would overload the API server, although nothing has changed.
async fn few_writes(site: &Site, run: &str, writes: &Writes, before: &BTreeMap<String, u64>) {
    let update = site.api::<NodeUpdate>();
    wait::until("the NodeUpdate to be released", LIMIT, async || {
        let released =
            update.get(&format!("{run}-db")).await.is_ok_and(|update| update.finalizers().is_empty());
        if released { Ok(()) } else { Err("it has its finalizer".to_owned()) }
    })
    .await;
    site.until_event(&format!("AllSucceeded UpdateRun/{run}")).await;
    let after = writes.count().await;
    let written = |what: &str| after.get(what).unwrap_or(&0) - before.get(what).unwrap_or(&0);
    let of_machine = ["leases", "nodeinventories", "managednodes"].map(written);
    assert_eq!(of_machine, [2, 1, 1], "{after:?} after {before:?}");
    // All three are about the run; the machine's conditions have the result of its inventory.
    assert_eq!(written("events"), 3, "{after:?} after {before:?}");
    // Creation, start, end and release. On a busy host one or two steps last longer than a second and are written as
    // well; so is the progress of the run, of which there are five writes otherwise.
    assert!(written("nodeupdates") <= 4 + 2, "{after:?} after {before:?}");
    assert!(written("updateruns") <= 5 + 2, "{after:?} after {before:?}");
}

/// Installs the version before, as somebody on the machine would.
async fn downgrade(machine: &Machine) {
    let file = lab::image().join("payloads/farrier-agent_1.0_all.deb");
    let package = lab::output("base64", ["-w0", file.to_str().expect("a path")]).await;
    let package = package.trim();
    machine.sh(&format!("echo {package} | base64 -d >/tmp/a.deb; dpkg -i /tmp/a.deb; rm /tmp/a.deb")).await;
}

/// Makes the last inventory of the machine older than it is.
async fn a_day_passes(site: &Site) {
    let status = json!({"status": {"inventory": {"takenAt": "2026-01-01T00:00:00Z", "triedAt": null}}});
    let api = site.api::<ManagedNode>();
    api.patch_status("db", &PatchParams::default(), &Patch::Merge(&status)).await.expect("patched");
}

/// Returns the runs that the operator has made.
async fn scheduled(site: &Site) -> Vec<UpdateRun> {
    let labelled = ListParams::default().labels(&format!("{LABEL_SCHEDULED}=inventory"));
    site.api::<UpdateRun>().list(&labelled).await.expect("runs").items
}

async fn until_baseline(site: &Site, status: &str) -> ManagedNode {
    wait::until(&format!("InBaseline={status}"), LIMIT, async || {
        let node = site.node("db").await;
        if node.state("InBaseline") == status { Ok(node) } else { Err(node.words("InBaseline")) }
    })
    .await
}
