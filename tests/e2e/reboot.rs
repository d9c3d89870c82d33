//! Machines are rebooted: once, by whatever is killed meanwhile, and proven afterwards.

mod boot;
mod channels;
mod killed;
mod systemd;

use crate::harness::payload::{Component, merge};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Machine, Run, Site, e2e, outcome, snapshot, wait};
use serde_json::{Value, json};

/// Prints the version of firmware that takes effect at the next boot: the script has noted the boot in which it
/// ran.
const FIRMWARE_VERSION: &str = "b=/proc/sys/kernel/random/boot_id; [ -s /etc/bios.staged ] && ! cmp -s $b /etc/bios.staged && echo 2.0 || echo 1.0";

/// Two components for one reboot would reboot the machine twice; a component that takes effect at the boot would
/// be reported by what was read before it.
#[test]
fn a_machine_is_rebooted_once_for_all_components_and_proven_afterwards() {
    e2e("reboot", async |site| {
        let db = site.machine("db").up().await;
        let before = db.snapshot().await;
        site.baseline("spring", &[firmware(site), tool(site)]).await;
        let run = site.run("r1", rebooting(&json!({"message": "new firmware"}))).await;
        let update = went_well(&run, &db).await;
        let bios = component(&update, "bios");
        assert_eq!((bios.before.as_str(), bios.after.as_str()), ("1.0", "2.0"));
        assert_eq!(outcome(&update, "tool"), "Updated", "nothing waits for a reboot any more");
        assert_eq!(update.reason("Rebooted"), "Rebooted", "{}", update.words("Rebooted"));
        assert_eq!(update.status.as_ref().and_then(|s| s.rebooting.clone()), None);
        before.same_but(&db.snapshot().await, &[snapshot::LOG, &["/etc/bios.staged", "/etc/tool.version"]]);
        site.until_event("Rebooted NodeUpdate/r1-db").await;
        // Now nothing is to be done, and nothing is rebooted for it.
        let again = site.run("r2", rebooting(&json!({"policy": "Always"}))).await;
        again.succeeds().await;
        assert_eq!(db.boots(), 2);
    });
}

/// A machine that stays away would be waited for without an end, or reported as any lost connection.
#[test]
fn a_machine_that_does_not_come_back_is_reported_with_what_was_tried() {
    e2e("gone", async |site| {
        site.machine("db").lab(&["--boot-delay", "300"]).up().await;
        site.baseline("spring", &[firmware(site), tool(site)]).await;
        let run = site.run("r1", rebooting(&json!({"timeout": "8s"}))).await;
        let update = run.node_until("db", "the reboot", |u| u.reason("Reachable") == "Rebooting").await;
        let rebooting = update.status.as_ref().and_then(|s| s.rebooting.clone()).expect("status.rebooting");
        assert!(rebooting.since.0 < rebooting.until.0);
        let words = update.words("Succeeded");
        assert!(words.contains("is being rebooted since") && words.contains("at most"), "{words}");
        site.until_event("Rebooting NodeUpdate/r1-db: db is being rebooted").await;
        run.ends(2 * wait::LIMIT).await;
        run.fails().await;
        let update = run.node("db").await;
        assert_eq!(update.reason("Succeeded"), "RebootTimedOut", "{}", update.words("Succeeded"));
        let words = update.words("Rebooted");
        assert!(words.contains("has waited for") && words.contains("times to sign in"), "{words}");
        assert_eq!(outcome(&update, "tool"), "RebootPending", "it is installed");
        assert!(component(&update, "tool").message.contains("did not come back"));
        let counts = run.get().await.status.expect("a status").counts;
        assert_eq!((counts.failed, counts.unreachable), (1, 0), "the update has cost the machine");
        site.until_event("RebootTimedOut NodeUpdate/r1-db").await;
    });
}

/// A machine that the run has cost would be counted as one on which nothing has happened.
#[test]
fn a_machine_that_does_not_come_back_has_failed_although_the_run_is_cancelled_meanwhile() {
    e2e("stays", async |site| {
        site.machine("db").lab(&["--boot-delay", "300"]).up().await;
        site.baseline("spring", &[tool(site)]).await;
        let run = site.run("r1", rebooting(&json!({"timeout": "15s"}))).await;
        run.node_until("db", "the reboot", |u| u.reason("Reachable") == "Rebooting").await;
        run.desire("Cancel").await;
        run.ends(2 * wait::LIMIT).await;
        let update = run.node("db").await;
        assert_eq!(update.reason("Succeeded"), "RebootTimedOut", "{}", update.words("Succeeded"));
        let counts = run.get().await.status.expect("a status").counts;
        assert_eq!((counts.failed, counts.cancelled), (1, 0));
    });
}

