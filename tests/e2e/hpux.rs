//! HP-UX (its double) as a machine: `tests/conformance/hpux.rs` has what needs no operator and no network.

use crate::bmc::updates::{BMCS, image, with};
use crate::harness::payload::{Component, merge};
use crate::harness::run::to;
use crate::harness::{Conditions, Machine, Run, Site, e2e, outcome};
use farrier::api::node_update::FetchProtocol;
use farrier::api::{ManagedNode, NodeUpdate, UpdateRun};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::process::Command;

/// The ports of the first test's runs, which no other test has. Those of the others here follow.
const PORTS: [u16; 2] = [63471, 63472];

fn depot(site: &Site, product: &str, revision: &str, options: &[&str]) -> Component {
    let file = site.path(&format!("{product}.depot"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doubles/hpux/make-depot");
    let made = Command::new(script).arg(&file).args([product, revision]).args(options).status();
    assert!(made.expect("make-depot").success());
    let bytes = std::fs::read(file).expect("a depot");
    let component = site.payload(&product.to_lowercase(), revision, "SwinstallDepot", &bytes);
    component.with(json!({"detect": {"package": product}}))
}

fn with_ports(mut spec: Value, [http, https]: [u16; 2]) -> Value {
    merge(&mut spec, json!({"callback": {"httpPort": http, "httpsPort": https}}));
    spec
}

async fn shut(machine: &Machine, port: u16) {
    let rules = format!(
        "nft add table inet way && nft add chain inet way out '{{ type filter hook output priority 0; }}' && nft add rule inet way out tcp dport {port} reject with tcp reset"
    );
    machine.sh(&rules).await;
}

async fn names(run: &Run<'_>, node: &str, port: u16) {
    let update = run.node(node).await;
    let words = update.words("CallbackReachable");
    assert_eq!(update.state("CallbackReachable"), "False", "{words}");
    let other = if port == PORTS[0] { PORTS[1] } else { PORTS[0] };
    assert!(words.contains(&format!(":{port}: refused")), "{words}");
    assert!(words.contains("from the machine to the runner"), "{words}");
    assert!(!words.contains(&format!(":{other}: refused")), "{words}");
    assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
}

/// The run says that one of its two machines was done, and that this one was not reached, and why.
fn marks(ended: &UpdateRun, unreached: &str) {
    let status = ended.status.as_ref().expect("a status");
    let [failing] = status.failing.as_slice() else { panic!("{:?}", status.failing) };
    assert_eq!(failing.node, unreached, "{failing:?}");
    assert!(!failing.message.is_empty() && !failing.reason.is_empty(), "{failing:?}");
    let counts = &status.counts;
    assert_eq!((counts.succeeded, counts.unreachable, counts.failed), (1, 1, 0), "{counts:?}");
}

/// Row N3: behind a firewall that nobody knows of, an HP-UX machine would be inventoried, and never updated.
#[test]
fn hp_ux_names_a_port_back_that_is_shut_and_fetches_when_both_are_open() {
    e2e("hpux", async |site| {
        let builder = site.machine("hp1").lab(&["--flavour", "hpux"]).spec(json!({"type": "HPUX"}));
        let hp1 = builder.up().await;
        site.baseline("spring", &[depot(site, "Tool", "A.02.00", &[])]).await;
        let inventory = with_ports(json!({"operation": "Inventory", "selector": {}}), PORTS);
        for (name, port, spec) in [
            ("i1", PORTS[0], inventory.clone()),
            ("i2", PORTS[1], inventory),
            ("u1", PORTS[0], with_ports(to("spring"), PORTS)),
        ] {
            shut(&hp1, port).await;
            let run = site.run(name, spec).await;
            run.fails().await;
            names(&run, "hp1", port).await;
            hp1.sh("nft delete table inet way").await;
        }
        // Row N12: its management processor is in another network, which cannot be reached.
        site.secret("mp", &[("username", "admin"), ("password", "x")]).await;
        let mp = json!({
            "apiVersion": "farrier.dev/v1alpha1", "kind": "ManagedNode",
            "metadata": {"name": "mp"},
            "spec": {"type": "ILO", "addresses": ["10.77.255.250"], "credentialsRef": {"name": "mp"}},
        });
        site.create::<ManagedNode>(&mp).await.expect("a ManagedNode");
        let managed = Patch::Merge(json!({"spec": {"managedBy": {"name": "mp"}}}));
        let nodes = site.api::<ManagedNode>();
        nodes.patch("hp1", &PatchParams::default(), &managed).await.expect("a ManagedNode");
        let run = site.run("u2", with_ports(to("spring"), PORTS)).await;
        let seen = run.node_until("hp1", "it fetches", |update| {
            update.status.as_ref().is_some_and(|status| status.fetches_by == Some(FetchProtocol::HTTPS))
        });
        seen.await;
        let ended = run.fails().await;
        marks(&ended, "mp");
        let update = run.node("hp1").await;
        assert_eq!(outcome(&update, "tool"), "Updated");
        assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
        assert_eq!(hp1.file("/opt/Tool/version").as_deref().map(str::trim), Some("Tool A.02.00"));
    });
}

/// Row N12, the other way round: an MP would be left out because its host is in a network that cannot be reached, or the
/// host without a word.
#[test]
fn an_integrity_server_is_done_where_it_is_reached_and_marked_where_it_is_not() {
    e2e("hpuxmp", async |site| {
        let (_, type_, firmware) = BMCS[3];
        let (mp, _) = with(site, "ilo5", type_, &firmware, image()).await;
        let spec = json!({"type": "HPUX", "managedBy": {"name": mp.name}});
        let hp1 = site.machine("hp1").lab(&["--flavour", "hpux"]).spec(spec).up().await;
        site.baseline("both", &[firmware.component(site, image()), depot(site, "Tool", "A.02.00", &[])])
            .await;
        let mut spec = with_ports(to("both"), [63473, 63474]);
        merge(&mut spec, json!({"strategy": {"retries": 0}}));

        let rules = "nft add table inet host && nft add chain inet host in '{ type filter hook input priority 0; }' && nft add rule inet host in tcp dport 22 drop";
        hp1.sh(rules).await;
        let run = site.run("mp-only", spec.clone()).await;
        let ended = run.fails().await;
        marks(&ended, "hp1");
        assert_eq!(outcome(&run.node(&mp.name).await, firmware.name), "Updated");
        let update = run.node("hp1").await;
        assert_eq!((update.state("Succeeded"), update.reason("Succeeded")), ("False", "ConnectionTimedOut"));
        assert_eq!(hp1.file("/opt/Tool/version"), None);

        hp1.sh("nft delete table inet host").await;
        let run = site.run("both", spec).await;
        run.succeeds().await;
        assert_eq!(outcome(&run.node(&mp.name).await, firmware.name), "UpToDate");
        assert_eq!(outcome(&run.node("hp1").await, "tool"), "Updated");
        assert_eq!(hp1.file("/opt/Tool/version").as_deref().map(str::trim), Some("Tool A.02.00"));
    });
}

/// A machine whose software cannot be listed would be installed on anew, and one whose software is locked would fail,
/// without a word of who has the lock.
#[test]
fn hp_ux_is_left_alone_while_its_software_cannot_be_listed_and_waited_for_while_it_is_locked() {
    e2e("hpuxlock", async |site| {
        let builder = site.machine("hp1").lab(&["--flavour", "hpux"]).spec(json!({"type": "HPUX"}));
        let hp1 = builder.up().await;
        site.baseline("spring", &[depot(site, "Tool", "A.02.00", &[])]).await;
        let mut spec = with_ports(to("spring"), [63475, 63476]);
        merge(&mut spec, json!({"strategy": {"retries": 0}}));

        hp1.sh("touch /opt/hpux-double/state/fault/listing-fails").await;
        let run = site.run("unlisted", spec.clone()).await;
        run.fails().await;
        let update = run.node("hp1").await;
        assert_eq!(update.reason("Succeeded"), "DeviceUnavailable", "{}", update.words("Succeeded"));
        let words = update.words("Succeeded");
        assert!(
            words.contains("swlist -l bundle on hp1 failed (exit code 1): ERROR: Could not contact"),
            "{words}"
        );
        assert_eq!(hp1.file("/opt/Tool/version"), None);
        hp1.sh("rm /opt/hpux-double/state/fault/listing-fails").await;

        let holds = "exec 9>>/var/adm/sw/products/swlock; echo $$ >/tmp/holder; exec sleep 3600";
        hp1.sh(&format!(
            "nohup sh -c '{holds}' </dev/null >/dev/null 2>&1 & while [ ! -s /tmp/holder ]; do sleep 1; done"
        ))
        .await;
        let run = site.run("locked", spec).await;
        let is_waiting = |update: &NodeUpdate| {
            let waiting = update.status.as_ref().and_then(|status| status.waiting.as_ref());
            waiting.is_some_and(|waiting| {
                waiting.reason == "PackageManagerBusy" && waiting.what.contains("sleep 3600")
            })
        };
        run.node_until("hp1", "it waits for the lock", is_waiting).await;
        hp1.sh("kill $(cat /tmp/holder)").await;
        run.succeeds().await;
        assert_eq!(outcome(&run.node("hp1").await, "tool"), "Updated");
        assert_eq!(hp1.file("/opt/Tool/version").as_deref().map(str::trim), Some("Tool A.02.00"));
    });
}
