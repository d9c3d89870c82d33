//! The operator is upgraded, or rolled back, while machines are being updated, and finds engines of
//! another build. They finish the work that they have started, and their results are reported;
//! everything else is done by the operator's own engines.

use crate::harness::https::{Answer, Server};
use crate::harness::payload::{bmc_tool, merge};
use crate::harness::run::{component, to};
use crate::harness::{Conditions, Machine, Site, e2e, lab, operator, outcome, wait};
use farrier::api::NodeUpdate;
use farrier_protocol::{Event, EventBody, LeaseKind};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Creates a directory with one engine for the operator.
fn engines(site: &Site, name: &str, engine: &[u8]) -> PathBuf {
    let dir = site.path(name);
    std::fs::create_dir(&dir).expect("a directory");
    let path = dir.join("farrier-engine-x86_64-linux");
    std::fs::write(&path, engine).expect("an engine");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("an executable");
    dir
}

/// Creates engines of another build that behave as ours: bytes after the end of an ELF program are
/// ignored. The tests of `crates/protocol` check that neighbouring versions of the protocol are
/// compatible.
fn of_another_build(site: &Site) -> PathBuf {
    let ours = operator::engines().join("farrier-engine-x86_64-linux");
    let mut engine = std::fs::read(ours).expect("an engine");
    engine.extend(b"another build");
    engines(site, "other-engines", &engine)
}

/// Returns the events in the journals of a machine's engines, one word for each.
fn story(machine: &Machine) -> Vec<String> {
    let lines = machine.journals();
    let events = lines.lines().map(|line| serde_json::from_str::<Event>(line).expect("an event").body);
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds are not part of the story")]
    let words = events.filter_map(|body| match body {
        EventBody::LeaseTaken { lease } if lease.kind == LeaseKind::Directory => Some("engine".to_owned()),
        EventBody::SurveyDone { task, .. } | EventBody::TaskDone { task } => Some(task),
        EventBody::StepFinished { component, .. } => Some(component),
        EventBody::Retired { .. } => Some("retired".to_owned()),
        _ => None,
    });
    words.collect()
}

/// An upgrade of the operator during a run would lose the results of its engines, run an installer twice,
/// or fail the run.
#[test]
fn an_engine_of_another_build_finishes_what_it_has_begun_and_makes_room() {
    e2e("builds", async |site| {
        site.operator.kill();
        site.operator.engines(Some(of_another_build(site)));
        site.operator.start();
        let ssh = site.machine("ssh").up().await;
        let calls = site.machine("calls").spec(json!({"channel": "Callback"})).up().await;
        let later = site.machine("later").up().await;
        site.baseline("spring", &[site.held(), bmc_tool("2.0")]).await;
        let run = site.run("r1", to("spring")).await;
        let machines = [&ssh, &calls, &later];
        for machine in machines {
            machine.is_slow().await;
        }
        site.operator.kill();
        // The same state as after five minutes of failed connections: the next attempt finds the engine
        // of the previous attempt.
        let lost = Patch::Merge(json!({"status": {"attempt": 2}}));
        let api = site.api::<NodeUpdate>();
        api.patch_status("r1-later", &PatchParams::default(), &lost).await.expect("a patched NodeUpdate");
        site.operator.engines(None);
        site.operator.start();
        for machine in machines {
            machine.release_steps().await;
        }
        run.succeeds().await;
        for machine in machines {
            let update = run.node(&machine.name).await;
            assert_eq!((machine.slow_runs(), outcome(&update, "slow")), (1, "Updated"), "{}", machine.name);
            let told = component(&update, "slow");
            assert_eq!((told.exit_code, told.before.as_str(), told.after.as_str()), (Some(0), "", "1.0"));
            assert!(told.started_at.is_some() && told.finished_at.is_some());
            assert_eq!(outcome(&update, "bmc-tool"), "Updated");
            assert_eq!(update.state("TornDown"), "True", "{}", update.words("TornDown"));
            let expected = ["engine", "a1-survey", "slow", "bmc-tool", "a1-apply", "retired"];
            let ours = ["engine", "a1-verify", "retired"];
            assert_eq!(story(machine), [expected.as_slice(), &ours].concat(), "{}", machine.name);
        }
        assert_eq!(run.node("later").await.status.expect("a status").attempt, Some(2));
    });
}

/// An engine of another version would get a task that it may not support.
#[test]
fn an_engine_of_another_build_is_given_nothing_new() {
    e2e("fresh", async |site| {
        site.operator.kill();
        site.operator.engines(Some(of_another_build(site)));
        site.operator.start();
        let db = site.machine("db").up().await;
        let server = Server::start(site).await;
        site.secret("repository", &[("ca.crt", &server.ca)]).await;
        let script = b"#!/bin/sh\necho 2.0 >/etc/late.version\n";
        let url = server.at("/late.sh", Answer::Stalled(script.to_vec()));
        let late = site.payload("late.sh", "2.0", "Script", script).with(json!({
            "name": "late",
            "detect": {"file": "/etc/late.version"},
            "payload": {"url": url, "secretRef": {"name": "repository"}},
        }));
        site.baseline("spring", &[late]).await;
        let run = site.run("r1", to("spring")).await;
        // The first inventory is done, and no installation has started.
        server.is_asked("/late.sh").await;
        site.operator.kill();
        site.operator.engines(None);
        site.operator.start();
        server.release();
        run.succeeds().await;
        assert_eq!(outcome(&run.node("db").await, "late"), "Updated");
        let expected =
            ["engine", "a1-survey", "retired", "engine", "late", "a1-apply", "a1-verify", "retired"];
        assert_eq!(story(&db), expected);
    });
}

