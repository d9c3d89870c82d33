//! Updates of BMCs: images that are pushed, tasks that are followed, and devices that restart on the way.

use super::{Bmc, is_over};
use crate::harness::payload::{Component, of_bytes};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Site, e2e, outcome, wait};
use farrier_bmc_double::Settings;
use farrier_bmc_double::fault::{Armed, Fault};
use farrier_bmc_double::image::{Header, Target};
use serde_json::{Value, json};

/// A component of a double: the name of its firmware entry, and the version to install.
#[derive(Clone, Copy)]
pub(crate) struct Firmware<'a> {
    pub(crate) name: &'a str,
    pub(super) entry: &'a str,
    pub(super) device: &'a str,
    pub(super) version: &'a str,
    /// The ending of the image's file.
    pub(super) ending: &'a str,
}

impl Firmware<'_> {
    /// Writes the image, and returns the component of a Baseline.
    pub(crate) fn component(&self, site: &Site, header: Header) -> Component {
        let header = Header {
            targets: vec![Target { device: self.device.into(), version: self.version.into() }],
            ..header
        };
        let (file, bytes) =
            (format!("{}-{}{}", self.name, self.version.replace('/', "-"), self.ending), header.to_file());
        std::fs::write(site.path("payloads").join(&file), &bytes).expect("a payload");
        of_bytes(self.name, self.version, "RedfishImage", &file, &bytes)
            .with(json!({"detect": {"firmware": self.entry}, "timeout": "2m", "interruptible": true}))
    }
}

/// An image of 100 kB that every model takes.
pub(crate) fn image() -> Header {
    Header {
        targets: Vec::new(),
        models: Vec::new(),
        payload_bytes: 100_000,
        bad_signature: false,
        breaks_at_percent: None,
        needs_compsig: false,
        updatable_by: Vec::new(),
    }
}

/// What each double has of itself: variant, type, entry, new version, ending.
pub(crate) const BMCS: [(&str, &str, Firmware<'static>); 4] = [
    ("openbmc", "Redfish", firmware("openbmc-bmc", "bmc_active", "2.16.0", ".tar")),
    (
        "idrac9",
        "IDRAC",
        firmware("idrac-bmc", "Integrated Dell Remote Access Controller", "7.10.30.00", ".d9"),
    ),
    ("minimal", "Redfish", firmware("minimal-bmc", "BMC", "9.9", ".bin")),
    ("ilo5", "ILO", firmware("ilo-bmc", "iLO 5", "3.05 Jan 10 2024", ".bin")),
];

/// A Superdome Flex.
pub(super) const FLEX: (&str, &str, Firmware<'static>) = (
    "superdome-flex",
    "SuperdomeFlex",
    firmware("flex-rmc", "Rack Management Controller", "3.50.58", ".bundle"),
);

pub(super) const fn firmware(
    name: &'static str,
    entry: &'static str,
    version: &'static str,
    ending: &'static str,
) -> Firmware<'static> {
    Firmware { name, entry, device: "bmc", version, ending }
}

/// How many times a version was written.
pub(super) fn flashes(bmc: &Bmc, version: &str) -> usize {
    let is_it =
        |entry: &&farrier_bmc_double::Entry| entry.kind == "flash" && entry.detail["version"] == version;
    bmc.double.journal().iter().filter(is_it).count()
}

/// The main job: whatever the vendor's way is, the image is pushed, the BMC restarts, and the new version is proven.
#[test]
fn bmcs_of_all_kinds_take_a_push_and_need_no_port() {
    e2e("bmcpush", async |site| {
        let mut bmcs = Vec::new();
        for (variant, type_, firmware) in BMCS {
            let bmc = Bmc::up(site, variant, type_, "password").await;
            site.baseline(firmware.name, &[firmware.component(site, image())]).await;
            let mut spec = to(firmware.name);
            spec["selector"] = json!({"matchLabels": {"name": variant}});
            spec["channel"] = json!("Callback");
            bmcs.push((bmc, firmware, spec));
        }
        let mut runs = Vec::new();
        for (bmc, firmware, spec) in &bmcs {
            runs.push((site.run(&format!("push-{}", bmc.name), spec.clone()).await, bmc, firmware));
        }
        for (run, bmc, firmware) in &runs {
            let ended = run.succeeds().await;
            assert_eq!(ended.status.expect("a status").callback, None, "nothing was opened");
            let update = run.node(&bmc.name).await;
            assert_eq!(outcome(&update, firmware.name), "Updated", "{}", bmc.name);
            assert_eq!(component(&update, firmware.name).after, firmware.version, "{}", bmc.name);
            assert_eq!(bmc.double.version("bmc").as_deref(), Some(firmware.version), "{}", bmc.name);
            assert_eq!(flashes(bmc, firmware.version), 1, "{}", bmc.name);
            is_over(run, bmc).await;
        }
    });
}

