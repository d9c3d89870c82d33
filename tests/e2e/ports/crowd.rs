//! Many more runs than ports.

use super::sockets::listening;
use crate::harness::payload::merge;
use crate::harness::{Conditions, Machine, Run, Site, e2e, wait};
use farrier::api::UpdateRun;
use futures::future::join_all;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How many runs there are.
const RUNS: usize = 64;

/// How many pairs sixteen ports are.
const PAIRS: usize = 8;

/// The host ports of the operator, and where it tells what it has done.
const BLOCK: std::ops::RangeInclusive<u16> = 64401..=64416;
const METRICS: &str = "127.0.0.1:64499";

/// How long the operator is looked at while nothing happens but waiting.
const WINDOW: Duration = Duration::from_secs(4);

/// What it may cost in this time: 7 and 0.04 s were seen, on a machine with much other work; 50 to 74
/// and 0.3 s when every change of anything had all runs decided anew.
const MOST_REQUESTS: u64 = 30;
const MOST_CPU: f64 = 1.0;

/// How long all of it may take.
const LIMIT: Duration = Duration::from_mins(5);

fn spec(n: usize) -> Value {
    let mut spec = json!({
        "channel": "Callback",
        "selector": {"matchLabels": {"name": format!("m-{:03}", n + 1)}},
        "callback": {"httpPort": 64401, "httpsPort": 64402},
    });
    // The first ones keep their ports for a while; the others are over as soon as may be.
    let work =
        if n < PAIRS { json!({"baselineRef": {"name": "held"}}) } else { json!({"operation": "Inventory"}) };
    merge(&mut spec, work);
    spec
}

/// What was seen of the runs at one moment.
#[derive(Default)]
struct Sight {
    /// Ports of the runs that have some.
    have: BTreeMap<String, (u16, u16)>,
    /// Runs that want some and have none.
    wait: BTreeSet<String>,
    ended: usize,
}

async fn look(site: &Site) -> Sight {
    let mut sight = Sight::default();
    for run in site.api::<UpdateRun>().list(&ListParams::default()).await.expect("runs").items {
        let name = run.name_any();
        sight.ended += usize::from(!run.state("Succeeded").is_empty() && run.state("Succeeded") != "Unknown");
        let Some(callback) = run.status.as_ref().and_then(|s| s.callback.as_ref()) else { continue };
        match callback.ports.first() {
            Some(ports) => {
                sight.have.insert(name, (ports.http_port, ports.https_port));
            }
            None => {
                sight.wait.insert(name);
            }
        }
    }
    sight
}

/// Looks at all runs until all have ended: nobody has what another has, and nobody is served
/// before one who is older and has waited as long.
async fn turns(site: &Site) -> Vec<String> {
    let begun = Instant::now();
    let mut served: Vec<String> = Vec::new();
    let mut before = Sight::default();
    loop {
        let now = look(site).await;
        let ports: BTreeSet<u16> = now.have.values().flat_map(|(a, b)| [*a, *b]).collect();
        assert_eq!(ports.len(), 2 * now.have.len(), "given twice: {:?}", now.have);
        assert!(ports.iter().all(|port| BLOCK.contains(port)), "{ports:?}");
        let new: Vec<String> = now.have.keys().filter(|name| !served.contains(*name)).cloned().collect();
        for name in &new {
            let passed: Vec<_> = now.wait.intersection(&before.wait).filter(|other| *other < name).collect();
            assert!(passed.is_empty(), "{name} was served before {passed:?}");
        }
        served.extend(new);
        if now.ended == RUNS {
            return served;
        }
        assert!(
            begun.elapsed() < LIMIT,
            "{} have ended, {:?} have ports, {:?} wait",
            now.ended,
            now.have,
            now.wait
        );
        before = now;
        wait::pass(Duration::from_millis(100)).await;
    }
}

/// A pair of ports for each of eight runs, fifty-six that wait: none fails, none is passed over, each
/// says what it waits for, and the waiting costs the API server and the host next to nothing.
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
        site.machine("m").up_many(RUNS).await;
        site.baseline("held", &[site.held()]).await;
        let begun = Instant::now();
        let mut runs: Vec<Run<'_>> = Vec::new();
        for n in 0..RUNS {
            runs.push(site.run(&format!("r{n:02}"), spec(n)).await);
        }
        let (served, ()) = tokio::join!(turns(site), waiting_is_said_and_costs_nothing(site));
        println!("{RUNS} runs took {:.1} s", begun.elapsed().as_secs_f64());
        assert_eq!(served.len(), RUNS);
        for run in join_all(runs.iter().map(Run::get)).await {
            assert_eq!(run.state("Succeeded"), "True", "{}", run.words("Succeeded"));
        }
        wait::until("all ports to be free", wait::LIMIT, async || {
            let now = listening(BLOCK);
            if now == before { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
    });
}

/// While the first eight have all ports and nothing else happens.
async fn waiting_is_said_and_costs_nothing(site: &Site) {
    let says = |run: &UpdateRun| {
        run.reason("Exposed") == "PortsExhausted" && run.reason("Progressing") == "PortsExhausted"
    };
    let told = wait::until("the others to say what they wait for", LIMIT, async || {
        let all = site.api::<UpdateRun>().list(&ListParams::default()).await.expect("runs").items;
        let silent: Vec<String> =
            all[PAIRS..].iter().filter(|run| !says(run)).map(ResourceExt::name_any).collect();
        if silent.is_empty() { Ok(all) } else { Err(format!("{silent:?}")) }
    })
    .await;
    for run in &told[PAIRS..] {
        assert!(run.words("Exposed").contains("64401 to 64416"), "{}", run.words("Exposed"));
    }
    wait::until("the first machines to be at work", LIMIT, async || {
        let at_work = site.machines().iter().filter(|machine| machine.slow_runs() == 1).count();
        if at_work == PAIRS { Ok(()) } else { Err(format!("{at_work}")) }
    })
    .await;
    let before = (requests().await, site.operator.cpu_seconds());
    wait::pass(WINDOW).await;
    let after = (requests().await, site.operator.cpu_seconds());
    let (asked, cpu) = (after.0 - before.0, after.1 - before.1);
    println!("waiting: {asked} requests and {cpu:.2} s of CPU in {} s", WINDOW.as_secs());
    assert!(asked <= MOST_REQUESTS, "{asked} requests");
    assert!(cpu <= MOST_CPU, "{cpu} s of CPU");
    join_all(site.machines().iter().take(PAIRS).map(Machine::let_go)).await;
}

/// How many requests the operator has made, watches left out.
async fn requests() -> u64 {
    let text = crate::harness::lab::output("curl", ["-sf", &format!("http://{METRICS}/metrics")]).await;
    let lines = text.lines().filter(|l| l.starts_with("farrier_api_requests_total{") && !l.contains("watch"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
}