/// A user who cancels in time would lose the work of those who are signed in; and a pending reboot would count
/// as a success.
#[test]
fn a_reboot_is_called_off_by_a_cancellation_during_its_delay() {
    e2e("delay", async |site| {
        let db = site.machine("db").up().await;
        site.baseline("spring", &[tool(site)]).await;
        let run = site.run("r1", rebooting(&json!({"delay": "1h"}))).await;
        let waits = |update: &farrier::api::NodeUpdate| {
            update.status.as_ref().and_then(|s| s.waiting.as_ref()).is_some_and(|w| w.what.contains("delay"))
        };
        let update = run.node_until("db", "the delay", waits).await;
        assert_eq!(update.reason("Rebooted"), "Rebooting", "{}", update.words("Rebooted"));
        run.desire("Cancel").await;
        assert_eq!(run.fails().await.reason("Succeeded"), "Cancelled");
        let update = run.node("db").await;
        assert_eq!(outcome(&update, "tool"), "RebootPending");
        assert_eq!(update.reason("Succeeded"), "Cancelled", "{}", update.words("Succeeded"));
        assert_eq!(update.reason("Rebooted"), "Cancelled", "{}", update.words("Rebooted"));
        assert_eq!(db.boots(), 1);
    });
}

/// A machine whose journal is lost with the reboot would be rebooted again and again.
#[test]
fn a_machine_that_keeps_no_journal_is_not_rebooted() {
    e2e("forgets", async |site| {
        let db = site.machine("db").lab(&["--var-ro"]).up().await;
        site.baseline("spring", &[tool(site)]).await;
        let run = site.run("r1", rebooting(&json!({}))).await;
        run.fails().await;
        let update = run.node("db").await;
        let words = update.words("Succeeded");
        assert_eq!(update.reason("Succeeded"), "RebootFailed", "{words}");
        assert!(words.contains("journal would be lost"), "{words}");
        assert_eq!((outcome(&update, "tool"), db.boots()), ("RebootPending", 1));
    });
}

/// A machine whose root is in memory, with a journal that looks permanent, would be rebooted again and again.
#[test]
fn a_machine_that_forgets_everything_by_its_reboot_is_not_rebooted_again() {
    e2e("diskless", async |site| {
        let db = site.machine("db").lab(&["--boot-delay", "8"]).up().await;
        site.baseline("spring", &[tool(site)]).await;
        let run = site.run("r1", rebooting(&json!({}))).await;
        let update = run.node_until("db", "the reboot", |u| u.reason("Reachable") == "Rebooting").await;
        let boot = update.status.as_ref().and_then(|s| s.rebooting.as_ref()?.boot_id.clone());
        assert!(boot.is_some_and(|boot| !boot.is_empty()), "recorded for a runner that goes on");
        db.forget();
        run.fails().await;
        let update = run.node("db").await;
        let words = update.words("Succeeded");
        assert_eq!(update.reason("Succeeded"), "RebootFailed", "{words}");
        assert!(words.contains("was rebooted, and has lost the engine's journal"), "{words}");
        assert_eq!(db.boots(), 2, "one reboot");
        db.is_clean().await;
    });
}

/// Returns firmware that shows its version only after the reboot for which it asks.
pub(crate) fn firmware(site: &Site) -> Component {
    let script = b"#!/bin/sh\ncat /proc/sys/kernel/random/boot_id >/etc/bios.staged\n";
    let component = site.payload("bios.sh", "2.0", "Script", script);
    component.with(json!({"name": "bios", "reboot": "Always", "detect": {"command": FIRMWARE_VERSION}}))
}

/// Returns a tool that shows its version at once and takes effect after a reboot.
fn tool(site: &Site) -> Component {
    let script = b"#!/bin/sh\necho 2.0 >/etc/tool.version\n";
    let component = site.payload("tool.sh", "2.0", "Script", script);
    component.with(json!({"name": "tool", "reboot": "Always", "detect": {"file": "/etc/tool.version"}}))
}

/// Returns the spec of a run to baseline `spring` that reboots machines without a delay.
pub(crate) fn rebooting(reboot: &Value) -> Value {
    let mut spec = to("spring");
    merge(&mut spec, json!({"reboot": {"policy": "IfRequired", "delay": "0s", "timeout": "80s"}}));
    merge(&mut spec, json!({"reboot": reboot}));
    spec
}

/// Waits for the end of a run, and checks that its machine was rebooted exactly once.
pub(crate) async fn went_well(run: &Run<'_>, machine: &Machine) -> farrier::api::NodeUpdate {
    run.succeeds().await;
    let update = run.node(&machine.name).await;
    assert_eq!(machine.boots(), 2, "{}: one reboot", machine.name);
    assert_eq!(outcome(&update, "bios"), "Updated", "{}", machine.name);
    assert_eq!(update.state("TornDown"), "True", "{}: {}", machine.name, update.words("TornDown"));
    update
}