/// An engine with an unknown version of the protocol: a program that says hello with version 9 and exits
/// when `/run/leave` exists.
const OF_ANOTHER_AGE: &str = r#"#!/usr/bin/perl
use POSIX;
my ($command, %option) = @ARGV;
my $dir = $option{"--dir"};
if ($command eq "attach") {
    $| = 1;
    open(my $log, ">>", "/var/log/attached"); print $log "attached\n"; close $log;
    my $hello = '{"protocol":9,"oldest":8,"engine":"9.0.0","session":"' . `cat $dir/session` . '","boot_id":"b","last_seq":0,"tasks":[],"leases":[]}';
    print "farrier-attached-1\nPOST /v1/hello HTTP/1.1\r\nHost: farrier\r\nContent-Length: " . length($hello) . "\r\n\r\n$hello";
    sysread(STDIN, my $answer, 4096);
    exit 0;
}
if (open(my $known, "<", "$dir/number")) {
    my $pid = <$known>;
    print "farrier-launch-1 {\"result\":\"alreadyRunning\",\"pid\":$pid}\n";
    exit 0;
}
umask(022);
open(my $session, ">", "$dir/session"); print $session $option{"--session"}; close $session;
my $pid = fork();
if ($pid == 0) {
    POSIX::setsid(); chdir "/";
    open(STDIN, "<", "/dev/null"); open(STDOUT, ">", "/dev/null"); open(STDERR, ">", "/dev/null");
    select(undef, undef, undef, 0.05) until -e "/run/leave";
    system("rm", "-rf", $dir);
    exit 0;
}
open(my $number, ">", "$dir/number"); print $number $pid; close $number;
print "farrier-launch-1 {\"result\":\"started\",\"pid\":$pid}\n";
"#;

/// An operator that is two versions older or newer than the engine on a machine would report it as broken,
/// and would renew its lease with each connection.
#[test]
fn an_engine_that_cannot_be_understood_is_waited_for_and_left_alone() {
    e2e("age", async |site| is_left_alone(site, "root", "true").await);
}

/// The same on a machine where the login user cannot see the engine's process.
#[test]
fn an_engine_that_cannot_be_understood_is_left_alone_where_proc_hides_it() {
    let prepare = "touch /var/log/attached; chmod 666 /var/log/attached; mount -o remount,hidepid=2 /proc";
    e2e("hidden", async |site| is_left_alone(site, "ops", prepare).await);
}

/// Runs the test on a machine that `user` signs in to, after the script `prepare` was run there.
async fn is_left_alone(site: &Site, user: &str, prepare: &str) {
    site.operator.kill();
    site.operator.engines(Some(engines(site, "ancient", OF_ANOTHER_AGE.as_bytes())));
    site.operator.start();
    let db = site.machine("db").login(user).up().await;
    db.sh(prepare).await;
    site.baseline("spring", &[bmc_tool("2.0")]).await;
    let mut spec = to("spring");
    merge(&mut spec, json!({"strategy": {"retries": 0}}));
    let run = site.run("r1", spec).await;
    let incompatible = |update: &NodeUpdate| {
        let waiting = update.status.as_ref().and_then(|status| status.waiting.as_ref());
        waiting.is_some_and(|waiting| waiting.reason == "EngineIncompatible")
    };
    let update = run.node_until("db", "the wait to be in the status", incompatible).await;
    let waiting = update.status.clone().expect("a status").waiting.expect("a wait");
    assert_eq!(
        waiting.what,
        "an engine of another version to leave db (engine 9.0.0 speaks protocol 8 to 9, this operator 1)"
    );
    let number = db.sh("cat /var/lib/farrier-*/number").await;
    assert_eq!(waiting.holder.expect("a holder").pid.to_string(), number);
    let limit = waiting.until.expect("an end").0.duration_since(waiting.since.0).as_secs();
    assert!((900..4 * 3600).contains(&limit), "{limit} s");
    // sleep: time in which the operator could connect to the machine twice more.
    db.sh("sleep 5").await;
    assert_eq!(
        db.file("/var/log/attached").as_deref(),
        Some("attached\n"),
        "the operator connected to the engine only once"
    );

    // Another operator process takes over, and finds the same engine.
    site.operator.kill();
    site.operator.engines(None);
    site.operator.start();
    wait::until("the second operator to find the engine", wait::LIMIT, async || {
        let attached = db.file("/var/log/attached").unwrap_or_default();
        if attached.lines().count() == 2 { Ok(()) } else { Err(attached) }
    })
    .await;
    run.node_until("db", "the wait to be in the status again", incompatible).await;
    db.sh("touch /run/leave").await;
    run.succeeds().await;
    let update = run.node("db").await;
    assert_eq!(outcome(&update, "bmc-tool"), "Updated");
    let status = update.status.expect("a status");
    assert_eq!((status.attempt, status.waiting), (Some(1), None));
    lab::output("labctl", ["exec", &db.host, "--", "rm", "-f", "/var/log/attached"]).await;
}
