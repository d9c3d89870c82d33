//! Waits for others who use the machine: a locked package manager, a full disk, another engine. Within
//! three seconds the status says what is waited for, who holds it, since when and until when.

use crate::harness::payload::{Component, agent_rpm, digest, ethtool, merge};
use crate::harness::run::to;
use crate::harness::snapshot::{self, DPKG, ETHTOOL, LOG};
use crate::harness::{Conditions, Machine, Run, e2e, operator, outcome, wait};
use farrier::api::NodeUpdate;
use farrier::api::node_update::Waiting;
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Maximum time until the status shows a wait, and until it shows that the wait is over.
const SOON: Duration = Duration::from_secs(3);

/// Returns the current wait in the status of a machine.
fn waiting(update: &NodeUpdate) -> Option<Waiting> {
    update.status.as_ref().and_then(|status| status.waiting.clone())
}

/// Waits until the status shows a wait other than the transfer of the payloads. Panics if that takes
/// longer than [`SOON`] after `since`.
async fn shown(run: &Run<'_>, node: &str, since: Instant) -> (NodeUpdate, Waiting) {
    let obstacle = |update: &NodeUpdate| waiting(update).is_some_and(|seen| seen.reason != "InProgress");
    let update = run.node_until(node, "the wait to be in the status", obstacle).await;
    assert!(since.elapsed() < SOON, "{node}: seen after {:?}", since.elapsed());
    let seen = waiting(&update).expect("a wait");
    (update, seen)
}

/// Waits until the status shows no wait any more. Panics if that takes longer than [`SOON`].
async fn over(run: &Run<'_>, node: &str) {
    let since = Instant::now();
    run.node_until(node, "the wait to end", |update| waiting(update).is_none()).await;
    assert!(since.elapsed() < SOON, "{node}: seen after {:?}", since.elapsed());
}

/// Returns the maximum duration of the wait in seconds.
fn limit(waiting: &Waiting) -> i64 {
    let until = waiting.until.as_ref().expect("an end");
    until.0.duration_since(waiting.since.0).as_secs()
}

/// Waits until the engine's journal contains a text, which means that the engine is about to wait.
/// Returns the time.
async fn journal_has(machine: &Machine, text: &str) -> Instant {
    wait::closely(text, || machine.journals().contains(text)).await;
    Instant::now()
}

/// Returns a shell script that holds a lock as package managers do until `/run/hold` is removed, and that
/// prints the ID of the process.
fn hold(lock: &str) -> String {
    HOLD.replace("LOCK", lock)
}

const HOLD: &str = r#"touch /run/hold LOCK
    perl -MFcntl -e '
        open(my $lock, "+<", "LOCK") or die;
        my $all = pack("s s x4 q q l x4", F_WRLCK, 0, 0, 0, 0);
        fcntl($lock, F_SETLK, $all) or die;
        open(my $held, ">", "/run/held") or die;
        select(undef, undef, undef, 0.05) while -e "/run/hold";
        unlink "/run/held"' a-secret-argument </dev/null >/dev/null 2>&1 &
    for n in $(seq 100); do [ ! -e /run/held ] || { echo $!; exit 0; }; sleep 0.05; done
    exit 1"#;

