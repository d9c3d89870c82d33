//! Renders a rehearsal.

use super::machines::Plans;
use crate::cmd::table::{aligned, in_words};
use anyhow::Context as _;
use farrier_update::rehearsal::{Ending, Fate, Model, Permille, PlayedNode, Rehearsal, Span, StageSpan};
use farrier_update::{Millis, Reason, Window};
use serde_json::{Value, json};

const HEAD: [&str; 8] =
    ["STAGE", "MACHINES", "BEGINS", "ENDS", "SUCCEEDED", "FAILED", "UNREACHABLE", "NOT BEGUN"];

const MACHINES_HEAD: [&str; 8] =
    ["NODE", "STAGE", "BEGINS", "ENDS", "DURATION", "RESTARTS", "DRAINED", "CHANGES"];

/// How many machines of the critical path are named at each of its ends.
const FEW: usize = 3;

/// A rehearsal, and what it was made with.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) run: &'a str,
    pub(super) rehearsal: &'a Rehearsal,
    pub(super) model: &'a Model,
    pub(super) window: Option<&'a Window>,
    pub(super) plans: &'a Plans<'a>,
}

impl Report<'_> {
    /// Returns what would stop the run; `None` if it ends within its budgets.
    pub(super) fn problem(&self) -> Option<String> {
        let run = self.run;
        match (&self.rehearsal.halted, &self.rehearsal.ending) {
            (Some(_), _) => self.halt().map(|halt| format!("UpdateRun {run} would be stopped: {halt}")),
            (None, Ending::Waits { reason, message }) => {
                let at = self.relative(self.rehearsal.ended);
                Some(format!("UpdateRun {run} would wait from {at} on ({reason}): {message}"))
            }
            (None, Ending::Ended(end)) => {
                let goes_through = matches!(end.reason, Reason::AllSucceeded | Reason::SomeFailed);
                (!goes_through)
                    .then(|| format!("UpdateRun {run} would end with {}: {}", end.reason, end.message))
            }
        }
    }

    /// Renders a table of the stages, and what follows from it.
    pub(super) fn table(&self) -> String {
        let mut text = aligned(HEAD, self.rehearsal.stages.iter().map(|stage| self.line(stage)));
        for sentence in self.sentences() {
            text.push_str(&sentence);
            text.push('\n');
        }
        text
    }

    /// Renders a table of the machines: who is worked on when, who restarts or is drained, and what is changed.
    pub(super) fn machines(&self) -> String {
        let line = |played: &PlayedNode| {
            let time = |time: Option<Millis>| time.map_or_else(|| "never".to_owned(), |time| self.time(time));
            let stage = self.rehearsal.stages.get(played.stage).and_then(|stage| stage.name.clone());
            let work = played.work.as_ref();
            let planned = self.plans.machine(&played.node);
            [
                played.node.to_string(),
                stage.unwrap_or_else(|| "(all)".to_owned()),
                time(work.map(|span| span.began)),
                time(work.map(|span| span.ended)),
                if played.known { "known" } else { "assumed" }.to_owned(),
                planned.restarts.word().to_owned(),
                planned.drain.cell(),
                planned.changes(),
            ]
        };
        aligned(MACHINES_HEAD, self.rehearsal.nodes.iter().map(line))
    }

    /// Renders everything for programs. Times are seconds after the beginning.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        let Rehearsal { began, ended, ending, counts, stages, halted, .. } = self.rehearsal;
        let seconds = |time: Millis| time.since(*began).as_secs();
        let span = |span: &Span| json!({"node": span.node.0, "begins": seconds(span.began), "ends": seconds(span.ended), "result": name(span.fate)});
        let stage = |stage: &StageSpan| {
            json!({
                "name": stage.name, "nodes": stage.nodes,
                "begins": stage.began.map(seconds), "ends": stage.ended.map(seconds),
                "succeeded": stage.succeeded, "failed": stage.failed, "unreachable": stage.unreachable,
                "notBegun": stage.not_begun,
            })
        };
        let machine = |played: &PlayedNode| {
            let planned = self.plans.machine(&played.node);
            json!({
                "node": played.node.0, "stage": stages.get(played.stage).and_then(|stage| stage.name.as_ref()),
                "begins": played.work.as_ref().map(|work| seconds(work.began)),
                "ends": played.work.as_ref().map(|work| seconds(work.ended)),
                "result": played.work.as_ref().map(|work| name(work.fate)), "durationKnown": played.known,
                "planned": planned.components.is_some(), "changes": planned.installed(),
                "restarts": planned.restarts.word(),
                "drained": planned.drain.word(), "drainedBy": planned.drain.what(),
            })
        };
        let (reason, message) = match ending {
            Ending::Ended(end) => (end.reason, &end.message),
            Ending::Waits { reason, message } => (*reason, message),
        };
        let halted = halted
            .as_ref()
            .map(|halt| json!({"at": seconds(halt.at), "message": halt.message, "notBegun": halt.not_begun}));
        let pauses: Vec<Value> = self
            .rehearsal
            .pauses
            .iter()
            .map(
                |p| json!({"begins": seconds(p.from), "ends": seconds(p.until), "reason": p.reason.as_str()}),
            )
            .collect();
        let value = json!({
            "run": self.run, "beganAt": began.to_string(), "endsAt": ended.to_string(), "ends": seconds(*ended),
            "hasEnded": matches!(ending, Ending::Ended(_)), "reason": reason.as_str(), "message": message,
            "goesThrough": self.problem().is_none(),
            "nodes": counts.total, "stages": stages.iter().map(stage).collect::<Vec<_>>(),
            "machines": self.rehearsal.nodes.iter().map(machine).collect::<Vec<_>>(),
            "halted": halted, "pauses": pauses, "approvalsAssumed": self.rehearsal.approved,
            "criticalPath": self.rehearsal.critical_path.iter().map(span).collect::<Vec<_>>(),
            "mostInProgress": self.rehearsal.most_in_progress,
            "begun": self.rehearsal.begun, "durationKnown": self.rehearsal.known,
            "defaultDuration": self.model.duration.as_secs(), "seed": self.model.seed,
        });
        let mut text = serde_json::to_string_pretty(&value).context("failed to render JSON")?;
        text.push('\n');
        Ok(text)
    }

    fn line(&self, stage: &StageSpan) -> [String; 8] {
        let time = |time: Option<Millis>| time.map_or_else(|| "never".to_owned(), |time| self.time(time));
        [
            stage.name.clone().unwrap_or_else(|| "(all)".to_owned()),
            stage.nodes.to_string(),
            time(stage.began),
            time(stage.ended),
            stage.succeeded.to_string(),
            stage.failed.to_string(),
            stage.unreachable.to_string(),
            stage.not_begun.to_string(),
        ]
    }

    fn sentences(&self) -> Vec<String> {
        let rehearsal = self.rehearsal;
        let at = self.time(rehearsal.ended);
        let mut sentences = vec![match &rehearsal.ending {
            Ending::Ended(end) => format!("result: {} at {at}", end.reason),
            Ending::Waits { reason, message } => format!("result: waits from {at} on ({reason}): {message}"),
        }];
        sentences.extend(self.halt().map(|halt| format!("stopped: {halt}")));
        sentences.extend(self.critical_path());
        sentences.push(format!("in progress: at most {} machines at a time", rehearsal.most_in_progress));
        for pause in &rehearsal.pauses {
            let (from, until) = (self.time(pause.from), self.time(pause.until));
            sentences.push(format!("pause: {from} to {until}: {}", pause.reason));
        }
        let (begun, known, default) = (rehearsal.begun, rehearsal.known, in_words(self.model.duration));
        sentences.push(format!(
            "durations: known for {known} of the {begun} machines begun; unknown for {}, for which {default} is assumed (--duration)",
            begun.saturating_sub(known)
        ));
        let planned: Vec<_> = rehearsal.nodes.iter().map(|played| self.plans.machine(&played.node)).collect();
        let with_plan = planned.iter().filter(|planned| planned.components.is_some());
        let unchanged = with_plan.clone().filter(|planned| planned.installed().is_empty()).count();
        match with_plan.count() {
            0 => {}
            count => sentences.push(format!(
                "plans: {count} of {} machines are planned; {unchanged} of these need no change and take no time",
                planned.len()
            )),
        }
        sentences.push(format!(
            "assumed: {} of machines fail, {} are not reached (seed {}); plans take no time; other runs do not interfere; the baseline is valid",
            percent(self.model.failing),
            percent(self.model.unreachable),
            self.model.seed
        ));
        if !rehearsal.approved.is_empty() {
            sentences.push(format!(
                "assumed: stages are approved at once: {} (--no-approvals stops there)",
                rehearsal.approved.join(", ")
            ));
        }
        sentences
    }

    /// Says which budget or stage stops the run, and what it leaves.
    fn halt(&self) -> Option<String> {
        let halt = self.rehearsal.halted.as_ref()?;
        let at = self.relative(halt.at);
        Some(format!("at {at} {}: {} machines would not be begun", halt.message, halt.not_begun))
    }

    fn critical_path(&self) -> Option<String> {
        let path = &self.rehearsal.critical_path;
        let machine = |span: &Span| {
            let (began, ended) = (self.relative(span.began), self.relative(span.ended));
            format!("{} ({began} to {ended})", span.node)
        };
        let last = path.len().saturating_sub(FEW).max(FEW);
        let mut parts: Vec<String> = path.iter().take(FEW).map(machine).collect();
        if path.len() > 2 * FEW {
            parts.push(format!("{} more", path.len() - 2 * FEW));
        }
        parts.extend(path.iter().skip(last).map(machine));
        (!path.is_empty())
            .then(|| format!("critical path: {} machines: {}", path.len(), parts.join(", then ")))
    }

    /// Returns a time, relative to the beginning, and of a run with a window on the clock, too.
    fn time(&self, time: Millis) -> String {
        let relative = self.relative(time);
        self.window.map_or_else(|| relative.clone(), |_| format!("{relative} ({time})"))
    }

    fn relative(&self, time: Millis) -> String {
        format!("+{}", in_words(time.since(self.rehearsal.began)))
    }
}

fn percent(rate: Permille) -> String {
    match rate % 10 {
        0 => format!("{} %", rate / 10),
        tenths => format!("{}.{tenths} %", rate / 10),
    }
}

fn name(fate: Fate) -> &'static str {
    match fate {
        Fate::Succeeds => "Succeeded",
        Fate::Fails => "Failed",
        Fate::IsUnreachable => "Unreachable",
    }
}
