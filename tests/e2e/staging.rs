//! Payloads that are staged on machines with an engine: what a later update makes of them, and what ends.

use crate::harness::payload::{Component, agent, bmc_tool, ethtool, file, merge};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Machine, Run, Site, e2e, outcome, snapshot, wait};
use serde_json::{Value, json};

/// The directory of staged payloads.
const DIR: &str = "/var/lib/farrier-staged";

/// Fills the machine's disk.
const LEAVE_32_MIB: &str =
    "free=$(df -Pm /var/tmp | awk 'NR == 2 { print $4 }'); fallocate -l $((free - 32))m /var/tmp/fill";

/// Returns the spec of a run that stages, in a window that is closed.
fn stage(baseline: &str) -> Value {
    let mut spec = to(baseline);
    let window = json!({"schedule": "0 0 29 2 1", "duration": "1m"});
    merge(&mut spec, json!({"operation": "Stage", "strategy": {"window": window, "stageFor": "2h"}}));
    spec
}

/// Returns what a user reads of the machine's staged payloads.
async fn told(site: &Site, machine: &Machine) -> usize {
    site.node(&machine.name).await.status.expect("a status").staged.len()
}

/// Restarts the operator without its copies of payloads, and without the sources of these.
fn shut(site: &Site, sources: &[&str]) {
    site.operator.kill();
    std::fs::remove_dir_all(site.operator.cache()).expect("the operator's copies");
    for source in sources {
        std::fs::remove_file(site.path("payloads").join(source)).expect("a source");
    }
    site.operator.start();
}

/// What was carried before a maintenance window would be carried again in it, or stay on machines for ever.
#[test]
fn staged_payloads_are_installed_without_their_source_and_removed() {
    e2e("found", async |site| {
        let cron = site.machine("cron").lab(&["--flavour", "cron", "--disk", "192m"]).up().await;
        let systemd = site.machine("systemd").lab(&["--flavour", "systemd"]).up().await;
        systemd.is_booted().await;
        let before = cron.snapshot().await;
        site.baseline("spring", &[ethtool(), bmc_tool("3.1"), large(site, 40 << 20)]).await;
        let staged = site.run("s1", stage("spring")).await;
        staged.succeeds().await;
        for (machine, ends) in
            [(&cron, "/etc/cron.d/farrier-staged"), (&systemd, "/etc/systemd/system/farrier-staged.timer")]
        {
            let update = staged.node(&machine.name).await;
            assert_eq!(update.reason("Succeeded"), "Staged", "{}", update.words("Succeeded"));
            assert_eq!((outcome(&update, "ethtool"), outcome(&update, "bmc-tool")), ("Staged", "Staged"));
            let told_of = component(&update, "ethtool");
            assert_eq!((told_of.before.as_str(), told_of.after.as_str()), ("1:5.9-1", "1:5.9-1"));
            assert!(update.words("TornDown").contains("until"), "{}", update.words("TornDown"));
            let mode = machine.sh(&format!("stat -c '%a %U' {DIR}")).await;
            assert_eq!(mode, "700 root\n");
            assert!(machine.traces().iter().any(|trace| trace == ends), "{:?}", machine.traces());
            assert_eq!(told(site, machine).await, 3);
        }
        let active = systemd
            .sh("systemctl is-active farrier-staged.timer && systemctl start farrier-staged.service")
            .await;
        assert_eq!(active, "active\n");
        shut(site, &[&file("ethtool_6.1"), "bmc-tool.sh", "large"]);
        cron.sh(LEAVE_32_MIB).await;
        let run = site.run("r1", to("spring")).await;
        run.succeeds().await;
        for machine in [&cron, &systemd] {
            let update = run.node(&machine.name).await;
            assert_eq!((outcome(&update, "ethtool"), outcome(&update, "bmc-tool")), ("Updated", "Updated"));
            assert_eq!(outcome(&update, "large"), "Updated", "there is room for what is staged");
            let words = update.words("PayloadVerified");
            assert!(words.contains("0 bytes were carried"), "{words}");
            machine.is_clean().await;
            assert_eq!(told(site, machine).await, 0);
        }
        cron.sh("rm /var/tmp/fill").await;
        let large = ["/etc/large.version"].as_slice();
        let allowed = [snapshot::LOG, snapshot::DPKG, snapshot::ETHTOOL, snapshot::BMC_TOOL, large];
        before.same_but(&cron.snapshot().await, &allowed);
        assert_eq!(systemd.sh("systemctl list-timers --all | grep -c farrier || true").await, "0\n");
    });
}

