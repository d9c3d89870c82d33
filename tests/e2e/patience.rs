//! Machines that are unreachable for a while, and installers that exceed their timeout or fail.

use crate::harness::payload::{bmc_tool, merge, script};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, e2e, outcome};
use serde_json::json;

/// A machine that is off for a moment would fail its run, or users would not see that it is retried.
#[test]
fn a_machine_that_is_off_is_tried_again_and_says_when() {
    e2e("retry", async |site| {
        let db = site.machine("db").up().await;
        db.labctl("crash").await;
        site.baseline("spring", &[bmc_tool("2.0")]).await;
        let mut spec = to("spring");
        merge(&mut spec, json!({"strategy": {"retries": 3}}));
        let run = site.run("r1", spec).await;
        let update = run
            .node_until("db", "the first attempt to fail", |u| u.reason("Succeeded") == "WaitingForRetry")
            .await;
        let status = update.status.clone().expect("a status");
        assert_eq!(status.attempt, Some(1));
        let at = status.next_attempt_at.expect("the time of the next attempt").0;
        let wait = at.duration_since(jiff::Timestamp::now()).as_millis();
        assert!((0..=6500).contains(&wait), "the next attempt is in {wait} ms");
        let second = at.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        assert!(update.condition("Succeeded").message.contains(&second), "{}", update.words("Succeeded"));
        assert_eq!(update.state("Reachable"), "False", "{}", update.words("Reachable"));
        let waiting = run
            .until("the run to report the retry", |r| {
                r.status.as_ref().is_some_and(|s| s.waiting.iter().any(|w| w.reason == "WaitingForRetry"))
            })
            .await;
        assert_eq!(waiting.state("Succeeded"), "Unknown");
        db.labctl("boot").await;
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!(outcome(&update, "bmc-tool"), "Updated");
        assert_eq!(update.status.expect("a status").attempt, Some(2));
    });
}

/// After a plan and a restart of the operator, a run would retry a machine less often than `retries`
/// allows.
#[test]
fn attempts_that_made_the_plan_are_no_retries_even_after_a_restart() {
    e2e("planned", async |site| {
        let db = site.machine("db").up().await;
        site.baseline("spring", &[site.held()]).await;
        let mut spec = to("spring");
        merge(&mut spec, json!({"strategy": {"retries": 1}, "desiredState": "Plan"}));
        let run = site.run("r1", spec).await;
        run.until("a plan", |r| r.reason("Planned") == "PlanOnly").await;
        run.desire("Run").await;
        db.is_slow().await;
        site.operator.kill();
        db.labctl("unplug").await;
        site.operator.start();
        // Attempt 1 made the plan. Attempt 2 is the first one that carries it out, so one retry may follow.
        let update = run
            .node_until("db", "the second attempt to fail", |u| {
                u.reason("Succeeded") == "WaitingForRetry" || u.state("Succeeded") == "False"
            })
            .await;
        assert_eq!(update.reason("Succeeded"), "WaitingForRetry", "{}", update.words("Succeeded"));
        let status = update.status.expect("a status");
        assert_eq!((status.attempt, status.planning_attempts), (Some(2), Some(1)));
        db.labctl("plug").await;
        db.release_steps().await;
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!((db.slow_runs(), outcome(&update, "slow")), (1, "Updated"));
        assert_eq!(update.status.expect("a status").attempt, Some(3));
    });
}

