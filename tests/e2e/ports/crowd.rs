//! Many more runs than ports.

use super::sockets::{free_again, listening};
use crate::harness::payload::merge;
use crate::harness::{Conditions, Machine, Site, e2e, wait};
use farrier::api::UpdateRun;
use farrier::api::update_run::ListenerState;
use futures::TryStreamExt;
use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Number of runs.
const RUNS: usize = 64;

/// Number of pairs in sixteen ports.
const PAIRS: usize = 8;

/// The host ports of the operator, and the port of its metrics.
const BLOCK: std::ops::RangeInclusive<u16> = 64401..=64416;
const METRICS: &str = "127.0.0.1:64499";

/// Number of waiting runs that are created within about the same second.
const OF_AN_AGE: usize = 14;

/// How long the operator is measured while runs only wait.
const WINDOW: Duration = Duration::from_secs(4);

/// Maximum cost in this time. Measured: 7 requests and 0.04 s, on a machine with much other work; 50 to
/// 74 requests and 0.3 s when every change of any object reconciled all runs.
const MAX_REQUESTS: f64 = 30.0;
const MAX_CPU: f64 = 1.0;

/// Time limit of the whole test.
const LIMIT: Duration = Duration::from_mins(5);

/// Returns the spec of the `n`th run, in the order of creation.
fn spec(n: usize) -> Value {
    let mut spec = json!({
        "channel": "Callback",
        "selector": {"matchLabels": {"name": format!("m-{:03}", n + 1)}},
        "callback": {"httpPort": 64401, "httpsPort": 64402},
    });
    // The first runs keep their ports for a while; the others end as soon as possible.
    let work =
        if n < PAIRS { json!({"baselineRef": {"name": "held"}}) } else { json!({"operation": "Inventory"}) };
    merge(&mut spec, work);
    spec
}

/// Returns the name of a run. The names sort against the order of age, and decide only between runs of
/// the same second.
fn name(n: usize) -> String {
    format!("r{:02}", RUNS - 1 - n)
}

/// The current state of all runs, from a watch: every change is seen, without requests.
#[derive(Default)]
struct Crowd(Mutex<BTreeMap<String, UpdateRun>>);

impl Crowd {
    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, UpdateRun>> {
        self.0.lock().expect("nobody panicked")
    }

    /// Returns the runs for which `is` is true.
    fn those(&self, is: impl Fn(&UpdateRun) -> bool) -> Vec<String> {
        self.seen().iter().filter(|(_, run)| is(run)).map(|(name, _)| name.clone()).collect()
    }

    /// Follows all runs until all have ended: no run has a port of another run, and no run is served
    /// before an older run that waits. Returns the runs that were served.
    async fn turns(&self, site: &Site) -> BTreeSet<String> {
        let mut served = BTreeSet::new();
        let mut changes =
            pin!(watcher(site.api::<UpdateRun>(), watcher::Config::default()).applied_objects());
        while self.those(ended).len() < RUNS {
            let run = changes.try_next().await.expect("a watch that goes on").expect("a watch without end");
            let is_new = pair(&run).is_some() && served.insert(run.name_any());
            self.seen().insert(run.name_any(), run.clone());
            self.no_port_is_allocated_twice();
            if is_new {
                self.no_older_run_is_passed_over_for(&run);
            }
        }
        served
    }

    fn no_port_is_allocated_twice(&self) {
        let have: Vec<_> = self.seen().values().filter_map(pair).collect();
        let ports: BTreeSet<u16> = have.iter().flat_map(|(http, https)| [*http, *https]).collect();
        assert_eq!(ports.len(), 2 * have.len(), "given twice: {have:?}");
        assert!(ports.iter().all(|port| BLOCK.contains(port)), "{ports:?}");
    }

    /// Several pairs may become free at once, and then the younger run's ports may be written first:
    /// all older waiting runs must still have a pair left.
    fn no_older_run_is_passed_over_for(&self, run: &UpdateRun) {
        let left = PAIRS - self.those(|other| pair(other).is_some() || listens(other)).len();
        let passed = self.those(|other| waits(other) && age(other) < age(run));
        assert!(passed.len() <= left, "{} was served before {passed:?}, with {left} left", run.name_any());
    }
}

/// Sort key of the order in which runs are served.
fn age(run: &UpdateRun) -> (Option<Time>, String) {
    (run.creation_timestamp(), run.name_any())
}

/// Returns the ports of a run.
fn pair(run: &UpdateRun) -> Option<(u16, u16)> {
    let ports = run.status.as_ref()?.callback.as_ref()?.ports.first()?;
    Some((ports.http_port, ports.https_port))
}

/// Reports whether ports are held for a run, which may have ended.
fn listens(run: &UpdateRun) -> bool {
    run.status.iter().flat_map(|status| &status.listeners).any(|said| said.state == ListenerState::Bound)
}

/// Reports whether a run wants ports and has none.
fn waits(run: &UpdateRun) -> bool {
    run.status.as_ref().is_some_and(|status| status.callback.is_some()) && pair(run).is_none()
}

