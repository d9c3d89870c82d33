//! Ports that another program uses: before a run, between two runs, and while the operator is down.

use super::sockets::{free_again, listening, remains};
use crate::harness::https::{Answer, Server};
use crate::harness::payload::{bmc_tool, merge};
use crate::harness::run::to;
use crate::harness::{Conditions, Machine, Run, Site, e2e, outcome, wait};
use farrier::api::NodeUpdate;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};

fn wants(machine: &str, http: u16) -> Value {
    json!({
        "channel": "Callback",
        "operation": "Inventory",
        "selector": {"matchLabels": {"name": machine}},
        "callback": {"httpPort": http, "httpsPort": http + 1},
    })
}

/// Opens a listener of another program, for one address family, with these socket options.
fn listener(address: &str, options: impl Fn(&Socket)) -> Socket {
    let address: SocketAddr = address.parse().expect("an address");
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, None).expect("a socket");
    if address.is_ipv6() {
        socket.set_only_v6(true).expect("IPv6 only");
    }
    options(&socket);
    socket.bind(&address.into()).expect("a free port");
    socket.listen(1).expect("a listener");
    socket
}

/// Returns the pairs of ports on which the operator has listened for a run, in chronological order.
fn pairs(site: &Site, run: &str) -> Vec<(u16, u16)> {
    let log = site.operator.log();
    let lines = log.lines().filter(|line| line.contains("the callback server listens"));
    let lines =
        lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|line| line["run"] == run);
    let port = |line: &Value, name: &str| line[name].as_u64().and_then(|n| u16::try_from(n).ok());
    lines.filter_map(|line| port(&line, "http").zip(port(&line, "https"))).collect()
}

/// A run would get a pair of ports that another program uses in part: one of the two ports, one address or
/// one family, or as a shared port.
#[test]
fn a_pair_of_which_anything_is_taken_is_passed_over() {
    e2e("foreign", async |site| {
        let plain = |_: &Socket| {};
        let shares = |socket: &Socket| {
            socket.set_reuse_address(true).expect("an option");
            socket.set_reuse_port(true).expect("an option");
        };
        // Each case has eight ports of its own. The number is the distance from the first of them to the
        // first pair that is free.
        let cases: Vec<(Vec<Socket>, u16)> = vec![
            (vec![listener("0.0.0.0:64601", plain)], 1),
            (vec![listener("0.0.0.0:64610", plain)], 2),
            (vec![listener("[::]:64617", plain)], 1),
            (vec![listener("127.0.0.1:64625", plain)], 1),
            (vec![listener("[::1]:64634", plain)], 2),
            (vec![listener("10.77.0.1:64641", shares)], 1),
            (vec![listener("[::]:64650", shares), listener("127.0.0.1:64651", plain)], 3),
            (vec![], 0),
        ];
        let before = listening(64601..=64664);
        let machines = site.machine("m").up_many(cases.len()).await;
        let mut runs = Vec::new();
        for (n, machine) in machines.iter().enumerate() {
            let first = 64601 + 8 * u16::try_from(n).expect("few");
            runs.push((site.run(&format!("r{n}"), wants(&machine.name, first)).await, first));
        }
        for ((run, first), (_, distance)) in runs.iter().zip(&cases) {
            run.succeeds().await;
            assert_eq!(pairs(site, &run.name), [(first + distance, first + distance + 1)], "{}", run.name);
        }
        free_again(&(64601..=64664), &before).await;

        // Another program uses a port between two runs, and releases it again.
        let between = listener("0.0.0.0:64657", plain);
        let second = site.run("second", wants("m-001", 64657)).await;
        second.succeeds().await;
        assert_eq!(pairs(site, "second"), [(64658, 64659)]);
        drop(between);
        let third = site.run("third", wants("m-001", 64657)).await;
        third.succeeds().await;
        assert_eq!(
            pairs(site, "third"),
            [(64657, 64658)],
            "a port that was in use for one run is tried again for the next"
        );
    });
}

