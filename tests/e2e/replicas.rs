//! Several operators at once. If any of them dies, hangs or is replaced, the run ends well, nothing is
//! done twice, and the limit of machines in progress is never exceeded.

use crate::harness::operator::Operator;
use crate::harness::payload::merge;
use crate::harness::run::{to, watched};
use crate::harness::{Conditions, Machine, Run, Site, e2e, outcome, wait};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Short Leases, for tests that do not depend on the duration.
const SHORT: [&str; 2] = ["--replica-lease-seconds", "6"];

/// Starts operators with these names and options on a site, in place of its first operator.
async fn replicas(site: &Site, others: &[&str], options: &[&str]) -> Vec<Arc<Operator>> {
    at_work(&site.operator).await;
    site.operator.stop().await;
    let all: Vec<_> = others.iter().map(|name| site.replica(name)).collect();
    for operator in &all {
        operator.options(options);
        operator.start();
    }
    for operator in &all {
        at_work(operator).await;
        know_each_other(operator, &all).await;
    }
    all
}

async fn at_work(operator: &Operator) {
    wait::until("a replica to be at work", wait::LIMIT, async || {
        let works = operator.log().contains("farrier is at work");
        if works { Ok(()) } else { Err(format!("{} is not", operator.runner)) }
    })
    .await;
}

async fn know_each_other(operator: &Operator, all: &[Arc<Operator>]) {
    wait::until("the replicas to find each other", wait::LIMIT, async || {
        let log = operator.log();
        let knows = |other: &&Arc<Operator>| {
            let name = format!("\"runner\":\"{}\"", other.runner);
            log.lines().any(|line| line.contains("a runner is there") && line.contains(&name))
        };
        let unknown = all.iter().find(|other| !knows(other));
        unknown.map_or(Ok(()), |other| Err(format!("{} does not know {}", operator.runner, other.runner)))
    })
    .await;
}

/// Returns the runner that leads.
async fn leader(site: &Site) -> Option<String> {
    let lease = site.api::<Lease>().get_opt("farrier-leader").await.expect("an answer")?;
    lease.spec?.holder_identity?.rsplit_once('_').map(|(runner, _)| runner.to_owned())
}

/// Returns the operator that leads, and the others.
async fn by_role(site: &Site, all: &[Arc<Operator>]) -> (Arc<Operator>, Vec<Arc<Operator>>) {
    let name =
        wait::until("a leader", wait::LIMIT, async || leader(site).await.ok_or("none".to_owned())).await;
    let (lead, others): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|o| o.runner == name);
    (lead.into_iter().next().expect("one of ours leads"), others)
}

/// Waits until another operator leads, and returns how long that took.
async fn replaced(site: &Site, was: &Operator) -> Duration {
    let begun = Instant::now();
    wait::until("another leader", wait::LIMIT, async || match leader(site).await {
        Some(name) if name != was.runner => Ok(()),
        still => Err(format!("{still:?}")),
    })
    .await;
    begun.elapsed()
}

fn at_once(limit: usize) -> Value {
    let mut spec = to("spring");
    merge(&mut spec, json!({"strategy": {"maxConcurrent": limit}}));
    spec
}

/// Asserts that every machine is updated, once, and clean.
async fn all_went_well(run: &Run<'_>, machines: &[Machine]) {
    for machine in machines {
        let update = run.node(&machine.name).await;
        assert_eq!(machine.slow_runs(), 1, "{}", machine.name);
        assert_eq!(outcome(&update, "slow"), "Updated", "{}", machine.name);
        assert_eq!(update.state("TornDown"), "True", "{}: {}", machine.name, update.words("TornDown"));
        machine.is_clean().await;
    }
}

async fn runners(run: &Run<'_>) -> BTreeSet<String> {
    run.nodes().await.into_iter().map(|update| update.spec.runner).collect()
}

/// Waits until a runner is in the middle of an installation on some machine.
async fn installs(run: &Run<'_>, machines: &[Machine], runner: &str) {
    wait::until("an installer to run", wait::LIMIT, async || {
        let updates = run.nodes().await;
        let busy = machines.iter().any(|machine| {
            let at_work = machine.slow_runs() == 1 && machine.file("/etc/slow.version").is_none();
            at_work && updates.iter().any(|u| u.spec.node_ref.name == machine.name && u.spec.runner == runner)
        });
        if busy { Ok(()) } else { Err(format!("none by {runner}")) }
    })
    .await;
}

/// More replicas would not add capacity.
#[test]
fn work_is_distributed_to_all_replicas_including_later_ones() {
    e2e("spread", async |site| {
        let machines = site.machine("m").up_many(6).await;
        let all = replicas(site, &["a", "b"], &SHORT).await;
        site.baseline("spring", &[site.slow(2)]).await;
        let run = site.run("r1", at_once(2)).await;
        watched(&run, 2, async {
            machines[0].is_slow().await;
            let names: BTreeSet<_> = all.iter().map(|o| o.runner.clone()).collect();
            assert_eq!(runners(&run).await, names, "both work");
            let late = site.replica("late");
            late.options(&SHORT);
            late.start();
            wait::until("the third replica to get machines", wait::LIMIT, async || {
                let names = runners(&run).await;
                if names.contains(&late.runner) { Ok(()) } else { Err(format!("{names:?}")) }
            })
            .await;
        })
        .await;
        all_went_well(&run, &machines).await;
    });
}