fn ended(run: &UpdateRun) -> bool {
    matches!(run.state("Succeeded"), "True" | "False")
}

/// Reports whether a run reports that it waits for ports.
fn says_so(run: &UpdateRun) -> bool {
    run.reason("Exposed") == "PortsExhausted"
        && run.reason("Progressing") == "PortsExhausted"
        && run.words("Exposed").contains("64401 to 64416")
}

/// A pair of ports for each of eight runs, and fifty-six that wait: none fails, none is passed over,
/// each reports what it waits for, and waiting costs the API server and the host next to nothing.
#[test]
fn sixty_four_runs_share_sixteen_ports_in_the_order_of_their_age() {
    e2e("crowd", async |site| {
        site.operator.kill();
        site.operator.options(&[
            "--pod-ips=10.77.0.1",
            "--host-ips=10.77.0.1,fd77::1",
            "--host-ports=64401+16",
            "--pod-selector=app=farrier",
            "--http-addr",
            METRICS,
        ]);
        site.operator.start();
        let before = listening(BLOCK);
        // Small machines: the test does not depend on them.
        site.machine("m").lab(&["--flavour", "minimal", "--no-v6"]).up_many(RUNS).await;
        site.baseline("held", &[site.held()]).await;
        let begun = Instant::now();
        let crowd = Crowd::default();
        let story = async {
            the_first_have_all_ports(site, &crowd).await;
            the_others_come_and_wait(site, &crowd).await;
            waiting_costs_nothing(site).await;
            join_all(site.machines().iter().take(PAIRS).map(Machine::release_steps)).await;
        };
        let all = async { tokio::join!(crowd.turns(site), story) };
        let (served, ()) = tokio::time::timeout(LIMIT, all).await.unwrap_or_else(|_| {
            let (ended, wait) = (crowd.those(ended), crowd.those(waits));
            panic!("{ended:?} have ended, {wait:?} wait")
        });
        println!("{RUNS} runs took {:.1} s", begun.elapsed().as_secs_f64());
        assert_eq!(served.len(), RUNS);
        for run in crowd.seen().values() {
            assert_eq!(run.state("Succeeded"), "True", "{}", run.words("Succeeded"));
        }
        free_again(&BLOCK, &before).await;
    });
}

async fn the_first_have_all_ports(site: &Site, crowd: &Crowd) {
    for n in 0..PAIRS {
        site.run(&name(n), spec(n)).await;
    }
    wait::until("the first machines to be at work", LIMIT, async || {
        let at_work = site.machines().iter().filter(|machine| machine.slow_runs() == 1).count();
        if at_work == PAIRS { Ok(()) } else { Err(format!("{at_work}")) }
    })
    .await;
    assert_eq!(crowd.those(|run| pair(run).is_some()).len(), PAIRS);
}

async fn the_others_come_and_wait(site: &Site, crowd: &Crowd) {
    for n in PAIRS..RUNS {
        if (n - PAIRS).is_multiple_of(OF_AN_AGE) {
            another_second().await;
        }
        site.run(&name(n), spec(n)).await;
    }
    wait::until("the others to report what they wait for", LIMIT, async || {
        let waiting = crowd.those(says_so);
        if waiting.len() == RUNS - PAIRS { Ok(()) } else { Err(format!("only {waiting:?}")) }
    })
    .await;
    let ages: BTreeSet<_> = crowd.seen().values().map(ResourceExt::creation_timestamp).collect();
    assert!(ages.len() > (RUNS - PAIRS) / OF_AN_AGE, "{ages:?}");
}

/// Waits for the next second, because creation times of objects have whole seconds.
async fn another_second() {
    let now = || UNIX_EPOCH.elapsed().expect("a clock that is set").as_secs();
    let before = now();
    wait::until(
        "another second",
        LIMIT,
        async || {
            if now() > before { Ok(()) } else { Err(format!("{before}")) }
        },
    )
    .await;
}

/// Measures the operator while the first eight runs have all ports and nothing else happens. Earlier
/// work may still be in progress, so the measurement repeats until there is a quiet window; if waiting
/// were expensive, there would be none.
async fn waiting_costs_nothing(site: &Site) {
    wait::until("waiting to cost nothing", wait::LIMIT, async || {
        let before = (requests().await, site.operator.cpu_seconds());
        wait::pass(WINDOW).await;
        let after = (requests().await, site.operator.cpu_seconds());
        let (asked, cpu) = (after.0 - before.0, after.1 - before.1);
        let words = format!("{asked} requests and {cpu:.2} s of CPU in {} s", WINDOW.as_secs());
        println!("waiting: {words}");
        if asked <= MAX_REQUESTS && cpu <= MAX_CPU { Ok(()) } else { Err(words) }
    })
    .await;
}

/// Returns the number of requests of the operator, without watches.
async fn requests() -> f64 {
    let text = crate::harness::lab::output("curl", ["-sf", &format!("http://{METRICS}/metrics")]).await;
    let lines = text.lines().filter(|l| l.starts_with("farrier_api_requests_total{") && !l.contains("watch"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}
