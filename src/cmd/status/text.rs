//! The summary of a run as text, for people. Pure.

use super::summary::{Machine, State, Summary};
use crate::api::update_run::{NodeNote, StageState};
use crate::cmd::table::{age, aligned, roughly};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Width of a bar in characters.
const BAR: u32 = 20;

/// How many machines are named of those that wait for the same reason.
const FEW: usize = 5;

const STAGES_HEAD: [&str; 7] =
    ["STAGE", "PROGRESS", "MACHINES", "SUCCEEDED", "FAILED", "UNREACHABLE", "STATE"];

const MACHINES_HEAD: [&str; 6] = ["NODE", "STEP", "CHANGED", "AGE", "NODEUPDATE", "WAITS FOR"];

/// How the text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether every machine that waits has a line of its own.
    pub wide: bool,
    /// Whether a terminal shows colours. Nothing is said by colour alone.
    pub colours: bool,
}

/// Renders a summary.
pub fn render(summary: &Summary, now: Timestamp, look: Look) -> String {
    let mut text = head(summary, now, look);
    text.push('\n');
    text += &stages(summary, now);
    text.push('\n');
    text += &counts(summary);
    let progress = summary.in_progress.iter().map(|machine| row(machine, now));
    section(&mut text, "In progress", summary.in_progress.len(), &aligned(MACHINES_HEAD, progress));
    let waiting = if look.wide { each(&summary.waiting, now) } else { grouped(&summary.waiting, now) };
    section(&mut text, "Waiting", summary.waiting.len(), &waiting);
    let failing = painted(each(&summary.failing, now), "31", look);
    section(&mut text, "Not updated", summary.failing.len(), &failing);
    if let Some(next) = &summary.next {
        text.extend([format!("\nNext: {next}\n")]);
    }
    text
}

fn head(summary: &Summary, now: Timestamp, look: Look) -> String {
    let Summary { run, namespace, state, reason, message, .. } = summary;
    let colour = match state {
        State::Succeeded => "32",
        State::Failed => "31",
        State::AwaitingApproval | State::Paused | State::Waiting | State::Cancelling => "33",
        State::Pending | State::InProgress | State::Planned => "36",
    };
    let why = match (reason.as_str(), message.as_str()) {
        ("", _) => String::new(),
        (reason, "") => format!(" ({reason})"),
        (reason, message) => format!(" ({reason}): {message}"),
    };
    let state = painted(state.to_string(), colour, look);
    let mut facts = vec![format!("operation {:?}", summary.operation)];
    facts.extend(summary.baseline.as_ref().map(|baseline| format!("baseline {baseline}")));
    match (&summary.started_at, &summary.finished_at) {
        (Some(began), Some(ended)) => {
            facts.push(format!("took {}, ended {} ago", age(began.0, ended.0), age(ended.0, now)));
        }
        (Some(began), None) => facts.push(format!("began {} ago", age(began.0, now))),
        (None, Some(ended)) => facts.push(format!("ended {} ago without beginning", age(ended.0, now))),
        (None, None) => facts.push("has not begun".to_owned()),
    }
    format!("UpdateRun {run} in namespace {namespace}: {state}{why}\n{}\n", facts.join(", "))
}