/// A node of the cluster dies: the run would die with it, or a machine would be updated twice.
#[test]
fn others_continue_when_the_leader_and_a_runner_are_killed() {
    e2e("kills", async |site| {
        let machines = site.machine("m").up_many(6).await;
        // Default options: the duration of a takeover is part of the promise.
        let all = replicas(site, &["a", "b", "c"], &[]).await;
        site.baseline("spring", &[site.slow(4)]).await;
        let run = site.run("r1", at_once(3)).await;
        watched(&run, 3, async {
            let (lead, others) = by_role(site, &all).await;
            installs(&run, &machines, &lead.runner).await;
            lead.kill();
            let took = replaced(site, &lead).await;
            assert!(took < Duration::from_secs(20), "there was no leader for {took:?}");
            let (second, others) = by_role(site, &others).await;
            let runner = &others[0];
            installs(&run, &machines, &runner.runner).await;
            runner.kill();
            lead.start();
            installs(&run, &machines, &second.runner).await;
        })
        .await;
        all_went_well(&run, &machines).await;
        site.until_event("RunnerLost").await;
    });
}

/// A leader whose host hung for half a minute would continue as if nothing had happened.
#[test]
fn a_leader_that_was_frozen_starts_nothing_when_it_resumes() {
    e2e("frozen", async |site| {
        let machines = site.machine("m").up_many(6).await;
        let all = replicas(site, &["a", "b"], &SHORT).await;
        site.baseline("spring", &[site.slow(3)]).await;
        let run = site.run("r1", at_once(2)).await;
        watched(&run, 2, async {
            let (lead, _) = by_role(site, &all).await;
            installs(&run, &machines, &lead.runner).await;
            lead.freeze().await;
            replaced(site, &lead).await;
            wait::until("its machines to be handed over", wait::LIMIT, async || {
                let updates = run.nodes().await;
                let left =
                    updates.iter().any(|u| u.spec.runner == lead.runner && u.state("Succeeded") == "Unknown");
                if left { Err("some are not handed over".to_owned()) } else { Ok(()) }
            })
            .await;
            lead.thaw().await;
            wait::until("the former leader to notice it", wait::LIMIT, async || {
                let knows = lead.log().contains("no longer the leader");
                if knows { Ok(()) } else { Err("its log does not say so".to_owned()) }
            })
            .await;
        })
        .await;
        all_went_well(&run, &machines).await;
    });
}

/// A runner that hung would overwrite the results of another runner with its outdated state.
#[test]
fn a_runner_that_was_frozen_leaves_its_machines_to_others_and_gets_new_ones() {
    e2e("asleep", async |site| {
        let machines = site.machine("m").up_many(6).await;
        let all = replicas(site, &["a", "b"], &SHORT).await;
        site.baseline("spring", &[site.slow(3)]).await;
        let run = site.run("r1", at_once(2)).await;
        watched(&run, 2, async {
            let (_, others) = by_role(site, &all).await;
            let runner = &others[0];
            installs(&run, &machines, &runner.runner).await;
            runner.freeze().await;
            site.until_event("RunnerLost").await;
            runner.thaw().await;
        })
        .await;
        all_went_well(&run, &machines).await;
    });
}

/// Every upgrade of the operator would disturb the runs in progress.
#[test]
fn replicas_are_replaced_one_after_the_other_while_a_run_goes_on() {
    e2e("rolling", async |site| {
        let machines = site.machine("m").up_many(6).await;
        let all = replicas(site, &["a", "b"], &[]).await;
        site.baseline("spring", &[site.slow(3)]).await;
        let run = site.run("r1", at_once(3)).await;
        watched(&run, 3, async {
            for _ in &all {
                let (lead, _) = by_role(site, &all).await;
                installs(&run, &machines, &lead.runner).await;
                lead.stop().await;
                let took = replaced(site, &lead).await;
                assert!(took < Duration::from_secs(5), "there was no leader for {took:?}");
                lead.start();
            }
        })
        .await;
        all_went_well(&run, &machines).await;
    });
}

/// Two processes with the same name would work on the same machines at the same time.
#[test]
fn a_second_process_with_the_same_name_waits_and_reports_it() {
    e2e("twins", async |site| {
        let all = replicas(site, &["a"], &SHORT).await;
        let twin = site.replica("a");
        twin.options(&SHORT);
        twin.start();
        wait::until("the second process to say why it waits", wait::LIMIT, async || {
            let log = twin.log();
            if log.contains("start with another --runner-name") { Ok(()) } else { Err(log) }
        })
        .await;
        all[0].kill();
        let db = site.machine("db").up().await;
        site.baseline("spring", &[site.slow(1)]).await;
        let run = site.run("r1", to("spring")).await;
        run.succeeds().await;
        all_went_well(&run, &[db]).await;
    });
}
