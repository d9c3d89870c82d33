//! Channel × exposure × address family × end: each run does its work, no other host gets in, and
//! afterwards everything is as it was before.

use crate::harness::payload::bmc_tool;
use crate::harness::{Conditions, Machine, Run, Site, outcome, wait};
use crate::release::{Release, on_node};
use crate::traces::{connect, is_as_before, traces};
use farrier::api::UpdateRun;
use farrier::api::managed_node::Channel;
use futures::future::join_all;
use serde_json::json;

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    Cancelled,
    RunnerKilled,
}

/// How machines reach the runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exposure {
    HostPort,
    NodePort,
    LoadBalancer,
}

const ENDS: [End; 4] = [End::Done, End::Failed, End::Cancelled, End::RunnerKilled];

/// Host ports of these tests, which other tests do not use.
const HOST_PORTS: [&str; 3] =
    ["hostPorts.first=63001", "hostPorts.count=6", "operator.replicaLeaseSeconds=5"];

/// One machine of each address family in the run, and one outside of it.
struct Cast {
    v4: Machine,
    v6: Machine,
    stranger: Machine,
}

impl Cast {
    async fn up(site: &Site) -> Self {
        let stranger = site.machine("stranger").spec(json!({"hold": true})).up().await;
        Self {
            v4: site.machine("v4").lab(&["--no-v6"]).label("in", "run").up().await,
            v6: site.machine("v6").lab(&["--no-v4"]).label("in", "run").up().await,
            stranger,
        }
    }

    fn in_run(&self) -> [&Machine; 2] {
        [&self.v4, &self.v6]
    }

    fn all(&self) -> [Machine; 3] {
        [self.v4.clone(), self.v6.clone(), self.stranger.clone()]
    }
}

/// Returns address and port of the run's listener for a machine.
async fn listener_of(run: &Run<'_>, exposure: Exposure, machine: &Machine) -> (String, u16) {
    let status = run.get().await.status.expect("a status").callback.expect("ports");
    let port = status.https_port.unwrap_or(status.ports[0].https_port);
    let (v4, v6) = match exposure {
        Exposure::HostPort | Exposure::NodePort => ("10.77.0.2", "fd77::2"),
        Exposure::LoadBalancer => ("10.77.0.100", "fd77::100"),
    };
    (if machine.v4.is_some() { v4 } else { v6 }.to_owned(), port)
}

/// One cell of the matrix.
#[derive(Clone, Copy)]
struct Cell<'a> {
    site: &'a Site,
    release: &'a Release<'a>,
    cast: &'a Cast,
    channel: Channel,
    exposure: Exposure,
    end: End,
}

/// Address and port of the run's listener for each machine.
type ListenerAddresses<'a> = Vec<(&'a Machine, (String, u16))>;

impl Cell<'_> {
    fn name(&self) -> String {
        format!("{:?}-{:?}-{:?}", self.channel, self.exposure, self.end).to_lowercase()
    }

    async fn begin(&self) -> Run<'_> {
        let baseline = match self.end {
            End::Done | End::RunnerKilled => "slow",
            End::Failed => "fails",
            End::Cancelled => "two",
        };
        let spec = json!({
            "baselineRef": {"name": baseline},
            "selector": {"matchLabels": {"in": "run"}},
            "channel": self.channel,
            "strategy": {"maxConcurrent": 2, "retries": 0},
            "callback": {"exposure": format!("{:?}", self.exposure)},
        });
        let run = self.site.run(&self.name(), spec).await;
        if self.exposure == Exposure::LoadBalancer && self.channel == Channel::Callback {
            self.release.balance().await;
        }
        run
    }

    /// Waits until the machines are working. `before`: how often the script had been started before.
    async fn at_work(&self, run: &Run<'_>, before: &[usize]) {
        for (machine, before) in self.cast.in_run().into_iter().zip(before) {
            wait::until("the script to be started", wait::LIMIT, async || {
                let update = run.get().await;
                let words = update.words("Progressing") + &update.words("Exposed");
                if machine.slow_runs() > *before { Ok(()) } else { Err(words) }
            })
            .await;
        }
    }

    /// During the run: checks who can connect, then causes the end of the run.
    async fn middle(&self, run: &Run<'_>) -> ListenerAddresses<'_> {
        let mut listeners = Vec::new();
        if self.channel == Channel::Callback {
            for machine in self.cast.in_run() {
                listeners.push((machine, listener_of(run, self.exposure, machine).await));
            }
        }
        self.check_reachable(&listeners, "open").await;
        match self.end {
            End::Cancelled => run.desire("Cancel").await,
            End::RunnerKilled => self.release.kill_pods().await,
            End::Done | End::Failed => {}
        }
        listeners
    }

    /// Checks what the run's machines get when they connect to their listeners; a stranger can never
    /// connect.
    async fn check_reachable(&self, listeners: &ListenerAddresses<'_>, wanted: &str) {
        let checks = listeners.iter().map(async |(machine, (address, port))| {
            let name = format!("{} {}", self.name(), machine.name);
            assert_eq!(connect(machine, address, *port).await, wanted, "{name}");
            assert_eq!(connect(&self.cast.stranger, address, *port).await, "closed", "{name}, the stranger");
        });
        join_all(checks).await;
    }

    /// Runs the whole cell.
    async fn play(&self) {
        for machine in self.cast.in_run() {
            machine.sh("rm -f /etc/slow.version /etc/bmc-tool.version").await;
        }
        let before = traces(self.site, self.release, &self.cast.all()).await;
        let started: Vec<usize> = self.cast.in_run().iter().map(|machine| machine.slow_runs()).collect();
        let run = self.begin().await;
        let mut listeners = Vec::new();
        if self.end != End::Failed {
            self.at_work(&run, &started).await;
            listeners = self.middle(&run).await;
        }
        let ended = run.ends(wait::LIMIT).await;
        judge(&run, &ended, self.channel, self.end).await;
        self.check_reachable(&listeners, "closed").await;
        self.release.is_rolled_out().await;
        is_as_before(&before, self.site, self.release, &self.cast.all(), &self.name()).await;
        run.delete().await;
        run.gone().await;
    }
}

