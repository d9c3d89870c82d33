//! Attacks on the authentication of peers: by hosts on the machines' network, and by a machine of the
//! run.
//!
//! The attacker is `attacks/attacker.py` in a machine's network namespace. Each attack happens while an
//! installer is at work that ends when the test tells it to.

mod inside;
mod meter;
mod outside;
mod papers;

use crate::harness::payload::merge;
use crate::harness::{Machine, Run, Site, lab, outcome};
use meter::Meter;
use serde_json::{Value, json};
use std::process::Stdio;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The operator's address on the machines' network.
const OPERATOR: &str = "10.77.0.1";

/// Path of the attacker's program.
const ATTACKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/attacks/attacker.py");

/// Arguments that run the attacker's program in a machine's network namespace, or in the operator's
/// own. The attack's parameters are in a file, because they may be longer than an argument can be.
fn arguments(from: Option<&Machine>, command: &str, how: &NamedTempFile) -> Vec<String> {
    let mut words: Vec<String> = from
        .iter()
        .flat_map(|from| ["nsenter".to_owned(), format!("--net=/run/netns/{}", from.host)])
        .collect();
    words.extend(["python3", "-B", ATTACKER, command].map(str::to_owned));
    words.push(how.path().to_str().expect("a path").to_owned());
    words
}

fn order(how: &Value) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    std::fs::write(&file, how.to_string()).expect("a written file");
    file
}

/// Runs an attack from a machine's network and returns its result.
async fn attack(from: &Machine, command: &str, how: Value) -> Value {
    let how = order(&how);
    let words = arguments(Some(from), command, &how);
    let said = lab::output(&words[0], &words[1..]).await;
    serde_json::from_str(&said).expect("JSON")
}

/// Runs an attack from the operator's own network, where every machine's packets can be read.
async fn attack_from_the_switch(command: &str, how: Value) -> Value {
    let how = order(&how);
    let words = arguments(None, command, &how);
    let said = lab::output(&words[0], &words[1..]).await;
    serde_json::from_str(&said).expect("JSON")
}

/// Starts an attack that continues until the returned value is dropped, and waits for its first output.
async fn begin(from: &Machine, command: &str, how: Value) -> Child {
    let how = order(&how);
    let words = arguments(Some(from), command, &how);
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut first = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    out.read_line(&mut first).await.expect("its first output");
    assert!(!first.is_empty(), "{command} ended at once");
    child
}

/// Spec of a run on these ports, whose machines of this rack call back.
fn calling(baseline: &str, rack: &str, http_port: u16) -> Value {
    let mut spec =
        json!({"baselineRef": {"name": baseline}, "channel": "Callback", "strategy": {"retries": 2}});
    merge(&mut spec, json!({"selector": {"matchLabels": {"rack": rack}}}));
    merge(&mut spec, json!({"callback": {"httpPort": http_port, "httpsPort": http_port + 1}}));
    spec
}

/// Returns the HTTP and the HTTPS port of a run.
async fn ports(run: &Run<'_>) -> (u16, u16) {
    let callback = run.get().await.status.expect("a status").callback.expect("ports");
    let first = callback.ports.first().expect("a runner");
    (first.http_port, first.https_port)
}

/// Returns how often the engine of a machine has connected to the callback server.
fn calls(site: &Site, node: &str) -> usize {
    let of_node = format!("\"node\":\"{node}\"");
    let log = site.operator.log();
    log.lines().filter(|line| line.contains("the engine has connected") && line.contains(&of_node)).count()
}

/// Asserts that the machine was updated, and that its installer ran once.
async fn is_updated_once(run: &Run<'_>, machine: &Machine) {
    let update = run.node(&machine.name).await;
    assert_eq!(machine.slow_runs(), 1, "{}", machine.name);
    assert_eq!(outcome(&update, "slow"), "Updated");
    assert_eq!(update.status.expect("a status").leftovers, Vec::<String>::new());
}
