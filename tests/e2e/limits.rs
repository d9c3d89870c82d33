//! How many machines are in progress at once, and which runs wait for which.

use crate::harness::payload::{agent, bmc_tool, merge};
use crate::harness::run::to;
use crate::harness::{Conditions, Machine, Run, e2e, outcome, wait};
use serde_json::json;

/// More machines of a cluster would be down at once than its user has allowed, for example because the
/// operator was restarted and does not yet know which machines it has started.
#[test]
fn max_concurrent_is_never_exceeded() {
    e2e("limit", async |site| {
        let machines = site.machine("m").up_many(8).await;
        site.baseline("spring", &[site.slow(1)]).await;
        let mut spec = to("spring");
        merge(&mut spec, json!({"strategy": {"maxConcurrent": "25%"}}));
        let run = site.run("r1", spec).await;
        let mut most = (0, 0);
        let mut kills = 0;
        loop {
            let (open, engines) = in_progress(&run, &machines).await;
            assert!(open <= 2, "{open} NodeUpdates in progress");
            assert!(engines <= 2, "engines on {engines} machines");
            most = (most.0.max(open), most.1.max(engines));
            let now = run.get().await;
            let counted = now.status.as_ref().map_or(0, |s| s.counts.in_progress);
            assert!(counted <= 2, "the status counts {counted} in progress");
            if now.state("Succeeded") == "True" {
                break;
            }
            if now.status.is_some_and(|s| s.counts.succeeded > 2 * kills) && kills < 3 {
                kills += 1;
                site.operator.kill();
                site.operator.start();
            }
            wait::pass(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(kills, 3);
        assert_eq!(most, (2, 2), "two at a time were allowed, and are faster than one");
        assert!(machines.iter().all(|m| m.slow_runs() == 1));
    });
}

/// Returns the number of NodeUpdates that have not ended, and of machines with an engine, at this
/// moment.
async fn in_progress(run: &Run<'_>, machines: &[Machine]) -> (usize, usize) {
    let engines = machines.iter().filter(|m| !m.engines().is_empty()).count();
    let open =
        run.nodes().await.iter().filter(|u| !["True", "False"].contains(&u.state("Succeeded"))).count();
    (open, engines)
}

/// Two runs would work on a machine at the same time; or a run would wait without a reason in its
/// status.
#[test]
fn a_run_waits_for_a_machine_of_another_run_and_reports_it() {
    e2e("two", async |site| {
        let shared = site.machine("shared").up().await;
        site.machine("free").label("only", "second").up().await;
        site.baseline("first", &[site.slow(4)]).await;
        site.baseline("second", &[bmc_tool("2.0")]).await;
        let mut spec = to("first");
        merge(&mut spec, json!({"selector": {"matchLabels": {"name": "shared"}}}));
        let first = site.run("first", spec).await;
        shared.engine().await;
        let second = site.run("second", to("second")).await;
        let waiting = second
            .until("the second run to wait", |r| {
                r.status.as_ref().is_some_and(|s| s.waiting.iter().any(|w| w.reason == "WaitingForNode"))
            })
            .await;
        let notes = waiting.status.expect("a status").waiting;
        let note = notes.iter().find(|w| w.node == "shared").expect("a note about the machine");
        assert_eq!(note.reason, "WaitingForNode");
        assert!(note.message.contains("run first"), "{}", note.message);
        assert_eq!(first.get().await.state("Succeeded"), "Unknown", "the first run was still in progress");
        second
            .node_until("free", "the other machine to be updated meanwhile", |u| {
                u.state("Succeeded") == "True"
            })
            .await;
        assert!(second.nodes().await.iter().all(|u| u.spec.node_ref.name == "free"));
        first.succeeds().await;
        second.succeeds().await;
        assert_eq!(shared.slow_runs(), 1);
        assert_eq!(outcome(&second.node("shared").await, "bmc-tool"), "Updated");
    });
}

/// A rack of machines would be too much.
#[test]
fn thirty_machines_are_updated_in_one_run() {
    e2e("rack", async |site| {
        let machines = site.machine("m").up_many(30).await;
        site.baseline("spring", &[agent("2.0")]).await;
        let mut spec = to("spring");
        merge(&mut spec, json!({"strategy": {"maxConcurrent": 10}}));
        let run = site.run("r1", spec).await;
        let done = run.succeeds().await.status.expect("a status");
        assert_eq!((done.counts.total, done.counts.succeeded), (30, 30));
        for update in run.nodes().await {
            assert_eq!(outcome(&update, "farrier-agent"), "Updated", "{}", update.spec.node_ref.name);
        }
        assert_eq!(machines.len(), 30);
    });
}
