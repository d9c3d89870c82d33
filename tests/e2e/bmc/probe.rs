//! `farrier conformance`, as a user runs it.

use super::Bmc;
use super::updates::{BMCS, flashes, image};
use crate::harness::run::to;
use crate::harness::{Site, e2e, wait};
use farrier_bmc_double::Settings;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::DeleteParams;
use serde_json::json;
use tokio::process::Command;

/// What the command printed, and whether it returned 0.
struct Said {
    is_good: bool,
    lines: String,
    error: String,
}

async fn conformance(site: &Site, words: &[&str]) -> Said {
    let done = Command::new(env!("CARGO_BIN_EXE_farrier"))
        .args(["conformance", "--namespace", &site.name, "--payload-dir"])
        .arg(site.path("payloads"))
        .args(words)
        .output()
        .await
        .expect("the command starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { is_good: done.status.success(), lines: text(done.stdout), error: text(done.stderr) }
}

/// A user who tries a device must learn what it can do, and must not find it changed.
#[test]
fn a_device_is_tried_and_changed_only_on_request() {
    e2e("bmctry", async |site| {
        let [_, (variant, type_, firmware), ..] = BMCS;
        let bmc = Bmc::up(site, variant, type_, "password").await;
        site.baseline("spring", &[firmware.component(site, image())]).await;
        let before = bmc.double.version("bmc");

        let said = conformance(site, &["--node", variant, "--baseline", "spring"]).await;
        assert!(said.is_good, "{}{}", said.lines, said.error);
        for words in ["passed   second look", "spec.tls.fingerprints: [\"sha256:", "1 of 1 components"] {
            assert!(said.lines.contains(words), "{words}: {}", said.lines);
        }
        assert_eq!((bmc.double.version("bmc"), bmc.sessions()), (before, 0));
        let node = bmc.node(site).await;
        assert!(node.status.is_none_or(|status| status.certificate.is_none()), "nothing is recorded");

        let said = conformance(site, &["--node", variant, "--baseline", "spring", "--apply"]).await;
        assert!(said.is_good, "{}{}", said.lines, said.error);
        assert_eq!((flashes(&bmc, firmware.version), bmc.sessions()), (1, 0));

        is_refused_while_another_holds_the_lease(site, &bmc).await;
        let said = conformance(site, &["--node", "nobody"]).await;
        assert!(!said.is_good && said.error.contains("there is no ManagedNode nobody"), "{}", said.error);
        is_refused_during_a_run(site).await;
    });
}

/// Both would work on the device at the same time.
async fn is_refused_while_another_holds_the_lease(site: &Site, bmc: &Bmc) {
    let name = format!("managednode-{}", bmc.name);
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": "alice"},
    });
    let api = site.api::<Lease>();
    assert_eq!(api.get_opt(&name).await.expect("an answer"), None, "the command has left its Lease");
    site.create::<Lease>(&lease).await.expect("a Lease");
    let said = conformance(site, &["--node", &bmc.name]).await;
    assert!(!said.is_good && said.error.contains("alice holds Lease"), "{}{}", said.lines, said.error);
    api.delete(&name, &DeleteParams::default()).await.expect("a deleted Lease");
}

/// Both would install beside each other.
async fn is_refused_during_a_run(site: &Site) {
    let [(variant, type_, firmware), ..] = BMCS;
    let bmc = Bmc::up(site, variant, type_, "password").await;
    bmc.double.set(Settings { flash_ms: 5000, ..bmc.double.settings() });
    site.baseline("autumn", &[firmware.component(site, image())]).await;
    let mut spec = to("autumn");
    spec["selector"] = json!({"matchLabels": {"name": variant}});
    let run = site.run("busy", spec).await;
    wait::until("the BMC to be at work", wait::LIMIT, async || match bmc.sessions() {
        0 => Err("it has no session".to_owned()),
        _ => Ok(()),
    })
    .await;
    let said = conformance(site, &["--node", variant]).await;
    assert!(!said.is_good && said.error.contains("the run busy is at work"), "{}{}", said.lines, said.error);
    run.succeeds().await;
}
