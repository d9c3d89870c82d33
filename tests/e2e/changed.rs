//! Changes by others while an engine is at work: the machine's password, the address behind its name,
//! its spec; and a firewall on the operator's own host.

use crate::callback::{calling, channel, nothing_is_open};
use crate::harness::https::{Answer, Server};
use crate::harness::payload::{bmc_tool, merge, of_bytes};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Machine, Reach, Site, e2e, lab, outcome, wait};
use farrier::api::managed_node::Channel;
use farrier::api::{ManagedNode, condition};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// A nightly rotation of passwords would fail the updates in progress, and leave a half-done
/// installation that is not reported.
#[test]
fn a_password_that_is_rotated_during_a_step_is_read_again_from_the_secret() {
    e2e("rotated", async |site| {
        let db = site.machine("db").up().await;
        site.baseline("spring", &[site.held(), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        db.is_slow().await;
        db.sh("echo root:another-secret | chpasswd").await;
        let patch = Patch::Merge(json!({"stringData": {"password": "another-secret"}}));
        site.api::<Secret>().patch("db", &PatchParams::default(), &patch).await.expect("a patched Secret");
        end_ssh(&db).await;
        wait::until("another login", wait::LIMIT, async || {
            let log = db.labctl("log").await;
            if log.matches("Accepted password for root").count() > 1 { Ok(()) } else { Err(log) }
        })
        .await;
        db.release_steps().await;
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!((db.slow_runs(), outcome(&update, "slow")), (1, "Updated"));
        assert_eq!(component(&update, "slow").exit_code, Some(0), "the engine has reported the exit code");
        assert_eq!(outcome(&update, "bmc-tool"), "Updated");
        assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
        let refused = db.labctl("log").await.matches("Failed password for root").count();
        assert_eq!(refused, 1, "the old password was offered again");
    });
}

/// A rotation of certificates would fail the updates in progress for good, although the Secret has the
/// right certificate; and a slow source would look like an update that does nothing.
#[test]
fn a_certificate_of_a_source_that_is_rotated_during_an_attempt_is_read_again() {
    e2e("newca", async |site| {
        let db = site.machine("db").up().await;
        let (server, old) = (Server::start(site).await, Server::self_signed(site).await);
        site.secret("source", &[("ca.crt", &old.ca)]).await;
        let bytes = b"#!/bin/sh\necho 1.0 >/etc/tool.version\n";
        let url = server.at("/tool.sh", Answer::Stalled(bytes.to_vec()));
        let survey = "touch /tmp/surveyed; until [ -e /tmp/go ]; do sleep 0.1; done; cat /etc/tool.version";
        let tool = of_bytes("tool", "1.0", "Script", "tool", bytes)
            .with(json!({"detect": {"command": survey}}))
            .with(json!({"payload": {"url": url, "secretRef": {"name": "source"}}}));
        site.baseline("spring", &[tool]).await;
        let run = site.run("r1", to("spring")).await;
        db.sh("for i in $(seq 300); do [ -e /tmp/surveyed ] && exit; sleep 0.1; done; exit 1").await;
        let patch = Patch::Merge(json!({"stringData": {"ca.crt": server.ca}}));
        site.api::<Secret>().patch("source", &PatchParams::default(), &patch).await.expect("patched");
        db.sh("touch /tmp/go").await;
        server.is_asked("/tool.sh").await;
        let fetching = run
            .node_until("db", "the fetch to be shown", |update| {
                let waiting = update.status.as_ref().and_then(|status| status.waiting.as_ref());
                waiting.is_some_and(|waiting| waiting.what == "the payload of component tool")
            })
            .await;
        assert_eq!(fetching.status.and_then(|status| status.attempt), Some(1));
        server.release();
        run.succeeds().await;
        assert_eq!(outcome(&run.node("db").await, "tool"), "Updated");
    });
}

/// Kills every SSH session on the machine.
async fn end_ssh(machine: &Machine) {
    let init = machine.init();
    let sessions = machine.processes().into_iter().filter(|(pid, args)| {
        Some(*pid) != init && args.first().is_some_and(|name| name.starts_with("sshd"))
    });
    let pids: Vec<String> = sessions.map(|(pid, _)| pid.to_string()).collect();
    assert!(!pids.is_empty(), "there is a session to kill");
    lab::output("kill", [&["-9".to_owned()], pids.as_slice()].concat()).await;
}

/// A tool that waits for `observedGeneration` would take results about the old spec for results about
/// the new one.
#[test]
fn results_of_a_run_are_reported_for_the_spec_that_it_used() {
    e2e("edited", async |site| {
        let db = site.machine("db").up().await;
        site.baseline("spring", &[site.held()]).await;
        let run = site.run("r1", to("spring")).await;
        db.is_slow().await;
        let before = site.node("db").await.metadata.generation;
        let patch = Patch::Merge(json!({"spec": {"addresses": [db.v4, "10.77.255.254"]}}));
        let api = site.api::<ManagedNode>();
        let edited = api.patch("db", &PatchParams::default(), &patch).await.expect("patched");
        assert_ne!(edited.metadata.generation, before);
        let generation = |node: &ManagedNode, type_: &str| {
            let conditions = node.status.as_ref().map(|status| status.conditions.as_slice());
            condition::find(conditions.unwrap_or_default(), type_).and_then(|c| c.observed_generation)
        };
        wait::until("the edit to be observed", wait::LIMIT, async || {
            let node = site.node("db").await;
            if generation(&node, "Ready") == edited.metadata.generation {
                Ok(())
            } else {
                Err(format!("{node:?}"))
            }
        })
        .await;
        db.release_steps().await;
        run.succeeds().await;
        let node = wait::until("the result of the run, and the edit after it", wait::LIMIT, async || {
            let node = site.node("db").await;
            let status = node.status.clone().unwrap_or_default();
            let is_told = node.state("InBaseline") == "True";
            let is_observed = status.observed_generation == edited.metadata.generation;
            if is_told && is_observed { Ok(node) } else { Err(format!("{status:#?}")) }
        })
        .await;
        for type_ in ["Reachable", "Authenticated", "HostKeyVerified", "InBaseline"] {
            assert_eq!(generation(&node, type_), before, "{type_}");
        }
        assert!(
            node.words("Ready").contains("before the last change of its spec"),
            "{}",
            node.words("Ready")
        );
    });
}

/// A machine gets another address from DHCP, and DNS has it a little later: the engine would be
/// rejected for the rest of the run.
#[test]
fn an_engine_with_a_new_address_is_admitted_once_dns_has_it() {
    e2e("renamed", async |site| {
        let db = site.machine("db").lab(&["--no-v6"]).reach(Reach::Name).up().await;
        site.baseline("spring", &[site.held(), bmc_tool("3.1")]).await;
        let run = site.run("r1", calling("spring")).await;
        db.is_slow().await;
        run.node_until("db", "the engine's call", |u| u.reason("CallbackReachable") == "CallbackReachable")
            .await;
        let (old, new) = (db.v4.clone().expect("an address"), "10.77.241.1");
        db.sh(&format!("ip address del {old}/16 dev eth0; ip address add {new}/16 dev eth0")).await;
        let learn = format!(
            "flock \"$LAB/hosts\" sh -c 'kept=$(grep -v \" {host}$\" /etc/hosts); printf \"%s\\n%s\\n\" \"$kept\" \"{new} {host}\" >/etc/hosts'",
            host = db.host
        );
        lab::output("sh", ["-euc", &learn]).await;
        run.node_until("db", "a connection from the new address", |u| {
            u.state("CallbackReachable") == "True" && u.words("CallbackReachable").contains(new)
        })
        .await;
        db.release_steps().await;
        nothing_is_open(&run.succeeds().await);
        let update = run.node("db").await;
        assert_eq!((db.slow_runs(), outcome(&update, "slow")), (1, "Updated"));
        assert_eq!(channel(&run, "db").await, Some(Channel::Callback));
        assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
    });
}

/// Adds rules on the operator's own host, for this run's port alone.
async fn host_firewall(site: &Site, port: u16, verdict: &str) {
    let table = site.name.replace('-', "_");
    let rules = format!(
        "add table inet {table}; add chain inet {table} in {{ type filter hook input priority 0; }};
         add rule inet {table} in tcp dport {port} {verdict}"
    );
    lab::output("nft", [rules]).await;
}

/// Users would search the machines' firewalls for days, while the operator's host drops the packets.
#[test]
fn a_firewall_of_the_operators_own_host_is_named_as_a_possible_cause() {
    e2e("hostfw", async |site| {
        let runs = [
            ("silent", 64571, "drop", "CallbackTimedOut"),
            ("rejected", 64573, "reject with icmpx admin-prohibited", "CallbackRejected"),
            ("reset", 64575, "reject with tcp reset", "CallbackRejected"),
        ];
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let mut begun = Vec::new();
        for (name, port, verdict, reason) in runs {
            site.machine(name).label("rack", name).up().await;
            host_firewall(site, port + 1, verdict).await;
            let mut spec = calling("spring");
            merge(&mut spec, json!({"selector": {"matchLabels": {"rack": name}}}));
            merge(&mut spec, json!({"callback": {"httpPort": port, "httpsPort": port + 1}}));
            begun.push((site.run(name, spec).await, name, port + 1, reason));
        }
        for (run, name, port, reason) in begun {
            run.succeeds().await;
            let update = run.node(name).await;
            let words = update.words("CallbackReachable");
            assert_eq!(update.reason("CallbackReachable"), reason, "{words}");
            for word in [
                format!("TCP 10.77.0.1:{port}").as_str(),
                "from the machine to the runner",
                "that of the operator's host for incoming",
                "farrier ports",
            ] {
                assert!(words.contains(word), "{name}: {word}: {words}");
            }
            assert_eq!(channel(&run, name).await, Some(Channel::Session), "{name}");
        }
    });
}
