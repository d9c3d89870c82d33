//! Images that need more than themselves: a signature, or the user's word; and images for several parts.

use super::updates::{flashes, image};
use super::{Bmc, is_over};
use crate::harness::payload::{Component, digest, of_bytes};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Site, e2e, outcome, wait};
use farrier_bmc_double::fault::{Armed, Fault, Says};
use farrier_bmc_double::image::{Header, Target, compsig};
use serde_json::{Value, json};

const ILO: &str = "3.05 Jan 10 2024";
const SECTION: usize = 32 * 1024 * 1024;

/// Writes an image for an iLO, and returns its component.
fn ilo_component(site: &Site, header: Header) -> (Component, Vec<u8>) {
    let header = Header { targets: vec![Target { device: "bmc".into(), version: ILO.into() }], ..header };
    let bytes = header.to_file();
    std::fs::write(site.path("payloads").join("ilo.bin"), &bytes).expect("a payload");
    let component = of_bytes("ilo", ILO, "RedfishImage", "ilo.bin", &bytes)
        .with(json!({"detect": {"firmware": "iLO 5"}, "timeout": "2m", "interruptible": true}));
    (component, bytes)
}

/// Writes the signatures of these sections, and returns what a payload says about them.
fn signatures<'a>(site: &Site, sections: impl Iterator<Item = &'a [u8]>) -> Value {
    let written = sections.enumerate().map(|(number, section)| {
        let (file, bytes) = (format!("ilo_part{}.compsig", number + 1), compsig(section));
        std::fs::write(site.path("payloads").join(&file), &bytes).expect("a signature");
        json!({"url": format!("file:///{file}"), "digest": digest(bytes.as_bytes())})
    });
    json!({"payload": {"signatures": written.collect::<Vec<_>>()}})
}

async fn run_with(
    site: &Site,
    bmc: &Bmc,
    name: &str,
    component: Component,
    patch: &Value,
) -> (String, String) {
    site.baseline(name, &[component]).await;
    let mut spec = to(name);
    spec["selector"] = json!({"matchLabels": {"name": bmc.name}});
    spec["strategy"] = json!({"retries": 0});
    json_patch::merge(&mut spec, patch);
    let run = site.run(name, spec).await;
    // Large images, on machines that are busy.
    run.ends(3 * wait::LIMIT).await;
    let update = run.node(&bmc.name).await;
    is_over(&run, bmc).await;
    (update.reason("Succeeded").to_owned(), update.words("Succeeded"))
}

/// Older components of HPE come with their signature in a second file; the iLO takes neither without the other.
#[test]
fn an_image_is_sent_with_its_signatures() {
    e2e("bmcsig", async |site| {
        let bmc = Bmc::up(site, "ilo5", "ILO", "password").await;
        let small = Header { needs_compsig: true, ..image() };
        let (unsigned, bytes) = ilo_component(site, small);
        let none = json!({});
        let (reason, words) = run_with(site, &bmc, "unsigned", unsigned.clone(), &none).await;
        assert_eq!(reason, "ImageRefused", "{words}");
        assert!(words.contains("name them in payload.signatures"), "{words}");
        let two = signatures(site, [&bytes[..], &bytes[..]].into_iter());
        let (reason, words) = run_with(site, &bmc, "too-many", unsigned.clone().with(two), &none).await;
        assert_eq!(reason, "SignatureMissing", "{words}");
        assert_eq!(flashes(&bmc, ILO), 0);
        let signed = unsigned.with(signatures(site, [&bytes[..]].into_iter()));
        let (reason, words) = run_with(site, &bmc, "signed", signed, &none).await;
        assert_eq!((reason.as_str(), flashes(&bmc, ILO)), ("Succeeded", 1), "{words}");
        bmc.remove_node(site).await;

        let bmc = Bmc::up(site, "ilo5", "ILO", "password").await;
        let large = Header { needs_compsig: true, payload_bytes: (SECTION + 1_000_000) as u64, ..image() };
        let (unsigned, bytes) = ilo_component(site, large);
        let signed = unsigned.with(signatures(site, bytes.chunks(SECTION)));
        let (reason, words) = run_with(site, &bmc, "sections", signed, &none).await;
        assert_eq!((reason.as_str(), flashes(&bmc, ILO)), ("Succeeded", 1), "{words}");
        assert_eq!(bmc.requests("POST", "/cgi-bin/uploadFile"), 2, "two sections");
    });
}

