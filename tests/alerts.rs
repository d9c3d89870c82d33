//! Alerts and dashboard of the chart are `PromQL` about metrics that exist, and each alert has a help
//! page. `hack/test alerts` checks with Prometheus that alerts fire when they should.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "tests and what they share: a panic is how a test fails"
)]

#[path = "alerts/expression.rs"]
mod expression;

use expression::read as read_expression;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    #[serde(rename = "alert")]
    name: String,
    expr: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

fn path(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of)
}

fn read(of: &str) -> String {
    std::fs::read_to_string(path(of)).unwrap_or_else(|e| panic!("{of}: {e}"))
}

fn alerts() -> Vec<Alert> {
    let rules: Rules = serde_saphyr::from_str(&read("charts/farrier/files/alerts.yaml")).expect("rules");
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

/// An alert on a metric, a label or a value that was renamed never fires.
#[test]
fn alerts_are_about_metrics_that_exist() {
    for Alert { name, expr, annotations, .. } in alerts() {
        let reading = read_expression(&expr);
        assert_eq!(reading.findings, Vec::<String>::new(), "{name}: {expr}");
        let there = reading.labels.expect("a vector");
        for text in annotations.values() {
            for label in placeholders(text) {
                assert!(there.contains(label), "{name}: the result has no label {label}: {there:?}");
            }
        }
    }
}

/// Returns the labels that an annotation refers to.
fn placeholders(text: &str) -> Vec<&str> {
    let end = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    text.split("$labels.").skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

/// Proves that the parser of expressions reports unknown names at all.
#[test]
fn names_that_do_not_exist_are_found() {
    for good in [
        "sum(rate(farrier_attempts_total{result=\"failed\"}[5m]))",
        "histogram_quantile(0.5, sum by (le) (rate(farrier_attempt_duration_seconds_bucket[5m])))",
        "farrier_leader > 0 and on (pod) farrier_ready{check=\"caches\"}",
    ] {
        assert_eq!(read_expression(good).findings, Vec::<String>::new(), "{good}");
    }
    for (bad, words) in [
        ("farrier_attempts", "no such metric"),
        ("farrier_attempt_duration_seconds", "no such metric"),
        ("farrier_leader{run=\"x\"}", "no label run"),
        ("farrier_runs{state=\"stuck\"}", "never stuck"),
        ("sum by (reason) (farrier_leader)", "no label reason to group by"),
        ("sum(farrier_leader) == on (pod) farrier_leader", "no label pod"),
        ("sum by (pod) (farrier_leader) > sum(farrier_leader)", "never match"),
        ("increase(farrier_leader[5m])", "a gauge over time"),
        (
            "histogram_quantile(0.5, sum(rate(farrier_attempt_duration_seconds_bucket[5m])))",
            "buckets are gone",
        ),
        ("sum(farrier_leader", "no PromQL"),
    ] {
        let findings = read_expression(bad).findings.join("; ");
        assert!(findings.contains(words), "{bad}: {findings}");
    }
    assert_eq!(placeholders("{{ $labels.pod }} and {{ $labels.loop | x }}"), ["pod", "loop"]);
}

/// A user who is woken at night needs to know what to do next.
#[test]
fn each_alert_has_its_page_and_each_page_its_alert() {
    let mut pages = BTreeSet::new();
    for Alert { name, labels, annotations, .. } in alerts() {
        let severity = labels.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("critical" | "warning")), "{name}: {severity:?}");
        for annotation in ["summary", "description"] {
            assert!(annotations.contains_key(annotation), "{name} has no {annotation}");
        }
        let page = format!("{name}.md");
        assert_eq!(annotations.get("runbook_url"), Some(&format!("RUNBOOKS/{page}")), "{name}");
        let text = read(&format!("docs/runbooks/{page}"));
        assert!(text.starts_with(&format!("# {name}\n")), "{page}");
        for part in ["## What it means", "## Where to look", "## What to do"] {
            assert!(text.contains(part), "{page}: no {part:?}");
        }
        assert!(pages.insert(page), "{name} is there twice");
    }
    let files = std::fs::read_dir(path("docs/runbooks")).unwrap();
    let files: BTreeSet<String> =
        files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(files, pages);
}

/// Collects each expression of the dashboard, with its legend.
fn expressions(value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            let legend = map.get("legendFormat").and_then(Value::as_str).unwrap_or_default();
            let expr = map.get("expr").and_then(Value::as_str);
            into.extend(expr.map(|expr| (expr.to_owned(), legend.to_owned())));
            map.values().for_each(|v| expressions(v, into));
        }
        Value::Array(list) => list.iter().for_each(|v| expressions(v, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A panel without data looks as if nothing were wrong.
#[test]
fn the_dashboard_shows_metrics_that_exist() {
    let board: Value = serde_json::from_str(&read("charts/farrier/files/dashboard.json")).expect("JSON");
    let mut found = Vec::new();
    expressions(&board, &mut found);
    assert!(found.len() > 30, "{} expressions", found.len());
    for (expr, legend) in found {
        let reading = read_expression(&expr);
        assert_eq!(reading.findings, Vec::<String>::new(), "{expr}");
        let there = reading.labels.expect("a vector");
        for label in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
            assert!(there.contains(label.trim()), "{expr}: the legend asks for {label}");
        }
    }
    let ids: Vec<i64> =
        board["panels"].as_array().expect("panels").iter().filter_map(|p| p["id"].as_i64()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "two panels have one id");
}
