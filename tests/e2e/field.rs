//! Networks as data centres have them: several addresses, NAT, firewalls that appear in the middle of a
//! run, and an API server that is unreachable.

use crate::callback::{calling, channel, nothing_is_open};
use crate::harness::api_server::{ApiServer, Line};
use crate::harness::payload::{bmc_tool, merge};
use crate::harness::{Conditions, Machine, Site, e2e, outcome, wait};
use farrier::api::ManagedNode;
use farrier::api::managed_node::Channel;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Gives the machine another source address for its connections. It is in the lab's network, and no
/// other machine has it.
async fn calls_from(machine: &Machine, v4: &str) {
    machine
        .sh(&format!("ip address add {v4}/16 dev eth0; ip route replace 10.77.0.1 dev eth0 src {v4}"))
        .await;
}

async fn change(node: &str, site: &Site, spec: Value) {
    let patch = Patch::Merge(json!({ "spec": spec }));
    site.api::<ManagedNode>().patch(node, &PatchParams::default(), &patch).await.expect("patched");
}

/// Asserts that the probe before the engine's first connection found the obstacle: waiting in vain for
/// a connection would give the same message half a minute later.
fn no_timeout_expired(site: &Site) {
    let log = site.operator.log();
    assert!(!log.contains("has not connected for"), "{log}");
}

