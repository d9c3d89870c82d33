//! Maintenance windows: nothing is changed outside of them, and the wait says when they open.

use crate::harness::payload::{bmc_tool, merge};
use crate::harness::run::to;
use crate::harness::{Conditions, Site, e2e, outcome};
use farrier::api::NodeUpdate;
use jiff::Timestamp;
use kube::Resource;
use serde_json::{Value, json};
use std::time::Duration;

/// Returns the first full minute that is at least `minutes` ahead.
fn minute_in(minutes: i64) -> Timestamp {
    let seconds = Timestamp::now().as_second() + 60 * minutes;
    Timestamp::from_second((seconds + 59) / 60 * 60).expect("a time")
}

/// Returns the spec of a run over the machine of this name, in a window of an hour that opens at this time of
/// each day.
fn at(opening: Timestamp, machine: &str) -> Value {
    let mut spec = to("spring");
    let local = opening.in_tz("Asia/Kolkata").expect("a time zone");
    let schedule = format!("{} {} * * *", local.minute(), local.hour());
    let window = json!({"schedule": schedule, "duration": "1h", "timeZone": "Asia/Kolkata"});
    merge(&mut spec, json!({"selector": {"matchLabels": {"name": machine}}, "strategy": {"window": window}}));
    spec
}

/// How messages name this opening.
fn named(opening: Timestamp) -> String {
    let local = opening.in_tz("Asia/Kolkata").expect("a time zone");
    format!("{} Asia/Kolkata ({opening})", local.strftime("%Y-%m-%d %H:%M"))
}

/// A machine would be changed at noon, or the user would not learn when it will be, or could not give up waiting.
#[test]
fn a_run_outside_of_its_window_says_when_it_opens_and_can_be_cancelled() {
    e2e("closed", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        site.baseline("spring", &[bmc_tool("2.0")]).await;
        let opening = minute_in(6 * 60);
        let run = site.run("r1", at(opening, "db")).await;
        let waiting = run.until("the run to wait", |run| run.reason("Progressing") == "OutsideWindow").await;
        let words = waiting.words("Progressing");
        assert!(words.contains(&opening.to_string()), "{words}");
        run.desire("Cancel").await;
        assert_eq!(run.fails().await.reason("Succeeded"), "Cancelled");
        assert_eq!(run.nodes().await.len(), 0);
        before.same_but(&db.snapshot().await, &[]);
    });
}

/// A run would wait for ever, or begin before its window.
#[test]
fn a_run_begins_when_its_window_opens_and_records_how_long_the_update_took() {
    e2e("opens", async |site| {
        let _db = site.machine("db").up().await;
        site.baseline("spring", &[bmc_tool("2.0")]).await;
        let opening = minute_in(1);
        let run = site.run("r1", at(opening, "db")).await;
        // The window opens within two minutes.
        let ended = run.ends(Duration::from_mins(5)).await;
        assert_eq!(ended.state("Succeeded"), "True", "{}", ended.words("Succeeded"));
        let update = run.node("db").await;
        assert_eq!(outcome(&update, "bmc-tool"), "Updated");
        let begun = update.status.expect("a status").attempt_started_at.expect("a time").0;
        assert!(begun >= opening, "begun at {begun}, and the window opened at {opening}");
        let recent = site.node("db").await.status.expect("a status").recent_updates;
        let [update] = recent.as_slice() else { panic!("{recent:?}") };
        assert_eq!((update.run.as_str(), update.started_at.0), ("r1", begun));
        assert!(update.duration.duration().is_some_and(|took| !took.is_zero()), "{recent:?}");
    });
}

/// Returns the NodeUpdate that a controller has created just before the window closed.
async fn handed_out(site: &Site, run: &farrier::api::UpdateRun, machine: &str) -> NodeUpdate {
    let update = json!({
        "apiVersion": "farrier.dev/v1alpha1",
        "kind": "NodeUpdate",
        "metadata": {
            "name": format!("r1-{machine}"),
            "finalizers": [farrier::api::FINALIZER],
            "ownerReferences": [run.controller_owner_ref(&()).expect("a run with a UID")],
        },
        "spec": {
            "runRef": {"name": "r1"},
            "nodeRef": {"name": machine},
            "runner": site.operator.runner,
            "intent": "Run",
        },
    });
    site.create(&update).await.expect("a NodeUpdate")
}

/// A machine that was given its turn just before the window closed, or is tried again after that, would be changed
/// outside of it; or a restarted operator would forget that it waits.
#[test]
fn a_machine_whose_turn_comes_too_late_waits_for_the_next_opening() {
    e2e("late", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        site.baseline("spring", &[bmc_tool("2.0")]).await;
        let opening = minute_in(6 * 60);
        let mut spec = at(opening, "db");
        merge(&mut spec, json!({"desiredState": "Pause"}));
        let run = site.run("r1", spec).await;
        let paused = run.until("the run to be paused", |run| run.reason("Progressing") == "Paused").await;
        handed_out(site, &paused, "db").await;
        let waits = |update: &NodeUpdate| update.reason("Succeeded") == "OutsideWindow";
        let update = run.node_until("db", "the machine to wait for the window", waits).await;
        let words = update.words("Succeeded");
        assert!(words.contains(&format!("it opens next at {}", named(opening))), "{words}");
        let status = update.status.clone().expect("a status");
        assert_eq!(status.next_attempt_at.map(|at| at.0), Some(opening));
        assert_eq!((status.attempt, status.started_at), (Some(0), None));
        site.until_event("OutsideWindow NodeUpdate/r1-db: db: the maintenance window is closed").await;
        site.operator.restart(&[]);
        run.desire("Cancel").await;
        assert_eq!(run.fails().await.reason("Succeeded"), "Cancelled");
        assert_eq!(run.node("db").await.reason("Succeeded"), "Cancelled");
        before.same_but(&db.snapshot().await, &[]);
    });
}
