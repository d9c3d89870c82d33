//! The conformance kit, passed by the drivers whose machines have doubles that need nothing. The Linux driver
//! passes it in `tests/e2e/conformance.rs`, where machines are.
//!
//! One check on one device: `KIT_FILTER=killed cargo test --test conformance idrac9 -- --nocapture`.

#![expect(clippy::unwrap_used, reason = "tests and what they share: a panic is how a test fails")]

mod bench;
mod bmc;
mod console;
mod hpux;
mod order;
mod pull;
mod services;

use bmc::Bmcs;
use console::Consoles;
use farrier::conformance::{self, Bench, Report};
use hpux::Machines;
use std::time::Instant;

async fn tried(bench: &dyn Bench) -> Report {
    let begun = Instant::now();
    let filter = std::env::var("KIT_FILTER").unwrap_or_default();
    let report = conformance::run_only(bench, &filter).await;
    println!("{report}{} s", begun.elapsed().as_secs());
    report
}

async fn passes(bench: impl Bench, skipped: &[&str]) {
    let report = tried(&bench).await;
    assert!(report.is_passed(), "{report}");
    if std::env::var_os("KIT_FILTER").is_none() {
        assert_eq!(report.skipped(), skipped, "{report}");
    }
}

/// A fleet's servers with `OpenBMC` would be flashed twice, or believed to be updated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_passes_the_kit_on_openbmc() {
    passes(Bmcs::pushed("openbmc"), &["way back shut"]).await;
}

/// As above, with iDRACs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_passes_the_kit_on_idrac9() {
    passes(Bmcs::pushed("idrac9"), &["way back shut"]).await;
}

/// As above, with iLOs, which install from a repository and a queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_passes_the_kit_on_ilo5() {
    passes(Bmcs::pushed("ilo5"), &["way back shut"]).await;
}

/// As above, with devices that have neither sessions nor tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_passes_the_kit_on_a_minimal_device() {
    passes(Bmcs::pushed("minimal"), &["session lost", "work vanishes", "way back shut"]).await;
}

/// As above, with Superdome Flexes, which fetch a bundle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_passes_the_kit_on_a_superdome_flex() {
    passes(Bmcs::fetching("superdome-flex"), &[]).await;
}

/// As above, with iLOs that fetch into their repository.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_passes_the_kit_on_an_ilo5_that_fetches() {
    passes(Bmcs::fetching("ilo5"), &[]).await;
}

/// As above, with devices that have nothing but `SimpleUpdate`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_passes_the_kit_on_a_minimal_device_that_fetches() {
    passes(Bmcs::fetching("minimal"), &["session lost", "work vanishes"]).await;
}

/// Who wants images to be fetched would have them pushed by a network that is not meant for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_has_fetched_what_the_user_wants_to_be_fetched() {
    let benches = ["ilo5", "minimal"].map(Bmcs::told_to_fetch);
    let reports = benches
        .iter()
        .flat_map(|bench| ["update", "way back shut"].map(|checks| conformance::run_only(bench, checks)));
    for report in futures::future::join_all(reports).await {
        assert!(report.is_passed(), "{report}");
    }
}

/// HP-UX machines that have nothing to fetch with would not be updated; they get the depot through the session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hpux_is_updated_without_programs() {
    let report = conformance::run_only(&Machines::with(&[]), "update").await;
    assert!(report.is_passed(), "{report}");
}

/// A user who wants depots to be sent, because nothing may come back from the machine, would have it refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hpux_is_sent_a_depot_if_its_user_wants_that() {
    let report = conformance::run_only(&Machines::sent(), "update").await;
    assert!(report.is_passed(), "{report}");
}

/// Nothing may connect back from an enclosure, so without a push it would never be updated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn console_sends_an_image_to_an_onboard_administrator() {
    let bench = Consoles::new(console::OA);
    let reports =
        ["update", "image refused", "answer lost"].map(|checks| conformance::run_only(&bench, checks));
    for report in futures::future::join_all(reports).await {
        assert!(report.is_passed(), "{report}");
    }
}

