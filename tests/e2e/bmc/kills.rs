//! The operator is killed again and again while BMCs of all kinds are updated.

use super::pulls::without_push;
use super::updates::{BMCS, FLEX, Firmware, flashes, image, with};
use super::{Bmc, is_over};
use crate::harness::{Conditions, Run, Site, e2e, outcome, wait};
use farrier_bmc_double::Settings;
use serde_json::json;
use std::time::{Duration, SystemTime};

/// How many times the operator is killed.
const KILLS: u32 = 12;

/// How long a run may take to its end: what cannot be told is waited for until the component's timeout.
const ENDS: Duration = Duration::from_mins(4);

/// A random time between 0.3 and 3.3 s.
fn moment() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(300 + u64::from(now.subsec_nanos()) % 3000)
}

/// Doubles of all kinds, some of which take no push, with a run for each.
async fn fleet(site: &Site) -> Vec<(Bmc, &'static Firmware<'static>, serde_json::Value)> {
    let mut fleet = Vec::new();
    for (variant, type_, firmware) in &BMCS[..2] {
        let (bmc, spec) = with(site, variant, type_, firmware, image()).await;
        fleet.push((bmc, firmware, spec));
    }
    let no_push = json!({"update": {"push": null}});
    let no_check = json!({"update": {"bundle": {"verify": "never"}}});
    for (kind, patch) in [(&BMCS[2], &no_push), (&BMCS[3], &no_push), (&FLEX, &no_check)] {
        let (bmc, spec) = without_push(site, kind, patch).await;
        fleet.push((bmc, &kind.2, spec));
    }
    for (bmc, ..) in &fleet {
        bmc.double.set(Settings { flash_ms: 8000, ..bmc.double.settings() });
    }
    fleet
}

/// Nothing may be flashed twice, every run must end, and no session may be left, whenever the operator is killed.
#[test]
fn an_operator_that_is_killed_at_twelve_random_moments_flashes_nothing_twice() {
    e2e("bmckills", async |site| {
        let fleet = fleet(site).await;
        let mut runs: Vec<(Run<'_>, &Bmc, &Firmware<'_>)> = Vec::new();
        for (bmc, firmware, spec) in &fleet {
            let mut spec = spec.clone();
            spec["strategy"] = json!({"retries": 3});
            runs.push((site.run(&format!("kill-{}", bmc.name), spec).await, bmc, firmware));
        }
        for kill in 0..KILLS {
            let moment = moment();
            println!("kill {kill} after {moment:?}");
            wait::pass(moment).await;
            site.operator.kill();
            site.operator.start();
        }
        let mut updated = 0;
        for (run, bmc, firmware) in &runs {
            run.ends(ENDS).await;
            let update = run.node(&bmc.name).await;
            let found = update.status.as_ref().map(|status| status.components.clone()).unwrap_or_default();
            println!(
                "{}: {} flashed, {found:?}, {}",
                bmc.name,
                flashes(bmc, firmware.version),
                update.words("Succeeded")
            );
            // Whether a request was sent cannot always be told afterwards; then nothing is repeated.
            let is_known = outcome(&update, firmware.name) == "Updated";
            assert!(is_known || outcome(&update, firmware.name) == "Unverified", "{}", bmc.name);
            updated += u32::from(is_known);
            let flashed = flashes(bmc, firmware.version);
            assert!(flashed == 1 || flashed == 0 && !is_known, "{}: flashed {flashed} times", bmc.name);
            is_over(run, bmc).await;
        }
        // Few moments are so unlucky.
        assert!(updated >= 3, "only {updated} of {} are known to be updated", runs.len());
    });
}
