//! The main job: machines of every kind are updated to their baseline, verified and left clean.

use crate::harness::machine::Builder;
use crate::harness::payload::{Component, agent, agent_rpm, bmc_tool, ethtool};
use crate::harness::run::{component, to};
use crate::harness::writes::Writes;
use crate::harness::{Conditions, Machine, Reach, Run, Site, e2e, outcome, snapshot, wait};
use farrier::api::NodeInventory;
use futures::future::join_all;
use kube::ResourceExt;
use serde_json::json;

/// Farrier would not do its main job.
#[test]
fn a_machine_is_brought_to_its_baseline_proven_and_left_clean() {
    e2e("base", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        site.baseline("spring", &[ethtool(), agent("2.0"), bmc_tool("3.1")]).await;
        let run = site.run("r1", to("spring")).await;
        let ended = run.succeeds().await;
        assert_eq!(ended.reason("Succeeded"), "AllSucceeded");
        let update = run.node("db").await;
        let told = component(&update, "ethtool");
        assert_eq!((told.before.as_str(), told.after.as_str()), ("1:5.9-1", "1:6.1-1"));
        assert_eq!(told.exit_code, Some(0));
        for name in ["ethtool", "farrier-agent", "bmc-tool"] {
            assert_eq!(outcome(&update, name), "Updated", "{name}");
        }
        let proven = ["Reachable", "EngineDeployed", "PayloadVerified", "Applied", "Verified", "TornDown"];
        for type_ in proven {
            assert_eq!(update.state(type_), "True", "{}", update.words(type_));
        }
        assert_eq!(db.file("/etc/bmc-tool.version").as_deref(), Some("3.1\n"));
        let inventory: NodeInventory = site.api().get("db").await.expect("an inventory");
        let packages = inventory.status.expect("a status").packages;
        let found = packages.iter().find(|p| p.name == "ethtool").expect("ethtool in the inventory");
        assert_eq!(found.version, "1:6.1-1", "the inventory was made after the installation");
        let allowed = [snapshot::LOG, snapshot::DPKG, snapshot::ETHTOOL, snapshot::AGENT, snapshot::BMC_TOOL];
        before.same_but(&db.snapshot().await, &allowed);
    });
}

/// Users could not see afterwards what a run did, and in which order.
#[test]
fn the_events_read_as_a_log_of_the_run() {
    e2e("events", async |site| {
        site.machine("db").up().await;
        site.baseline("spring", &[ethtool()]).await;
        site.run("r1", to("spring")).await.succeeds().await;
        let wanted = [
            "Planned UpdateRun/r1: 1 machines: db",
            "Started UpdateRun/r1: started 1: db",
            "Succeeded NodeUpdate/r1-db: db: 1 Updated: ethtool 1:5.9-1 -> 1:6.1-1",
            "AllSucceeded UpdateRun/r1: all 1 nodes succeeded",
        ];
        wait::until("the events", wait::LIMIT, async || {
            let events = site.events().await;
            if events == wanted { Ok(()) } else { Err(format!("{events:#?}")) }
        })
        .await;
    });
}

/// A fleet of a thousand machines would overload the API server and its database with status updates that
/// nobody reads.
#[test]
fn a_machine_costs_the_api_server_few_writes() {
    e2e("writes", async |site| {
        let writes = Writes::of(site).await;
        site.machine("db").up().await;
        site.baseline("spring", &[ethtool()]).await;
        // Creates the machine's inventory.
        site.run("look", json!({"operation": "Inventory"})).await.succeeds().await;
        site.until_event("AllSucceeded UpdateRun/look").await;
        let before = writes.count().await;
        let run = site.run("r1", to("spring")).await;
        run.succeeds().await;
        run.node_until("db", "the NodeUpdate to be released", |update| update.finalizers().is_empty()).await;
        site.until_event("AllSucceeded UpdateRun/r1").await;
        let counts = writes.count().await;
        let written = |what: &str| counts.get(what).unwrap_or(&0) - before.get(what).unwrap_or(&0);
        let of_machine = ["nodeinventories", "managednodes"].map(written);
        assert_eq!(of_machine, [1, 1], "{counts:?} after {before:?}");
        // Three are about the run.
        assert_eq!(written("events"), 3 + 1, "{counts:?} after {before:?}");
        // One write each for creation, start, end and release of the NodeUpdate. On a busy host one or two
        // steps last longer than a second and are written as well.
        assert!(written("nodeupdates") <= 4 + 2, "{counts:?} after {before:?}");
        // The machine's Lease is created and deleted, and not renewed in so short a time.
        assert_eq!(written("leases"), 2, "{counts:?} after {before:?}");
    });
}