/// A double with its baseline, and the spec of a run that updates it.
pub(crate) async fn with(
    site: &Site,
    variant: &str,
    type_: &str,
    firmware: &Firmware<'_>,
    header: Header,
) -> (Bmc, Value) {
    let component = firmware.component(site, header);
    with_component(site, variant, (variant, type_), component).await
}

/// The same with a name of its own.
async fn with_component(
    site: &Site,
    name: &str,
    (variant, type_): (&str, &str),
    component: Component,
) -> (Bmc, Value) {
    let bmc = Bmc::up_as(site, name, variant, type_, "password").await;
    site.baseline(name, &[component]).await;
    let mut spec = to(name);
    spec["selector"] = json!({"matchLabels": {"name": name}});
    spec["strategy"] = json!({"retries": 0});
    (bmc, spec)
}

pub(super) const fn bios(
    entry: &'static str,
    version: &'static str,
    ending: &'static str,
) -> Firmware<'static> {
    Firmware { name: "bios", entry, device: "bios", version, ending }
}

pub(super) const OPENBMC_BIOS: Firmware<'static> = bios("bios_active", "2.0", ".tar");

pub(super) fn resets(bmc: &Bmc) -> usize {
    bmc.double.journal().iter().filter(|entry| entry.kind == "host-reset").count()
}

/// A host that is restarted without permission loses its work; one that is never restarted keeps its old firmware.
#[test]
fn a_host_is_restarted_only_if_the_run_allows_it() {
    e2e("bmchost", async |site| {
        let idrac = || ("idrac9", "IDRAC", bios("BIOS", "1.7.0", ".d9"));
        let openbmc = || ("openbmc", "Redfish", OPENBMC_BIOS);
        let ilo = || ("ilo5", "ILO", bios("System ROM", "U30 v2.90 (01/10/2024)", ".flash"));
        for (name, is_allowed, (variant, type_, firmware)) in [
            ("idrac-never", false, idrac()),
            ("idrac-if-required", true, idrac()),
            ("openbmc-never", false, openbmc()),
            ("openbmc-if-required", true, openbmc()),
            ("ilo-never", false, ilo()),
            ("ilo-if-required", true, ilo()),
        ] {
            let (bmc, mut spec) = with(site, variant, type_, &firmware, image()).await;
            if is_allowed {
                spec["reboot"] = json!({"policy": "IfRequired"});
            }
            let run = site.run(name, spec).await;
            run.ends(wait::LIMIT).await;
            let update = run.node(variant).await;
            let ends = if is_allowed { "Updated" } else { "RebootPending" };
            assert_eq!(outcome(&update, "bios"), ends, "{name}: {}", update.words("Succeeded"));
            let done = usize::from(is_allowed);
            assert_eq!((resets(&bmc), flashes(&bmc, firmware.version)), (done, done), "{name}");
            if is_allowed {
                assert_eq!(component(&update, "bios").after, firmware.version, "{name}");
            }
            is_over(&run, &bmc).await;
            bmc.remove(site).await;
        }
    });
}

