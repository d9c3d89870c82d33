//! What comes of a command.

use super::wait::Wait;
use crate::drivers::console::blot::Secrets;
use crate::drivers::console::file::Need;
use crate::drivers::console::meaning::Meaning;
use crate::drivers::console::product::Product;
use crate::drivers::console::template::{Slot, ValueError};
use crate::drivers::text::{clean, without_paths};
use regex::Regex;
use std::fmt;
use std::time::Duration;

/// How many lines a message quotes.
const QUOTED: usize = 5;

/// Characters of a line that a message quotes. Lines of devices are as wide as their terminal; one that never ends would
/// fill a status.
const LONGEST_LINE: usize = 300;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// These bytes are sent.
    Send(Typed),
    /// The command says that it is so far. A hint: how often it comes depends on how the bytes are divided.
    Percent(u8),
    /// The words are there without which it is not accepted; it goes on.
    Accepted,
    /// This question about a licence agreement is answered with yes.
    Agreed(String),
    /// The device shows this, as if it asked something, and has shown nothing else for a while. The command was
    /// accepted, so it goes on: what looks like a question may be a pause of work that must not be disturbed.
    Unclear(String),
    /// The command, or the beginning of the session, is over.
    End(Answer),
}

/// Bytes to send. They are never printed, because they may be a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Typed(String);

impl Typed {
    pub(super) const fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What a device has answered. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub end: End,
    /// The lines, without the command and without the prompt.
    pub lines: Vec<String>,
    /// What the first words mean that refuse the command, and the line that they are in.
    pub refused: Option<(Meaning, String)>,
    /// What the device asked to be consented to, and the user has not.
    pub missing: Option<Need>,
    /// Whether a question of its was answered.
    pub answered: bool,
    /// Whether the password of the session was given to one of them.
    pub signed_in: bool,
    /// Whether the words are there without which it was not accepted.
    pub accepted: bool,
    /// How far it was, as it was shown last.
    pub percent: Option<u8>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The prompt of this mode is back.
    Prompt(String),
    /// The device asks something, and this is why it was not answered.
    Question(String, Unanswered),
    /// The connection has ended.
    Closed,
    /// The connection had ended, or the permission had expired, before anything was sent.
    NotSent,
    /// The time limit is over.
    TimedOut(Duration),
    /// There was more than an answer may be.
    TooMuch,
}

/// Why a question was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// The product file does not know it; it may also be an unknown prompt.
    Unknown,
    /// It was answered before, and the device asks again.
    AskedAgain,
    /// The answer cannot be written.
    NoValue(ValueError),
}

impl Answer {
    /// An answer in which nothing was found and nothing was asked.
    pub(in crate::drivers::console) fn plain(end: End, lines: Vec<String>) -> Self {
        Self {
            end,
            lines,
            refused: None,
            missing: None,
            answered: false,
            signed_in: false,
            accepted: false,
            percent: None,
        }
    }

    pub(super) fn new(
        end: End,
        lines: &[String],
        wait: &Wait<'_>,
        product: &Product,
        secrets: &Secrets,
    ) -> Self {
        let words = || wait.exchange.words.iter().chain(&product.words);
        let refused = words().find_map(|word| {
            let line = lines.iter().position(|line| word.pattern.is_match(line))?;
            Some((word.means, line))
        });
        let accepted = wait.exchange.accepted.iter().any(|pattern| lines.iter().any(|l| pattern.is_match(l)));
        let percent = lines.iter().rev().find_map(|line| percent(wait.exchange.progress, line));
        let lines = secrets.blot(lines);
        let refused = refused.map(|(means, line)| (means, shown(lines.get(line).map_or("", String::as_str))));
        let answered = !wait.asked.is_empty();
        let mut asked = wait.asked.keys().filter_map(|number| wait.exchange.questions.get(*number));
        let signed_in = asked.any(|question| question.gives(Slot::SessionPassword));
        Self { end, lines, refused, missing: wait.missing, answered, signed_in, accepted, percent }
    }

    /// Reports whether the command ended after an answer of ours, and nothing in it is known.
    pub fn is_unclear(&self) -> bool {
        let is_prompt = matches!(self.end, End::Prompt(_));
        is_prompt && self.answered && !self.accepted && self.refused.is_none() && self.missing.is_none()
    }

    /// Returns the text of the answer, for patterns that look at several lines.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// Returns the last lines that are not empty, for a message.
    pub fn quote(&self) -> String {
        let told: Vec<&str> =
            self.lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
        let last = told.get(told.len().saturating_sub(QUOTED)..).unwrap_or_default();
        last.iter().map(|line| shown(line)).collect::<Vec<_>>().join(" / ")
    }
}

/// Returns a line of a device for a message or a status: not longer than people read, and without the paths of URLs,
/// which nobody may guess.
pub fn shown(line: &str) -> String {
    clean(&without_paths(line), LONGEST_LINE)
}

/// Returns the last percentage that a line shows.
pub(super) fn percent(patterns: &[Regex], line: &str) -> Option<u8> {
    let shown = patterns.iter().flat_map(|pattern| pattern.captures_iter(line));
    let numbers = shown.filter_map(|found| found.name("percent")?.as_str().parse::<u8>().ok());
    numbers.filter(|number| *number <= 100).last()
}
