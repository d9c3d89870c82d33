//! What keeps a BMC from taking firmware is recognised before anything is sent, waited for where it passes by itself,
//! and named.

use super::is_over;
use super::updates::{BMCS, Firmware, bios, flashes, image, with};
use super::{Bmc, Value};
use crate::harness::run::component;
use crate::harness::{Conditions, Run, e2e, outcome, wait};
use farrier::api::NodeUpdate;
use farrier_bmc_double::fault::{Armed, Fault};
use serde_json::json;

/// How many requests begin or change something other than a session.
fn changes(bmc: &Bmc) -> usize {
    let is_change = |detail: &Value| {
        let path = detail["path"].as_str().unwrap_or_default();
        detail["method"] != "GET" && !path.contains("/SessionService")
    };
    let journal = bmc.double.journal();
    journal.iter().filter(|entry| entry.kind == "request" && is_change(&entry.detail)).count()
}

fn waiting(update: &NodeUpdate) -> &str {
    let waiting = update.status.as_ref().and_then(|status| status.waiting.as_ref());
    waiting.map_or("", |waiting| &waiting.reason)
}

async fn waits_for(run: &Run<'_>, bmc: &Bmc, reason: &str) -> NodeUpdate {
    let update = run.node_until(&bmc.name, reason, |update| waiting(update) == reason).await;
    let waiting = update.status.as_ref().and_then(|status| status.waiting.as_ref()).expect("a wait");
    assert!(waiting.until.is_some(), "{}: {}", bmc.name, waiting.what);
    update
}

/// Firmware that is written while the host starts may leave it without a start.
#[test]
fn a_host_in_its_self_test_is_waited_for() {
    e2e("bmcpost", async |site| {
        let mut runs = Vec::new();
        for (variant, type_, firmware) in [&BMCS[0], &BMCS[3]] {
            let (bmc, spec) = with(site, variant, type_, firmware, image()).await;
            bmc.arm(Armed::always(Fault::InPost));
            runs.push((site.run(&format!("post-{variant}"), spec).await, bmc, firmware));
        }
        for (run, bmc, _) in &runs {
            let update = waits_for(run, bmc, "HostInPost").await;
            let words = update.words("Succeeded");
            assert!(words.contains("power-on self-test") && words.contains("until"), "{words}");
            assert_eq!(changes(bmc), 0, "{}", bmc.name);
            bmc.double.clear(None);
        }
        for (run, bmc, firmware) in &runs {
            run.succeeds().await;
            assert_eq!(flashes(bmc, firmware.version), 1, "{}", bmc.name);
            is_over(run, bmc).await;
        }
    });
}

/// A host that is off cannot be restarted; the user learns that before the image is on the device.
#[test]
fn a_host_that_is_off_ends_an_update_that_needs_it() {
    e2e("bmcoff", async |site| {
        let firmware: Firmware<'_> = bios("BIOS", "1.7.0", ".d9");
        let (bmc, spec) = with(site, "idrac9", "IDRAC", &firmware, image()).await;
        bmc.arm(Armed::times(Fault::PowerOff, 1));
        let mut restarting = spec.clone();
        restarting["reboot"] = json!({"policy": "IfRequired"});
        let run = site.run("off", restarting).await;
        run.ends(wait::LIMIT).await;
        let update = run.node("idrac9").await;
        let found = component(&update, "bios");
        assert_eq!(update.reason("Succeeded"), "HostPoweredOff", "{}", found.message);
        assert!(found.message.contains("power it on"), "{}", found.message);
        assert_eq!((changes(&bmc), flashes(&bmc, "1.7.0")), (0, 0));
        is_over(&run, &bmc).await;

        // Without a restart by this run, the image waits for somebody to power the host on.
        let run = site.run("staged", spec).await;
        run.ends(wait::LIMIT).await;
        let update = run.node("idrac9").await;
        assert_eq!(outcome(&update, "bios"), "RebootPending", "{}", component(&update, "bios").message);
        is_over(&run, &bmc).await;
    });
}