/// A component that must not be interrupted would be terminated, which ruins devices, or would block its
/// run without a reason in the status.
#[test]
fn an_overdue_installer_that_is_not_interruptible_is_left_to_finish() {
    e2e("overdue", async |site| {
        let db = site.machine("db").up().await;
        let patient = site.slow(5).with(json!({"interruptible": false, "timeout": "1s"}));
        site.baseline("spring", &[patient]).await;
        let run = site.run("r1", to("spring")).await;
        let update = run
            .node_until("db", "the installer to be overdue", |u| u.reason("Applied") == "InstallerOverdue")
            .await;
        assert_eq!(update.state("Applied"), "Unknown");
        let waiting = update.status.clone().expect("a status").waiting.expect("a wait");
        assert_eq!(waiting.reason, "InstallerOverdue");
        let hours = waiting.until.expect("an end").0.duration_since(waiting.since.0).as_hours();
        assert!((6..8).contains(&hours), "{hours} h");
        assert!(update.condition("Applied").message.contains("slow"), "{}", update.words("Applied"));
        assert_eq!(db.file("/etc/slow.version"), None, "the installer is still running");
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!(outcome(&update, "slow"), "Updated");
        assert_eq!(update.reason("Applied"), "Applied");
        assert_eq!(db.slow_runs(), 1);
    });
}

/// An installer that hangs would block its run and the update of other machines.
#[test]
fn an_installer_that_hangs_is_ended_and_other_machines_go_on() {
    e2e("hang", async |site| {
        let stuck = site.machine("stuck").lab(&["--flavour", "rpm"]).up().await;
        let other = site.machine("other").up().await;
        let hang =
            script("hang", "1.0").with(json!({"timeout": "2s", "appliesTo": {"match": {"os": "rpmlab"}}}));
        site.baseline("spring", &[hang, bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        run.fails().await;
        let update = run.node("stuck").await;
        assert_eq!(update.reason("Succeeded"), "InstallerTimedOut", "{}", update.words("Succeeded"));
        assert_eq!(outcome(&update, "hang"), "Failed");
        assert_eq!(stuck.file("/var/log/hang.started").map_or(0, |text| text.lines().count()), 1);
        let sleeps: Vec<_> =
            stuck.processes().into_iter().filter(|(_, args)| args.iter().any(|a| a == "infinity")).collect();
        assert!(sleeps.is_empty(), "{sleeps:?}");
        assert_eq!(run.node("other").await.state("Succeeded"), "True");
        assert!(other.file("/etc/bmc-tool.version").is_some());
    });
}

/// An installer that fails once would fail its machine for good, or would be retried more often than the
/// run allows.
#[test]
fn an_installer_that_fails_is_tried_again_as_often_as_allowed_and_no_more() {
    e2e("flaky", async |site| {
        let db = site.machine("db").up().await;
        let other = site.machine("other").up().await;
        let script = b"#!/bin/sh\necho run >>/var/log/flaky\n[ $(wc -l </var/log/flaky) -gt 1 ] || exit 9\n\
            echo 1.0 >/etc/flaky.version\n";
        let flaky = site.payload("flaky.sh", "1.0", "Script", script);
        let flaky = flaky.with(json!({"name": "flaky", "detect": {"file": "/etc/flaky.version"}}));
        site.baseline("spring", &[bmc_tool("2.0"), flaky]).await;
        let once = |name: &str, retries: u32| {
            let mut spec = to("spring");
            merge(
                &mut spec,
                json!({"strategy": {"retries": retries}, "selector": {"matchLabels": {"name": name}}}),
            );
            spec
        };
        let tried_again = site.run("r1", once("db", 1)).await;
        let given_up = site.run("r2", once("other", 0)).await;
        tried_again.succeeds().await;
        let update = tried_again.node("db").await;
        assert_eq!((outcome(&update, "bmc-tool"), outcome(&update, "flaky")), ("Updated", "Updated"));
        assert_eq!(db.file("/var/log/flaky").map_or(0, |text| text.lines().count()), 2);
        given_up.fails().await;
        let update = given_up.node("other").await;
        assert_eq!(update.reason("Succeeded"), "InstallerFailed");
        assert_eq!((outcome(&update, "bmc-tool"), outcome(&update, "flaky")), ("Updated", "Failed"));
        assert_eq!(component(&update, "flaky").exit_code, Some(9));
        assert_eq!(other.file("/var/log/flaky").map_or(0, |text| text.lines().count()), 1);
    });
}