/// Starts a run, and waits until its first step runs on two machines: one that may fall back to the
/// channel `Session`, and one that may not.
async fn at_work(site: &Site, http: u16) -> (Vec<Machine>, Run<'_>) {
    let machines = vec![
        site.machine("free").up().await,
        site.machine("pinned").spec(json!({"channel": "Callback"})).up().await,
    ];
    site.baseline("spring", &[site.held(), bmc_tool("3.1")]).await;
    let mut spec = to("spring");
    merge(&mut spec, json!({"channel": "Callback", "callback": {"httpPort": http, "httpsPort": http + 1}}));
    let run = site.run("r1", spec).await;
    for machine in &machines {
        machine.is_slow().await;
    }
    assert_eq!(pairs(site, "r1"), [(http, http + 1)]);
    (machines, run)
}

async fn all_is_installed_once(run: &Run<'_>, machines: &[Machine]) {
    for machine in machines {
        machine.release_steps().await;
    }
    run.succeeds().await;
    for machine in machines {
        let update = run.node(&machine.name).await;
        assert_eq!(machine.slow_runs(), 1, "{}", machine.name);
        for component in ["slow", "bmc-tool"] {
            assert_eq!(
                outcome(&update, component),
                "Updated",
                "{}: {}",
                machine.name,
                update.words("Succeeded")
            );
        }
    }
}

/// A restarted operator could not use its ports for minutes. The kernel keeps a connection of the killed
/// operator to a machine that is off the network for that long. A machine that answers would not show
/// the problem, because the next packet of its engine resets the connection.
#[test]
fn a_restarted_operator_has_the_same_ports_at_once() {
    e2e("again", async |site| {
        let (machines, run) = at_work(site, 64671).await;
        machines[0].labctl("unplug").await;
        site.operator.kill();
        assert!(remains(64672) > 0, "the kernel keeps no connection");
        site.operator.start();
        wait::until("the ports to be open again", wait::LIMIT, async || {
            let held = listening(64671..=64690);
            if held.len() == 4 { Ok(()) } else { Err(format!("{held:?}")) }
        })
        .await;
        machines[0].labctl("plug").await;
        all_is_installed_once(&run, &machines).await;
        assert_eq!(pairs(site, "r1"), [(64671, 64672); 2]);
    });
}

/// If another program uses the operator's port after a restart, engines would go on connecting to the old
/// port, where no operator answers.
#[test]
fn engines_get_the_new_port_when_the_old_one_is_lost() {
    e2e("moved", async |site| {
        let (machines, run) = at_work(site, 64691).await;
        site.operator.kill();
        let thief = TcpListener::bind("[::]:64692").expect("the port of the operator that was killed");
        site.operator.start();
        run.until("other ports", |run| {
            let status = run.status.clone().unwrap_or_default();
            let ports = status.callback.map(|c| c.ports).unwrap_or_default();
            ports.first().is_some_and(|p| (p.http_port, p.https_port) == (64693, 64694))
        })
        .await;
        wait::until("both engines to connect again", wait::LIMIT, async || {
            let calls = site.operator.log().matches("the engine has connected").count();
            if calls >= 2 * machines.len() { Ok(()) } else { Err(format!("{calls} connections")) }
        })
        .await;
        all_is_installed_once(&run, &machines).await;
        drop(thief);
        free_again(&(64691..=64710), &BTreeSet::new()).await;
    });
}

