//! Machines that cannot be reached, or whose host key is not the expected one.

use super::{ROOT, all_at_once, door, ends_with, said, up};
use crate::harness::payload::ethtool;
use crate::harness::run::to;
use crate::harness::snapshot::{self, DPKG, ETHTOOL, LOG};
use crate::harness::{Conditions, Site, e2e};
use farrier_update::Reason;
use serde_json::json;
use std::time::Instant;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// Users would not learn whether DNS, a firewall, a cable or the SSH server makes a machine unreachable.
#[test]
fn a_machine_that_cannot_be_reached_says_why() {
    e2e("away", async |site| {
        let machines = up([
            site.machine("good"),
            site.machine("frozen"),
            site.machine("dropped").lab(&["--firewall", "ssh-only"]).spec(json!({"ssh": {"port": 2222}})),
            site.machine("unplugged"),
            site.machine("ancient").lab(&["--sshd", "Ciphers 3des-cbc"]),
            site.machine("hangs").login("ops"),
        ])
        .await;
        let [good, frozen, _dropped, unplugged, _ancient, hangs] = &machines;
        hangs.sh("echo 'sleep 600' >/home/ops/.bashrc").await;
        let before = snapshot::of_all(&machines).await;
        frozen.labctl("freeze").await;
        unplugged.labctl("unplug").await;
        door(site, good, "nohost", ROOT, json!({"addresses": ["no-such-host.invalid"]})).await;
        door(site, good, "refused", ROOT, json!({"ssh": {"port": 2222}})).await;
        let port = not_ssh().await;
        door(site, good, "junk", ROOT, json!({"addresses": ["127.0.0.1"], "ssh": {"port": port}})).await;
        door(site, good, "family", ROOT, json!({"addressFamilies": ["IPv6"]})).await;
        site.baseline("spring", &[ethtool()]).await;
        let run = site.run("r1", all_at_once("spring")).await;
        let expected = [
            said("nohost", Reason::NameNotResolved, &["nohost", "no-such-host.invalid", "spec.addresses"]),
            said("refused", Reason::ConnectionRefused, &["refused", "port 2222", "SSH server runs"]),
            said("dropped", Reason::ConnectionTimedOut, &["dropped", "port 2222", "firewall"]),
            said("unplugged", Reason::ConnectionTimedOut, &["unplugged", "machine is on"]),
            said("frozen", Reason::ConnectionTimedOut, &["frozen", "handshake", "hung"]),
            said("junk", Reason::NotAnSshServer, &["junk", "127.0.0.1", "SSH server listens on this port"]),
            said(
                "ancient",
                Reason::LegacyAlgorithmsNeeded,
                &["ancient", "3des-cbc", "spec.ssh.legacyAlgorithms"],
            ),
            said("hangs", Reason::CommandTimedOut, &["hangs", "did not end within 20 s", "login scripts"]),
            said("family", Reason::NoUsableAddress, &["family", "spec.addressFamilies"]),
        ];
        ends_with(site, &run, &expected).await;
        let ended = run.get().await.status.expect("a status").counts;
        assert_eq!((ended.succeeded, ended.unreachable, ended.failed), (1, 7, 2));
        for name in ["nohost", "refused", "frozen"] {
            assert_eq!(site.node(name).await.state("Reachable"), "False", "{name}");
        }
        frozen.labctl("thaw").await;
        unplugged.labctl("plug").await;
        let after = snapshot::of_all(&machines).await;
        before[0].same_but(&after[0], &[LOG, DPKG, ETHTOOL]);
        snapshot::all_same_but(&before[1..], &after[1..], &[]);
    });
}

/// Starts a server that sends a greeting which is not SSH, and returns its port.
async fn not_ssh() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("its number").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // The operator closes the connection when it has read the greeting.
            stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await.ok();
        }
    });
    port
}

