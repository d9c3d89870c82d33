//! Machines that systemd boots: programs that inhibit the shutdown, and the unit that starts the engine again.

use super::{firmware, rebooting, tool, went_well};
use crate::harness::payload::merge;
use crate::harness::run::component;
use crate::harness::{Conditions, e2e, outcome, wait};
use serde_json::json;

/// A machine would be rebooted under somebody's work, or not rebooted without saying why.
#[test]
fn a_program_that_inhibits_the_shutdown_is_respected_and_named_unless_it_is_overridden() {
    e2e("inhibit", async |site| {
        site.operator.kill();
        site.operator.options(&["--wait-seconds", "3"]);
        site.operator.start();
        let db = site.machine("db").lab(&["--flavour", "systemd"]).up().await;
        db.is_booted().await;
        db.sh("systemd-run --quiet systemd-inhibit --what=shutdown --who=backup --why='writes to tape' --mode=block sleep 1000")
            .await;
        wait::until("the inhibitor", wait::LIMIT, async || {
            let list = db.sh("systemd-inhibit --list").await;
            if list.contains("backup") { Ok(()) } else { Err(list) }
        })
        .await;
        site.baseline("spring", &[tool(site)]).await;
        let run = site.run("r1", rebooting(&json!({}))).await;
        run.node_until("db", "the wait for the inhibitor", |u| {
            let waiting = u.status.as_ref().and_then(|s| s.waiting.as_ref());
            waiting.is_some_and(|w| w.reason == "RebootInhibited" && w.what.contains("backup"))
        })
        .await;
        run.fails().await;
        let update = run.node("db").await;
        let words = update.words("Succeeded");
        assert_eq!(update.reason("Succeeded"), "RebootInhibited", "{words}");
        for part in ["backup inhibits its shutdown", "writes to tape", "spec.force.inhibitors"] {
            assert!(words.contains(part), "{words}");
        }
        assert_eq!(outcome(&update, "tool"), "RebootPending");
        assert!(component(&update, "tool").message.contains("backup inhibits"));
        assert_eq!(db.boots(), 1);
        // The tool is installed, so that nothing but the reboot is left to do.
        let mut spec = rebooting(&json!({}));
        merge(&mut spec, json!({"force": {"inhibitors": true}}));
        let run = site.run("r2", spec).await;
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!((outcome(&update, "tool"), db.boots()), ("Updated", 2), "{}", update.words("Succeeded"));
        assert_eq!(update.reason("Rebooted"), "Rebooted", "{}", update.words("Rebooted"));
        assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
        // And then nothing is.
        site.run("r3", rebooting(&json!({"policy": "Always"}))).await.succeeds().await;
        assert_eq!(db.boots(), 2);
    });
}

/// A machine would keep the engine, because nobody signs in after the reboot; and a unit of Farrier's would stay
/// on machines.
#[test]
fn an_engine_goes_on_by_itself_after_the_reboot_and_its_unit_is_removed() {
    e2e("alone", async |site| {
        let db = site.machine("db").lab(&["--flavour", "systemd"]).up().await;
        db.is_booted().await;
        site.baseline("spring", &[firmware(site)]).await;
        let run = site.run("r1", rebooting(&json!({}))).await;
        wait::closely("the request", || db.journals().contains("\"rebootRequested\"")).await;
        site.operator.kill();
        wait::until("the reboot to be found by the engine alone", wait::LIMIT, async || {
            if db.journals().contains("\"rebooted\"") { Ok(()) } else { Err(db.journals()) }
        })
        .await;
        let units = db.traces().into_iter().filter(|trace| trace.contains("/etc/systemd/")).count();
        assert_eq!(units, 2, "{:?}", db.traces());
        site.operator.start();
        went_well(&run, &db).await;
        db.is_clean().await;
        let units = db.sh("systemctl list-units --all --plain --no-legend 'farrier*'").await;
        assert_eq!(units.trim(), "");
    });
}
