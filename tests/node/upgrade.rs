//! `helm upgrade` during a run, from an earlier version of the chart.
//!
//! `previous.tgz` is the chart of commit f949b01 without CRDs and dashboard, which the test does not
//! use, and with the right to the Leases of machines, which the current operator needs: it has fewer values and other hooks, and still starts the current operator. The image is the
//! current one, because building an older one would take minutes. docs/adr/0014 says when the chart is
//! replaced.

use crate::harness::outcome;
use crate::harness::payload::{bmc_tool, slow};
use crate::harness::run::to;
use crate::release::{Release, on_node};
use std::path::Path;

/// An upgrade during a maintenance window must neither repeat work nor leave it undone.
#[test]
fn a_run_in_progress_survives_an_upgrade_and_repeats_no_work() {
    on_node("upgrade", async |site, release| {
        let machine = site.machine("a").up().await;
        let previous = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/previous.tgz");
        let first = ["hostPorts.first=63101", "hostPorts.count=4"];
        release.install(&previous, &first).await;
        site.baseline("spring", &[slow("1.0"), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        machine.is_slow().await;
        // A changed value in the pods' environment causes new pods.
        release.upgrade(&Release::chart(), &["hostPorts.count=6"]).await;
        release.is_rolled_out().await;
        run.succeeds().await;
        let update = run.node("a").await;
        assert_eq!((outcome(&update, "slow"), outcome(&update, "bmc-tool")), ("Updated", "Updated"));
        assert_eq!(machine.slow_runs(), 1);
    });
}
