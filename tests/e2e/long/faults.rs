//! Faults of networks and servers at chosen moments of an update.

use crate::harness::payload::{Component, bmc_tool};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Site, e2e, outcome, snapshot, wait};
use serde_json::json;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// How many lines of a journal an operator is killed at. An update of two components has 19.
const LINES: usize = 25;

/// Most kills of an operator in other tests come at a time; here each one comes right after the engine has written
/// something down, so that no state between two entries is left out.
#[test]
fn an_operator_that_is_killed_at_each_line_of_the_journal_does_nothing_twice() {
    e2e("lines", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        site.baseline("spring", &[site.slow(1), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        let mut seen = 0;
        let end = Instant::now() + 2 * wait::LIMIT;
        while !["True", "False"].contains(&run.get().await.state("Succeeded")) {
            assert!(Instant::now() < end, "the run does not end: {}", run.get().await.words("Succeeded"));
            let lines = db.journals().lines().count();
            // An engine that has left is started again to look whether all is gone, and writes lines as well.
            if lines > seen && seen < LINES {
                seen = lines;
                site.operator.kill();
                site.operator.start();
            }
        }
        assert!(seen >= 19, "the operator was killed at {seen} lines");
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!(db.slow_runs(), 1);
        assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
        before.same_but(&db.snapshot().await, &[snapshot::LOG, snapshot::SLOW, snapshot::BMC_TOOL]);
    });
}

/// A large image over a slow line would begin again after each interruption, and never arrive.
#[test]
fn a_payload_goes_on_where_the_line_was_cut() {
    e2e("resume", async |site| {
        let db = site.machine("db").lab(&["--disk", "1g"]).up().await;
        let size = 48 * MIB;
        let image = large(site, "large", usize::try_from(size).unwrap());
        site.baseline("spring", &[image]).await;
        let begin = db.received().await;
        db.labctl_with("throttle", &["60mbit"]).await;
        let run = site.run("r1", to("spring")).await;
        let so_far = async || db.received().await - begin;
        wait::until("half of the image on the machine", wait::LIMIT, async || match so_far().await {
            bytes if bytes > size / 2 => Ok(()),
            bytes => Err(format!("{} MiB", bytes / MIB)),
        })
        .await;
        db.labctl("unplug").await;
        // Longer than the engine waits for an answer, so that the connection is given up.
        run.node_until("db", "the loss of the connection to be shown", |update| {
            !update.words("Succeeded").contains("the payloads to arrive")
        })
        .await;
        db.labctl("plug").await;
        run.succeeds().await;
        let sent = so_far().await;
        assert_eq!(outcome(&run.node("db").await, "large"), "Updated");
        // The engine itself, headers and acknowledgements come to 3 MiB.
        assert!(sent < size * 5 / 4, "{} MiB were sent for {} MiB", sent / MIB, size / MIB);
    });
}

/// Sites at the other end of the world have such lines; an update there would run into limits that were made for a
/// data centre.
#[test]
fn a_machine_at_the_end_of_a_long_and_lossy_line_is_updated() {
    e2e("far", async |site| {
        let db = site.machine("db").up().await;
        // 100 ms in each direction.
        db.labctl_with("impair", &["100", "1"]).await;
        site.baseline("spring", &[large(site, "large", 1 << 20), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        let ended = run.ends(3 * wait::LIMIT).await;
        assert_eq!(ended.state("Succeeded"), "True", "{}", ended.words("Succeeded"));
        let update = run.node("db").await;
        assert_eq!(outcome(&update, "large"), "Updated");
        assert_eq!(
            update.status.as_ref().and_then(|status| status.attempt),
            Some(1),
            "one attempt is enough"
        );
        db.labctl("repair").await;
    });
}

/// A host that hangs keeps its connections open and answers nothing; the component would count as lost, or the
/// run would wait for ever.
#[test]
fn an_ssh_server_that_hangs_during_a_step_changes_nothing() {
    e2e("hang", async |site| {
        let db = site.machine("db").up().await;
        site.baseline("spring", &[site.slow(3), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        db.is_slow().await;
        db.labctl("freeze").await;
        run.node_until("db", "the hanging server to be named", |update| {
            !update.words("Succeeded").contains("slow") || update.reason("Reachable") != "Reachable"
        })
        .await;
        wait::pass(Duration::from_secs(45)).await;
        db.labctl("thaw").await;
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!(db.slow_runs(), 1);
        assert_eq!(component(&update, "slow").exit_code, Some(0), "the engine has reported the exit code");
        assert_eq!(outcome(&update, "bmc-tool"), "Updated");
    });
}

/// Returns a component with a payload of this size that cannot be compressed.
fn large(site: &Site, name: &str, length: usize) -> Component {
    let mut bytes = format!("#!/bin/sh\necho 1.0 >/etc/{name}.version\nexit 0\n").into_bytes();
    let mut state = 1_u64;
    while bytes.len() < length {
        // xorshift64: the same bytes in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    let detect = json!({"name": name, "detect": {"file": format!("/etc/{name}.version")}});
    site.payload(&format!("{name}-here.sh"), "1.0", "Script", &bytes).with(detect)
}
