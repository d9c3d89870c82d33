//! Why a `NodeUpdate` is as it is. Pure.

use super::answer::{Answer, ago, clock, pods, since, told, until};
use crate::api::node_update::{DrainState, DrainStatus, NodeUpdateStatus, Waiting};
use crate::api::{NodeUpdate, condition};
use crate::cmd::status::summary::Prompt;
use crate::cmd::table::age;
use crate::runner::is_finished;
use jiff::Timestamp;
use kube::ResourceExt as _;

/// Returns why a NodeUpdate is as it is.
pub fn node_update(update: &NodeUpdate, now: Timestamp, prompt: &Prompt) -> Answer {
    let status = update.status.clone().unwrap_or_default();
    let mut answer =
        if is_finished(update) { ending(update, &status, now) } else { at_work(update, &status, now) };
    if !status.leftovers.is_empty() {
        answer.say(format!("Farrier could not remove from the machine: {}", status.leftovers.join(", ")));
    }
    answer.next(next(update, &status, prompt))
}

/// Returns what the work is about.
fn subject(update: &NodeUpdate) -> String {
    let spec = &update.spec;
    format!("NodeUpdate {} (machine {}, run {})", update.name_any(), spec.node_ref.name, spec.run_ref.name)
}

/// Says how the work ended.
fn ending(update: &NodeUpdate, status: &NodeUpdateStatus, now: Timestamp) -> Answer {
    let subject = subject(update);
    let Some(end) = condition::find(&status.conditions, "Succeeded") else { return Answer::new(subject) };
    let at = status.finished_at.as_ref().unwrap_or(&end.last_transition_time).0;
    let verb = match (end.status.as_str(), end.reason.as_str()) {
        ("True", _) => "succeeded",
        (_, "Cancelled") => "was cancelled",
        _ => "failed",
    };
    let mut answer = Answer::new(format!("{subject} {verb} {}: {}", ago(at, now), told(end)));
    if end.status != "True" {
        answer.explain(&end.reason);
        let failed = status.components.iter().filter(|component| component.outcome == "Failed");
        for component in failed.filter(|c| !end.message.contains(&c.message)) {
            answer.say(format!("Component {} failed: {}", component.name, component.message));
        }
    }
    answer
}

/// Says what the work waits for, or what is done.
fn at_work(update: &NodeUpdate, status: &NodeUpdateStatus, now: Timestamp) -> Answer {
    let subject = subject(update);
    let Some(step) = &status.step else {
        let from = update.metadata.creation_timestamp.as_ref();
        let from = from.map(|at| format!(", {}", since(at.0, now))).unwrap_or_default();
        let mut answer =
            Answer::new(format!("{subject} waits for runner {} to begin{from}", update.spec.runner));
        answer.explain("WaitingForRunner");
        return answer;
    };
    let began = status.attempt_started_at.as_ref().or(status.started_at.as_ref());
    let began = began.map(|at| format!(", {}", since(at.0, now))).unwrap_or_default();
    let mut answer = match step.as_str() {
        "WaitingForRetry" => Answer::new(format!("{subject} waits for its next attempt")),
        "WaitingForWindow" => Answer::new(format!("{subject} waits for the maintenance window of its run")),
        "Planned" => {
            let changes = status.plan.iter().filter(|component| component.installs());
            let changes: Vec<String> =
                changes.map(|c| format!("{}: {} -> {}", c.name, version(&c.from), c.to)).collect();
            let what = if changes.is_empty() { "nothing".to_owned() } else { changes.join(", ") };
            Answer::new(format!("{subject} is planned and waits for its run; it would install {what}"))
        }
        step => Answer::new(format!("{subject} is in progress, at {step}{began}")),
    };
    if let Some(at) = status.next_attempt_at.as_ref() {
        answer.say(format!("It begins at {} (in {})", clock(at.0), age(now, at.0)));
    }
    // What is waited for is more than the condition says about it, and the step was said.
    match (&status.waiting, condition::find(&status.conditions, "Succeeded")) {
        (Some(waiting), _) => waits(&mut answer, waiting, now),
        (None, Some(why)) if step != "Planned" && why.reason != "InProgress" => answer.say(told(why)),
        (None, Some(_) | None) => {}
    }
    if let Some(drain) = &status.drain {
        drains(&mut answer, drain, now);
    }
    if let Some(reboot) = &status.rebooting {
        let (from, end) = (since(reboot.since.0, now), until(reboot.until.0, now));
        answer.say(format!("The machine has been restarting {from}; Farrier waits for it {end}"));
    }
    answer
}

/// Returns a version that may be none.
fn version(installed: &str) -> &str {
    if installed.is_empty() { "not installed" } else { installed }
}

/// Says what is waited for on the machine.
fn waits(answer: &mut Answer, waiting: &Waiting, now: Timestamp) {
    let Waiting { reason, what, holder, since: began, until: end } = waiting;
    let holder = holder.as_ref().map(|holder| {
        let name = if holder.name.is_empty() { "a process" } else { &holder.name };
        format!(", which {name} (pid {}) holds", holder.pid)
    });
    let end = match end {
        Some(end) => format!("it gives up if that lasts {}", until(end.0, now)),
        None => "there is no time limit".to_owned(),
    };
    let began = since(began.0, now);
    answer.say(format!("{reason}: it waits for {what}{}, {began}; {end}", holder.unwrap_or_default()));
    answer.explain(reason);
}

/// Says how far the drain is, while it is under way.
fn drains(answer: &mut Answer, drain: &DrainStatus, now: Timestamp) {
    let doing = match drain.state {
        DrainState::Draining => "has been draining",
        DrainState::Undraining => "has been going back to use",
        DrainState::Planned | DrainState::Drained | DrainState::Undrained => return,
    };
    let from = drain.since.as_ref().map(|at| format!(" {}", since(at.0, now))).unwrap_or_default();
    let end = drain.until.as_ref().map(|at| format!(", at the latest {}", until(at.0, now)));
    answer.say(format!("{} {doing}{from}{}", drain.what, end.unwrap_or_default()));
}

/// Returns the command to type.
fn next(update: &NodeUpdate, status: &NodeUpdateStatus, prompt: &Prompt) -> Option<String> {
    let Prompt { program, flags } = prompt;
    let (name, run) = (update.name_any(), &update.spec.run_ref.name);
    let of_run = format!("{program} why updaterun/{run} {flags}");
    if is_finished(update) {
        let failed = !condition::is(&status.conditions, "Succeeded", "True");
        let ran = status.components.iter().any(|component| component.exit_code.is_some());
        let log = format!("{program} logs {name} {flags}");
        return failed.then_some(if ran { log } else { of_run });
    }
    let draining = status.drain.as_ref().filter(|drain| drain.state == DrainState::Draining);
    if let Some(node) = draining.and_then(|drain| drain.kubernetes_node.as_ref()) {
        return Some(format!("kubectl get pods {flags} -A --field-selector spec.nodeName={node}"));
    }
    match status.step.as_deref() {
        None => Some(pods(prompt)),
        Some("Planned") => Some(of_run),
        Some(_) if status.waiting.is_none() && status.rebooting.is_none() && status.channel.is_some() => {
            Some(format!("{program} logs {name} {flags} --follow"))
        }
        Some(_) => Some(format!("{program} status {run} {flags} --watch")),
    }
}
