//! The served metrics and the documented metrics are the same.

use super::catalogue::{ALL, Kind};
use super::process::gauge;
use super::*;
use prometheus_client::encoding::DescriptorEncoder;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One metric, as a scraper sees it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    type_: String,
    help: String,
    labels: BTreeSet<String>,
}

/// Stands in for the collectors of other modules, whose metrics are served only at scrape time.
#[derive(Debug)]
struct Elsewhere;

impl Collector for Elsewhere {
    fn encode(&self, mut encoder: DescriptorEncoder) -> std::fmt::Result {
        let e = &mut encoder;
        for described in [
            &c::RUNS,
            &c::RUN_NODES,
            &c::MANAGED_NODES,
            &c::MANAGED_NODE_BASELINES,
            &c::NODE_UPDATES,
            &c::LOOP_AGE,
            &c::READY,
        ] {
            gauge(e, described, [(["x"], 0.0)])?;
        }
        for described in [
            &c::RUNS_OVER_BUDGET,
            &c::INVENTORIES_OVERDUE,
            &c::NODE_UPDATES_UNCLEAN,
            &c::LEFTOVERS,
            &c::LEASES,
            &c::OLDEST_UNCLAIMED,
        ] {
            gauge(e, described, [([], 0.0)])?;
        }
        Ok(())
    }
}

/// Returns the encoding of all metrics, each with at least one series.
fn everything() -> String {
    let metrics = Metrics::new();
    // Without `..`: a metric that is missing here would never be documented.
    let Metrics {
        registry: _,
        node_updates_ended,
        hand_overs,
        attempts,
        attempt_duration,
        first_attempt_delay,
        sessions: _,
        ssh_connects,
        engine_deploys,
        clean_ups,
        payload_lookups,
        payload_fetched,
        payload_served,
        log_bytes,
        log_dropped,
        reconciles,
        reconcile_duration,
        decision_duration,
        api_requests,
        api_request_duration,
        watch_interruptions,
        objects_unreadable,
        events,
        leader: _,
        runners_live: _,
    } = &metrics;
    attempts.count(["x", "y"]);
    for one in [
        ssh_connects,
        engine_deploys,
        clean_ups,
        payload_lookups,
        reconciles,
        watch_interruptions,
        objects_unreadable,
        events,
    ] {
        one.count(["x"]);
    }
    for none in [payload_fetched, payload_served, log_bytes, log_dropped, hand_overs] {
        none.count([]);
    }
    for three in [node_updates_ended, api_requests] {
        three.count(["x", "y", "z"]);
    }
    for one in [attempt_duration, api_request_duration] {
        one.observe(["x"], Duration::from_secs(1));
    }
    for none in [first_attempt_delay, reconcile_duration, decision_duration] {
        none.observe([], Duration::from_secs(1));
    }
    metrics.collect(crate::callback::CallbackCollector(std::sync::Arc::default()));
    metrics.collect(Elsewhere);
    metrics.encode().unwrap()
}

/// Parses the text format, limited to the subset that we write.
fn read(text: &str) -> BTreeMap<String, Seen> {
    let mut all: BTreeMap<String, Seen> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            assert!(!all.contains_key(name), "{name} is served twice");
            name.clone_into(&mut current);
            all.entry(current.clone()).or_default().help = help.to_owned();
        } else if let Some((name, type_)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            assert_eq!(name, current);
            all.entry(current.clone()).or_default().type_ = type_.to_owned();
        } else {
            assert!(line.starts_with(&current), "{line} does not belong to {current}");
            let inside =
                line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(l, _)| l);
            let names = inside.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name);
            let seen = all.entry(current.clone()).or_default();
            seen.labels.extend(names.filter(|name| *name != "le").map(str::to_owned));
        }
    }
    all
}

/// An alert on a metric that does not exist never fires, without any error.
#[test]
fn served_metrics_are_the_documented_metrics() {
    let served = read(&everything());
    let documented: BTreeMap<String, Seen> = ALL
        .iter()
        .map(|entry| {
            let seen = Seen {
                type_: entry.kind.as_str().to_owned(),
                help: entry.help.to_owned(),
                labels: entry.labels.iter().map(|&label| label.to_owned()).collect(),
            };
            (entry.name.trim_end_matches("_total").to_owned(), seen)
        })
        .collect();
    for (name, seen) in &served {
        assert_eq!(documented.get(name), Some(seen), "{name}: documented on the left, served on the right");
    }
    for name in documented.keys() {
        assert!(served.contains_key(name), "{name} is documented and not served");
    }
}

/// Users would not find a name that breaks the conventions, and other tools would not handle it.
#[test]
fn names_follow_the_conventions() {
    for entry in ALL {
        let name = entry.name;
        let ours = name.starts_with("farrier_") || name.starts_with("process_");
        assert!(ours && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), entry.kind == Kind::Counter, "{name}");
        assert!(entry.kind != Kind::Histogram || name.ends_with("_seconds"), "{name} has no base unit");
        assert!(entry.help.ends_with('.') && entry.worry.ends_with('.'), "{name}: whole sentences");
        for label in entry.labels {
            let known = [
                "state", "result", "reason", "kind", "verb", "resource", "loop", "check", "version", "cause",
                "origin",
            ];
            assert!(known.contains(label), "{name}: the label {label} may have too many values");
        }
    }
}

/// A gauge that is off by one series misleads more than a missing gauge.
#[test]
fn a_held_gauge_goes_down_again() {
    let metrics = Metrics::new();
    let held = metrics.sessions.hold();
    let other = metrics.clone().sessions.hold();
    assert_eq!(metrics.sessions.get(), 2);
    drop((held, other));
    assert_eq!(metrics.sessions.get(), 0);
}
