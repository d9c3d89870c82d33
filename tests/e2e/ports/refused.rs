//! Ports that a run requests and cannot have: the run reports why, who holds them, and the remedy.

use crate::harness::payload::merge;
use crate::harness::{Conditions, Run, Site, e2e};
use farrier::api::UpdateRun;
use serde_json::{Value, json};
use std::net::TcpListener;

fn asks(machine: &str, http: u16, https: u16, on_conflict: &str) -> Value {
    json!({
        "channel": "Callback",
        "operation": "Inventory",
        "selector": {"matchLabels": {"name": machine}},
        "callback": {"httpPort": http, "httpsPort": https, "onConflict": on_conflict},
    })
}

/// Waits until a run reports this reason for its ports, then cancels the run.
async fn says(run: &Run<'_>, reason: &str, words: &[&str]) {
    let says = |run: &UpdateRun| run.reason("Exposed") == reason && run.reason("Progressing") == reason;
    let told = run.until(reason, says).await;
    assert_eq!(told.state("Exposed"), "False");
    for word in words {
        assert!(told.words("Exposed").contains(word), "{word}: {}", told.words("Exposed"));
    }
    run.desire("Cancel").await;
    run.fails().await;
}

async fn fails_with(run: &Run<'_>, words: &[&str]) {
    let ended = run.fails().await;
    assert_eq!(ended.reason("Succeeded"), "PortsTaken", "{}", ended.words("Succeeded"));
    for word in words {
        assert!(ended.words("Succeeded").contains(word), "{word}: {}", ended.words("Succeeded"));
    }
}

/// The message "It is taken" would not say by whom: another run, a program, or the operator itself.
#[test]
fn the_holder_of_the_ports_is_named() {
    e2e("whose", async |site| {
        site.operator.kill();
        site.operator.options(&["--http-addr", "127.0.0.1:64721"]);
        site.operator.start();
        let machines = site.machine("m").up_many(4).await;
        site.baseline("held", &[site.held()]).await;

        // A program: this test.
        let own = TcpListener::bind("127.0.0.1:64732").expect("a free port");
        let run = site.run("program", asks("m-001", 64731, 64732, "Fail")).await;
        let process = format!("process {}", std::process::id());
        fails_with(&run, &["port 64732", &process, "onConflict: Next"]).await;
        drop(own);

        // The operator's own port for its health and metrics.
        let run = site.run("health", asks("m-001", 64721, 64722, "Fail")).await;
        fails_with(&run, &["port 64721", "(farrier)"]).await;
        let run = site.run("beside", asks("m-001", 64721, 64722, "Next")).await;
        run.succeeds().await;

        // Another run, which shares one port with each of two others.
        let mut spec = asks("m-002", 64741, 64742, "Fail");
        merge(&mut spec, json!({"operation": "Update", "baselineRef": {"name": "held"}}));
        let first = site.run("first", spec).await;
        first.until("its ports", |run| run.reason("Exposed") == "Exposed").await;
        let run = site.run("crosses", asks("m-003", 64742, 64743, "Fail")).await;
        fails_with(&run, &["port 64742", &format!("run {}/first", site.name)]).await;
        let run = site.run("moves", asks("m-004", 64742, 64743, "Next")).await;
        let open = run.until("its ports", |run| run.reason("Exposed") == "Exposed").await;
        assert!(open.words("Exposed").contains("64743/64744"), "{}", open.words("Exposed"));
        run.succeeds().await;
        machines[1].release_steps().await;
        first.succeeds().await;
    });
}

/// Ports below 1024 need a capability that a hardened operator does not have.
#[test]
fn a_privileged_port_is_refused_with_the_required_capability() {
    e2e("lowport", async |site| {
        site.operator.kill();
        site.operator.through(&[
            "setpriv",
            "--bounding-set=-net_bind_service",
            "--inh-caps=-net_bind_service",
        ]);
        site.operator.start();
        site.machine("m").up_many(1).await;
        let run = site.run("low", asks("m-001", 881, 882, "Next")).await;
        says(&run, "PortNotPermitted", &["port 881", "NET_BIND_SERVICE", "spec.callback"]).await;
        site.run("high", asks("m-001", 64751, 64752, "Next")).await.succeeds().await;
    });
}

/// A block of three ports has one pair. A second run waits for the pair and then gets it. A run that
/// requests only ports that the pod does not have gets a list of the pod's ports.
#[test]
fn a_block_gives_only_the_ports_that_it_has() {
    e2e("odd", async |site| {
        pod(site, "64761+3");
        let machines = site.machine("m").up_many(2).await;
        site.baseline("held", &[site.held()]).await;
        let run = site.run("outside", asks("m-001", 64764, 64765, "Fail")).await;
        says(&run, "PortsInvalid", &["64761 to 64763", "64764/64765", "hostPorts"]).await;
        let mut spec = asks("m-001", 64762, 64763, "Next");
        merge(&mut spec, json!({"operation": "Update", "baselineRef": {"name": "held"}}));
        let first = site.run("first", spec).await;
        first.until("its ports", |run| run.reason("Exposed") == "Exposed").await;
        let second = site.run("second", asks("m-002", 64761, 64762, "Next")).await;
        let told = second.until("the reason", |run| run.reason("Exposed") == "PortsExhausted").await;
        let words = told.words("Exposed");
        assert!(words.contains("64761 to 64763: 2 are allocated to runs, 0 are used by others"), "{words}");
        machines[0].release_steps().await;
        first.succeeds().await;
        second.succeeds().await;
    });
}

/// Starts an operator that believes it is a pod with these host ports.
fn pod(site: &Site, host_ports: &str) {
    site.operator.kill();
    site.operator.options(&[
        "--pod-ips=10.77.0.1",
        "--host-ips=10.77.0.1,fd77::1",
        "--pod-selector=app=farrier",
        &format!("--host-ports={host_ports}"),
    ]);
    site.operator.start();
}