/// If no other port is free, the results of work that has started would be lost.
#[test]
fn started_work_is_reported_when_all_ports_are_lost() {
    e2e("bereft", async |site| {
        site.operator.kill();
        site.operator.options(&[
            "--pod-ips=10.77.0.1",
            "--host-ips=10.77.0.1,fd77::1",
            "--host-ports=64711+2",
        ]);
        site.operator.start();
        let (machines, run) = at_work(site, 64711).await;
        site.operator.kill();
        let thief = TcpListener::bind("[::]:64711").expect("the port of the operator that was killed");
        site.operator.start();
        let told = run.until("the reason", |run| run.reason("Exposed") == "PortsExhausted").await;
        assert!(told.words("Exposed").contains("64711"), "{}", told.words("Exposed"));
        run.node_until("pinned", "the wait for the ports", |update| {
            update.reason("CallbackReachable") == "Exposing"
        })
        .await;
        all_is_installed_once(&run, &machines).await;
        drop(thief);
        free_again(&(64711..=64712), &BTreeSet::new()).await;
    });
}

fn waits_for_ports(update: &NodeUpdate) -> bool {
    let waiting = update.status.as_ref().and_then(|status| status.waiting.as_ref());
    waiting.is_some_and(|waiting| waiting.reason == "Exposing")
}

/// A machine that allows no other channel, and on which no work has started, would fail for good because
/// another program used the operator's port for a minute.
#[test]
fn a_pinned_machine_that_has_begun_nothing_waits_for_its_ports_and_then_goes_on() {
    e2e("patient", async |site| {
        site.operator.kill();
        site.operator.options(&[
            "--pod-ips=10.77.0.1",
            "--host-ips=10.77.0.1,fd77::1",
            "--host-ports=64771+2",
        ]);
        site.operator.start();
        site.machine("pinned").spec(json!({"channel": "Callback"})).up().await;
        let server = Server::start(site).await;
        site.secret("repository", &[("ca.crt", &server.ca)]).await;
        let script = b"#!/bin/sh\necho 2.0 >/etc/late.version\n";
        let late = site.payload("late.sh", "2.0", "Script", script).with(json!({
            "name": "late",
            "detect": {"file": "/etc/late.version"},
            "payload": {"url": server.at("/late.sh", Answer::Stalled(script.to_vec())), "secretRef": {"name": "repository"}},
        }));
        site.baseline("spring", &[late]).await;
        let mut spec = to("spring");
        merge(&mut spec, json!({"channel": "Callback", "callback": {"httpPort": 64771, "httpsPort": 64772}}));
        merge(&mut spec, json!({"arrivalTimeout": "2m"}));
        let run = site.run("r1", spec).await;
        server.is_asked("/late.sh").await;
        site.operator.kill();
        let thief = TcpListener::bind("[::]:64771").expect("the port of the operator that was killed");
        server.release();
        site.operator.start();
        let update = run
            .node_until(
                "pinned",
                "the engine to be found and the wait for the ports to be reported",
                |update| {
                    let ended = update.state("Succeeded") != "Unknown";
                    ended
                        || update.reason("CallbackReachable") == "Exposing"
                            && update.state("EngineDeployed") == "True"
                            && waits_for_ports(update)
                },
            )
            .await;
        let words = update.words("CallbackReachable");
        assert_eq!(update.state("CallbackReachable"), "Unknown", "{words}");
        let waiting = update.status.clone().expect("a status").waiting.expect("a wait");
        let until = waiting.until.expect("a deadline").0;
        assert!(until > jiff::Timestamp::now(), "{words}");
        let shown = jiff::Timestamp::from_second(until.as_second()).expect("a time").to_string();
        assert!(words.contains(&format!("until {shown}")), "{words}");
        assert!(words.contains("--wait-seconds") && words.contains("spec.arrivalTimeout"), "{words}");
        drop(thief);
        run.succeeds().await;
        let update = run.node("pinned").await;
        assert_eq!(outcome(&update, "late"), "Updated");
        assert_eq!(update.state("CallbackReachable"), "True", "{}", update.words("CallbackReachable"));
        assert_eq!(update.status.expect("a status").attempt, Some(1));
        free_again(&(64771..=64772), &BTreeSet::new()).await;
    });
}
