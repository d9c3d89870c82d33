//! Machines on which something else than systemd starts the engine again.

use super::{firmware, rebooting, went_well};
use crate::harness::{Machine, e2e, wait};
use serde_json::json;

/// A machine would keep the engine, because nobody signs in after the reboot; and a line of cron or a script of
/// Farrier's would stay on machines, and run at each boot.
#[test]
fn cron_and_openrc_start_the_engine_after_the_reboot_and_keep_nothing_of_it() {
    e2e("boot", async |site| {
        let cron = site.machine("cron").lab(&["--flavour", "cron"]).up().await;
        let openrc = site.machine("openrc").lab(&["--flavour", "openrc"]).up().await;
        let machines = [(&cron, "/etc/cron.d/farrier-"), (&openrc, "/etc/local.d/farrier-")];
        site.baseline("spring", &[firmware(site)]).await;
        let run = site.run("r1", rebooting(&json!({}))).await;
        let all_have = |entry: &str| machines.iter().all(|(machine, _)| machine.journals().contains(entry));
        wait::closely("the requests", || all_have("\"rebootRequested\"")).await;
        site.operator.kill();
        for (machine, file) in machines {
            is_found_by_the_engine_alone(machine).await;
            let traces = machine.traces();
            assert!(traces.iter().any(|trace| trace.starts_with(file)), "{traces:?}");
        }
        site.operator.start();
        for (machine, _) in machines {
            went_well(&run, machine).await;
            machine.is_clean().await;
        }
    });
}

async fn is_found_by_the_engine_alone(machine: &Machine) {
    wait::until("the reboot to be found by the engine alone", wait::LIMIT, async || {
        if machine.journals().contains("\"rebooted\"") { Ok(()) } else { Err(machine.journals()) }
    })
    .await;
}
