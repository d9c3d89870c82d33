//! Operator or engine are killed at each step of a reboot.

use super::{firmware, rebooting, went_well};
use crate::harness::payload::merge;
use crate::harness::{Machine, e2e, lab, wait};
use serde_json::{Value, json};

/// A machine would be rebooted a second time, or be waited for without an end, because the operator died.
#[test]
fn an_operator_that_is_killed_at_each_step_of_a_reboot_reboots_once() {
    e2e("steps", async |site| {
        let machines = site.machine("m").lab(&["--boot-delay", "2"]).up_many(5).await;
        site.baseline("spring", &[firmware(site)]).await;
        let steps = ["-verify\"", "\"rebootBegun\"", "\"rebootRequested\"", "\"rebooted\"", "-verify-2\""];
        for (n, (machine, step)) in machines.iter().zip(steps).enumerate() {
            let run = site.run(&format!("r{n}"), only(machine, &json!({}))).await;
            wait::closely(step, || machine.journals().contains(step)).await;
            site.operator.kill();
            site.operator.start();
            went_well(&run, machine).await;
            machine.is_clean().await;
        }
    });
}

/// A machine would be rebooted a second time, or not at all, because its engine died during the delay.
#[test]
fn an_engine_that_is_killed_during_the_delay_reboots_once() {
    e2e("engine", async |site| {
        let db = site.machine("db").up().await;
        site.baseline("spring", &[firmware(site)]).await;
        let run = site.run("r1", only(&db, &json!({"delay": "20s"}))).await;
        let step = "\"rebootBegun\"";
        wait::closely(step, || db.journals().contains(step)).await;
        let engine = db.engine().await;
        lab::output("kill", ["-9", &engine.to_string()]).await;
        let journal = db.journals();
        assert!(!journal.contains("\"rebootRequested\""), "killed too late: {journal}");
        went_well(&run, &db).await;
    });
}

fn only(machine: &Machine, reboot: &Value) -> Value {
    let mut spec = rebooting(reboot);
    merge(&mut spec, json!({"selector": {"matchLabels": {"name": machine.name}}}));
    spec
}
