//! `helm uninstall`: refused during a run, and afterwards nothing is left.

use crate::harness::payload::{bmc_tool, slow};
use crate::harness::run::to;
use crate::harness::{outcome, wait};
use crate::release::{Release, on_node};
use farrier::api::{NodeUpdate, UpdateRun};
use kube::ResourceExt;
use kube::api::ListParams;

/// Without the refusal, removing a release would leave half-updated machines with engines on them;
/// without the clean-up, orphaned objects would stay behind.
#[test]
fn a_release_is_not_uninstalled_during_a_run_and_leaves_nothing_afterwards() {
    on_node("uninstall", async |site, release| {
        let machine = site.machine("a").up().await;
        let before = release.objects().await;
        release.install(&Release::chart(), &["hostPorts.enabled=false"]).await;
        site.baseline("spring", &[slow("1.0"), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        machine.is_slow().await;
        let words = release.uninstall().await.expect_err("an uninstallation in the middle of a run");
        let named = format!("runs are under way: {}/r1", site.name);
        assert!(words.contains(&named), "the run is not named in: {words}");
        release.is_rolled_out().await;
        run.succeeds().await;
        assert_eq!(outcome(&run.node("a").await, "bmc-tool"), "Updated");
        release.uninstall().await.expect("an uninstallation after the run");
        release.has_only(&before).await;
        // The users' objects stay, and can be deleted without an operator.
        run.delete().await;
        run.gone().await;
    });
}

/// With `--long`.
mod long {
    use super::*;

    /// A user must be able to remove the operator at once, without objects that can never be deleted.
    #[test]
    fn a_forced_uninstallation_removes_the_finalizers_of_runs() {
        on_node("force", async |site, release| {
            let machine = site.machine("a").up().await;
            let before = release.objects().await;
            let settings =
                ["hostPorts.enabled=false", "uninstall.force=true", "operator.engineLeaseSeconds=30"];
            release.install(&Release::chart(), &settings).await;
            site.baseline("spring", &[slow("1.0")]).await;
            let run = site.run("r1", to("spring")).await;
            machine.is_slow().await;
            release.uninstall().await.expect("a forced uninstallation");
            release.has_only(&before).await;
            let all = ListParams::default();
            for update in site.api::<NodeUpdate>().list(&all).await.expect("NodeUpdates") {
                assert!(update.finalizers().is_empty(), "{}", update.name_any());
            }
            for run in site.api::<UpdateRun>().list(&all).await.expect("UpdateRuns") {
                assert!(run.finalizers().is_empty(), "{}", run.name_any());
            }
            run.delete().await;
            run.gone().await;
            wait::until("the engine to exit by itself", wait::LIMIT, async || {
                let traces = machine.traces();
                if traces.is_empty() { Ok(()) } else { Err(format!("{traces:#?}")) }
            })
            .await;
        });
    }
}
