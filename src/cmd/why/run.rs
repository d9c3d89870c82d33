//! Why an `UpdateRun` is as it is. Pure.

use super::answer::{Answer, ago, pods, since, until};
use crate::api::update_run::StageState;
use crate::api::{NodeUpdate, UpdateRun, condition};
use crate::cmd::status::summary::{Prompt, State, Summary};
use crate::cmd::status::text::{Group, counts, groups, waits_for};
use jiff::Timestamp;

/// How many groups of machines a paragraph has, for each kind of group; `status` has all of them.
const MAX_GROUPS: usize = 3;

/// Returns why a run is as it is.
pub fn run(run: &UpdateRun, updates: &[NodeUpdate], now: Timestamp, prompt: &Prompt) -> Answer {
    let summary = Summary::new(run, updates, now, prompt);
    let mut answer = Answer::new(head(run, &summary, now));
    if summary.counts.total > 0 {
        answer.say(counts(&summary).trim_end());
    }
    deadlines(&mut answer, run, &summary, now);
    at_work(&mut answer, &summary, now);
    let waiting = groups(&summary.waiting);
    for group in waiting.iter().take(MAX_GROUPS) {
        let since = group.since.map(|at| format!(", {}", since(at, now))).unwrap_or_default();
        answer.say(format!("{}{since}: {}: {}", wait(group), group.reason, group.message));
        // Where there is a command to type, it says what to do.
        if summary.next.is_none() {
            answer.explain(group.reason);
        }
    }
    let failing = groups(&summary.failing);
    for group in failing.iter().take(MAX_GROUPS) {
        answer.say(format!("Not updated: {}: {}: {}", group.names(), group.reason, group.message));
        answer.explain(group.reason);
    }
    if waiting.len().max(failing.len()) > MAX_GROUPS {
        answer.say("There are more machines, see status");
    }
    let next = next(&summary, prompt);
    answer.next(next)
}

/// Says what the state is, since when, and why.
fn head(run: &UpdateRun, summary: &Summary, now: Timestamp) -> String {
    let Summary { run: name, namespace, state, reason, message, .. } = summary;
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}: {message}") };
    let what = format!("UpdateRun {name} in namespace {namespace}");
    let changed = |type_: &str| {
        let conditions = &run.status.as_ref()?.conditions;
        condition::find(conditions, type_).map(|c| c.last_transition_time.0)
    };
    let from = match state {
        State::Succeeded | State::Failed => {
            let at = summary.finished_at.as_ref().map(|at| at.0).or_else(|| changed("Succeeded"));
            let at = at.map(|at| format!(" {}", ago(at, now))).unwrap_or_default();
            return format!("{what} {state}{at}{why}");
        }
        State::Pending => run.metadata.creation_timestamp.as_ref().map(|at| at.0),
        State::InProgress => summary.started_at.as_ref().map(|at| at.0),
        State::Planned => changed("Planned"),
        State::Waiting | State::AwaitingApproval | State::Paused | State::Cancelling => {
            changed("Progressing")
        }
    };
    let from = from.map(|at| format!(" {}", since(at, now))).unwrap_or_default();
    let is = if *state == State::Waiting { "has been" } else { "is" };
    format!("{what} {is} {state}{from}{why}")
}

/// Says until when the run as a whole waits.
fn deadlines(answer: &mut Answer, run: &UpdateRun, summary: &Summary, now: Timestamp) {
    if summary.state == State::Pending {
        answer.say(
            "The operator has not looked at it yet; if that lasts for a minute, check that its pods run",
        );
    }
    let soaking = summary.stages.iter().filter(|stage| stage.state == StageState::Soaking);
    for stage in soaking {
        let end = stage.until.as_ref().map(|at| format!(" {}", until(at.0, now))).unwrap_or_default();
        answer.say(format!("Stage {} soaks{end}, then the next stage begins", stage.name));
    }
    let arrival = run.status.as_ref().and_then(|status| status.arrival_deadline.as_ref());
    if let Some(at) = arrival.filter(|at| summary.finished_at.is_none() && at.0 > now) {
        answer.say(format!("It waits for objects that do not exist yet {}", until(at.0, now)));
    }
}

/// Says what machines in the midst of their work wait for.
fn at_work(answer: &mut Answer, summary: &Summary, now: Timestamp) {
    let held: Vec<_> = summary.in_progress.iter().filter_map(|m| Some((m, waits_for(m, now)?))).collect();
    for (machine, what) in held.iter().take(MAX_GROUPS) {
        answer.say(format!("{} waits for {what}", machine.node));
    }
    if let Some(more) = held.len().checked_sub(MAX_GROUPS).filter(|more| *more > 0) {
        answer.say(format!("{more} more machines in progress wait for something, see status"));
    }
}

fn wait(group: &Group<'_>) -> String {
    let verb = if group.count() == 1 { "waits" } else { "wait" };
    format!("{} {verb}", group.names())
}

/// Returns the command to type. Where nobody has to decide anything, it is the one that shows more.
fn next(summary: &Summary, prompt: &Prompt) -> Option<String> {
    let Prompt { program, flags } = prompt;
    let without_runner = summary.waiting.iter().any(|note| note.reason == "WaitingForRunner");
    if let Some(next) = &summary.next {
        return Some(next.clone());
    }
    match summary.state {
        State::Pending => Some(pods(prompt)),
        State::Succeeded => None,
        _ if without_runner => Some(pods(prompt)),
        State::Waiting
        | State::InProgress
        | State::AwaitingApproval
        | State::Paused
        | State::Planned
        | State::Cancelling
        | State::Failed => Some(format!("{program} status {} {flags} --watch", summary.run)),
    }
}
