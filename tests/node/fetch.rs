//! BMCs outside of the cluster fetch their images from a pod, through policies that let nobody else in.

use crate::harness::lab::output;
use crate::harness::payload::of_bytes;
use crate::harness::run::to;
use crate::harness::{Conditions, Machine, Run, Site, outcome, wait};
use crate::release::{Release, on_node};
use crate::traces::connect;
use farrier::api::ManagedNode;
use farrier_bmc_double::image::{Header, Target};
use farrier_bmc_double::{Config, Double, Settings, Variant};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tokio::net::TcpStream;

/// Where the doubles are: the lab's own address, from which they fetch too.
const BMCS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));

/// The node.
const NODE: &str = "10.77.0.2";

/// Host ports of this test.
const HOST_PORTS: [&str; 2] = ["hostPorts.first=63001", "hostPorts.count=6"];

/// A double that takes no push.
async fn double(site: &Site, variant: &str, firmware: &str) -> Double {
    let variants = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doubles/bmc/variants");
    let text = std::fs::read_to_string(format!("{variants}/{variant}.json")).expect("a variant");
    let mut data: Value = serde_json::from_str(&text).expect("JSON");
    json_patch::merge(&mut data, &json!({"update": {"push": null, "multipart": null}}));
    let file = site.path(&format!("{variant}.json"));
    std::fs::write(&file, data.to_string()).expect("a file");
    let mut config = Config::new(Variant::of_file(&file).expect("a variant"));
    config.address = BMCS;
    // Time to look at the policies while the machine is at work.
    config.settings = Settings { flash_ms: 10_000, verify_server: true, ..config.settings };
    let double = Double::start(config).await.expect("a double that listens");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": variant},
        "stringData": {"username": "admin", "password": "password"},
    });
    site.create::<Secret>(&secret).await.expect("a Secret");
    let node = json!({
        "apiVersion": "farrier.dev/v1alpha1", "kind": "ManagedNode",
        "metadata": {"name": variant, "labels": {"name": variant}},
        "spec": {
            "type": "Redfish", "addresses": [BMCS.to_string()], "credentialsRef": {"name": variant},
            "port": double.https().port(), "tls": {"policy": "TrustOnFirstUse"},
        },
    });
    site.create::<ManagedNode>(&node).await.expect("a ManagedNode");
    let header = Header {
        targets: vec![Target { device: "bmc".into(), version: "9.9".into() }],
        models: Vec::new(),
        payload_bytes: 1000,
        bad_signature: false,
        breaks_at_percent: None,
        needs_compsig: false,
        updatable_by: Vec::new(),
    };
    // The release takes small payloads by this ending.
    let (name, bytes) = (format!("{variant}.sh"), header.to_file());
    std::fs::write(site.path("payloads").join(&name), &bytes).expect("a payload");
    let component = of_bytes("bmc", "9.9", "RedfishImage", &name, &bytes);
    let more = json!({"detect": {"firmware": firmware}, "timeout": "2m", "interruptible": true});
    site.baseline(variant, &[component.with(more)]).await;
    double
}

/// Returns the addresses that policies let in at a port.
async fn admitted(release: &Release<'_>, port: u16) -> Vec<String> {
    let asked = ["get", "networkpolicies", "--namespace", &release.namespace, "--output=json"];
    let listed: Value = serde_json::from_str(&output("kubectl", asked).await).expect("JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let rules = list(&listed["items"]).into_iter().flat_map(|policy| list(&policy["spec"]["ingress"]));
    let of_port = rules.filter(|rule| list(&rule["ports"]).iter().any(|entry| entry["port"] == port));
    let peers = of_port.flat_map(|rule| list(&rule["from"]));
    peers.filter_map(|peer| peer["ipBlock"]["cidr"].as_str().map(str::to_owned)).collect()
}

async fn reaches(port: u16) -> bool {
    let connect = TcpStream::connect((NODE, port));
    matches!(tokio::time::timeout(Duration::from_secs(4), connect).await, Ok(Ok(_)))
}

/// Runs one update, and looks at the way back before, while and after it is needed.
async fn is_fetched(release: &Release<'_>, run: &Run<'_>, name: &str, stranger: &Machine, is_https: bool) {
    let is_fetching =
        |update: &farrier::api::NodeUpdate| update.status.as_ref().is_some_and(|s| s.fetches_by.is_some());
    run.node_until(name, "the fetch", is_fetching).await;
    let callback = wait::until("open ports", wait::LIMIT, async || {
        let status = run.get().await.status.unwrap_or_default();
        status.callback.filter(|callback| !callback.ports.is_empty()).ok_or_else(|| "none".to_owned())
    })
    .await;
    let ports = &callback.ports[0];
    let (port, other) =
        if is_https { (ports.https_port, ports.http_port) } else { (ports.http_port, ports.https_port) };
    wait::until("a policy for the machine", wait::LIMIT, async || {
        let admitted = admitted(release, port).await;
        if admitted == [format!("{BMCS}/32")] { Ok(()) } else { Err(format!("{admitted:?}")) }
    })
    .await;
    wait::until("the port to be open for the machine", wait::LIMIT, async || {
        if reaches(port).await { Ok(()) } else { Err(format!("{port} is closed")) }
    })
    .await;
    assert_eq!(connect(stranger, NODE, port).await, "closed", "{name}: a machine that is in no run");
    assert_eq!(admitted(release, other).await, [""; 0], "{name}: the other port");
    assert!(!reaches(other).await, "{name}: the other port");
    run.succeeds().await;
    let update = run.node(name).await;
    assert_eq!(outcome(&update, "bmc"), "Updated", "{}", update.words("Succeeded"));
    assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
    wait::until("the port to be closed", wait::LIMIT, async || {
        let admitted = admitted(release, port).await;
        if admitted.is_empty() && !reaches(port).await { Ok(()) } else { Err(format!("{admitted:?}")) }
    })
    .await;
}

/// A port that is open for longer, or for others, is a hole in the cluster; one that policies keep shut makes devices
/// fetch nothing.
#[test]
fn a_bmc_fetches_through_policies_that_let_nobody_else_in() {
    on_node("fetch", async |site, release| {
        let stranger = site.machine("stranger").spec(json!({"hold": true})).up().await;
        let by_http = double(site, "minimal", "BMC").await;
        let by_https = double(site, "openbmc", "bmc_active").await;
        release.install(&Release::chart(), &HOST_PORTS).await;
        for (double, name, is_https) in [(&by_http, "minimal", false), (&by_https, "openbmc", true)] {
            let mut spec = to(name);
            spec["selector"] = json!({"matchLabels": {"name": name}});
            spec["strategy"] = json!({"retries": 0});
            let run = site.run(name, spec).await;
            is_fetched(release, &run, name, &stranger, is_https).await;
            assert_eq!(double.version("bmc").as_deref(), Some("9.9"), "{name}");
            let left = double.state();
            assert_eq!((&left["sessions"], &left["subscriptions"]), (&json!([]), &json!(0)), "{name}");
        }
        release.uninstall().await.expect("an uninstallation");
    });
}