/// Two package managers at the same time would damage the machine's package database, or users would not
/// learn which process is waited for.
#[test]
fn a_locked_package_manager_is_waited_for_and_its_user_is_named() {
    e2e("locked", async |site| {
        let deb = site.machine("deb").up().await;
        let rpm = site.machine("rpm").lab(&["--flavour", "rpm"]).up().await;
        let machines = [deb.clone(), rpm.clone()];
        let before = snapshot::of_all(&machines).await;
        let locks = [(&deb, "/var/lib/dpkg/lock-frontend"), (&rpm, "/var/lib/rpm/.rpm.lock")];
        let pids = join_all(locks.map(|(machine, lock)| async move { machine.sh(&hold(lock)).await })).await;
        let on = |component: Component, os: &str| component.with(json!({"appliesTo": {"match": {"os": os}}}));
        site.baseline("spring", &[on(ethtool(), "debian"), on(agent_rpm("2.0-1"), "rpmlab")]).await;
        let run = site.run("r1", to("spring")).await;
        join_all(locks.into_iter().zip(&pids).map(async |((machine, lock), pid)| {
            let since = journal_has(machine, "payloadVerified").await;
            let (update, seen) = shown(&run, &machine.name, since).await;
            assert_eq!(seen.reason, "PackageManagerBusy");
            assert_eq!(seen.what, format!("the lock {lock}"));
            let holder = seen.holder.as_ref().expect("a holder");
            assert_eq!((holder.pid.to_string().as_str(), holder.name.as_str()), (pid.trim(), "perl"));
            assert_eq!(limit(&seen), 60);
            let status = update.status.as_ref().expect("a status");
            assert_eq!(status.step.as_deref(), Some("Applying (waits for perl)"));
            assert_eq!(update.reason("Applied"), "PackageManagerBusy");
            let words = update.words("Applied");
            let named = format!("waiting for the lock {lock} (perl, process {}) since ", pid.trim());
            assert!(words.contains(&named) && words.contains(", until "), "{words}");
            assert!(update.condition("Succeeded").message.contains(&named), "{}", update.words("Succeeded"));
            assert!(!json!(update).to_string().contains("a-secret-argument"));
            let installs = |(_, args): &(u32, Vec<String>)| args[0].ends_with("dpkg") || args[0] == "rpm";
            assert!(!machine.processes().iter().any(installs), "an installer was started");
            machine.sh("rm /run/hold").await;
            over(&run, &machine.name).await;
        }))
        .await;
        run.succeeds().await;
        let after = snapshot::of_all(&machines).await;
        before[0].same_but(&after[0], &[LOG, DPKG, ETHTOOL]);
        assert_eq!(outcome(&run.node("rpm").await, "farrier-agent"), "Updated");
    });
}

/// A disk that is full for a moment would fail an update, or users would not learn which disk it is.
#[test]
fn missing_room_is_waited_for_and_the_file_system_is_named() {
    e2e("cramped", async |site| {
        let db = site.machine("db").lab(&["--disk", "64m"]).up().await;
        // The engine fits, and the payload does not.
        db.sh("free=$(df -m --output=avail /var/tmp | tail -1); head -c $((free - 12))M /dev/zero >/var/tmp/fill")
            .await;
        let script =
            [b"#!/bin/sh\necho 1.0 >/etc/big.version\nexit 0\n".as_slice(), &vec![0; 10 << 20]].concat();
        let big = site.payload("big", "1.0", "Script", &script);
        site.baseline("spring", &[big.with(json!({"detect": {"file": "/etc/big.version"}}))]).await;
        let run = site.run("r1", to("spring")).await;
        let since = journal_has(&db, "taskStarted").await;
        let (update, seen) = shown(&run, "db", since).await;
        assert_eq!((seen.reason.as_str(), seen.holder.as_ref(), limit(&seen)), ("DiskFull", None, 60));
        assert!(seen.what.starts_with("room on the file system of /var/lib/farrier-"), "{}", seen.what);
        assert!(seen.what.contains("15 MiB are needed"), "{}", seen.what);
        assert_eq!(update.reason("PayloadVerified"), "DiskFull", "{}", update.words("PayloadVerified"));
        db.sh("rm /var/tmp/fill").await;
        over(&run, "db").await;
        run.succeeds().await;
        assert_eq!(outcome(&run.node("db").await, "big"), "Updated");
    });
}

