//! The machine is lost in the middle of an update: engine killed, power cut, cable unplugged, sshd
//! killed.

use crate::harness::https::{Answer, Server};
use crate::harness::payload::{bmc_tool, merge};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Machine, Run, Site, e2e, lab, outcome, wait};
use farrier::api::{ManagedNode, NodeUpdate};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use std::time::Duration;

/// After the death of an engine (out of memory, killed by an administrator) its step would be repeated,
/// or its machine abandoned.
#[test]
fn a_step_is_not_repeated_after_its_engine_was_killed() {
    e2e("engine", async |site| {
        let (db, run) = slow_at_work(site, 4).await;
        lab::output("kill", ["-9", &db.engine().await.to_string()]).await;
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!(db.slow_runs(), 1);
        assert_eq!(outcome(&update, "slow"), "Updated", "the second reading decides");
        assert_eq!(component(&update, "slow").exit_code, None, "the exit code is not known");
        assert_eq!(outcome(&update, "bmc-tool"), "Updated", "the retry installs the component after it");
    });
}

/// On a machine that loses its power during an update the interrupted step would be repeated, which can
/// ruin firmware; or the machine would be reported as updated.
#[test]
fn a_step_that_a_power_cut_interrupted_is_neither_repeated_nor_a_success() {
    e2e("power", async |site| {
        let other = site.machine("other").up().await;
        let (db, run) = slow_at_work(site, 4).await;
        db.labctl("reboot").await;
        run.fails().await;
        let update = run.node("db").await;
        assert_eq!(db.slow_runs(), 1);
        assert_eq!(outcome(&update, "slow"), "Failed");
        assert_eq!(update.reason("Succeeded"), "InstallerInterrupted", "{}", update.words("Succeeded"));
        assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
        assert_eq!(run.node("other").await.state("Succeeded"), "True");
        assert_eq!(other.slow_runs(), 1);
    });
}

/// When a whole site loses its power, the record of the work in progress would be lost.
#[test]
fn a_step_is_not_repeated_when_machine_and_operator_die_together() {
    e2e("site", async |site| {
        let (db, run) = slow_at_work(site, 4).await;
        db.labctl("crash").await;
        site.operator.kill();
        db.labctl("boot").await;
        site.operator.start();
        run.fails().await;
        let update = run.node("db").await;
        assert_eq!(db.slow_runs(), 1);
        assert_eq!(update.reason("Succeeded"), "InstallerInterrupted", "{}", update.words("Succeeded"));
        assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
    });
}

/// A machine whose ManagedNode is deleted in the middle of an update would keep an engine.
#[test]
fn a_machine_whose_managednode_is_deleted_during_a_step_is_left_clean() {
    e2e("undescribed", async |site| {
        let (db, run) = slow_at_work(site, 3).await;
        let api = site.api::<ManagedNode>();
        api.delete("db", &DeleteParams::background()).await.expect("a deleted ManagedNode");
        run.ends(wait::LIMIT).await;
        assert_eq!(db.slow_runs(), 1);
        assert!(db.file("/etc/slow.version").is_some(), "slow.sh was left to finish");
        assert_eq!(run.node("db").await.state("TornDown"), "True");
    });
}

/// The update would fail when a machine reboots while nothing is being installed.
#[test]
fn a_machine_that_reboots_before_its_payload_arrives_is_still_updated() {
    e2e("idle", async |site| {
        let db = site.machine("db").up().await;
        let server = Server::start(site).await;
        site.secret("repository", &[("ca.crt", &server.ca)]).await;
        let script = b"#!/bin/sh\necho 2.0 >/etc/late.version\n";
        let url = server.at("/late.sh", Answer::Stalled(script.to_vec()));
        let late = site.payload("late.sh", "2.0", "Script", script).with(json!({
            "name": "late",
            "detect": {"file": "/etc/late.version"},
            "payload": {"url": url, "secretRef": {"name": "repository"}},
        }));
        site.baseline("spring", &[late]).await;
        let run = site.run("r1", to("spring")).await;
        db.engine().await;
        server.is_asked("/late.sh").await;
        db.labctl("reboot").await;
        server.release();
        run.succeeds().await;
        assert_eq!(outcome(&run.node("db").await, "late"), "Updated");
    });
}

/// A temporary network failure would fail the updates in progress.
#[test]
fn a_cable_that_is_unplugged_for_a_while_during_a_step_changes_nothing() {
    e2e("cable", async |site| {
        let (db, run) = slow_at_work(site, 5).await;
        db.labctl("unplug").await;
        wait::pass(Duration::from_secs(15)).await;
        db.labctl("plug").await;
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!(db.slow_runs(), 1);
        assert_eq!(outcome(&update, "slow"), "Updated");
        assert_eq!(component(&update, "slow").exit_code, Some(0), "the engine has reported the exit code");
        assert_eq!(update.status.expect("a status").attempt, Some(1), "there was one attempt only");
    });
}

/// A restart of sshd on a machine, or an administrator who ends our session, would fail the update.
#[test]
fn a_killed_ssh_session_is_resumed_during_a_step() {
    e2e("sshd", async |site| {
        let (db, run) = slow_at_work(site, 4).await;
        let init = db.init();
        let sessions = db.processes().into_iter().filter(|(pid, args)| {
            Some(*pid) != init && args.first().is_some_and(|name| name.starts_with("sshd"))
        });
        let pids: Vec<String> = sessions.map(|(pid, _)| pid.to_string()).collect();
        assert!(!pids.is_empty(), "there is a session to kill");
        lab::output("kill", [&["-9".to_owned()], pids.as_slice()].concat()).await;
        run.succeeds().await;
        assert_eq!(db.slow_runs(), 1);
        assert_eq!(outcome(&run.node("db").await, "slow"), "Updated");
    });
}

/// The work that the engine did without a connection would be reported as done before the run.
#[test]
fn an_attempt_reports_the_work_of_a_lost_attempt() {
    e2e("later", async |site| {
        let (db, run) = slow_at_work(site, 3).await;
        // The same state as after five minutes of failed connections: the next attempt finds the engine
        // of the previous attempt.
        site.operator.kill();
        let lost = Patch::Merge(json!({"status": {"attempt": 2}}));
        let api = site.api::<NodeUpdate>();
        api.patch_status("r1-db", &PatchParams::default(), &lost).await.expect("a patched NodeUpdate");
        wait::until("slow.sh to end without a connection", wait::LIMIT, async || {
            db.file("/etc/slow.version").map(|_| ()).ok_or_else(|| "it is still running".to_owned())
        })
        .await;
        site.operator.start();
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!((db.slow_runs(), outcome(&update, "slow")), (1, "Updated"));
        assert_eq!(component(&update, "slow").exit_code, Some(0));
        assert_eq!(update.state("PayloadVerified"), "True", "{}", update.words("PayloadVerified"));
        assert_eq!(update.status.expect("a status").attempt, Some(2));
    });
}

/// Starts an update of a machine `db` with slow.sh and then bmc-tool.sh in its baseline, and waits
/// until slow.sh runs. One retry is allowed, which must not become a second run of slow.sh.
async fn slow_at_work(site: &Site, seconds: u32) -> (Machine, Run<'_>) {
    let db = site.machine("db").up().await;
    site.baseline("spring", &[site.slow(seconds), bmc_tool("2.0")]).await;
    let mut spec = to("spring");
    merge(&mut spec, json!({"strategy": {"retries": 1}}));
    let run = site.run("r1", spec).await;
    db.is_slow().await;
    (db, run)
}