fn stages(summary: &Summary, now: Timestamp) -> String {
    let counts = summary.counts;
    let whole = [
        "(all)".to_owned(),
        bar(summary.ended(), counts.total),
        counts.total.to_string(),
        counts.succeeded.to_string(),
        counts.failed.to_string(),
        counts.unreachable.to_string(),
        summary.time_left_seconds.map_or_else(String::new, |seconds| {
            format!("about {} left at the rate so far", roughly(Duration::from_secs(seconds)))
        }),
    ];
    let rows = summary.stages.iter().map(|stage| {
        let until = stage.until.as_ref().map(|until| format!(", {} left", age(now, until.0)));
        let state = match stage.state {
            StageState::Waiting => "waits for its turn".to_owned(),
            StageState::AwaitingApproval => "awaits approval".to_owned(),
            StageState::InProgress => "in progress".to_owned(),
            StageState::Soaking => format!("soaking{}", until.unwrap_or_default()),
            StageState::Finished => "finished".to_owned(),
            StageState::Stopped => "stopped".to_owned(),
        };
        [
            stage.name.clone(),
            bar(stage.succeeded + stage.failed + stage.unreachable, stage.nodes),
            stage.nodes.to_string(),
            stage.succeeded.to_string(),
            stage.failed.to_string(),
            stage.unreachable.to_string(),
            state,
        ]
    });
    aligned(STAGES_HEAD, rows.chain([whole]))
}

/// Returns a bar. It is full only when all machines have ended, and empty only when none has.
fn bar(ended: u32, total: u32) -> String {
    let full = match (ended, total) {
        (0, _) | (_, 0) => 0,
        (ended, total) if ended >= total => BAR,
        (ended, total) => (ended.saturating_mul(BAR) / total).clamp(1, BAR - 1),
    };
    let percent = ended.min(total).saturating_mul(100).checked_div(total).unwrap_or(0);
    let times = |c: &str, n: u32| c.repeat(n as usize);
    format!("[{}{}] {percent:3}%", times("#", full), times(".", BAR - full))
}

/// Returns the numbers of machines in words.
pub(in crate::cmd) fn counts(summary: &Summary) -> String {
    let counts = summary.counts;
    let named = [
        (counts.succeeded, "succeeded"),
        (counts.failed, "failed"),
        (counts.unreachable, "not reached"),
        (counts.cancelled, "cancelled"),
        (counts.skipped, "will not be begun"),
        (counts.in_progress, "in progress"),
        (counts.pending, "not begun yet"),
    ];
    let words: Vec<String> =
        named.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let machines = if counts.total == 1 { "machine" } else { "machines" };
    if words.is_empty() {
        return format!("{} {machines}\n", counts.total);
    }
    format!("{} {machines}: {}\n", counts.total, words.join(", "))
}

fn section(text: &mut String, title: &str, count: usize, body: &str) {
    if count > 0 {
        text.extend([format!("\n{title} ({count}):\n")]);
        text.extend(body.lines().map(|line| format!("  {line}\n")));
    }
}

fn row(machine: &Machine, now: Timestamp) -> [String; 6] {
    let none = || "-".to_owned();
    [
        machine.node.clone(),
        machine.step.clone(),
        machine.changed.clone().unwrap_or_else(none),
        machine.started_at.as_ref().map_or_else(none, |began| age(began.0, now)),
        machine.node_update.clone(),
        waits_for(machine, now).unwrap_or_else(none),
    ]
}

/// Says what a machine waits for in the midst of its work.
pub(in crate::cmd) fn waits_for(machine: &Machine, now: Timestamp) -> Option<String> {
    if let Some(waiting) = &machine.waiting {
        let holder =
            waiting.holder.as_ref().map(|holder| format!(", held by {} (pid {})", holder.name, holder.pid));
        let until = waiting.until.as_ref().map(|until| format!(", gives up in {}", age(now, until.0)));
        return Some(format!(
            "{} ({}) for {}{}{}",
            waiting.what,
            waiting.reason,
            age(waiting.since.0, now),
            holder.unwrap_or_default(),
            until.unwrap_or_default()
        ));
    }
    let next = machine.next_attempt_at.as_ref()?;
    Some(format!("the next attempt, in {}", age(now, next.0)))
}

/// Renders a line for each machine.
fn each(notes: &[NodeNote], now: Timestamp) -> String {
    let line = |note: &NodeNote| {
        let since = note.since.as_ref().map(|since| format!(" (for {})", age(since.0, now)));
        [note.node.clone(), note.reason.clone(), format!("{}{}", note.message, since.unwrap_or_default())]
    };
    aligned(["NODE", "REASON", "MESSAGE"], notes.iter().map(line))
}

