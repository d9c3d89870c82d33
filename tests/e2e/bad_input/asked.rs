//! Objects that request something impossible: unsupported fields, missing references, wrong selectors.

use super::{all_at_once, door, ends_with, said};
use crate::harness::payload::{agent, ethtool, merge};
use crate::harness::run::to;
use crate::harness::snapshot::{DPKG, ETHTOOL, LOG};
use crate::harness::{Conditions, Run, Site, e2e, lab};
use farrier_update::Reason;
use serde_json::{Value, json};

/// A field would be ignored silently, and the run would not do what its user requested.
#[test]
fn a_run_that_asks_for_what_cannot_be_done_starts_nothing() {
    e2e("asked", async |site| {
        let machine = site.machine("idle").up().await;
        let before = machine.snapshot().await;
        site.baseline("spring", &[ethtool()]).await;
        let circle = |name: &str, other: &str| {
            agent("1.1").with(json!({"name": name, "requires": [{"component": other}]}))
        };
        site.baseline("circle", &[circle("one", "two"), circle("two", "one")]).await;
        let nobody = json!({"selector": {"matchLabels": {"name": "nobody"}}});
        refused(site, "nobody", nobody, Reason::NoNodesSelected, &["spec.selector", "labels"]).await;
        let other =
            json!({"strategy": {"stages": [{"name": "web", "selector": {"matchLabels": {"name": "x"}}}]}});
        refused(
            site,
            "staged",
            other,
            Reason::StagesInvalid,
            &["the selector of stage web matches no node of the run"],
        )
        .await;
        let unknown = json!({"retryOf": {"name": "earlier"}, "arrivalTimeout": "1s"});
        refused(site, "retry", unknown, Reason::RunNotFound, &["UpdateRun earlier", "spec.retryOf"]).await;
        let near =
            json!({"selector": {"matchExpressions": [{"key": "name", "operator": "Near", "values": ["x"]}]}});
        refused(
            site,
            "near",
            near,
            Reason::SelectorInvalid,
            &["spec.selector", "operator", "start a run with a corrected selector"],
        )
        .await;
        let circle = json!({"baselineRef": {"name": "circle"}});
        refused(site, "circle", circle, Reason::BaselineInvalid, &["Baseline circle", "circle: ", "remove"])
            .await;
        an_unknown_field_is_named(site).await;
        before.same_but(&machine.snapshot().await, &[]);
    });
}

/// Creates a run, and asserts that it fails for this reason and with these words before it starts anything.
async fn refused(site: &Site, name: &str, patch: Value, reason: Reason, words: &[&str]) {
    let mut spec = to("spring");
    merge(&mut spec, patch);
    let run = site.run(name, spec).await;
    let ended = run.fails().await;
    let verdict = ended.condition("Succeeded");
    println!("{name:<12} {}", verdict.reason);
    assert_eq!(verdict.reason, reason.as_str(), "{name}; {}", verdict.message);
    for word in words {
        assert!(verdict.message.contains(word), "{name}: no {word:?} in: {}", verdict.message);
    }
    assert_eq!(ended.state("Stalled"), "True");
    assert!(run.nodes().await.is_empty(), "{name} started something");
    site.until_event(&format!("{} UpdateRun/{name}", reason.as_str())).await;
}

/// Asserts that kubectl rejects a misspelt field and names it; the operator would never see it.
async fn an_unknown_field_is_named(site: &Site) {
    let run = json!({
        "apiVersion": "farrier.dev/v1alpha1",
        "kind": "UpdateRun",
        "metadata": {"name": "misspelt", "namespace": site.name},
        "spec": {"selector": {}, "operation": "Inventory", "strategy": {"maxConcurent": 3}},
    });
    let file = site.path("misspelt.json");
    std::fs::write(&file, run.to_string()).expect("a file");
    let file = file.to_str().expect("a path");
    let words = lab::try_output("kubectl", ["apply", "-f", file]).await.expect_err("a refusal");
    assert!(words.contains(r#"unknown field "spec.strategy.maxConcurent""#), "{words}");
}

/// A run that is created before its baseline would fail, or would wait without a reason in its status.
#[test]
fn a_run_waits_for_its_baseline_and_says_so() {
    e2e("late", async |site| {
        let machine = site.machine("db").up().await;
        let before = machine.snapshot().await;
        let mut spec = to("later");
        merge(&mut spec, json!({"arrivalTimeout": "2m"}));
        let run = site.run("r1", spec).await;
        let waits = |run: &farrier::api::UpdateRun| run.reason("Succeeded") == "BaselineNotFound";
        let waiting = run.until("the run to report what it waits for", waits).await;
        let verdict = waiting.condition("Succeeded");
        assert_eq!(verdict.status, "Unknown");
        assert!(verdict.message.contains("baseline later does not exist"), "{}", verdict.message);
        assert!(run.nodes().await.is_empty());
        before.same_but(&machine.snapshot().await, &[]);
        site.baseline("later", &[ethtool()]).await;
        run.succeeds().await;
        before.same_but(&machine.snapshot().await, &[LOG, DPKG, ETHTOOL]);
    });
}

/// A machine of an unsupported type would prevent the update of others, or would be treated as another
/// type.
#[test]
fn machines_that_cannot_be_updated_yet_have_distinct_reasons() {
    e2e("kind", async |site| {
        let good = site.machine("good").up().await;
        door(site, &good, "windows", super::ROOT, json!({"type": "Windows"})).await;
        door(site, &good, "esx", super::ROOT, json!({"type": "VMware"})).await;
        site.baseline("spring", &[ethtool()]).await;
        let run: Run<'_> = site.run("r1", all_at_once("spring")).await;
        let expected = [
            said("windows", Reason::NotYetSupported, &["windows is of type Windows", "spec.hold"]),
            said("esx", Reason::NotYetSupported, &["esx is of type VMware", "spec.hold"]),
        ];
        ends_with(site, &run, &expected).await;
        let log = good.labctl("log").await;
        let came = log.lines().filter(|line| line.starts_with("Accepted ")).count();
        assert_eq!(came, 1, "only the supported machine may be contacted:\n{log}");
    });
}
