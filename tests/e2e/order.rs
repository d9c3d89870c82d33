//! Components that require each other: the order of installation, and the components whose requirements
//! are not met.

use crate::harness::payload::{agent, bmc_tool, ethtool, merge, script};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, e2e, outcome};
use serde_json::json;

/// Firmware would be installed before the components that it requires.
#[test]
fn a_component_comes_after_what_it_requires() {
    e2e("order", async |site| {
        site.machine("db").up().await;
        let last =
            bmc_tool("2.0").with(json!({"requires": [{"component": "farrier-agent", "atLeast": "2.0"}]}));
        let middle = agent("2.0").with(json!({"requires": [{"component": "ethtool"}]}));
        site.baseline("spring", &[last, middle, ethtool()]).await;
        let run = site.run("r1", to("spring")).await;
        run.succeeds().await;
        let update = run.node("db").await;
        let plan: Vec<_> = update.status.iter().flat_map(|s| &s.plan).map(|p| p.name.as_str()).collect();
        assert_eq!(plan, ["ethtool", "farrier-agent", "bmc-tool"]);
        let ended = |name: &str| component(&update, name).finished_at.clone().expect("a time").0;
        let begun = |name: &str| component(&update, name).started_at.clone().expect("a time").0;
        assert!(ended("ethtool") <= begun("farrier-agent"), "ethtool ends before farrier-agent starts");
        assert!(ended("farrier-agent") <= begun("bmc-tool"), "farrier-agent ends before bmc-tool starts");
    });
}

/// Firmware would be installed although a component that it requires failed.
#[test]
fn dependents_of_a_failed_component_are_skipped_and_the_rest_is_installed() {
    e2e("lacking", async |site| {
        let db = site.machine("db").up().await;
        let needy = bmc_tool("2.0").with(json!({"requires": [{"component": "fail"}]}));
        site.baseline("spring", &[script("fail", "1.0"), needy, ethtool()]).await;
        let run = site.run("r1", to("spring")).await;
        run.fails().await;
        let update = run.node("db").await;
        assert_eq!(update.reason("Succeeded"), "InstallerFailed", "{}", update.words("Succeeded"));
        assert_eq!(component(&update, "fail").exit_code, Some(7));
        assert_eq!(outcome(&update, "fail"), "Failed");
        assert!(["Skipped", "DependencyMissing"].contains(&outcome(&update, "bmc-tool")), "{update:?}");
        assert_eq!(outcome(&update, "ethtool"), "Updated");
        assert_eq!(db.file("/etc/bmc-tool.version"), None);
    });
}

/// A user who wants all or nothing would get half.
#[test]
fn a_machine_with_an_unmet_requirement_is_left_unchanged_on_request() {
    e2e("omit", async |site| {
        let db = site.machine("db").up().await;
        // The required component is in the baseline, but does not apply to this machine.
        let base = script("fail", "1.0").with(json!({"appliesTo": {"match": {"os": "rpmlab"}}}));
        let needy = bmc_tool("2.0").with(json!({"requires": [{"component": "fail"}]}));
        site.baseline("spring", &[agent("2.0"), base, needy]).await;
        let mut spec = to("spring");
        merge(&mut spec, json!({"onFailedDependency": "OmitNode"}));
        let run = site.run("r1", spec).await;
        run.fails().await;
        let update = run.node("db").await;
        assert_eq!(update.reason("Succeeded"), "DependencyMissing", "{}", update.words("Succeeded"));
        assert_eq!(outcome(&update, "bmc-tool"), "DependencyMissing");
        assert_eq!(db.sh("farrier-agent").await, "farrier-agent 1.0\n");
        let rest = site.run("r2", to("spring")).await;
        rest.fails().await;
        assert_eq!(outcome(&rest.node("db").await, "farrier-agent"), "Updated");
        assert_eq!(db.file("/etc/bmc-tool.version"), None);
    });
}