/// Machines about which the same is said.
pub(in crate::cmd) struct Group<'a> {
    pub(in crate::cmd) reason: &'a str,
    pub(in crate::cmd) message: &'a str,
    /// The earliest time since when one of them waits.
    pub(in crate::cmd) since: Option<Timestamp>,
    nodes: Vec<&'a str>,
}

impl Group<'_> {
    /// Returns the number of machines.
    pub(in crate::cmd) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the names of the first machines, and the number of further ones.
    pub(in crate::cmd) fn names(&self) -> String {
        let few: Vec<&str> = self.nodes.iter().take(FEW).copied().collect();
        let more = self.nodes.len() - few.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", few.join(", "))
    }
}

/// Groups machines by what is said about them, in the order of reasons.
pub(in crate::cmd) fn groups(notes: &[NodeNote]) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<(&str, &str), Group<'_>> = BTreeMap::new();
    for note in notes {
        let (reason, message) = (note.reason.as_str(), note.message.as_str());
        let new = || Group { reason, message, since: None, nodes: Vec::new() };
        let group = groups.entry((reason, message)).or_insert_with(new);
        group.nodes.push(&note.node);
        group.since = group.since.into_iter().chain(note.since.as_ref().map(|since| since.0)).min();
    }
    groups.into_values().collect()
}

/// Renders a line for each reason, with the first machines that wait for it.
fn grouped(notes: &[NodeNote], now: Timestamp) -> String {
    let line = |group: Group<'_>| {
        let since = group.since.map_or_else(|| "-".to_owned(), |since| age(since, now));
        [group.names(), group.reason.to_owned(), since, group.message.to_owned()]
    };
    aligned(["NODES", "REASON", "AGE", "MESSAGE"], groups(notes).into_iter().map(line))
}

/// Colours each line.
fn painted(text: String, colour: &str, look: Look) -> String {
    if !look.colours {
        return text;
    }
    let lines: Vec<String> = text.lines().map(|line| format!("\x1b[{colour}m{line}\x1b[0m")).collect();
    lines.join("\n")
}

/// Returns a line for everything that differs between two summaries, for logs and pipes.
pub fn changes(before: Option<&Summary>, after: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    let run = &after.run;
    if before.is_none_or(|b| (b.state, &b.reason) != (after.state, &after.reason)) {
        let why = if after.reason.is_empty() {
            String::new()
        } else {
            format!(" ({}): {}", after.reason, after.message)
        };
        lines.push(format!("UpdateRun {run}: {}{why}", after.state));
        lines.extend(after.next.as_ref().map(|next| format!("next: {next}")));
    }
    for stage in &after.stages {
        let old = before.and_then(|b| b.stages.iter().find(|old| old.name == stage.name));
        if old.is_none_or(|old| old.state != stage.state) {
            lines.push(format!("stage {}: {:?}", stage.name, stage.state));
        }
    }
    for machine in &after.in_progress {
        let old = before.and_then(|b| b.in_progress.iter().find(|old| old.node == machine.node));
        let reason = |m: &Machine| m.waiting.as_ref().map(|waiting| waiting.reason.clone());
        if old.is_none_or(|old| (&old.step, reason(old)) != (&machine.step, reason(machine))) {
            let waits = machine.waiting.as_ref().map(|w| format!(", waits for {} ({})", w.what, w.reason));
            lines.push(format!("{}: {}{}", machine.node, machine.step, waits.unwrap_or_default()));
        }
    }
    for note in &after.failing {
        if before.is_none_or(|b| !b.failing.contains(note)) {
            lines.push(format!("{}: {}: {}", note.node, note.reason, note.message));
        }
    }
    if before.is_none_or(|b| b.counts != after.counts) {
        lines.push(counts(after).trim_end().to_owned());
    }
    lines
}