/// The device's own word is no proof, in either direction.
#[test]
fn the_inventory_decides_and_not_the_task() {
    e2e("bmclies", async |site| {
        let firmware = firmware("idrac-bmc", "Integrated Dell Remote Access Controller", "7.10.30.00", ".d9");
        let (bmc, spec) = with(site, "idrac9", "IDRAC", &firmware, image()).await;
        for (fault, ends) in [(Fault::CompletedCritical, "Failed"), (Fault::LiesFailure, "Updated")] {
            bmc.arm(Armed::times(fault.clone(), 1));
            let run = site.run(&format!("run-{}", ends.to_lowercase()), spec.clone()).await;
            run.ends(wait::LIMIT).await;
            let update = run.node("idrac9").await;
            let found = component(&update, "idrac-bmc");
            assert_eq!(found.outcome, ends, "{fault:?}: {}", found.message);
            is_over(&run, &bmc).await;
        }
    });
}

/// Each refusal needs another action of the user, and must be told at once.
#[test]
fn what_a_bmc_refuses_has_its_own_reason() {
    e2e("bmcrefuse", async |site| {
        let firmware = firmware("ilo-bmc", "iLO 5", "3.05 Jan 10 2024", ".bin");
        let (bmc, spec) = with(site, "ilo5", "ILO", &firmware, image()).await;
        for (name, fault, reason) in [
            ("licence", Fault::NoLicence, "LicenceMissing"),
            ("room", Fault::NoRoom, "DeviceFull"),
            ("disabled", Fault::ServiceDisabled, "UpdateServiceDisabled"),
            ("missing", Fault::NoUpdateService, "UpdateServiceMissing"),
        ] {
            bmc.double.clear(None);
            bmc.arm(Armed::always(fault));
            let run = site.run(name, spec.clone()).await;
            run.ends(wait::LIMIT).await;
            let update = run.node("ilo5").await;
            let found = component(&update, "ilo-bmc");
            assert_eq!(update.reason("Succeeded"), reason, "{name}: {}", found.message);
            assert_eq!(flashes(&bmc, firmware.version), 0, "{name}");
            is_over(&run, &bmc).await;
        }
        bmc.double.clear(None);
        for (name, header, reason) in [
            ("signature", Header { bad_signature: true, ..image() }, "ImageRefused"),
            ("model", Header { models: vec!["another".into()], ..image() }, "ImageNotForMachine"),
        ] {
            site.baseline(name, &[firmware.component(site, header)]).await;
            let mut spec = spec.clone();
            spec["baselineRef"]["name"] = json!(name);
            let run = site.run(name, spec).await;
            run.ends(wait::LIMIT).await;
            let update = run.node("ilo5").await;
            let found = component(&update, "ilo-bmc");
            assert_eq!(
                (found.outcome.as_str(), update.reason("Succeeded")),
                ("Failed", reason),
                "{}",
                found.message
            );
            is_over(&run, &bmc).await;
        }
        assert_eq!(bmc.double.state()["components"].as_array().map(Vec::len), Some(0), "no image is left");
    });
}

/// The operator is killed while the BMC writes. A second image would be written over the first one.
#[test]
fn nothing_is_flashed_twice_when_the_operator_is_killed() {
    e2e("bmcflash", async |site| {
        let mut bmcs = Vec::new();
        for (variant, type_, firmware) in BMCS {
            let (bmc, spec) = with(site, variant, type_, &firmware, image()).await;
            bmc.double.set(Settings { flash_ms: 6000, ..bmc.double.settings() });
            bmcs.push((bmc, firmware, spec));
        }
        let mut runs = Vec::new();
        for (bmc, firmware, spec) in &bmcs {
            runs.push((site.run(&format!("kill-{}", bmc.name), spec.clone()).await, bmc, firmware));
        }
        for _ in 0..2 {
            wait::until("all BMCs to write", wait::LIMIT, async || {
                let writes = |bmc: &Bmc| !bmc.double.state()["updates"].as_array().is_none_or(Vec::is_empty);
                let idle: Vec<&str> =
                    bmcs.iter().filter(|(bmc, ..)| !writes(bmc)).map(|(bmc, ..)| &*bmc.name).collect();
                if idle.is_empty() { Ok(()) } else { Err(format!("not {idle:?}")) }
            })
            .await;
            site.operator.kill();
            site.operator.start();
        }
        for (run, bmc, firmware) in &runs {
            run.succeeds().await;
            assert_eq!(flashes(bmc, firmware.version), 1, "{}", bmc.name);
            is_over(run, bmc).await;
        }
    });
}

