//! BMCs that fetch their image: a port of the run is open for them, as long as they need it.

use super::updates::{BMCS, FLEX, Firmware, firmware, flashes, image};
use super::{Bmc, is_over};
use crate::harness::run::to;
use crate::harness::{Run, Site, e2e, outcome, wait};
use farrier::api::NodeUpdate;
use farrier_bmc_double::fault::{Armed, Fault};
use farrier_bmc_double::{Config, Double, Settings, Variant};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

/// A double of this variant that takes no push, and the spec of a run that updates it.
pub(super) async fn without_push(
    site: &Site,
    (variant, type_, firmware): &(&str, &str, Firmware<'_>),
    patch: &Value,
) -> (Bmc, Value) {
    let variants = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doubles/bmc/variants");
    let text = std::fs::read_to_string(format!("{variants}/{variant}.json")).expect("a variant");
    let mut data: Value = serde_json::from_str(&text).expect("JSON");
    json_patch::merge(&mut data, patch);
    let file = site.path(&format!("{variant}.json"));
    std::fs::write(&file, data.to_string()).expect("a file");
    let double = Double::start(Config::new(Variant::of_file(&file).expect("a variant"))).await;
    let bmc = Bmc::manage(site, variant, type_, "password", double.expect("a double that listens")).await;
    site.baseline(variant, &[firmware.component(site, image())]).await;
    let mut spec = to(variant);
    spec["selector"] = json!({"matchLabels": {"name": variant}});
    spec["strategy"] = json!({"retries": 0});
    (bmc, spec)
}

/// The URL that the BMC fetched.
fn fetched(bmc: &Bmc) -> String {
    let journal = bmc.double.journal();
    let fetches: Vec<_> = journal.iter().filter(|entry| entry.kind == "fetch").collect();
    assert_eq!(fetches.len(), 1, "{}: {fetches:?}", bmc.name);
    assert_eq!(fetches[0].detail["whole"], true, "{}: {fetches:?}", bmc.name);
    fetches[0].detail["url"].as_str().expect("a URL").to_owned()
}

async fn is_updated(run: &Run<'_>, bmc: &Bmc, firmware: &Firmware<'_>, start: &str) {
    run.succeeds().await;
    let update = run.node(&bmc.name).await;
    assert_eq!(outcome(&update, firmware.name), "Updated", "{}", bmc.name);
    assert_eq!(flashes(bmc, firmware.version), 1, "{}", bmc.name);
    let url = fetched(bmc);
    assert!(url.starts_with(start), "{url}");
    assert!(url.ends_with(firmware.ending), "{url}");
    is_over(run, bmc).await;
    run.until("the ports to be closed", |run| {
        run.status.as_ref().is_none_or(|status| status.callback.is_none())
    })
    .await;
}

/// An iLO that is only told where its image is fetches it by HTTP from 63001, as its manual says.
#[test]
fn an_ilo_without_a_push_fetches_by_http() {
    e2e("bmcpull", async |site| {
        let (bmc, spec) = without_push(site, &BMCS[3], &json!({"update": {"push": null}})).await;
        let run = site.run("ilo", spec).await;
        is_updated(&run, &bmc, &BMCS[3].2, "http://").await;
        // Through the repository and the queue, from which it is removed.
        assert_eq!(bmc.double.state()["components"].as_array().map(Vec::len), Some(0));
    });
}

/// A BMC with nothing but `SimpleUpdate`, and no tasks.
#[test]
fn a_bmc_that_only_fetches_is_updated() {
    e2e("bmcsimple", async |site| {
        let (bmc, spec) = without_push(site, &BMCS[2], &json!({"update": {"push": null}})).await;
        let run = site.run("simple", spec).await;
        is_updated(&run, &bmc, &BMCS[2].2, "http://").await;
    });
}

/// The controller of a Superdome Flex fetches by HTTPS and verifies the certificate, for the address that it was
/// given.
#[test]
fn a_superdome_flex_fetches_its_bundle_by_https() {
    e2e("bmcflex", async |site| {
        let (bmc, spec) = without_push(site, &FLEX, &json!({})).await;
        // Time to have the authority of the run imported, as an administrator does it.
        bmc.arm(Armed::always(Fault::Slow { path: "UpdateAll".into(), ms: 3000 }));
        let run = site.run("flex", spec).await;
        let secrets = site.api::<Secret>();
        let trust = wait::until("the authority of the run", wait::LIMIT, async || {
            let secret = secrets.get_opt("flex-callback").await.expect("an answer");
            let data = secret.and_then(|secret| secret.data).unwrap_or_default();
            let authority = data.get("ca.crt").map(|pem| String::from_utf8_lossy(&pem.0).into_owned());
            authority.ok_or_else(|| "there is no Secret".to_owned())
        })
        .await;
        bmc.double.set(Settings { trust, ..bmc.double.settings() });
        is_updated(&run, &bmc, &FLEX.2, "https://").await;
    });
}

/// BMCs of Cisco and Lenovo that are left with the file services, and sign in there.
#[test]
fn bmcs_fetch_by_the_file_services_that_the_run_names() {
    e2e("bmcfiles", async |site| {
        let cisco = firmware("cimc", "CIMC", "4.3(2a)", ".bin");
        let lenovo = firmware("xcc", "Firmware:BMC-Primary", "AFBT40A-4.00", ".uxz");
        for (variant, firmware, protocol, service) in [
            ("cisco-cimc", cisco, "ftp", json!({"ftpPort": 61321})),
            ("lenovo-xcc", lenovo, "sftp", json!({"sftpPort": 61222})),
        ] {
            let only =
                json!({"update": {"push": null, "multipart": null, "simple": {"schemes": [protocol]}}});
            let kind = (variant, "Redfish", firmware);
            let (bmc, mut spec) = without_push(site, &kind, &only).await;
            spec["callback"] = service;
            let run = site.run(variant, spec).await;
            is_updated(&run, &bmc, &kind.2, &format!("{protocol}://")).await;
            let journal = bmc.double.journal();
            let fetch = journal.iter().find(|entry| entry.kind == "fetch").expect("a fetch");
            assert_eq!(fetch.detail["user"], "farrier", "{fetch:?}");
        }
    });
}

/// By default a run has no retries: each restart of the operator would fail all machines that are about to fetch.
#[test]
fn a_fetch_that_fails_while_no_operator_runs_is_repeated() {
    e2e("bmcpullkill", async |site| {
        let (bmc, spec) = without_push(site, &BMCS[3], &json!({"update": {"push": null}})).await;
        let settings = bmc.double.settings();
        bmc.double.set(Settings { fetch_delay_ms: 3000, ..settings.clone() });
        let run = site.run("ilo", spec).await;
        let is_told = |update: &NodeUpdate| {
            let actions = update.status.iter().flat_map(|status| &status.actions);
            actions.into_iter().any(|action| action.verb == "Pull" && action.ticket.is_some())
        };
        run.node_until(&bmc.name, "the BMC to be told to fetch", is_told).await;
        site.operator.kill();
        let fetches =
            || bmc.double.journal().into_iter().filter(|entry| entry.kind == "fetch").collect::<Vec<_>>();
        wait::until("the fetch to fail", wait::LIMIT, async || match fetches().first() {
            Some(fetch) if fetch.detail["error"].is_string() => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        bmc.double.set(settings);
        site.operator.start();
        run.succeeds().await;
        let update = run.node(&bmc.name).await;
        assert_eq!(outcome(&update, BMCS[3].2.name), "Updated");
        assert_eq!(flashes(&bmc, BMCS[3].2.version), 1);
        assert_eq!(fetches().len(), 2);
        is_over(&run, &bmc).await;
    });
}