/// Machines could not be updated if they have no IPv4, allow only SSH, have only a link-local address, or
/// are given by name.
#[test]
fn machines_are_reached_by_every_kind_of_address_and_through_closed_firewalls() {
    e2e("reach", async |site| {
        let hardened = ["--firewall", "ssh-only", "--no-sftp", "--sshd", "DisableForwarding yes"];
        let machines = up([
            site.machine("v4"),
            site.machine("v6").lab(&["--no-v4"]),
            site.machine("closed").lab(&hardened),
            site.machine("link").lab(&["--no-v4"]).reach(Reach::LinkLocal),
            site.machine("named").reach(Reach::Name).spec(json!({"addressFamilies": ["IPv6"]})),
        ])
        .await;
        let run = all_are_updated(site, &machines).await;
        for (node, beginning) in [("v4", "10.77."), ("v6", "fd77:"), ("link", "fe80:"), ("named", "fd77:")] {
            let address = run.node(node).await.status.expect("a status").address.expect("an address");
            let address = address.trim_start_matches('[');
            assert!(address.starts_with(beginning), "{node} was reached at {address}");
        }
    });
}

/// Machines could be updated only by signing in with root's password.
#[test]
fn every_way_to_sign_in_works() {
    e2e("login", async |site| {
        let first_use = json!({"ssh": {"hostKeys": null, "hostKeyPolicy": "TrustOnFirstUse"}});
        let interactive =
            ["--sshd", "PasswordAuthentication no", "--sshd", "KbdInteractiveAuthentication yes"];
        let machines = up([
            site.machine("key").key("root", "id_ed25519"),
            site.machine("locked-key").key("auto", "id_ed25519_enc").secret("passphrase", "key-secret"),
            site.machine("rsa").key("auto", "id_rsa"),
            site.machine("ecdsa").key("root", "id_ecdsa"),
            site.machine("cert")
                .key("auto", "id_cert")
                .secret("ssh-certificate", &crate::harness::lab::key("id_cert-cert.pub")),
            site.machine("asked").lab(&interactive),
            site.machine("tofu").spec(first_use),
        ])
        .await;
        all_are_updated(site, &machines).await;
        let tofu = site.node("tofu").await;
        assert_eq!(tofu.reason("HostKeyVerified"), "HostKeyRecorded", "{}", tofu.words("HostKeyVerified"));
        let recorded = tofu.status.expect("a status").host_key;
        assert_eq!(recorded.as_ref(), machines.last().map(|m| &m.host_key));
    });
}

/// Machines that do not allow root to sign in could not be updated.
#[test]
fn every_way_to_become_root_works() {
    e2e("root", async |site| {
        let no_root = ["--sshd", "PermitRootLogin no"];
        let by_su = json!({"ssh": {"privilege": "Su"}});
        let machines = up([
            site.machine("sudo").lab(&no_root).login("ops"),
            site.machine("nopasswd").lab(&no_root).login("auto"),
            site.machine("requiretty").lab(&no_root).login("tty"),
            site.machine("rootpw").lab(&no_root).login("rootpw").secret("sudo-password", "root-secret"),
            site.machine("su").lab(&no_root).login("nosudo").secret("su-password", "root-secret").spec(by_su),
        ])
        .await;
        all_are_updated(site, &machines).await;
    });
}

