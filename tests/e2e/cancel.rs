//! A run that is given up, by Cancel or by deletion. Work in progress ends, no other work starts, and
//! the machines are cleaned before any object is deleted.

use crate::harness::https::{Answer, Server};
use crate::harness::payload::{bmc_tool, merge, slow};
use crate::harness::run::to;
use crate::harness::{Conditions, e2e, outcome, snapshot, wait};
use farrier::api::NodeUpdate;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;
use std::time::{Duration, Instant};

fn one_at_a_time(baseline: &str) -> serde_json::Value {
    let mut spec = to(baseline);
    merge(&mut spec, json!({"strategy": {"maxConcurrent": 1}}));
    spec
}

/// A run that was cancelled before it started would still touch machines.
#[test]
fn a_run_that_is_cancelled_before_it_begins_touches_nothing() {
    e2e("early", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        site.baseline("spring", &[bmc_tool("2.0")]).await;
        let mut spec = to("spring");
        merge(&mut spec, json!({"desiredState": "Pause"}));
        let run = site.run("r1", spec).await;
        run.until("the run to be paused", |r| r.reason("Progressing") == "Paused").await;
        run.desire("Cancel").await;
        let ended = run.fails().await;
        assert_eq!(ended.reason("Succeeded"), "Cancelled");
        assert_eq!(run.nodes().await.len(), 0);
        before.same_but(&db.snapshot().await, &[]);
    });
}

/// Cancel would interrupt an installer, start the next one, or leave files behind.
#[test]
fn cancel_lets_the_component_in_progress_finish_and_begins_no_other() {
    e2e("cancel", async |site| {
        let first = site.machine("a").up().await;
        let second = site.machine("b").up().await;
        let (before, untouched) = (first.snapshot().await, second.snapshot().await);
        site.baseline("spring", &[slow("1.0"), bmc_tool("2.0")]).await;
        let run = site.run("r1", one_at_a_time("spring")).await;
        first.is_slow().await;
        run.desire("Cancel").await;
        let ended = run.fails().await;
        assert_eq!(ended.reason("Succeeded"), "Cancelled");
        let counts = ended.status.expect("a status").counts;
        assert_eq!((counts.total, counts.cancelled, counts.in_progress), (2, 2, 0));
        let update = run.node("a").await;
        assert_eq!(update.reason("Succeeded"), "Cancelled");
        assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
        assert_eq!((outcome(&update, "slow"), outcome(&update, "bmc-tool")), ("Updated", "Cancelled"));
        assert_eq!(run.nodes().await.len(), 1, "the second machine was not started");
        before.same_but(&first.snapshot().await, &[snapshot::LOG, snapshot::SLOW]);
        untouched.same_but(&second.snapshot().await, &[]);
    });
}

/// A user who cancels would wait for a download that is no longer needed.
#[test]
fn cancel_during_a_download_does_not_wait_for_it() {
    e2e("fetch", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        let server = Server::start(site).await;
        let bytes = b"#!/bin/sh\nexit 0\n".repeat(10_000);
        let component = site.payload("big.sh", "1.0", "Script", &bytes);
        let url = server.at("/big.sh", Answer::Stalled(bytes));
        site.secret("repository", &[("ca.crt", &server.ca)]).await;
        let source = json!({
            "name": "big",
            "detect": {"file": "/etc/big.version"},
            "payload": {"url": url, "secretRef": {"name": "repository"}},
        });
        site.baseline("spring", &[component.with(source)]).await;
        let run = site.run("r1", to("spring")).await;
        server.is_asked("/big.sh").await;
        let asked = Instant::now();
        run.desire("Cancel").await;
        let ended = run.fails().await;
        assert_eq!(ended.reason("Succeeded"), "Cancelled");
        assert!(asked.elapsed() < Duration::from_secs(15), "it took {:?}", asked.elapsed());
        assert_eq!(run.node("db").await.state("TornDown"), "True");
        before.same_but(&db.snapshot().await, &[snapshot::LOG]);
    });
}

/// A deleted run would leave its engine on machines, or an installation half done.
#[test]
fn a_deleted_run_cleans_its_machines_before_it_goes() {
    e2e("delete", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        site.baseline("spring", &[slow("1.0"), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        db.is_slow().await;
        run.delete().await;
        run.gone().await;
        assert_eq!(db.traces(), Vec::<String>::new(), "the run was deleted before its machine was clean");
        assert!(db.file("/etc/slow.version").is_some(), "slow.sh was left to finish");
        before.same_but(&db.snapshot().await, &[snapshot::LOG, snapshot::SLOW]);
    });
}

/// Deleting the NodeUpdate of one machine would leave an engine on it, or keep the run from ending.
#[test]
fn a_deleted_nodeupdate_cleans_its_machine_and_is_made_anew() {
    e2e("redo", async |site| {
        let deleted = site.machine("a").up().await;
        let other = site.machine("b").up().await;
        site.baseline("spring", &[slow("1.0"), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        deleted.is_slow().await;
        let uid = run.node("a").await.uid();
        let api = site.api::<NodeUpdate>();
        api.delete("r1-a", &DeleteParams::background()).await.expect("a deleted NodeUpdate");
        let goes = async || match api.get_opt("r1-a").await.expect("an answer") {
            Some(update) if update.uid() == uid => Err(update.words("Succeeded")),
            Some(_) | None => Ok(()),
        };
        wait::until("the deleted NodeUpdate to disappear", wait::LIMIT, goes).await;
        assert!(deleted.file("/etc/slow.version").is_some(), "slow.sh was left to finish");
        run.succeeds().await;
        assert_ne!(run.node("a").await.uid(), uid);
        for machine in [&deleted, &other] {
            assert_eq!(machine.slow_runs(), 1, "{}", machine.name);
            assert!(machine.file("/etc/bmc-tool.version").is_some(), "{}", machine.name);
        }
    });
}

/// A machine that is gone for ever would keep its run from being deleted.
#[test]
fn a_run_with_a_lost_machine_can_be_deleted_by_giving_it_up() {
    e2e("abandon", async |site| {
        let db = site.machine("db").up().await;
        site.baseline("spring", &[slow("1.0")]).await;
        let run = site.run("r1", to("spring")).await;
        db.is_slow().await;
        db.labctl("crash").await;
        run.delete().await;
        run.annotate(farrier::api::ABANDON_ANNOTATION).await;
        run.gone().await;
        // The machine is removed, because no operator will clean up its remains.
        db.labctl("rm").await;
        site.forget(&db);
    });
}
