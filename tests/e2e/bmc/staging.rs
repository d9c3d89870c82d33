//! Images that are staged, what a later run makes of them, and restarts of the host.

use super::updates::{Firmware, flashes, image};
use super::{Bmc, is_over};
use crate::harness::payload::bmc_tool;
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Run, Site, e2e, outcome, wait};
use farrier_bmc_double::image::Header;
use serde_json::{Value, json};

const fn host(
    name: &'static str,
    entry: &'static str,
    device: &'static str,
    version: &'static str,
    ending: &'static str,
) -> Firmware<'static> {
    Firmware { name, entry, device, version, ending }
}

/// A double with a baseline of these components, and the spec of a run.
async fn with(site: &Site, variant: &str, type_: &str, parts: &[(Firmware<'_>, Header)]) -> (Bmc, Value) {
    let bmc = Bmc::up(site, variant, type_, "password").await;
    let components: Vec<_> =
        parts.iter().map(|(firmware, header)| firmware.component(site, header.clone())).collect();
    site.baseline(variant, &components).await;
    let mut spec = to(variant);
    spec["selector"] = json!({"matchLabels": {"name": variant}});
    spec["strategy"] = json!({"retries": 0});
    (bmc, spec)
}

fn stage(spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["operation"] = json!("Stage");
    spec
}

fn restart(spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["reboot"] = json!({"policy": "IfRequired"});
    spec
}

/// Starts a run, waits for its end, and checks the result of each component.
async fn ends<'a>(site: &'a Site, name: &str, spec: Value, bmc: &Bmc, results: &[(&str, &str)]) -> Run<'a> {
    let run = site.run(name, spec).await;
    run.ends(wait::LIMIT).await;
    let update = run.node(&bmc.name).await;
    for (component, result) in results {
        assert_eq!(outcome(&update, component), *result, "{name}: {}", update.words("Succeeded"));
    }
    is_over(&run, bmc).await;
    run
}

fn resets(bmc: &Bmc) -> usize {
    bmc.double.journal().iter().filter(|entry| entry.kind == "host-reset").count()
}

fn listed(bmc: &Bmc, what: &str) -> usize {
    bmc.double.state()[what].as_array().map_or(0, Vec::len)
}

/// What a maintenance window is for: images are carried before it, and nothing is in effect until then.
#[test]
fn an_image_in_the_repository_is_not_sent_again() {
    e2e("bmcstage", async |site| {
        let bios = host("bios", "System ROM", "bios", "U30 v2.90 (01/10/2024)", ".flash");
        let bmc_image = host("ilo", "iLO 5", "bmc", "3.05 Jan 10 2024", ".bin");
        let (bmc, spec) = with(site, "ilo5", "ILO", &[(bios, image()), (bmc_image, image())]).await;
        let results = [("bios", "Staged"), ("ilo", "Staged")];
        let run = ends(site, "stage", stage(&spec), &bmc, &results).await;
        let update = run.node("ilo5").await;
        assert_eq!((update.state("Succeeded"), update.reason("Succeeded")), ("True", "Staged"));
        let message = component(&update, "bios").message.clone();
        assert!(message.contains("is in the repository of ilo5"), "{message}");
        assert!(message.contains("operation Update installs it"), "{message}");
        assert!(
            update.words("TornDown").contains("the staged image of bios"),
            "{}",
            update.words("TornDown")
        );
        assert_eq!((listed(&bmc, "components"), listed(&bmc, "queue")), (2, 0), "nothing is queued");
        assert_eq!(bmc.requests("POST", "/cgi-bin/uploadFile"), 2);
        // Once more: it is there.
        ends(site, "again", stage(&spec), &bmc, &results).await;
        assert_eq!(bmc.requests("POST", "/cgi-bin/uploadFile"), 2);
        let results = [("bios", "Updated"), ("ilo", "Updated")];
        ends(site, "update", restart(&spec), &bmc, &results).await;
        assert_eq!(bmc.requests("POST", "/cgi-bin/uploadFile"), 2, "nothing was sent again");
        assert_eq!((flashes(&bmc, "U30 v2.90 (01/10/2024)"), resets(&bmc)), (1, 1));
        assert_eq!((listed(&bmc, "components"), listed(&bmc, "queue")), (0, 0), "nothing is left");
    });
}

/// A site would need a run for each class of machines.
#[test]
fn one_run_stages_on_devices_and_on_linux_machines() {
    e2e("bmcmixed", async |site| {
        let db = site.machine("db").lab(&["--flavour", "cron"]).up().await;
        let bios = host("bios", "System ROM", "bios", "U30 v2.90 (01/10/2024)", ".flash");
        let bmc = Bmc::up(site, "ilo5", "ILO", "password").await;
        site.baseline("spring", &[bios.component(site, image()), bmc_tool("3.1")]).await;
        let staged = site.run("stage", stage(&to("spring"))).await;
        staged.succeeds().await;
        for (node, component, other) in [("db", "bmc-tool", "bios"), (&*bmc.name, "bios", "bmc-tool")] {
            let update = staged.node(node).await;
            assert_eq!((outcome(&update, component), outcome(&update, other)), ("Staged", "NotApplicable"));
        }
        let run = site.run("update", restart(&to("spring"))).await;
        run.succeeds().await;
        assert_eq!(outcome(&run.node("db").await, "bmc-tool"), "Updated");
        assert_eq!(bmc.requests("POST", "/cgi-bin/uploadFile"), 1, "nothing was sent again");
        db.is_clean().await;
    });
}