/// An update that a trusted module measures may lock encrypted disks: that is for the user to decide.
#[test]
fn a_trusted_module_is_overridden_only_on_request() {
    e2e("bmctpm", async |site| {
        let bmc = Bmc::up(site, "ilo5", "ILO", "password").await;
        bmc.arm(Armed::always(Fault::TrustedModule));
        let (component, _) = ilo_component(site, image());
        let (reason, words) = run_with(site, &bmc, "asked", component.clone(), &json!({})).await;
        assert_eq!(reason, "OverrideRequired", "{words}");
        assert!(words.contains("spec.force.trustedModule"), "{words}");
        assert_eq!(flashes(&bmc, ILO), 0);
        let force = json!({"force": {"trustedModule": true}});
        let (reason, words) = run_with(site, &bmc, "allowed", component, &force).await;
        assert_eq!((reason.as_str(), flashes(&bmc, ILO)), ("Succeeded", 1), "{words}");
    });
}

/// A chassis of which one part was updated and another one was not may not start any more.
#[test]
fn a_part_of_an_image_that_fails_is_named() {
    e2e("bmcparts", async |site| {
        for (says, failing) in [(Some(Says::Exception), true), (Some(Says::Warning), true), (None, false)] {
            let name = format!(
                "parts-{}",
                says.map_or("good".to_owned(), |says| format!("{says:?}").to_lowercase())
            );
            let bmc = Bmc::up(site, "lenovo-xcc", "Redfish", "password").await;
            let target = |device: &str| Target { device: device.into(), version: "9.9".into() };
            let header = Header { targets: vec![target("bios"), target("bmc-backup")], ..image() };
            let bytes = header.to_file();
            std::fs::write(site.path("payloads").join("bundle.uxz"), &bytes).expect("a payload");
            let bundle = of_bytes("bundle", "9.9", "RedfishImage", "bundle.uxz", &bytes).with(
                json!({"detect": {"firmware": "Firmware:UEFI"}, "timeout": "2m", "interruptible": true}),
            );
            site.baseline(&name, &[bundle]).await;
            if let Some(says) = says {
                bmc.arm(Armed::times(Fault::Partial { device: "bmc-backup".into(), says }, 1));
            }
            let mut spec = to(&name);
            spec["selector"] = json!({"matchLabels": {"name": "lenovo-xcc"}});
            spec["reboot"] = json!({"policy": "IfRequired"});
            spec["strategy"] = json!({"retries": 0});
            let run = site.run(&name, spec).await;
            run.ends(wait::LIMIT).await;
            let update = run.node("lenovo-xcc").await;
            let found = component(&update, "bundle");
            let parts: Vec<(&str, &str, bool)> =
                found.parts.iter().map(|part| (&*part.entry, &*part.after, part.failed)).collect();
            let backup = if failing { "AFBT28M-3.00" } else { "9.9" };
            assert_eq!(
                parts,
                [("Firmware:BMC-Backup", backup, failing), ("Firmware:UEFI", "9.9", false)],
                "{name}: {}",
                found.message
            );
            let expected = if failing { ("Failed", "PartlyApplied") } else { ("Updated", "Succeeded") };
            assert_eq!(
                (outcome(&update, "bundle"), update.reason("Succeeded")),
                expected,
                "{}",
                found.message
            );
            assert!(!failing || found.message.contains("Firmware:BMC-Backup"), "{}", found.message);
            is_over(&run, &bmc).await;
            bmc.remove_node(site).await;
        }
    });
}
