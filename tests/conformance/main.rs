//! The conformance kit, passed by the drivers whose machines have doubles that need nothing. The Linux driver
//! passes it in `tests/e2e/conformance.rs`, where machines are.
//!
//! One check on one device: `KIT_FILTER=killed cargo test --test conformance idrac9 -- --nocapture`.

#![expect(clippy::unwrap_used, reason = "tests and what they share: a panic is how a test fails")]

mod bmc;

use bmc::Bmcs;
use farrier::conformance::{self, Report};
use std::time::Instant;

async fn tried(bmcs: &Bmcs) -> Report {
    let begun = Instant::now();
    let filter = std::env::var("KIT_FILTER").unwrap_or_default();
    let report = conformance::run_only(bmcs, &filter).await;
    println!("{report}{} s", begun.elapsed().as_secs());
    report
}

async fn passes(variant: &str, skipped: &[&str]) {
    let report = tried(&Bmcs::new(variant)).await;
    assert!(report.is_passed(), "{report}");
    if std::env::var_os("KIT_FILTER").is_none() {
        assert_eq!(report.skipped(), skipped, "{report}");
    }
}

/// A fleet's servers with `OpenBMC` would be flashed twice, or believed to be updated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_passes_the_kit_on_openbmc() {
    passes("openbmc", &["way back shut"]).await;
}

/// As above, with iDRACs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_passes_the_kit_on_idrac9() {
    passes("idrac9", &["way back shut"]).await;
}

/// As above, with iLOs, which install from a repository and a queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_passes_the_kit_on_ilo5() {
    passes("ilo5", &["way back shut"]).await;
}

/// As above, with devices that have neither sessions nor tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_passes_the_kit_on_a_minimal_device() {
    passes("minimal", &["session lost", "work vanishes", "way back shut"]).await;
}

/// A Superdome Flex fetches its images; what needs none must work all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redfish_inventories_a_superdome_flex() {
    let report = tried(&Bmcs::new("superdome-flex")).await;
    assert!(report.is_passed(), "{report}");
}