/// Two managers that install firmware undo what the other one did.
#[test]
fn a_machine_that_another_manager_updates_is_left_alone() {
    e2e("bmconeview", async |site| {
        let (variant, type_, firmware) = &BMCS[3];
        let (bmc, spec) = with(site, variant, type_, firmware, image()).await;
        bmc.arm(Armed::always(Fault::ManagedBy { by: "OneView".into(), firmware: true }));
        let run = site.run("managed", spec.clone()).await;
        run.ends(wait::LIMIT).await;
        let update = run.node(variant).await;
        let found = component(&update, firmware.name);
        assert_eq!(update.reason("Succeeded"), "ManagedElsewhere", "{}", found.message);
        assert!(found.message.contains("OneView"), "{}", found.message);
        assert_eq!((changes(&bmc), flashes(&bmc, firmware.version)), (0, 0));
        is_over(&run, &bmc).await;

        // One that only monitors it is no obstacle.
        bmc.double.clear(None);
        bmc.arm(Armed::always(Fault::ManagedBy { by: "OneView".into(), firmware: false }));
        let run = site.run("monitored", spec).await;
        run.succeeds().await;
        assert_eq!(flashes(&bmc, firmware.version), 1);
        is_over(&run, &bmc).await;
    });
}

/// An administrator has locked the machine, so that nobody changes its firmware.
#[test]
fn an_idrac_in_lockdown_is_left_alone() {
    e2e("bmclock", async |site| {
        let (variant, type_, firmware) = &BMCS[1];
        let (bmc, spec) = with(site, variant, type_, firmware, image()).await;
        bmc.arm(Armed::always(Fault::Lockdown));
        let run = site.run("locked", spec).await;
        run.ends(wait::LIMIT).await;
        let update = run.node(variant).await;
        let found = component(&update, firmware.name);
        assert_eq!(update.reason("Succeeded"), "DeviceLocked", "{}", found.message);
        assert!(found.message.contains("end the lockdown"), "{}", found.message);
        assert_eq!((changes(&bmc), flashes(&bmc, firmware.version)), (0, 0));
        is_over(&run, &bmc).await;
    });
}

/// What the device refuses because another manager has it in maintenance is asked for again, and says so meanwhile.
#[test]
fn maintenance_of_another_manager_is_named_and_waited_for() {
    e2e("bmcmaint", async |site| {
        let (variant, type_, firmware) = &BMCS[1];
        let (bmc, spec) = with(site, variant, type_, firmware, image()).await;
        bmc.arm(Armed::always(Fault::Maintenance { by: "OpenManage".into() }));
        let run = site.run("maintenance", spec).await;
        waits_for(&run, &bmc, "ManagedElsewhere").await;
        assert_eq!(flashes(&bmc, firmware.version), 0);
        bmc.double.clear(None);
        run.succeeds().await;
        assert_eq!(flashes(&bmc, firmware.version), 1);
        is_over(&run, &bmc).await;
    });
}

/// A BMC that is asked again before its time answers even later.
#[test]
fn a_bmc_that_names_a_time_is_not_asked_before() {
    e2e("bmcretry", async |site| {
        let (variant, type_, firmware) = &BMCS[1];
        let (bmc, spec) = with(site, variant, type_, firmware, image()).await;
        let refusal = |path: &str, status| Fault::Status { path: path.into(), status };
        bmc.arm(Armed::times(refusal("/UpdateService/FirmwareInventory", 503), 1).retry_after(6));
        bmc.arm(Armed::times(refusal("/UpdateService/MultipartUpload", 429), 1).retry_after(5));
        let run = site.run("retry", spec).await;
        let update = waits_for(&run, &bmc, "DeviceUnavailable").await;
        assert!(update.words("Succeeded").contains("takes no request"), "{}", update.words("Succeeded"));
        run.succeeds().await;
        let journal = bmc.double.journal();
        let named: Vec<_> =
            journal.iter().filter(|entry| entry.detail.get("retry-after").is_some()).collect();
        assert!(named.len() >= 2, "{named:?}");
        let early: Vec<_> = journal.iter().filter(|entry| !entry.detail["early-ms"].is_null()).collect();
        assert!(early.is_empty(), "{early:?}");
        is_over(&run, &bmc).await;
    });
}
