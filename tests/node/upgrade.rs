//! `helm upgrade` while a run is under way.

use crate::harness::lab::output;
use crate::harness::outcome;
use crate::harness::payload::{bmc_tool, slow};
use crate::harness::run::to;
use crate::release::{Release, on_node};
use std::path::PathBuf;

/// An upgrade in the middle of a maintenance window does work twice, or leaves it undone.
#[test]
fn a_run_in_progress_survives_an_upgrade_and_does_nothing_twice() {
    on_node("upgrade", async |site, release| {
        let machine = site.machine("a").up().await;
        let chart = Release::chart().display().to_string();
        let packed = site.path("previous").display().to_string();
        output("helm", ["package", &chart, "--version", "0.0.9", "--destination", &packed]).await;
        let previous = PathBuf::from(packed).join("farrier-0.0.9.tgz");
        let first = ["hostPorts.first=63101", "hostPorts.count=4"];
        release.install(&previous, &first).await;
        site.baseline("spring", &[slow("1.0"), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        machine.is_slow().await;
        // New pods: a value that they see has changed.
        release.upgrade(&Release::chart(), &["hostPorts.first=63101", "hostPorts.count=6"]).await;
        release.is_rolled_out().await;
        run.succeeds().await;
        let update = run.node("a").await;
        assert_eq!((outcome(&update, "slow"), outcome(&update, "bmc-tool")), ("Updated", "Updated"));
        assert_eq!(machine.slow_runs(), 1);
    });
}
