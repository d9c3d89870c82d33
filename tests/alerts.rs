//! Alerts and dashboard of the chart use metrics that exist, and each alert has a page that helps.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "tests and what they share: a panic is how a test fails"
)]

use farrier::metrics::catalogue::{ALL, Entry, Kind};
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

/// The metric that a name in an expression means: a histogram is asked for by its parts.
fn metric(name: &str) -> Option<&'static Entry> {
    let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| name.strip_suffix(part));
    let whole = ALL.iter().find(|entry| entry.name == name && entry.kind != Kind::Histogram);
    whole.or_else(|| {
        parts.into_iter().find_map(|base| ALL.iter().find(|e| e.name == base && e.kind == Kind::Histogram))
    })
}

/// Words of an expression, each with what stands in braces behind it.
fn words(expr: &str) -> Vec<(&str, &str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = expr;
    let mut found = Vec::new();
    while let Some(begin) = rest.find(is_word) {
        let (_, from) = rest.split_at(begin);
        let end = from.find(|c| !is_word(c)).unwrap_or(from.len());
        let (word, behind) = from.split_at(end);
        let braces =
            behind.strip_prefix('{').and_then(|b| b.split_once('}')).map_or("", |(inside, _)| inside);
        found.push((word, braces));
        rest = behind;
    }
    found
}

/// Metrics and labels of an expression that do not exist.
fn unknown(expr: &str) -> Vec<String> {
    let mut unknown = Vec::new();
    for (word, braces) in words(expr) {
        if !word.starts_with("farrier_") && !word.starts_with("process_") {
            continue;
        }
        let Some(entry) = metric(word) else {
            unknown.push(word.to_owned());
            continue;
        };
        // Values in quotes contain no comma and no equals sign here.
        for matcher in braces.split(',').filter(|m| !m.is_empty()) {
            let label = matcher.split(['=', '!']).next().unwrap_or_default();
            // Of the target, put there by Prometheus.
            if !entry.labels.contains(&label) && !["namespace", "pod"].contains(&label) {
                unknown.push(format!("{word}{{{label}}}"));
            }
        }
    }
    unknown
}

/// An alert on a metric that was renamed never fires.
#[test]
fn alerts_are_about_metrics_that_exist() {
    assert!(unknown("sum(rate(farrier_attempts_total{result=\"x\"}[5m]))").is_empty());
    assert_eq!(unknown("farrier_attempts{result=\"x\"} > farrier_leader{run=\"x\"}").len(), 2);
    assert_eq!(unknown("farrier_attempt_duration_seconds").len(), 1, "a histogram has no value of its own");
    for Alert { name, expr, .. } in alerts() {
        assert_eq!(unknown(&expr), Vec::<String>::new(), "{name}: {expr}");
    }
}

/// Whoever is woken at night needs to know what to do next.
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

fn expressions(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get("expr").and_then(Value::as_str).map(str::to_owned));
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
    for expr in found {
        assert_eq!(unknown(&expr), Vec::<String>::new(), "{expr}");
    }
    let ids: Vec<i64> =
        board["panels"].as_array().expect("panels").iter().filter_map(|p| p["id"].as_i64()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "two panels have one id");
}