/// The user reads "connection reset" and looks for a firewall, while an address is missing.
#[test]
fn an_unlisted_source_address_of_a_machine_is_named() {
    e2e("source", async |site| {
        let other = site.machine("other").up().await;
        calls_from(&other, "10.77.240.1").await;
        // The machine has neither bash nor Python, so the engine probes the path.
        let small = site.machine("small").lab(&["--flavour", "minimal"]).up().await;
        calls_from(&small, "10.77.240.2").await;
        let temporary = site.machine("temporary").lab(&["--no-v4"]).up().await;
        temporary
            .sh("ip address add fd77::f0:4/64 dev eth0 nodad;
                 ip -6 route replace fd77::1 dev eth0 src fd77::f0:4")
            .await;
        let listed = site.machine("listed").up().await;
        calls_from(&listed, "10.77.240.5").await;
        let own = listed.v4.clone().expect("an address");
        change("listed", site, json!({"addresses": [own, "10.77.240.5"]})).await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let run = site.run("r1", calling("spring")).await;
        nothing_is_open(&run.succeeds().await);
        for (node, address) in
            [("other", "10.77.240.1"), ("small", "10.77.240.2"), ("temporary", "fd77::f0:4")]
        {
            let update = run.node(node).await;
            let words = update.words("CallbackReachable");
            assert_eq!(update.reason("CallbackReachable"), "CallbackSourceNotListed", "{node}: {words}");
            assert!(words.contains(&format!("add {address} to spec.addresses")), "{node}: {words}");
            assert_eq!(channel(&run, node).await, Some(Channel::Session), "{node}");
        }
        assert!(run.node("temporary").await.words("CallbackReachable").contains("use_tempaddr"));
        assert_eq!(run.node("listed").await.reason("CallbackReachable"), "CallbackReachable");
        no_timeout_expired(site);
        // The remedy of the message must work.
        change("other", site, json!({"addresses": [other.v4, "10.77.240.1"]})).await;
        let mut spec = calling("spring");
        merge(&mut spec, json!({"selector": {"matchLabels": {"name": "other"}}}));
        let again = site.run("r2", spec).await;
        again.succeeds().await;
        assert_eq!(again.node("other").await.reason("CallbackReachable"), "CallbackReachable");
    });
}

/// Behind NAT, neither the machine nor the user knows the source address that the operator sees. If the
/// user allows no other channel, nothing is installed.
#[test]
fn a_machine_behind_nat_learns_its_translated_address() {
    e2e("nat", async |site| {
        let db = site.machine("db").spec(json!({"channel": "Callback"})).up().await;
        db.sh("ip address add 10.77.240.3/16 dev eth0; nft add table ip n;
               nft add chain ip n p '{ type nat hook postrouting priority 100; }';
               nft add rule ip n p tcp dport 63000-65535 snat to 10.77.240.3")
            .await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let run = site.run("r1", calling("spring")).await;
        nothing_is_open(&run.fails().await);
        let update = run.node("db").await;
        assert_eq!(update.reason("Succeeded"), "CallbackSourceNotListed", "{}", update.words("Succeeded"));
        let words = update.words("CallbackReachable");
        assert!(words.contains("arrives as 10.77.240.3"), "{words}");
        assert_eq!(outcome(&update, "bmc-tool"), "Skipped");
        assert_eq!(db.file("/etc/bmc-tool.version"), None);
        no_timeout_expired(site);
        change("db", site, json!({"addresses": [db.v4, "10.77.240.3"]})).await;
        let again = site.run("r2", calling("spring")).await;
        again.succeeds().await;
        assert_eq!(again.node("db").await.reason("CallbackReachable"), "CallbackReachable");
    });
}

/// The return path is closed for good in the middle of an installation, on a machine whose user allows
/// no other channel: the result would be lost, or the step repeated.
#[test]
fn work_in_progress_is_completed_when_the_return_path_is_closed() {
    e2e("shut", async |site| {
        let db = site.machine("db").spec(json!({"channel": "Callback"})).up().await;
        site.baseline("spring", &[site.slow(6), bmc_tool("3.1")]).await;
        let run = site.run("r1", calling("spring")).await;
        db.is_slow().await;
        db.sh("nft 'add table inet way; add chain inet way out { type filter hook output priority 0; };
               add rule inet way out tcp dport 63000-65535 reject with tcp reset'")
            .await;
        let broken = run
            .node_until("db", "the lost connection to be reported", |u| {
                u.reason("CallbackReachable") == "ConnectionLost"
            })
            .await;
        assert_eq!(broken.state("CallbackReachable"), "Unknown");
        nothing_is_open(&run.succeeds().await);
        let update = run.node("db").await;
        assert_eq!(update.reason("CallbackReachable"), "CallbackRejected");
        let words = update.words("CallbackReachable");
        assert!(words.contains("through the SSH session instead"), "{words}");
        assert_eq!((outcome(&update, "slow"), outcome(&update, "bmc-tool")), ("Updated", "Updated"));
        assert_eq!(db.slow_runs(), 1);
        assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
    });
}

/// The API server is away for longer than every Lease, first silent and then down, while machines that
/// call back are at work: steps would be repeated, the limit exceeded, or the run would never end.
#[test]
fn a_run_continues_when_the_api_server_is_back() {
    e2e("apiless", async |site| {
        let port = free_port();
        let http = format!("--http-addr=127.0.0.1:{port}");
        let server = ApiServer::of(site, &["--replica-lease-seconds=6", &http]).await;
        let machines = site.machine("m").up_many(4).await;
        site.baseline("spring", &[site.slow(5), bmc_tool("3.1")]).await;
        let mut spec = calling("spring");
        merge(&mut spec, json!({"strategy": {"maxConcurrent": 2}}));
        let run = site.run("r1", spec).await;
        let at_work = || machines.iter().filter(|machine| machine.slow_runs() > 0).count();
        wait::closely("two machines at work", || at_work() == 2).await;
        server.line(Line::Silent);
        wait::until("the runner to leave its machines", wait::LIMIT, async || {
            let log = site.operator.log();
            if log.contains("other runners may take over its machines") { Ok(()) } else { Err(log) }
        })
        .await;
        server.line(Line::Cut);
        wait::until("an operator that is not ready", wait::LIMIT, async || {
            let said = get(port, "/readyz").await;
            if said.contains("[-]api-server failed") { Ok(()) } else { Err(said) }
        })
        .await;
        assert!(get(port, "/healthz").await.contains("200 OK"), "it is alive and must not be restarted");
        assert_eq!(at_work(), 2, "nothing is started meanwhile");
        server.line(Line::Good);
        let ended = run.succeeds().await;
        nothing_is_open(&ended);
        assert!(machines.iter().all(|machine| machine.slow_runs() == 1), "nothing is done twice");
        wait::until("an operator that is ready", wait::LIMIT, async || {
            let said = get(port, "/readyz").await;
            if said.contains("200 OK") { Ok(()) } else { Err(said) }
        })
        .await;
        for machine in &machines {
            let update = run.node(&machine.name).await;
            assert_eq!(outcome(&update, "bmc-tool"), "Updated", "{}", update.words("Succeeded"));
            assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
        }
    });
}

/// The host of the API server fails, and another host takes its place: no connection is closed, and the
/// operator would wait for a response for ever.
#[test]
fn an_api_server_that_moves_silently_is_found_again() {
    e2e("moved-api", async |site| {
        let server = ApiServer::of(site, &[]).await;
        let machine = site.machine("m").up().await;
        site.baseline("spring", &[site.slow(5)]).await;
        let run = site.run("r1", calling("spring")).await;
        machine.is_slow().await;
        server.lose_connections();
        let ended = run.ends(SILENCE + wait::LIMIT).await;
        assert_eq!(ended.state("Succeeded"), "True", "{}", ended.words("Succeeded"));
        nothing_is_open(&ended);
        assert_eq!(machine.slow_runs(), 1, "nothing is done twice");
    });
}

/// A pod that is deleted while it waits for the API server would count as one that crashed.
#[test]
fn an_operator_that_is_told_to_end_while_it_starts_ends_well() {
    e2e("startend", async |site| {
        let server = ApiServer::of(site, &[]).await;
        site.operator.kill();
        server.line(Line::Silent);
        site.operator.start();
        site.operator.stop().await;
        let log = site.operator.log();
        let last = log.rsplit("---- started").next().expect("its log");
        assert!(!last.contains("farrier is at work"), "{log}");
        server.line(Line::Good);
    });
}

/// A silent connection is closed after this time (`SILENCE_LIMIT`, src/cmd/cluster.rs).
const SILENCE: Duration = Duration::from_mins(1);

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its number").port()
}

/// Returns the whole response of a path of the operator's own HTTP server, including the status line.
async fn get(port: u16, path: &str) -> String {
    let asked = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map(|_| answer)
    };
    asked.await.unwrap_or_else(|error| error.to_string())
}
