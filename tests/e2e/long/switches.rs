//! The operator is killed, and the run is cancelled, while a switch writes its firmware.

use crate::console::{FOS, is_over, port, spec};
use crate::harness::console::Console;
use crate::harness::{e2e, outcome, wait};
use serde_json::json;

/// Waits until the device is in this phase of its update.
async fn is_in(console: &Console, phase: &str) {
    wait::until(&format!("{} to be {phase}", console.name), wait::LIMIT, async || {
        let state = console.double.state();
        if state["update"]["phase"] == phase { Ok(()) } else { Err(state.to_string()) }
    })
    .await;
}

/// A firmware that is written twice at the same time may leave a switch without any.
#[test]
fn an_operator_that_dies_in_a_firmwaredownload_begins_no_second_one() {
    e2e("fckill", async |site| {
        let _port = port().await;
        let fc = FOS.up(site, "fc", json!({})).await;
        fc.set(|settings| settings.flash_ms = 6000);
        site.baseline("spring", &[FOS.component(site, "fos", &FOS.image())]).await;
        let run = site.run("update", spec("spring")).await;
        is_in(&fc, "writing").await;
        site.operator.kill();
        site.operator.start();
        run.succeeds().await;
        assert_eq!(outcome(&run.node("fc").await, "fos"), "Updated");
        assert_eq!(fc.flashes(FOS.version), 1);
        is_over(&run, &fc).await;
    });
}

/// A cancelled run lets the switch finish what it has begun, and leaves nothing open.
#[test]
fn a_cancelled_firmwaredownload_is_followed_to_its_end() {
    e2e("fccancel", async |site| {
        let _port = port().await;
        let fc = FOS.up(site, "fc", json!({})).await;
        fc.set(|settings| settings.flash_ms = 4000);
        site.baseline("spring", &[FOS.component(site, "fos", &FOS.image())]).await;
        let run = site.run("update", spec("spring")).await;
        is_in(&fc, "writing").await;
        run.desire("Cancel").await;
        run.ends(wait::LIMIT).await;
        is_in(&fc, "done").await;
        assert_eq!(fc.flashes(FOS.version), 1, "what was begun is finished, and once");
        is_over(&run, &fc).await;
    });
}
