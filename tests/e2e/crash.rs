//! The operator is killed at any moment. Its work is completed nevertheless, and nothing is done twice.

use crate::harness::payload::{bmc_tool, ethtool, merge};
use crate::harness::run::to;
use crate::harness::{Conditions, Machine, Run, Site, e2e, outcome, snapshot, wait};
use serde_json::json;
use std::time::{Duration, Instant};

/// Number of machines; they are at different points when the operator is killed.
const MACHINES: usize = 12;

/// An operator that is killed, or a node of the cluster that dies, would leave machines half done, run
/// an installer twice, or abandon its engines on machines.
#[test]
fn killed_while_sessions_start_it_continues_and_does_nothing_twice() {
    killed_at_many_points("arrive", Duration::from_millis(50));
}

/// The same, later in the run.
#[test]
fn killed_while_installers_run_it_continues_and_does_nothing_twice() {
    killed_at_many_points("install", Duration::from_millis(250));
}

/// Each machine has its own run, started one `step` after the previous one, so that a single kill meets
/// the runs at different points. Several kills follow.
fn killed_at_many_points(name: &str, step: Duration) {
    e2e(name, async |site| {
        let machines = site.machine("m").up_many(MACHINES).await;
        let before = snapshot::of_all(&machines).await;
        site.baseline("spring", &[site.slow(1), ethtool()]).await;
        let mut runs = Vec::new();
        for (n, machine) in machines.iter().enumerate() {
            runs.push(site.run(&format!("r{n}"), only(machine)).await);
            wait::pass(step).await;
        }
        for kill in 1..=4 {
            site.operator.kill();
            site.operator.start();
            wait::pass(Duration::from_millis(400) * kill).await;
        }
        for (run, machine) in runs.iter().zip(&machines) {
            went_well(run, machine).await;
            assert_eq!(outcome(&run.node(&machine.name).await, "ethtool"), "Updated", "{}", machine.name);
        }
        let after = snapshot::of_all(&machines).await;
        snapshot::all_same_but(
            &before,
            &after,
            &[snapshot::LOG, snapshot::SLOW, snapshot::DPKG, snapshot::ETHTOOL],
        );
    });
}

fn only(machine: &Machine) -> serde_json::Value {
    let mut spec = to("spring");
    merge(&mut spec, json!({"selector": {"matchLabels": {"name": machine.name}}}));
    spec
}

async fn went_well(run: &Run<'_>, machine: &Machine) {
    run.succeeds().await;
    let update = run.node(&machine.name).await;
    assert_eq!(machine.slow_runs(), 1, "{}", machine.name);
    assert_eq!(outcome(&update, "slow"), "Updated", "{}", machine.name);
    assert_eq!(update.state("TornDown"), "True", "{}: {}", machine.name, update.words("TornDown"));
}

/// The same at the points that are hardest to hit: the test polls for them.
#[test]
fn killed_right_after_a_change_it_continues() {
    e2e("points", async |site| {
        let machines = site.machine("m").up_many(6).await;
        site.baseline("spring", &[site.slow(1)]).await;
        let points = [
            Point::Engine,
            Point::Journal("\"taskStarted\""),
            Point::Journal("\"stepStarted\""),
            Point::Journal("\"taskDone\""),
            Point::Journal("-verify\""),
            Point::Journal("\"retired\""),
        ];
        for (n, (machine, point)) in machines.iter().zip(points).enumerate() {
            let run = site.run(&format!("r{n}"), only(machine)).await;
            point.is_reached(machine).await;
            restarted(site, &run, machine).await;
        }
    });
}

async fn restarted(site: &Site, run: &Run<'_>, machine: &Machine) {
    site.operator.kill();
    site.operator.start();
    went_well(run, machine).await;
    machine.is_clean().await;
}

/// A state that can be seen on the machine.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// The engine's process.
    Engine,
    /// A text in the engine's journal.
    Journal(&'static str),
}

impl Point {
    async fn is_reached(self, machine: &Machine) {
        wait::closely(&format!("{self:?}"), || match self {
            Self::Engine => !machine.engines().is_empty(),
            Self::Journal(text) => machine.journals().contains(text),
        })
        .await;
    }
}

/// An operator that is stopped for an upgrade would lose the work in progress.
#[test]
fn an_operator_that_is_stopped_leaves_engines_at_work_and_resumes_them() {
    e2e("upgrade", async |site| {
        let db = site.machine("db").up().await;
        site.baseline("spring", &[site.slow(3)]).await;
        let run = site.run("r1", to("spring")).await;
        db.is_slow().await;
        site.operator.stop().await;
        wait::until("the component to finish without an operator", wait::LIMIT, async || {
            db.file("/etc/slow.version").map(|_| ()).ok_or_else(|| "it is still running".to_owned())
        })
        .await;
        assert_eq!(db.engines().len(), 1, "the engine waits for an operator that takes its results");
        site.operator.start();
        went_well(&run, &db).await;
    });
}

/// A cluster that is gone for good would leave engines on machines for ever.
#[test]
fn an_engine_without_a_connection_finishes_its_component_and_cleans_up() {
    e2e("silent", async |site| {
        site.operator.kill();
        site.operator.options(&["--lease-seconds", "30"]);
        site.operator.start();
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        site.baseline("spring", &[site.slow(3)]).await;
        let run = site.run("r1", to("spring")).await;
        db.is_slow().await;
        site.operator.kill();
        let silent = Instant::now();
        wait::until("the engine to remove everything", wait::LIMIT, async || {
            let traces = db.traces();
            if traces.is_empty() { Ok(()) } else { Err(format!("{traces:?}")) }
        })
        .await;
        assert!(
            silent.elapsed() > Duration::from_secs(25),
            "the engine gave up after {:?}",
            silent.elapsed()
        );
        before.same_but(&db.snapshot().await, &[snapshot::LOG, snapshot::SLOW]);
        assert!(db.file("/etc/slow.version").is_some(), "the component in progress was left to finish");
        site.operator.start();
        went_well(&run, &db).await;
    });
}

/// A user's Cancel would be lost because the operator died before it acted.
#[test]
fn runs_cancelled_or_deleted_while_the_operator_is_down_end_clean() {
    e2e("away", async |site| {
        let machines = site.machine("m").up_many(2).await;
        site.baseline("spring", &[site.slow(8), bmc_tool("2.0")]).await;
        let cancelled = site.run("r1", only(&machines[0])).await;
        let deleted = site.run("r2", only(&machines[1])).await;
        machines[0].is_slow().await;
        machines[1].is_slow().await;
        site.operator.kill();
        cancelled.desire("Cancel").await;
        deleted.delete().await;
        site.operator.start();
        deleted.gone().await;
        assert_eq!(
            machines[1].traces(),
            Vec::<String>::new(),
            "the run was deleted before its machine was clean"
        );
        assert_eq!(cancelled.fails().await.reason("Succeeded"), "Cancelled");
        let update = cancelled.node("m-001").await;
        assert_eq!((outcome(&update, "slow"), outcome(&update, "bmc-tool")), ("Updated", "Cancelled"));
        for machine in &machines {
            assert_eq!(machine.slow_runs(), 1);
            assert!(machine.file("/etc/slow.version").is_some(), "slow.sh was left to finish");
            assert_eq!(machine.file("/etc/bmc-tool.version"), None, "no component was started after it");
        }
    });
}
