//! Logs: what installers print is seen live, by every runner, and nothing secret is in it.

use crate::harness::operator::Operator;
use crate::harness::payload::{Component, bmc_tool};
use crate::harness::run::{component, to};
use crate::harness::{Machine, Site, e2e, wait};
use farrier::api::{LogRequest, NodeUpdate};
use kube::api::ListParams;
use serde_json::json;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Number of lines that the installer prints at once.
const LINES: usize = 3000;

/// A user would see nothing while an installer runs for an hour, or would lose lines when the operator is
/// updated meanwhile.
#[test]
fn an_installer_is_followed_live_across_a_killed_operator() {
    e2e("follow", async |site| {
        let db = site.machine("db").login("ops").up().await;
        site.baseline("spring", &[talkative(site, "exit 0"), bmc_tool("3.1")]).await;
        let run = site.run("r1", to("spring")).await;
        run.node_until("db", "a NodeUpdate", |_| true).await;
        let mut follower = Follower::start(site, &["r1-d", "--follow"]);
        begins(&db).await;
        follower.until("the first line", |text| text.contains(" talk first line\n")).await;
        // The installer waits for `release_steps`: the line came while it ran, not when it ended.
        assert_eq!(db.file("/var/tmp/talk-ends"), None);
        site.operator.kill();
        db.release_steps().await;
        until_ended(&db).await;
        site.operator.start();
        run.succeeds().await;
        assert!(follower.ends().await, "{}", follower.errors());
        assert!(
            follower.errors().contains("NodeUpdate r1-db has ended, Succeeded: "),
            "{}",
            follower.errors()
        );
        assert_eq!(follower.printed_by("talk"), expected());
        let all = follower.text();
        assert!(all.contains(" - bmc-tool: the installer ended with status 0\n"), "{all}");
        assert!(all.trim_end().ends_with(" - everything is removed"), "{all}");
        // The log of an ended NodeUpdate, and of one component.
        assert_eq!(read(site, &["r1-db"]).await, all);
        let talk = read(site, &["r1-db", "--component", "talk"]).await;
        assert_eq!(printed_by(&talk, "talk"), expected());
        assert_eq!(talk.lines().count(), expected().len());
        assert_eq!(read(site, &["r1-db", "--since", "1s", "--component", "no-such"]).await, "");
        assert_eq!(no_requests(site).await, 0, "requests that are left");
    });
}

/// A user would have to begin again when another runner takes over; and passwords of the fleet could be
/// read in logs and statuses.
#[test]
fn another_runner_reads_the_log_again_and_credentials_are_in_none() {
    e2e("handover", async |site| {
        let short = ["--replica-lease-seconds", "6"];
        let db = site.machine("db").login("ops").up().await;
        site.baseline("spring", &[talkative(site, "rm /etc/talk.version; echo again ops-secret; exit 1")])
            .await;
        site.operator.stop().await;
        let (first, second) = (site.replica("one"), site.replica("two"));
        first.options(&short);
        second.options(&short);
        first.start();
        let run =
            site.run("r1", json!({"baselineRef": {"name": "spring"}, "strategy": {"retries": 0}})).await;
        run.node_until("db", "a NodeUpdate", |_| true).await;
        let mut follower = Follower::start(site, &["r1-db", "--follow"]);
        begins(&db).await;
        follower.until("the first line", |text| text.contains(" talk first line\n")).await;
        first.kill();
        second.start();
        let runner = second.runner.clone();
        run.node_until("db", "another runner", |update: &NodeUpdate| update.spec.runner == runner).await;
        db.release_steps().await;
        run.fails().await;
        assert!(follower.ends().await, "{}", follower.errors());
        let mut printed = expected();
        printed.push("again **********".into());
        assert_eq!(follower.printed_by("talk"), printed);
        let update = run.node("db").await;
        let message = &component(&update, "talk").message;
        assert!(message.contains("again **********"), "{message}");
        for operator in [&first, &second] {
            let kept = std::fs::read_dir(logs_of(operator)).expect("the logs").flatten();
            let kept: Vec<String> =
                kept.map(|file| std::fs::read_to_string(file.path()).expect("a log")).collect();
            assert!(kept.iter().any(|log| log.contains("first line")), "{}", operator.runner);
            assert!(!kept.concat().contains("ops-secret"), "{kept:?}");
        }
        assert!(!site.events().await.concat().contains("ops-secret"));
    });
}