/// While a run has retries left, its status would show only that it waits, not the cause of the failure.
#[test]
fn the_reason_is_shown_until_the_next_attempt() {
    e2e("again", async |site| {
        let machine = site.machine("off").up().await;
        machine.labctl("unplug").await;
        let spec = json!({"operation": "Inventory", "strategy": {"retries": 5}});
        let begun = Instant::now();
        let run = site.run("r1", spec).await;
        let waits = |update: &farrier::api::NodeUpdate| update.reason("Succeeded") == "WaitingForRetry";
        let update = run.node_until("off", "the wait for the second attempt", waits).await;
        assert!(begun.elapsed().as_secs_f64() < super::SOON);
        assert_eq!(update.state("Succeeded"), "Unknown");
        assert_eq!(update.reason("Reachable"), "ConnectionTimedOut");
        assert!(update.condition("Succeeded").message.contains("ConnectionTimedOut: off did not answer"));
        machine.labctl("plug").await;
        run.succeeds().await;
    });
}

/// A host that pretends to be the machine would be accepted, or users would not learn which key to enter.
#[test]
fn a_host_key_that_is_not_the_known_one_is_refused_and_shown() {
    e2e("keys", async |site| {
        let nothing_known = json!({"ssh": {"hostKeys": []}});
        let first = json!({"ssh": {"hostKeys": [], "hostKeyPolicy": "TrustOnFirstUse"}});
        let [_good, changed, unknown, recorded] = up([
            site.machine("good"),
            site.machine("changed"),
            site.machine("unknown").spec(nothing_known),
            site.machine("recorded").spec(first),
        ])
        .await;
        let only_recorded =
            json!({"operation": "Inventory", "selector": {"matchLabels": {"name": "recorded"}}});
        site.run("first", only_recorded).await.succeeds().await;
        let node = site.node("recorded").await;
        assert_eq!(node.status.expect("a status").host_key, Some(recorded.host_key.clone()));
        changed.labctl("rotate-hostkey").await;
        recorded.labctl("rotate-hostkey").await;
        let machines = [changed, unknown, recorded];
        let before = snapshot::of_all(&machines).await;
        door(site, &machines[0], "typo", ROOT, json!({"ssh": {"hostKeys": ["ssh-ed25519 AAAAtypo"]}})).await;
        site.baseline("spring", &[ethtool()]).await;
        let run = site.run("r1", all_at_once("spring")).await;
        let expected = [
            said("changed", Reason::HostKeyChanged, &["changed", "SHA256:", "spec.ssh.hostKeys"]),
            said("recorded", Reason::HostKeyChanged, &["recorded", "SHA256:", "status.hostKey"]),
            said("unknown", Reason::HostKeyUnknown, &["unknown", "compare the fingerprint"]),
            said("typo", Reason::HostKeyUnknown, &["typo", "AAAAtypo", "known_hosts"]),
        ];
        ends_with(site, &run, &expected).await;
        snapshot::all_same_but(&before, &snapshot::of_all(&machines).await, &[]);
        for name in ["changed", "recorded", "unknown"] {
            assert_eq!(site.node(name).await.state("HostKeyVerified"), "False", "{name}");
        }
        the_offered_key_is_the_right_one(site, &machines[1].host_key).await;
    });
}

/// Asserts that the key in the message can be copied to the ManagedNode as it is.
async fn the_offered_key_is_the_right_one(site: &Site, key: &str) {
    let node = site.node("unknown").await;
    let message = &node.condition("HostKeyVerified").message;
    assert!(message.contains(&format!("put \"{key}\" into spec.ssh.hostKeys")), "{message}");
    let patch = kube::api::Patch::Merge(json!({"spec": {"ssh": {"hostKeys": [key]}}}));
    let nodes = site.api::<farrier::api::ManagedNode>();
    nodes.patch("unknown", &kube::api::PatchParams::default(), &patch).await.expect("a changed ManagedNode");
    let mut spec = to("spring");
    crate::harness::payload::merge(&mut spec, json!({"selector": {"matchLabels": {"name": "unknown"}}}));
    site.run("r2", spec).await.succeeds().await;
}
