//! The chart's rights are sufficient for the operator, and its pods are as confined as the chart
//! promises.

use crate::harness::lab::output;
use crate::harness::payload::bmc_tool;
use crate::harness::run::to;
use crate::harness::{Conditions, Site, outcome};
use crate::release::{Release, on_node};

/// What an operator logs if it lacks a right, or if a policy is too narrow.
const REFUSALS: [&str; 4] = ["status 403", "code: 403", "forbidden", "Forbidden"];

/// Reads a log from the pod that has it, as a user does.
async fn logged(site: &Site, update: &str) {
    let log = output(env!("CARGO_BIN_EXE_farrier"), ["logs", update, "-n", &site.name]).await;
    assert!(log.contains(" - bmc-tool: the installer ended with status 0\n"), "{log}");
}

/// If the chart's rights, policies or pod security prevented the operator's work, only users would find
/// out.
#[test]
fn a_run_succeeds_with_the_charts_rights_in_a_restricted_namespace() {
    on_node("rights", async |site, release| {
        let label = "pod-security.kubernetes.io/enforce=restricted";
        output("kubectl", ["label", "namespace", &release.namespace, label]).await;
        site.machine("v4").lab(&["--no-v6"]).up().await;
        site.machine("v6").lab(&["--no-v4"]).up().await;
        release.install(&Release::chart(), &["hostPorts.enabled=false"]).await;
        site.baseline("spring", &[bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        run.succeeds().await;
        for node in ["v4", "v6"] {
            assert_eq!(outcome(&run.node(node).await, "bmc-tool"), "Updated");
            logged(site, &format!("r1-{node}")).await;
        }
        run.delete().await;
        run.gone().await;
        let log = release.log().await;
        let refused: Vec<&str> =
            log.lines().filter(|line| REFUSALS.iter().any(|word| line.contains(word))).collect();
        assert!(refused.is_empty(), "the operator was refused: {refused:#?}");
    });
}

/// With `--long`.
mod long {
    use super::*;

    /// The `ClusterRole` for all namespaces is written separately from the Roles for one, and may lack a
    /// rule.
    #[test]
    fn a_run_succeeds_with_the_rights_for_all_namespaces() {
        on_node("wide", async |site, release| {
            site.machine("a").up().await;
            release.install(&Release::chart(), &["hostPorts.enabled=false", "watchNamespaces=null"]).await;
            site.baseline("spring", &[bmc_tool("2.0")]).await;
            let run = site.run("r1", to("spring")).await;
            let ended = run.succeeds().await;
            assert_eq!(ended.reason("Succeeded"), "AllSucceeded");
            logged(site, "r1-a").await;
            let log = release.log().await;
            let own =
                |line: &&str| line.contains(&site.name) && REFUSALS.iter().any(|word| line.contains(word));
            let refused: Vec<&str> = log.lines().filter(own).collect();
            assert!(refused.is_empty(), "the operator was refused: {refused:#?}");
        });
    }
}
