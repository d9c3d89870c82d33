//! One session with the command line of a device, as a state machine: bytes and time in, bytes to send and answers
//! out.
//!
//! It has no clock and no socket. Time is what the caller says that it is, counted from any moment; bytes may come in
//! any pieces. An end of a line is judged only when nothing has followed it for a while (`settle`), so an answer is
//! the same however its bytes are divided. Each wait has an end: the command's time limit.
//!
//! Nothing is ever sent that is not in the product file, and nothing at all while it is not clear what the device
//! asks: an Enter that was meant to wake a device up would say yes to a question.

mod answer;
mod echo;
mod settled;
mod wait;

pub use answer::{Action, Answer, End, Typed, Unanswered, shown};
pub use wait::Exchange;

use super::blot::Secrets;
use super::file::{Enter, Need};
use super::product::Product;
use super::screen::Screen;
use super::template::{Line, Values};
use std::collections::BTreeSet;
use std::time::Duration;
use wait::Wait;

/// How many characters of one answer are kept. Commands of a product file answer in a few kilobytes; a device must not
/// be able to fill the operator's memory. What is drawn over is not kept: a bar that is drawn again for an hour is a line.
pub const ANSWER_LIMIT: usize = 256 * 1024;

/// A session with the command line of a device.
pub struct Dialogue<'p> {
    product: &'p Product,
    screen: Screen,
    secrets: Secrets,
    state: State<'p>,
    /// When the last byte came, or the last one was sent.
    last_sign: Duration,
    /// Whether the end of the text was judged since then.
    is_judged: bool,
    /// How many bytes came since the last answer.
    unasked: usize,
}

/// What the session is in.
enum State<'p> {
    /// At a prompt.
    Idle,
    /// A command runs, or the session begins.
    Waits(Box<Wait<'p>>),
    /// The connection has ended, or nobody knows what the device waits for: no command can be sent any more.
    Over,
}

impl<'p> Dialogue<'p> {
    /// Begins a session: the first answer is the banner, and ends with the first prompt. `values` are for the
    /// questions at sign-in, and `secrets` are never shown.
    pub fn new(product: &'p Product, values: Values, secrets: Secrets, now: Duration) -> Self {
        let screen = Screen::new(product.terminal.columns);
        let mut secrets = secrets;
        secrets.extend(values.secrets());
        let wait = Wait::for_greeting(product, values, now);
        let state = State::Waits(Box::new(wait));
        Self { product, screen, secrets, state, last_sign: now, is_judged: true, unasked: 0 }
    }

    /// Reports whether a command can be sent.
    pub const fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Reports whether the session cannot be used any more.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Sends a command. `consents` is what the user has said yes to. Returns no action if the session is not at a
    /// prompt.
    pub fn send(
        &mut self,
        exchange: Exchange<'p>,
        line: Line,
        values: Values,
        consents: BTreeSet<Need>,
        now: Duration,
    ) -> Vec<Action> {
        if !self.is_idle() {
            return Vec::new();
        }
        self.secrets.extend(values.secrets());
        let typed = self.line(&line.text);
        self.unasked = 0;
        self.screen.forget();
        let row = self.screen.current();
        let prompt = self.screen.last_line();
        self.state =
            State::Waits(Box::new(Wait::for_command(exchange, line, prompt, row, values, consents, now)));
        self.note_sign(now);
        vec![Action::Send(typed)]
    }

    /// Takes bytes of the device.
    pub fn receive(&mut self, bytes: &[u8], now: Duration) -> Vec<Action> {
        self.note_sign(now);
        if !matches!(self.state, State::Waits(_)) {
            self.unasked(bytes);
            return Vec::new();
        }
        if !self.screen.put_within(bytes, ANSWER_LIMIT) {
            return self.over(End::TooMuch);
        }
        self.hints()
    }

