//! HP-UX (its double) as a machine: `tests/conformance/hpux.rs` has what needs no operator and no network.

use crate::harness::payload::{Component, merge};
use crate::harness::run::to;
use crate::harness::{Conditions, Machine, Run, Site, e2e, outcome};
use farrier::api::ManagedNode;
use farrier::api::node_update::FetchProtocol;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::process::Command;

/// The ports of the runs here, which no other test has.
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

fn with_ports(mut spec: Value) -> Value {
    let [http, https] = PORTS;
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

/// Row N3: behind a firewall that nobody knows of, an HP-UX machine would be inventoried, and never updated.
#[test]
fn hp_ux_names_a_port_back_that_is_shut_and_fetches_when_both_are_open() {
    e2e("hpux", async |site| {
        let builder = site.machine("hp1").lab(&["--flavour", "hpux"]).spec(json!({"type": "HPUX"}));
        let hp1 = builder.up().await;
        site.baseline("spring", &[depot(site, "Tool", "A.02.00", &[])]).await;
        let inventory = with_ports(json!({"operation": "Inventory", "selector": {}}));
        for (name, port, spec) in [
            ("i1", PORTS[0], inventory.clone()),
            ("i2", PORTS[1], inventory),
            ("u1", PORTS[0], with_ports(to("spring"))),
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
        let run = site.run("u2", with_ports(to("spring"))).await;
        let seen = run.node_until("hp1", "it fetches", |update| {
            update.status.as_ref().is_some_and(|status| status.fetches_by == Some(FetchProtocol::HTTPS))
        });
        seen.await;
        let ended = run.fails().await;
        let failing = ended.status.expect("a status").failing;
        assert!(failing.iter().all(|failing| failing.node == "mp") && failing.len() == 1, "{failing:?}");
        let update = run.node("hp1").await;
        assert_eq!(outcome(&update, "tool"), "Updated");
        assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
        assert_eq!(hp1.file("/opt/Tool/version").as_deref().map(str::trim), Some("Tool A.02.00"));
    });
}