async fn judge(run: &Run<'_>, ended: &UpdateRun, channel: Channel, end: End) {
    let reason = ended.reason("Succeeded");
    for node in ["v4", "v6"] {
        let update = run.node(node).await;
        assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
        let used = update.status.as_ref().and_then(|status| status.channel);
        assert_eq!(used, Some(channel), "{node}: {}", update.words("CallbackReachable"));
        match end {
            End::Done | End::RunnerKilled => {
                assert_eq!(reason, "AllSucceeded", "{}", ended.words("Succeeded"));
                assert_eq!(outcome(&update, "slow"), "Updated", "{node}");
            }
            End::Failed => assert_eq!(outcome(&update, "fails"), "Failed", "{node}"),
            End::Cancelled => {
                assert_eq!(reason, "Cancelled", "{}", ended.words("Succeeded"));
                assert_eq!(outcome(&update, "bmc-tool"), "Cancelled", "{node}");
            }
        }
    }
}

async fn row(site: &Site, release: &Release<'_>, channel: Channel, exposure: Exposure) {
    let slow = site.slow(4);
    let fails = site.payload("fails.sh", "1.0", "Script", b"#!/bin/sh\nexit 3\n");
    let fails = fails.with(json!({"name": "fails", "detect": {"file": "/etc/fails.version"}}));
    site.baseline("two", &[slow.clone(), bmc_tool("2.0")]).await;
    site.baseline("slow", &[slow]).await;
    site.baseline("fails", &[fails]).await;
    let cast = Cast::up(site).await;
    release.install(&Release::chart(), &HOST_PORTS).await;
    for end in ENDS {
        Cell { site, release, cast: &cast, channel, exposure, end }.play().await;
    }
    release.uninstall().await.expect("an uninstallation");
}

/// The default return path must work in a cluster, must admit no other host, and must be closed
/// afterwards.
#[test]
fn callback_by_host_ports() {
    on_node("hostport", async |site, release| {
        row(site, release, Channel::Callback, Exposure::HostPort).await;
    });
}

/// A cluster that forbids host ports needs node ports for its return path.
#[test]
fn callback_by_node_ports() {
    on_node("nodeport", async |site, release| {
        row(site, release, Channel::Callback, Exposure::NodePort).await;
    });
}

/// With `--long`.
mod long {
    use super::*;

    /// Machines that are reached only through SSH need no listener, and get none.
    #[test]
    fn session() {
        on_node("session", async |site, release| {
            row(site, release, Channel::Session, Exposure::HostPort).await;
        });
    }

    /// A cluster whose nodes cannot be reached needs a load balancer for its return path.
    #[test]
    fn callback_by_a_load_balancer() {
        on_node("balancer", async |site, release| {
            row(site, release, Channel::Callback, Exposure::LoadBalancer).await;
        });
    }
}
