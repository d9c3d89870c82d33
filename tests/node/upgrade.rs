//! `helm upgrade` while a run is under way, from a chart of an earlier time.
//!
//! `previous.tgz` is the chart of commit f949b01 without definitions and dashboard, which the test does
//! not use: it knows fewer values, has other hooks, and still starts the operator of today. The image
//! is today's: to build an older one would take minutes. docs/adr/0014 says when it is replaced.

use crate::harness::outcome;
use crate::harness::payload::{bmc_tool, slow};
use crate::harness::run::to;
use crate::release::{Release, on_node};
use std::path::Path;

/// An upgrade in the middle of a maintenance window does work twice, or leaves it undone.
#[test]
fn a_run_in_progress_survives_an_upgrade_and_does_nothing_twice() {
    on_node("upgrade", async |site, release| {
        let machine = site.machine("a").up().await;
        let previous = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/previous.tgz");
        let first = ["hostPorts.first=63101", "hostPorts.count=4"];
        release.install(&previous, &first).await;
        site.baseline("spring", &[slow("1.0"), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        machine.is_slow().await;
        // New pods: a value that they see has changed.
        release.upgrade(&Release::chart(), &["hostPorts.count=6"]).await;
        release.is_rolled_out().await;
        run.succeeds().await;
        let update = run.node("a").await;
        assert_eq!((outcome(&update, "slow"), outcome(&update, "bmc-tool")), ("Updated", "Updated"));
        assert_eq!(machine.slow_runs(), 1);
    });
}
