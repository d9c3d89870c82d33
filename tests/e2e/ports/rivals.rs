//! Several operators on one host, whose runs all want the same ports.

use super::sockets::{free_again, listening};
use crate::harness::operator::Operator;
use crate::harness::payload::merge;
use crate::harness::run::to;
use crate::harness::{Run, Site, e2e, wait};
use futures::FutureExt;
use futures::future::join_all;
use serde_json::json;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, resume_unwind};

/// Creates runs NAME-1 … of one machine each, which is at work for a while and calls back. All runs
/// want port `http` and the next port.
async fn runs(site: &Site, count: usize, http: u16) -> Vec<Run<'_>> {
    let machines = site.machine("m").up_many(count).await;
    site.baseline("spring", &[site.held()]).await;
    let mut runs = Vec::new();
    for (n, machine) in machines.iter().enumerate() {
        let mut spec = to("spring");
        merge(
            &mut spec,
            json!({
                "channel": "Callback",
                "selector": {"matchLabels": {"name": machine.name}},
                "callback": {"httpPort": http, "httpsPort": http + 1},
            }),
        );
        runs.push(site.run(&format!("r{n}"), spec).await);
    }
    runs
}

/// Waits until `pairs` pairs are held, each by one runner for one run, and no other socket listens.
async fn each_has_its_own(runs: &[Run<'_>], pairs: usize, range: &RangeInclusive<u16>) {
    wait::until("each run to have ports of its own", wait::LIMIT, async || {
        let mut given = Vec::new();
        for run in join_all(runs.iter().map(Run::get)).await {
            let ports = run.status.and_then(|s| s.callback).map(|c| c.ports).unwrap_or_default();
            given.extend(ports.iter().flat_map(|p| [p.http_port, p.https_port]));
        }
        given.sort_unstable();
        // Each port is held in both address families.
        let mut held: Vec<u16> = listening(range.clone()).into_iter().map(|(_, port)| port).collect();
        held.sort_unstable();
        let wanted: Vec<u16> = given.iter().flat_map(|port| [*port, *port]).collect();
        let all_differ = given.iter().collect::<BTreeSet<_>>().len() == given.len();
        if given.len() == 2 * pairs && all_differ && held == wanted {
            Ok(())
        } else {
            Err(format!("given {given:?}, held {held:?}"))
        }
    })
    .await;
}

async fn all_succeed(sites: &[&Site], runs: &[Run<'_>]) {
    for machine in sites.iter().flat_map(|site| site.machines()) {
        machine.release_steps().await;
    }
    for run in runs {
        run.succeeds().await;
    }
}

/// Three replicas, each of which listens for each of three runs, would take each other's ports.
#[test]
fn replicas_on_one_host_have_a_pair_for_each_run() {
    e2e("kin", async |site| {
        let range = 64421..=64460;
        let others: Vec<_> = ["b", "c"].iter().map(|name| site.replica(name)).collect();
        for operator in &others {
            operator.start();
        }
        let all: Vec<&Operator> =
            std::iter::once(&site.operator).chain(others.iter().map(|o| &**o)).collect();
        wait::until("the replicas to find each other", wait::LIMIT, async || {
            let known = |o: &&&Operator| o.log().matches("a runner is there").count() >= 3;
            let late = all.iter().find(|operator| !known(operator));
            late.map_or(Ok(()), |operator| Err(format!("{} does not", operator.runner)))
        })
        .await;
        let runs = runs(site, 3, *range.start()).await;
        each_has_its_own(&runs, 9, &range).await;
        all_succeed(&[site], &runs).await;
        free_again(&range, &BTreeSet::new()).await;
    });
}

/// Three operators that know nothing of each other: the ports of one operator are foreign to the
/// others.
#[test]
fn operators_of_different_namespaces_do_not_share_ports() {
    e2e("alpha", async |alpha| {
        let (beta, gamma) = (Site::new("beta").await, Site::new("gamma").await);
        let tested = async {
            let range = 64461..=64490;
            // The others want half of the ports that each operator wants.
            let (a, b, c) =
                tokio::join!(runs(alpha, 2, 64463), runs(&beta, 2, 64462), runs(&gamma, 2, 64461));
            let all: Vec<Run<'_>> = [a, b, c].into_iter().flatten().collect();
            each_has_its_own(&all, 6, &range).await;
            all_succeed(&[alpha, &beta, &gamma], &all).await;
            free_again(&range, &BTreeSet::new()).await;
            beta.nothing_is_left().await;
            gamma.nothing_is_left().await;
        };
        let result = AssertUnwindSafe(tested).catch_unwind().await;
        if result.is_err() {
            println!("{}{}", beta.logs(), gamma.logs());
        }
        beta.remove().await;
        gamma.remove().await;
        result.unwrap_or_else(|panic| resume_unwind(panic));
    });
}