/// Who lets an Onboard Administrator connect to the file service would have it sent its image over a port that may be
/// shut, or be told nothing where the service is shut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn console_has_an_onboard_administrator_fetch_its_image() {
    let bench = Consoles::new(console::FETCHING_OA);
    let checks = ["update", "image refused", "way back shut", "answer lost"];
    let reports = checks.map(|check| conformance::run_only(&bench, check));
    for report in futures::future::join_all(reports).await {
        assert!(report.is_passed(), "{report}");
    }
}

/// What the product file of a device says would be compared with a manual only, and never be worked with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn console_updates_each_other_product() {
    let benches = console::OTHERS.map(Consoles::new);
    let reports = benches.iter().map(|bench| conformance::run_only(bench, "update"));
    for report in futures::future::join_all(reports).await {
        assert!(report.is_passed(), "{report}");
    }
}

/// A module is worked on a line that outlives its sessions, where cuts and cancels show in another way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn console_works_a_module_through_its_manager() {
    let bench = Consoles::new(console::VC);
    let checks = ["cancelled before", "answer lost", "image refused", "another identity", "unavailable"];
    let reports = checks.map(|check| conformance::run_only(&bench, check));
    for report in futures::future::join_all(reports).await {
        assert!(report.is_passed(), "{report}");
    }
}

/// With `--long`.
mod long {
    use super::*;

    /// A fabric's switches would be updated twice, left between two versions, or believed to be updated.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn console_passes_the_kit_on_fabric_os() {
        passes(Consoles::new(console::FOS.whole()), &SKIPPED).await;
    }

    /// What has no meaning for a device with a command line.
    const SKIPPED: [&str; 3] = ["session lost", "work vanishes", "failure that is none"];

    /// Devices that are sent their images.
    const SENT: [&str; 4] = ["session lost", "work vanishes", "failure that is none", "way back shut"];

    /// As above, with enclosures, which are sent their images.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn console_passes_the_kit_on_an_onboard_administrator() {
        passes(Consoles::new(console::OA.whole()), &SENT).await;
    }

    /// As above, with directors, whose two control processors are updated by one command.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn console_passes_the_kit_on_a_director() {
        passes(Consoles::new(console::DIRECTOR.whole()), &SKIPPED).await;
    }

    /// As above, with enclosures that fetch their images.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn console_passes_the_kit_on_an_onboard_administrator_that_fetches() {
        passes(Consoles::new(console::FETCHING_OA.whole()), &SKIPPED).await;
    }

    /// As above, with complexes, over IPv6.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn console_passes_the_kit_on_a_superdome_2() {
        passes(Consoles::new(console::SUPERDOME_2.whole()), &SKIPPED).await;
    }

    /// As above, with complexes.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn console_passes_the_kit_on_a_superdome_x() {
        passes(Consoles::new(console::SUPERDOME_X.whole()), &SKIPPED).await;
    }

    /// As above, with switches that have place for one session.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn console_passes_the_kit_on_a_sas_switch() {
        passes(Consoles::new(console::SAS.whole()), &SKIPPED).await;
    }

    /// As above, with one of two modules.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn console_passes_the_kit_on_virtual_connect() {
        passes(Consoles::new(console::OWN_VC.whole()), &SKIPPED).await;
    }

    /// As above, on the console of its bay.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn console_passes_the_kit_on_virtual_connect_through_its_manager() {
        passes(Consoles::new(console::VC.whole()), &SKIPPED).await;
    }

    /// As above, with chassis.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn console_passes_the_kit_on_moonshot() {
        passes(Consoles::new(console::MOONSHOT.whole()), &SKIPPED).await;
    }

    /// As above, with HP-UX machines, which fetch a depot and install it by `swinstall`.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn hpux_passes_the_kit_with_curl() {
        let skipped = ["work vanishes", "failure that is none", "answer lost"];
        passes(Machines::with(&["curl", "openssl"]), &skipped).await;
    }
}