/// A component that prints, waits for [`Machine::release_steps`], prints much, and ends with `last`.
fn talkative(site: &Site, last: &str) -> Component {
    let script = format!(
        "#!/bin/sh\necho first line\ntouch /var/tmp/talk-begins\nn=0\nwhile [ ! -e /run/let-go ] && [ $n -lt 1500 ]; do sleep 0.2; n=$((n + 1)); done\necho password ops-secret\nseq {LINES}\necho 1.0 >/etc/talk.version\ntouch /var/tmp/talk-ends\n{last}\n"
    );
    let component = site.payload("talk-here.sh", "1.0", "Script", script.as_bytes());
    component.with(json!({"name": "talk", "detect": {"file": "/etc/talk.version"}}))
}

fn expected() -> Vec<String> {
    let first = ["first line".to_owned(), "password **********".to_owned()];
    first.into_iter().chain((1..=LINES).map(|n| n.to_string())).collect()
}

async fn begins(machine: &Machine) {
    exists(machine, "/var/tmp/talk-begins").await;
}

async fn until_ended(machine: &Machine) {
    exists(machine, "/var/tmp/talk-ends").await;
}

async fn exists(machine: &Machine, path: &str) {
    wait::until(path, wait::LIMIT, async || {
        machine.file(path).map(|_| ()).ok_or("it is not there".to_owned())
    })
    .await;
}

async fn no_requests(site: &Site) -> usize {
    site.api::<LogRequest>().list(&ListParams::default()).await.expect("requests").items.len()
}

/// Returns the directory of an operator's logs of machines.
fn logs_of(operator: &Operator) -> PathBuf {
    operator.cache().join("logs")
}

fn printed_by(text: &str, component: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split_once(' ').expect("a time").1);
    lines.filter_map(|line| line.strip_prefix(component)?.strip_prefix(' ').map(str::to_owned)).collect()
}

/// Returns the command with these arguments.
fn logs(site: &Site, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farrier"));
    command.args(["logs", "-n", &site.name]).args(arguments).stdin(Stdio::null());
    command
}

/// Returns what the command prints, which must succeed.
async fn read(site: &Site, arguments: &[&str]) -> String {
    let output = tokio::process::Command::from(logs(site, arguments)).output().await.expect("farrier logs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A command that follows a log.
struct Follower {
    child: Child,
    out: PathBuf,
    errors: PathBuf,
}

impl Follower {
    fn start(site: &Site, arguments: &[&str]) -> Self {
        let (out, errors) = (site.path("followed"), site.path("followed-errors"));
        let file = |path| File::create(path).expect("a file");
        let mut command = logs(site, arguments);
        let child = command.stdout(file(&out)).stderr(file(&errors)).spawn().expect("farrier logs");
        Self { child, out, errors }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.out).expect("text")
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).expect("text")
    }

    fn printed_by(&self, component: &str) -> Vec<String> {
        printed_by(&self.text(), component)
    }

    async fn until(&self, what: &str, is: impl Fn(&str) -> bool) {
        wait::until(what, wait::LIMIT, async || {
            let text = self.text();
            if is(&text) { Ok(()) } else { Err(format!("{text}{}", self.errors())) }
        })
        .await;
    }

    /// Waits for the end of the command, and returns whether it succeeded.
    async fn ends(&mut self) -> bool {
        let child = &mut self.child;
        wait::until("the command to end", wait::LIMIT, async || {
            child.try_wait().expect("its status").ok_or_else(|| "it is still running".to_owned())
        })
        .await
        .success()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // A command that has ended cannot be killed, which is as good.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