/// An image that waits for a restart and is handed over once more would be written twice, or refused as busy.
#[test]
fn an_image_that_waits_for_a_restart_is_not_handed_over_again() {
    e2e("bmcwaits", async |site| {
        let idrac = host("bios", "BIOS", "bios", "1.7.0", ".d9");
        let openbmc = host("bios", "bios_active", "bios", "2.0", ".tar");
        let (idrac_push, openbmc_push) =
            ("/redfish/v1/UpdateService/MultipartUpload", "/redfish/v1/UpdateService/update-multipart");
        for (variant, type_, firmware, path) in
            [("idrac9", "IDRAC", idrac, idrac_push), ("openbmc", "Redfish", openbmc, openbmc_push)]
        {
            let version = firmware.version;
            let (bmc, spec) = with(site, variant, type_, &[(firmware, image())]).await;
            let run =
                ends(site, &format!("{variant}-stage"), stage(&spec), &bmc, &[("bios", "Staged")]).await;
            let update = run.node(variant).await;
            let message = component(&update, "bios").message.clone();
            assert!(message.contains("reboot.policy IfRequired restarts it"), "{message}");
            assert!(update.words("TornDown").contains("waits for a restart"), "{}", update.words("TornDown"));
            assert_eq!(bmc.requests("POST", path), 1, "{variant}");
            let pending = [("bios", "RebootPending")];
            ends(site, &format!("{variant}-never"), spec.clone(), &bmc, &pending).await;
            assert_eq!((bmc.requests("POST", path), resets(&bmc)), (1, 0), "{variant}");
            ends(site, &format!("{variant}-restart"), restart(&spec), &bmc, &[("bios", "Updated")]).await;
            assert_eq!((bmc.requests("POST", path), resets(&bmc)), (1, 1), "{variant}");
            assert_eq!(flashes(&bmc, version), 1, "{variant}");
            bmc.remove(site).await;
        }
    });
}

/// Each restart of a host costs its users an outage.
#[test]
fn several_images_of_a_host_need_one_restart() {
    e2e("bmconce", async |site| {
        let uefi = Header { updatable_by: vec!["Uefi".into()], ..image() };
        let ilo = [
            (host("bios", "System ROM", "bios", "U30 v2.90 (01/10/2024)", ".flash"), image()),
            (host("cpld", "System Programmable Logic Device", "cpld", "0x2B", ".vme"), image()),
            (host("nic", "Example 10Gb 2-port Adapter", "nic", "10.56.0", ".fwpkg"), uefi),
        ];
        let idrac = [
            (host("bios", "BIOS", "bios", "1.7.0", ".d9"), image()),
            (host("nic", "Example 25G 2P Adapter", "nic", "22.36.6", ".d9"), image()),
        ];
        for (variant, type_, parts) in [("ilo5", "ILO", &ilo[..]), ("idrac9", "IDRAC", &idrac[..])] {
            let (bmc, spec) = with(site, variant, type_, parts).await;
            let results: Vec<_> = parts.iter().map(|(firmware, _)| (firmware.name, "Updated")).collect();
            ends(site, &format!("{variant}-once"), restart(&spec), &bmc, &results).await;
            assert_eq!(resets(&bmc), 1, "{variant}");
            for (firmware, _) in parts {
                assert_eq!(flashes(&bmc, firmware.version), 1, "{variant}: {}", firmware.name);
            }
            bmc.remove(site).await;
        }
    });
}

/// A device that cannot be told to wait may restart the host at once; a user who has forbidden that must not lose
/// the host.
#[test]
fn no_host_image_goes_to_a_device_that_may_restart_its_host() {
    e2e("bmcminimal", async |site| {
        let bios = host("bios", "BIOS", "bios", "2.0", ".bin");
        let (bmc, spec) = with(site, "minimal", "Redfish", &[(bios, image())]).await;
        let run = ends(site, "never", spec.clone(), &bmc, &[("bios", "Failed")]).await;
        let update = run.node("minimal").await;
        assert_eq!(update.reason("Succeeded"), "RestartNotAllowed", "{}", update.words("Succeeded"));
        let run = ends(site, "stage", stage(&spec), &bmc, &[("bios", "Failed")]).await;
        let update = run.node("minimal").await;
        assert_eq!(update.reason("Succeeded"), "NotYetSupported", "{}", update.words("Succeeded"));
        assert_eq!(bmc.requests("POST", "/redfish/v1/UpdateService/upload"), 0, "nothing was sent");
    });
}