    /// Takes what a device reports by itself between two commands.
    fn unasked(&mut self, bytes: &[u8]) {
        self.unasked = self.unasked.saturating_add(bytes.len());
        if self.unasked > ANSWER_LIMIT {
            self.state = State::Over;
        }
        if self.is_idle() {
            self.screen.put(bytes);
            self.screen.forget();
        }
        // The session is over, and what is sent next would be taken for the name of an account.
        if self.product.asks_who(&self.screen.last_line()) {
            self.state = State::Over;
        }
    }

    /// Lets time pass. To be called at [`Self::wake_at`], and may be called at any time.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        let silent = now.saturating_sub(self.last_sign);
        let mut actions = Vec::new();
        if !self.is_judged && silent >= self.product.session.settle {
            self.is_judged = true;
            actions = self.judge_settled(now);
        }
        if actions.is_empty() && silent >= self.quiet() {
            actions = self.judge_quiet();
        }
        let State::Waits(wait) = &self.state else { return actions };
        if now >= wait.deadline {
            let limit = wait.limit;
            actions.extend(self.over(End::TimedOut(limit)));
        }
        actions
    }

    /// Returns when to call [`Self::tick`] at the latest; `None` if nothing is waited for.
    pub fn wake_at(&self) -> Option<Duration> {
        let State::Waits(wait) = &self.state else { return None };
        let settled = (!self.is_judged).then_some(self.last_sign + self.product.session.settle);
        let quiet = Some(self.last_sign + self.quiet()).filter(|_| !wait.was_quiet);
        [settled, quiet].into_iter().flatten().chain([wait.deadline]).min()
    }

    /// Takes note that the connection has ended.
    pub fn closed(&mut self) -> Vec<Action> {
        self.over(End::Closed)
    }

    /// Returns the text as a line to be sent.
    fn line(&self, text: &str) -> Typed {
        let enter = match self.product.terminal.enter {
            Enter::CR => "\r",
            Enter::LF => "\n",
        };
        Typed::new(format!("{text}{enter}"))
    }

    /// Notes that the device, or we, gave a sign of life.
    fn note_sign(&mut self, now: Duration) {
        self.last_sign = now;
        self.is_judged = false;
        if let State::Waits(wait) = &mut self.state {
            wait.was_quiet = false;
        }
    }

    /// Returns after how long without a sign of life an unknown end of a line counts as a question.
    fn quiet(&self) -> Duration {
        let own = match &self.state {
            State::Waits(wait) => wait.exchange.quiet,
            State::Idle | State::Over => None,
        };
        own.unwrap_or(self.product.session.quiet)
    }

    /// Tells what the text shows of a command that still runs.
    fn hints(&mut self) -> Vec<Action> {
        let State::Waits(wait) = &mut self.state else { return Vec::new() };
        let mut hints = Vec::new();
        let percent = answer::percent(wait.exchange.progress, &self.screen.last_line());
        if let Some(shown) = percent.filter(|shown| wait.percent != Some(*shown)) {
            wait.percent = Some(shown);
            hints.push(Action::Percent(shown));
        }
        if !wait.is_accepted && !wait.exchange.accepted.is_empty() {
            let lines = self.screen.lines_from(wait.looked);
            wait.looked = wait.looked.max(self.screen.current());
            let accepted = wait.exchange.accepted;
            wait.is_accepted = lines.iter().any(|line| accepted.iter().any(|word| word.is_match(&line.text)));
            hints.extend(wait.is_accepted.then_some(Action::Accepted));
        }
        hints
    }

    /// Ends the command, and with it the session.
    fn over(&mut self, end: End) -> Vec<Action> {
        self.end(end, State::Over)
    }

    /// Ends the command.
    fn end(&mut self, end: End, then: State<'p>) -> Vec<Action> {
        let State::Waits(wait) = std::mem::replace(&mut self.state, then) else { return Vec::new() };
        let has_prompt = matches!(end, End::Prompt(_));
        let lines = wait.lines(&self.screen, self.product, has_prompt);
        vec![Action::End(Answer::new(end, &lines, &wait, self.product, &self.secrets))]
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod lines;
#[cfg(test)]
mod shell;
#[cfg(test)]
mod tests;
