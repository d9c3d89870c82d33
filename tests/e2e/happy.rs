//! The main job: a machine is brought to its baseline, proven and left clean.

use crate::harness::payload::{agent, ethtool};
use crate::harness::run::to;
use crate::harness::{e2e, outcome, snapshot};

/// Farrier does not do what it is for.
#[test]
fn a_machine_is_brought_to_its_baseline() {
    e2e("base", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        site.baseline("spring", &[ethtool(), agent("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!(outcome(&update, "ethtool"), "Updated");
        assert_eq!(outcome(&update, "farrier-agent"), "Updated");
        let allowed = [snapshot::LOG, snapshot::DPKG, snapshot::ETHTOOL, snapshot::AGENT];
        before.same_but(&db.snapshot().await, &allowed);
    });
}
