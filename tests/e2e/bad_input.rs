//! Bad input: within half a minute each kind results in a condition with its own reason, and with a
//! message that names the object and the next step. Other machines of the same run are updated, and
//! nothing is left behind.
//!
//! `happy` tests unusual machines that can be updated (shells, terminals, no SFTP).

mod asked;
mod canary;
mod disk;
mod install;
mod login;
mod payload;
mod reach;
mod refused;
mod root;

use crate::harness::machine::Builder;
use crate::harness::payload::{Component, merge};
use crate::harness::{Conditions, Machine, Run, Site};
use farrier::api::ManagedNode;
use farrier_update::Reason;
use futures::future::join_all;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::fmt::Write;

/// Maximum number of seconds from the start of a machine's update until its failure is reported.
const SOON: f64 = 30.0;

/// The expected report about a machine that cannot be updated.
struct Said {
    node: &'static str,
    reason: Reason,
    /// What the message must contain.
    words: &'static [&'static str],
}

/// Expects that `node` fails with this reason, and that the message contains these words.
const fn said(node: &'static str, reason: Reason, words: &'static [&'static str]) -> Said {
    Said { node, reason, words }
}

/// Waits until the run has ended. Panics unless the expected machines failed as expected and are clean,
/// and all other machines succeeded.
async fn ends_with(site: &Site, run: &Run<'_>, expected: &[Said]) {
    let ended = run.fails().await;
    let status = ended.status.as_ref().expect("a status");
    let mut wrong = String::new();
    let mut events = Vec::new();
    for update in run.nodes().await {
        let node = update.spec.node_ref.name.as_str();
        let verdict = update.condition("Succeeded");
        let Some(said) = expected.iter().find(|said| said.node == node) else {
            if verdict.status != "True" {
                writeln!(wrong, "{node} should have succeeded; {}", update.words("Succeeded")).unwrap();
            }
            continue;
        };
        let seconds = seconds(&update);
        println!("{:<12} {:<24} {seconds:>5.1} s", node, verdict.reason);
        let reason = said.reason.as_str();
        events.push(format!("{reason} NodeUpdate/{}", update.name_any()));
        let holds = [
            (verdict.status == "False" && verdict.reason == reason, reason.to_owned()),
            (said.words.iter().all(|w| verdict.message.contains(w)), format!("the words {:?}", said.words)),
            (
                update.state("TornDown") == "True",
                format!("a clean machine, not {}", update.words("TornDown")),
            ),
            (update.state("Stalled") == "True", "Stalled".to_owned()),
            (seconds <= SOON, format!("an end within {SOON} s, not {seconds} s")),
            (
                status.failing.iter().any(|f| f.node == node && f.reason == reason),
                "to be in status.failing".into(),
            ),
        ];
        for (_, what) in holds.iter().filter(|(holds, _)| !holds) {
            writeln!(wrong, "{node} should have {what}; {}", update.words("Succeeded")).unwrap();
        }
    }
    let missing = expected.iter().filter(|s| status.nodes.iter().flatten().all(|n| n != s.node));
    missing.for_each(|said| writeln!(wrong, "{} was not in the run", said.node).unwrap());
    assert!(wrong.is_empty(), "{wrong}");
    for event in &events {
        site.until_event(event).await;
    }
}

/// Returns the number of seconds from the first status to the last one.
fn seconds(update: &farrier::api::NodeUpdate) -> f64 {
    let status = update.status.as_ref().expect("a status");
    let (Some(from), Some(to)) = (&status.started_at, &status.finished_at) else { return f64::INFINITY };
    to.0.duration_since(from.0).as_secs_f64()
}

/// Starts several machines at the same time.
async fn up<const N: usize>(machines: [Builder<'_>; N]) -> [Machine; N] {
    let machines = join_all(machines.map(Builder::up)).await;
    machines.try_into().unwrap_or_else(|_| panic!("as many as were asked for"))
}

/// Creates another ManagedNode for a machine, with its own Secret and spec.
async fn door(site: &Site, machine: &Machine, name: &str, secret: &[(&str, &str)], spec: Value) {
    site.secret(name, secret).await;
    let mut full = json!({
        "type": "Linux",
        "addresses": [machine.v4],
        "credentialsRef": {"name": name},
        "ssh": {"hostKeys": [machine.host_key]},
    });
    merge(&mut full, spec);
    let node = json!({
        "apiVersion": "farrier.dev/v1alpha1",
        "kind": "ManagedNode",
        "metadata": {"name": name, "labels": {"name": name}},
        "spec": full,
    });
    site.create::<ManagedNode>(&node).await.expect("a ManagedNode that the API server accepts");
}

/// Restricts a component to one machine of the run.
fn only(component: Component, machine: &Machine) -> Component {
    component.with(json!({"appliesTo": {"match": {"hostname": machine.host}}}))
}

/// Returns the spec of a run that updates all machines at once.
fn all_at_once(baseline: &str) -> Value {
    json!({"baselineRef": {"name": baseline}, "strategy": {"maxConcurrent": "100%"}})
}

/// The credentials of root, which are the same on every machine of the image.
const ROOT: &[(&str, &str)] = &[("username", "root"), ("password", "root-secret")];
