//! Why a `ManagedNode` is as it is. Pure.

use super::answer::{Answer, ago, since, told};
use crate::api::{ManagedNode, NodeUpdate, condition};
use crate::cmd::status::summary::Prompt;
use crate::runner::is_finished;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

/// Returns why a machine is as it is. `updates` are its NodeUpdates.
pub fn node(node: &ManagedNode, updates: &[NodeUpdate], now: Timestamp, prompt: &Prompt) -> Answer {
    let status = node.status.clone().unwrap_or_default();
    let find = |type_: &str| condition::find(&status.conditions, type_);
    let (name, namespace) = (node.name_any(), node.namespace().unwrap_or_default());
    let subject = format!("ManagedNode {name} in namespace {namespace}");
    let unusable = find("Ready").filter(|c| c.status == "False");
    let mut answer = Answer::new(match (unusable, find("Ready")) {
        (Some(why), _) => {
            format!("{subject} cannot be used, {}: {}", since(why.last_transition_time.0, now), told(why))
        }
        (None, Some(_)) => format!("{subject} can be used"),
        (None, None) => format!("{subject} was never connected to"),
    });
    if let Some(why) = unusable {
        answer.explain(&why.reason);
    }
    if let Some(at) = &status.last_seen {
        answer.say(format!("It was last connected to {}", ago(at.0, now)));
    }
    // Why it cannot be used says why it is not known whether it has its baseline.
    if let Some(compared) = find("InBaseline").filter(|c| unusable.is_none() || c.status != "Unknown") {
        baseline(&mut answer, compared, now);
    }
    let at_work: Vec<&NodeUpdate> =
        updates.iter().filter(|u| !is_finished(u) && u.spec.node_ref.name == name).collect();
    for update in &at_work {
        let step = update.status.as_ref().and_then(|status| status.step.as_deref());
        let run = &update.spec.run_ref.name;
        answer.say(match step {
            Some("Planned") => format!("Run {run} has planned it, and changes nothing yet"),
            Some(step) => format!("Run {run} works on it, and is at {step}"),
            None => format!("Run {run} is about to work on it"),
        });
    }
    if node.spec.hold {
        answer.say("Farrier leaves it alone until spec.hold is false");
    } else if at_work.is_empty() && find("Ready").is_none() {
        answer.say("No run has this machine at present; the first run that selects it connects to it");
    }
    answer.next(next(node, unusable, &at_work, prompt))
}

/// Says whether the machine has its baseline.
fn baseline(answer: &mut Answer, compared: &Condition, now: Timestamp) {
    let since = since(compared.last_transition_time.0, now);
    let what = match compared.status.as_str() {
        "True" => "It has its baseline",
        "False" => "It does not have its baseline",
        _ => "It is not known whether it has its baseline",
    };
    answer.say(format!("{what}, {since}: {}", told(compared)));
    if compared.status != "True" {
        answer.explain(&compared.reason);
    }
}

/// Returns the command to type.
fn next(
    node: &ManagedNode,
    unusable: Option<&Condition>,
    at_work: &[&NodeUpdate],
    prompt: &Prompt,
) -> Option<String> {
    let Prompt { program, flags } = prompt;
    let name = node.name_any();
    let patch = |more: &str, change: &str| {
        Some(format!("kubectl patch managednode {name} {flags}{more} --type=merge -p '{change}'"))
    };
    if let Some(update) = at_work.first() {
        return Some(format!("{program} why nodeupdate/{} {flags}", update.name_any()));
    }
    if node.spec.hold {
        return patch("", r#"{"spec":{"hold":false}}"#);
    }
    // Both forget what was recorded; the paragraph says that the machine has to be verified before.
    match unusable?.reason.as_str() {
        "HostKeyChanged" if node.status.as_ref().is_some_and(|status| status.host_key.is_some()) => {
            patch(" --subresource=status", r#"{"status":{"hostKey":null}}"#)
        }
        "CertificateChanged" if node.status.as_ref().is_some_and(|status| status.certificate.is_some()) => {
            patch(" --subresource=status", r#"{"status":{"certificate":null}}"#)
        }
        _ => Some(format!("{program} conformance --node {name} {flags}")),
    }
}
