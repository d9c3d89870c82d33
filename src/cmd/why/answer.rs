//! A paragraph and the command to type, and the words that all paragraphs share. Pure.

use crate::cmd::status::summary::Prompt;
use crate::cmd::table::age;
use farrier_update::Reason;
use jiff::{Timestamp, Unit};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Why an object is as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    sentences: Vec<String>,
    next: Option<String>,
}

impl Answer {
    /// Returns an answer that begins with this sentence.
    pub(super) fn new(first: String) -> Self {
        Self { sentences: vec![ended(first)], next: None }
    }

    /// Adds a sentence, unless it was said already.
    pub(super) fn say(&mut self, sentence: impl Into<String>) {
        let sentence = ended(sentence.into());
        if !self.sentences.contains(&sentence) {
            self.sentences.push(sentence);
        }
    }

    /// Adds what a reason means and what to do about it, if it is one of the documented ones.
    pub(super) fn explain(&mut self, reason: &str) {
        if let Some(reason) = Reason::parse(reason) {
            self.say(reason.meaning().replace('`', ""));
        }
    }

    /// Sets the command to type.
    pub(super) fn next(mut self, command: Option<String>) -> Self {
        self.next = command;
        self
    }

    /// Returns the paragraph, and a line with the command.
    pub fn text(&self) -> String {
        let next = self.next.as_ref().map(|next| format!("\nNext: {next}\n")).unwrap_or_default();
        format!("{}\n{next}", self.sentences.join(" "))
    }
}

/// Returns a sentence with its full stop.
fn ended(sentence: String) -> String {
    if sentence.ends_with('.') { sentence } else { format!("{sentence}.") }
}

/// Says since when something is so.
pub(super) fn since(at: Timestamp, now: Timestamp) -> String {
    format!("since {} ({})", clock(at), age(at, now))
}

/// Says until when something is so.
pub(super) fn until(at: Timestamp, now: Timestamp) -> String {
    if at <= now {
        return format!("until {}, which is over", clock(at));
    }
    format!("until {} (in {})", clock(at), age(now, at))
}

/// Says when something happened.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago, at {}", age(at, now), clock(at))
}

/// Returns a time in whole seconds.
pub(super) fn clock(at: Timestamp) -> Timestamp {
    at.round(Unit::Second).unwrap_or(at)
}

/// Returns reason and message of a condition.
pub(super) fn told(condition: &Condition) -> String {
    format!("{}: {}", condition.reason, condition.message)
}

/// Returns the command that shows the pods of the operator.
pub(super) fn pods(prompt: &Prompt) -> String {
    format!("kubectl get pods {} -A -l app.kubernetes.io/name=farrier", prompt.flags)
}
