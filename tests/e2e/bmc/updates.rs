//! Updates of BMCs: images that are pushed, tasks that are followed, and devices that restart on the way.

use super::{Bmc, is_over};
use crate::harness::payload::of_bytes;
use crate::harness::run::{component, to};
use crate::harness::{Site, e2e, outcome};
use farrier_bmc_double::image::{Header, Target};
use serde_json::json;

/// A component of a double: the name of its firmware entry, and the version to install.
struct Firmware<'a> {
    name: &'a str,
    entry: &'a str,
    device: &'a str,
    version: &'a str,
    /// The ending of the image's file.
    ending: &'a str,
}

impl Firmware<'_> {
    /// Writes the image, and returns the component of a Baseline.
    fn component(&self, site: &Site, header: Header) -> crate::harness::payload::Component {
        let header = Header { targets: vec![Target { device: self.device.into(), version: self.version.into() }], ..header };
        let (file, bytes) = (format!("{}-{}{}", self.name, self.version, self.ending), header.to_file());
        std::fs::write(site.path("payloads").join(&file), &bytes).expect("a payload");
        of_bytes(self.name, self.version, "RedfishImage", &file, &bytes)
            .with(json!({"detect": {"firmware": self.entry}, "timeout": "2m", "interruptible": true}))
    }
}

/// An image of 100 kB that every model takes.
fn image() -> Header {
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
const BMCS: [(&str, &str, Firmware<'static>); 4] = [
    ("openbmc", "Redfish", firmware("openbmc-bmc", "bmc_active", "2.16.0", ".tar")),
    (
        "idrac9",
        "IDRAC",
        firmware("idrac-bmc", "Integrated Dell Remote Access Controller", "7.10.30.00", ".d9"),
    ),
    ("minimal", "Redfish", firmware("minimal-bmc", "BMC", "9.9", ".bin")),
    ("ilo5", "ILO", firmware("ilo-bmc", "iLO 5", "3.05 Jan 10 2024", ".bin")),
];

const fn firmware(
    name: &'static str,
    entry: &'static str,
    version: &'static str,
    ending: &'static str,
) -> Firmware<'static> {
    Firmware { name, entry, device: "bmc", version, ending }
}

/// How many times a version was written.
fn flashes(bmc: &Bmc, version: &str) -> usize {
    let is_it = |entry: &&farrier_bmc_double::Entry| {
        entry.kind == "flash" && entry.detail["version"] == version
    };
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
