//! A command that runs, or the beginning of a session.

use super::echo;
use crate::drivers::console::file::Need;
use crate::drivers::console::product::{Command, Product, Question, Request, Way, Word};
use crate::drivers::console::screen::{LogicalLine, Screen};
use crate::drivers::console::template::{Line, Values};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is known of a command besides its line.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'p> {
    /// How long it may take.
    pub limit: Duration,
    /// After how long an unknown end of a line counts as a question, if it is special.
    pub quiet: Option<Duration>,
    /// Questions that may be answered.
    pub questions: &'p [Question],
    /// Words that refuse it, besides those for any command.
    pub words: &'p [Word],
    /// How far it is.
    pub progress: &'p [Regex],
    /// Words without which it was not accepted.
    pub accepted: &'p [Regex],
}

impl<'p> Exchange<'p> {
    /// A command that only reads.
    pub const fn reading(command: &'p Command) -> Self {
        let (limit, quiet) = (command.limit, command.quiet);
        Self { limit, quiet, questions: &[], words: &[], progress: &[], accepted: &[] }
    }

    /// A command that changes the device.
    pub fn request(request: &'p Request) -> Self {
        let Request { command, questions, progress, words, accepted } = request;
        let (limit, quiet) = (command.limit, command.quiet);
        Self { limit, quiet, questions, words, progress, accepted }
    }

    /// A command that leads into another mode. One that signs in may be refused by the same words as a session.
    pub fn way(way: &'p Way, product: &'p Product) -> Self {
        let words: &[Word] = if way.signs_in() { &product.session.words } else { &[] };
        Self { questions: &way.questions, words, ..Self::reading(&way.command) }
    }
}

/// A command that runs, or the beginning of a session.
pub(super) struct Wait<'p> {
    pub(super) exchange: Exchange<'p>,
    /// The command; `None` at the beginning of a session.
    line: Option<Line>,
    /// The prompt that it was typed at.
    prompt: String,
    /// The row of that prompt.
    row: usize,
    /// The row of what was sent last: what comes before it is answered.
    pub(super) answered: usize,
    pub(super) values: Values,
    pub(super) consents: BTreeSet<Need>,
    pub(super) limit: Duration,
    pub(super) deadline: Duration,
    pub(super) percent: Option<u8>,
    /// How often each question was answered.
    pub(super) asked: BTreeMap<usize, u32>,
    /// The consent that was asked for and that the user has not given.
    pub(super) missing: Option<Need>,
    /// Whether the words were there without which it is not accepted.
    pub(super) is_accepted: bool,
    /// The row from which these words are looked for.
    pub(super) looked: usize,
    /// Whether the silence was judged.
    pub(super) was_quiet: bool,
}

impl<'p> Wait<'p> {
    pub(super) fn for_greeting(product: &'p Product, values: Values, now: Duration) -> Self {
        let session = &product.session;
        let exchange = Exchange {
            limit: session.greeting,
            quiet: None,
            questions: &session.questions,
            words: &session.words,
            progress: &[],
            accepted: &[],
        };
        Self::new(exchange, None, String::new(), 0, values, BTreeSet::new(), now)
    }

    pub(super) fn for_command(
        exchange: Exchange<'p>,
        line: Line,
        prompt: String,
        row: usize,
        values: Values,
        consents: BTreeSet<Need>,
        now: Duration,
    ) -> Self {
        Self::new(exchange, Some(line), prompt, row, values, consents, now)
    }

    fn new(
        exchange: Exchange<'p>,
        line: Option<Line>,
        prompt: String,
        row: usize,
        values: Values,
        consents: BTreeSet<Need>,
        now: Duration,
    ) -> Self {
        Self {
            exchange,
            line,
            prompt,
            row,
            answered: row,
            values,
            consents,
            limit: exchange.limit,
            deadline: now.saturating_add(exchange.limit),
            percent: None,
            asked: BTreeMap::new(),
            missing: None,
            is_accepted: false,
            looked: row + 1,
            was_quiet: false,
        }
    }

    /// Reports whether a prompt in this row is the end of the command, and not the one that it was typed at.
    pub(super) const fn is_after(&self, row: usize) -> bool {
        self.line.is_none() || row > self.row
    }

    /// Returns the command; `None` at the beginning of a session.
    pub(super) fn command(&self) -> Option<&str> {
        self.line.as_ref().map(|line| line.text.as_str())
    }

    /// Returns the row in which the device's answer to what was sent last begins.
    pub(super) fn first_answered(&self) -> usize {
        if self.line.is_none() && self.asked.is_empty() { self.answered } else { self.answered + 1 }
    }

    /// Returns the prompt that the command was typed at; empty at the beginning of a session.
    pub(super) fn prompt(&self) -> &str {
        &self.prompt
    }

    /// Returns what the device has shown since the command, without the command itself and, if there is one, without
    /// the prompt at the end.
    pub(super) fn lines(&self, screen: &Screen, product: &Product, has_prompt: bool) -> Vec<String> {
        let mut lines: Vec<LogicalLine> = screen.lines_from(self.row);
        if has_prompt {
            lines.pop();
        }
        lines.retain(|line| !line.is_pager);
        let lines = if product.terminal.breaks_lines { echo::join(lines) } else { echo::texts(lines) };
        let mut lines = match &self.line {
            Some(line) => echo::without(lines, &self.prompt, &line.text),
            None => lines,
        };
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        let blank = lines.iter().take_while(|line| line.is_empty()).count();
        lines.drain(..blank);
        lines
    }
}