/// Machines whose SSH server allows one session at a time could not be updated.
#[test]
fn one_session_at_a_time_is_enough_for_the_whole_work() {
    e2e("session", async |site| {
        let one = ["--sshd", "MaxSessions 1"];
        let by_su = json!({"ssh": {"privilege": "Su"}});
        let machines = up([
            site.machine("root").lab(&one),
            site.machine("sudo").lab(&one).login("ops"),
            site.machine("requiretty").lab(&one).login("tty"),
            site.machine("su").lab(&one).login("nosudo").secret("su-password", "root-secret").spec(by_su),
        ])
        .await;
        all_are_updated(site, &machines).await;
    });
}

/// A machine could not be updated because the login shell of the account is unusual or prints a greeting.
#[test]
fn every_login_shell_will_do() {
    e2e("shell", async |site| {
        let machines = up(["fishy", "cshy", "chatty"].map(|user| site.machine(user).login(user))).await;
        all_are_updated(site, &machines).await;
    });
}

/// A fleet with more than one distribution could not be updated with one baseline.
#[test]
fn one_baseline_serves_debian_rpm_and_a_machine_with_nothing_but_busybox() {
    e2e("kinds", async |site| {
        let machines = up([
            site.machine("deb"),
            site.machine("rpm").lab(&["--flavour", "rpm"]),
            site.machine("mini").lab(&["--flavour", "minimal"]),
        ])
        .await;
        let before = snapshot::of_all(&machines).await;
        let only =
            |component: Component, os: &str| component.with(json!({"appliesTo": {"match": {"os": os}}}));
        let rpm =
            agent_rpm("2.0-1").with(json!({"name": "agent-rpm", "detect": {"package": "farrier-agent"}}));
        site.baseline("spring", &[only(ethtool(), "debian"), only(rpm, "rpmlab"), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        run.succeeds().await;
        for (node, ethtool, agent) in [
            ("deb", "Updated", "NotApplicable"),
            ("rpm", "NotApplicable", "Updated"),
            ("mini", "NotApplicable", "NotApplicable"),
        ] {
            let update = run.node(node).await;
            let found = ["ethtool", "agent-rpm", "bmc-tool"].map(|name| outcome(&update, name));
            assert_eq!(found, [ethtool, agent, "Updated"], "{node}");
        }
        let update = run.node("rpm").await;
        let told = component(&update, "agent-rpm");
        assert_eq!((told.before.as_str(), told.after.as_str()), ("1.0-1", "2.0-1"));
        let allowed = [
            [snapshot::DPKG, snapshot::ETHTOOL].concat(),
            [snapshot::RPM, &["/usr/bin/farrier-agent"]].concat(),
            Vec::new(),
        ];
        for ((machine, before), allowed) in machines.iter().zip(&before).zip(allowed) {
            before.same_but(&machine.snapshot().await, &[snapshot::LOG, snapshot::BMC_TOOL, &allowed]);
        }
    });
}

async fn up<const N: usize>(machines: [Builder<'_>; N]) -> Vec<Machine> {
    join_all(machines.map(Builder::up)).await
}

/// Updates all machines to ethtool 6.1 in one run, and compares their snapshots from before and after.
async fn all_are_updated<'a>(site: &'a Site, machines: &[Machine]) -> Run<'a> {
    let before = snapshot::of_all(machines).await;
    site.baseline("spring", &[ethtool()]).await;
    let run = site.run("r1", to("spring")).await;
    run.succeeds().await;
    for machine in machines {
        let update = run.node(&machine.name).await;
        assert_eq!(outcome(&update, "ethtool"), "Updated", "{}", machine.name);
    }
    let after = snapshot::of_all(machines).await;
    snapshot::all_same_but(&before, &after, &[snapshot::LOG, snapshot::DPKG, snapshot::ETHTOOL]);
    run
}