/// Two operators would work on one machine at the same time, or one would give up although the other is
/// about to finish, or users would not learn what is waited for.
#[test]
fn a_machine_that_another_operator_works_on_is_waited_for_and_left_alone() {
    e2e("busy", async |site| {
        site.operator.restart(&["--wait-seconds", "5"]);
        let machine = site.machine("busy").up().await;
        let before = machine.snapshot().await;
        let pid = foreign_engine(&machine).await;
        site.baseline("spring", &[ethtool()]).await;
        let run = site.run("r1", to("spring")).await;
        wait::until("the first attempt", wait::LIMIT, async || {
            if site.operator.log().contains("waiting for it to exit") {
                Ok(())
            } else {
                Err(site.operator.log())
            }
        })
        .await;
        let (update, seen) = shown(&run, "busy", Instant::now()).await;
        assert_eq!(
            (seen.reason.as_str(), seen.what.as_str()),
            ("MachineBusy", "another engine to leave busy")
        );
        let holder = seen.holder.as_ref().expect("a holder");
        assert_eq!((holder.pid.to_string(), holder.name.as_str()), (pid, "farrier-engine"));
        assert!((3..=5).contains(&limit(&seen)), "{seen:?}");
        assert_eq!(update.reason("EngineDeployed"), "MachineBusy", "{}", update.words("EngineDeployed"));
        let failed = run.fails().await;
        assert_eq!(failed.status.expect("a status").failing[0].reason, "MachineBusy");
        let update = run.node("busy").await;
        let words = update.condition("Succeeded").message.clone();
        assert!(
            ["run other", "/var/lib/farrier-foreign", "wait"].iter().all(|w| words.contains(w)),
            "{words}"
        );
        assert_eq!(waiting(&update), None);
        assert_eq!(machine.engines().len(), 1, "the foreign engine must not be touched");

        site.operator.restart(&["--wait-seconds", "60"]);
        let run = site.run("r2", without_retries("spring")).await;
        run.node_until("busy", "the wait for the other engine", |update| waiting(update).is_some()).await;
        machine.sh("kill -TERM $(pgrep -f '^farrier-engine run')").await;
        over(&run, "busy").await;
        run.succeeds().await;
        assert_eq!(run.node("busy").await.status.expect("a status").attempt, Some(1));
        before.same_but(&machine.snapshot().await, &[LOG, DPKG, ETHTOOL]);
    });
}

/// A cancelled run would continue to wait, and then deploy an engine.
#[test]
fn a_run_that_waits_for_another_engine_can_be_cancelled() {
    e2e("weary", async |site| {
        let machine = site.machine("busy").up().await;
        foreign_engine(&machine).await;
        site.baseline("spring", &[ethtool()]).await;
        let run = site.run("r1", to("spring")).await;
        run.node_until("busy", "the wait for the other engine", |update| waiting(update).is_some()).await;
        run.desire("Cancel").await;
        assert_eq!(run.fails().await.reason("Succeeded"), "Cancelled");
        assert_eq!(machine.engines().len(), 1);
        machine.sh("kill -TERM $(pgrep -f '^farrier-engine run')").await;
    });
}

fn without_retries(baseline: &str) -> Value {
    let mut spec = to(baseline);
    merge(&mut spec, json!({"strategy": {"retries": 0}}));
    spec
}

/// Launches an engine of another operator by hand. Returns its process ID on the machine.
async fn foreign_engine(machine: &Machine) -> String {
    let engine = operator::engines().join("farrier-engine-x86_64-linux");
    let bytes = std::fs::read(engine).expect("an engine");
    let init = machine.init().expect("a machine that is on");
    let dir = "/var/lib/farrier-foreign";
    machine.sh(&format!("mkdir -m 711 {dir}")).await;
    std::fs::write(format!("/proc/{init}/root{dir}/engine"), &bytes).expect("an engine on the machine");
    let digest = digest(&bytes);
    machine
        .sh(&format!(
            "chmod 755 {dir}/engine
             {dir}/engine launch --dir {dir} --session foreign --run other --peer-uid 0 --digest {digest} --lease 600"
        ))
        .await;
    machine.sh("pgrep -f '^farrier-engine run'").await.trim().to_owned()
}