/// A file that somebody has changed on the machine would be installed, or the user would not learn of it.
#[test]
fn a_staged_file_that_was_changed_is_carried_again_or_named() {
    e2e("changed", async |site| {
        let db = site.machine("db").lab(&["--flavour", "cron"]).up().await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let name = bmc_tool("3.1").0["payload"]["digest"].as_str().expect("a digest").replace("sha256:", "");
        let change = format!("printf '#!/bin/sh\\ntouch /etc/evil\\n' >{DIR}/{name}");
        site.run("s1", stage("spring")).await.succeeds().await;
        db.sh(&change).await;
        let source = std::fs::read(site.path("payloads/bmc-tool.sh")).expect("the source");
        shut(site, &["bmc-tool.sh"]);
        let run = site.run("r1", to("spring")).await;
        run.fails().await;
        let words = run.node("db").await.words("Succeeded");
        assert!(words.contains("the staged file on db was not the one with this digest any more"), "{words}");
        std::fs::write(site.path("payloads/bmc-tool.sh"), source).expect("the source");
        shut(site, &[]);
        site.baseline("may", &[bmc_tool("3.1"), ethtool()]).await;
        site.run("s2", stage("may")).await.succeeds().await;
        db.sh(&change).await;
        site.baseline("june", &[bmc_tool("3.1"), ethtool(), agent("2.0")]).await;
        let run = site.run("r2", to("june")).await;
        run.succeeds().await;
        let update = run.node("db").await;
        assert_eq!(outcome(&update, "bmc-tool"), "Updated");
        let words = update.words("PayloadVerified");
        assert!(words.contains("1 of 3 payloads were staged and not carried again"), "{words}");
        assert_eq!(db.file("/etc/evil"), None);
    });
}

/// Returns the size of what has arrived of a payload so far.
fn arrived(machine: &Machine) -> u64 {
    let Some(init) = machine.init() else { return 0 };
    let entries = std::fs::read_dir(format!("/proc/{init}/root{DIR}")).into_iter().flatten().flatten();
    let part = entries.filter(|entry| entry.file_name().to_string_lossy().contains(".part-"));
    part.filter_map(|entry| entry.metadata().ok()).map(|part| part.len()).max().unwrap_or_default()
}

async fn is_under_way(machine: &Machine) {
    wait::closely("a part of the payload", || arrived(machine) > 1_000_000).await;
}

/// Returns a component of this size.
fn large(site: &Site, bytes: usize) -> Component {
    let mut script = b"#!/bin/sh\necho 1.0 >/etc/large.version\nexit 0\n".to_vec();
    script.resize(bytes, b'#');
    let component = site.payload("large", "1.0", "Script", &script);
    component.with(json!({"detect": {"file": "/etc/large.version"}}))
}

/// A cancel or the end of a lease would leave files on machines, and an operator that dies would carry all again.
#[test]
fn a_transfer_goes_on_after_a_kill_and_a_cancel_and_the_end_of_a_lease_leave_nothing() {
    e2e("ends", async |site| {
        let db = site.machine("db").lab(&["--flavour", "cron"]).up().await;
        let before = db.snapshot().await;
        let bytes = 256 * 1024 * 1024;
        site.baseline("spring", &[large(site, bytes)]).await;
        let run = site.run("s1", stage("spring")).await;
        is_under_way(&db).await;
        run.desire("Cancel").await;
        assert_eq!(run.fails().await.reason("Succeeded"), "Cancelled");
        before.same_but(&db.snapshot().await, &[snapshot::LOG]);
        let run = site.run("s2", stage("spring")).await;
        is_under_way(&db).await;
        site.operator.kill();
        let there = arrived(&db);
        assert!(there > 0 && there < bytes as u64, "{there}");
        site.operator.start();
        run.succeeds().await;
        let log = site.operator.log();
        let carried = log.rsplit_once("\"carried\":").expect("a line of the log").1;
        let carried: u64 = carried.split(',').next().and_then(|n| n.parse().ok()).expect("a number");
        assert!(carried <= bytes as u64 - there, "{carried} bytes were carried, and {there} were there");
        ended_lease(&db, &run).await;
        before.same_but(&db.snapshot().await, &[snapshot::LOG]);
    });
}

/// Lets the lease end, and an hour pass.
async fn ended_lease(machine: &Machine, run: &Run<'_>) {
    assert_eq!(run.node(&machine.name).await.reason("Succeeded"), "Staged");
    let line = machine.file("/etc/cron.d/farrier-staged").expect("a line of cron");
    let command = line.trim().strip_prefix("7 * * * * root ").expect("a line of cron");
    machine.sh(command).await;
    assert!(machine.traces().iter().any(|trace| trace == DIR), "{:?}", machine.traces());
    machine
        .sh(&format!("for lease in {DIR}/*.until-*; do echo 1000000000 >\"$lease\"; done; {command}"))
        .await;
}

/// Files would stay for ever on a machine where nothing removes them, or fill the disk of one without room.
#[test]
fn a_machine_without_a_scheduler_or_without_room_is_refused_and_keeps_nothing() {
    e2e("refused", async |site| {
        let bare = site.machine("bare").up().await;
        let small = site.machine("small").lab(&["--flavour", "cron", "--disk", "48m"]).up().await;
        let machines = [bare, small];
        let before = snapshot::of_all(&machines).await;
        site.baseline("spring", &[bmc_tool("3.1")]).await;
        let run = site.run("s1", stage("spring")).await;
        run.fails().await;
        for (node, reason, words) in [
            ("bare", "StagingUnsupported", "neither systemd nor a cron"),
            ("small", "DiskFull", "65 MiB are needed to stage the payloads; nothing was carried"),
        ] {
            let update = run.node(node).await;
            assert_eq!(update.reason("Succeeded"), reason, "{}", update.words("Succeeded"));
            assert!(update.words("Succeeded").contains(words), "{}", update.words("Succeeded"));
        }
        snapshot::all_same_but(&before, &snapshot::of_all(&machines).await, &[snapshot::LOG]);
    });
}