/// What devices do in the middle of an update. None of it may end a run in doubt that the inventory can settle.
#[test]
fn odd_devices_are_followed_to_their_true_end() {
    let odd = [
        ("forgets", "idrac9", Fault::ForgetTasks, "Updated", ""),
        ("vanishes", "idrac9", Fault::TaskVanishes, "Updated", ""),
        ("instant", "openbmc", Fault::Instant, "Updated", ""),
        ("silent", "openbmc", Fault::NoContent, "Updated", ""),
        ("lies", "openbmc", Fault::LiesSuccess, "Failed", "has openbmc-bmc"),
        ("stuck", "idrac9", Fault::NoProgress, "Unverified", "Job in progress"),
        ("asks", "openbmc", Fault::UserIntervention, "RebootPending", "conditions exist"),
        ("cuts", "ilo5", Fault::LostAnswer { path: "/cgi-bin/uploadFile".into() }, "Updated", ""),
        ("loses", "ilo5", Fault::LostAnswer { path: "/UpdateTaskQueue".into() }, "Updated", ""),
        ("throws", "ilo5", Fault::Unauthorized { path: "/UpdateTaskQueue".into() }, "Updated", ""),
    ];
    e2e("bmcodd", async |site| {
        let mut runs = Vec::new();
        for (name, variant, fault, outcome, words) in odd {
            let (variant, type_, firmware) =
                BMCS.iter().find(|(known, ..)| *known == variant).expect("a double");
            let firmware = if name == "asks" { &OPENBMC_BIOS } else { firmware };
            let patch = json!({"timeout": if ["stuck", "lies"].contains(&name) { "10s" } else { "2m" }});
            let component = firmware.component(site, image()).with(patch);
            let (bmc, spec) = with_component(site, name, (variant, type_), component).await;
            bmc.arm(if name == "stuck" { Armed::always(fault) } else { Armed::times(fault, 1) });
            runs.push((site.run(name, spec).await, bmc, firmware, outcome, words));
        }
        for (run, bmc, firmware, outcome, words) in &runs {
            run.ends(wait::LIMIT).await;
            let update = run.node(&bmc.name).await;
            let found = component(&update, firmware.name);
            assert_eq!(found.outcome, *outcome, "{}: {}", bmc.name, found.message);
            assert!(found.message.contains(words), "{}: {}", bmc.name, found.message);
            let done = usize::from(*outcome == "Updated");
            assert_eq!(flashes(bmc, firmware.version), done, "{}", bmc.name);
            if bmc.name == "stuck" {
                // The device is still at it, and nobody can take that back.
                assert_eq!(update.state("TornDown"), "False", "{}", update.words("TornDown"));
                assert!(update.words("TornDown").contains("an update of Farrier that has not ended"));
                assert_eq!(bmc.sessions(), 0);
            } else {
                is_over(run, bmc).await;
            }
        }
    });
}

/// The entry of another manager is in the way. Removing it would undo somebody else's work.
#[test]
fn what_is_queued_before_is_named_and_never_removed() {
    e2e("bmcqueue", async |site| {
        let (variant, type_, firmware) = &BMCS[3];
        let (bmc, spec) = with(site, variant, type_, firmware, image()).await;
        bmc.arm(Armed::always(Fault::ForeignEntry { updatable_by: "RuntimeAgent".into() }));
        let run = site.run("queue", spec).await;
        let named = run
            .node_until(variant, "the entry to be named", |update| {
                update.words("Succeeded").contains("Firmware of another manager")
            })
            .await;
        let waiting = named.status.as_ref().and_then(|status| status.waiting.as_ref()).expect("a wait");
        assert_eq!(waiting.reason, "QueueBlocked", "{}", named.words("Succeeded"));
        let is_there = || bmc.double.state()["queue"].to_string().contains("Firmware of another manager");
        assert!(is_there(), "{}", bmc.double.state()["queue"]);
        run.desire("Cancel").await;
        run.ends(wait::LIMIT).await;
        assert!(is_there(), "{}", bmc.double.state()["queue"]);
        assert_eq!(flashes(&bmc, firmware.version), 0);
        is_over(&run, &bmc).await;
    });
}
