//! What the end of the text is, when nothing has followed it for a while.

use super::answer::{Action, End, Typed, Unanswered, shown};
use super::{Dialogue, State};
use crate::drivers::console::file::Need;
use crate::drivers::console::product::{Question, Reply};
use std::time::Duration;

/// How often one question is answered in one command. Devices that check an answer ask again, and a second time
/// means that ours was not the right one.
const ANSWERS: u32 = 1;

/// What ends a line that waits for something, when it is none that is known.
const ENDS: [char; 7] = ['?', ':', ']', ')', '>', '#', '$'];

impl Dialogue<'_> {
    /// Judges the end of the text after `settle`.
    pub(super) fn judge_settled(&mut self, now: Duration) -> Vec<Action> {
        let last = self.screen.last_line();
        if last.is_empty() {
            return self.reply_above(now).unwrap_or_default();
        }
        if let Some(actions) = self.turn_page(&last, now) {
            return actions;
        }
        let current = self.screen.current();
        if let Some(actions) = self.reply(&last, current, now, |_| true) {
            return actions;
        }
        if let Some(actions) = self.prompt(&last) {
            return actions;
        }
        self.signed_out(&last).unwrap_or_default()
    }

    /// Judges the end of the text after `quiet`: is it something that the product file does not know?
    pub(super) fn judge_quiet(&mut self) -> Vec<Action> {
        let last = self.screen.last_line();
        let current = self.screen.current();
        let State::Waits(wait) = &mut self.state else { return Vec::new() };
        if std::mem::replace(&mut wait.was_quiet, true) {
            return Vec::new();
        }
        // The prompt came, and then a report of the device that has nothing to do with the command.
        let modes = &self.product.modes;
        let mode_of =
            |line: &str| modes.iter().find(|(_, mode)| mode.prompt.is_match(line)).map(|(name, _)| name);
        let is_same = |line: &str| wait.prompt().is_empty() || line == wait.prompt();
        let passed = self.screen.lines_from(wait.first_answered()).into_iter();
        let mut passed = passed.filter(|line| line.first_row < current && is_same(&line.text));
        if let Some(mode) = passed.find_map(|line| mode_of(&line.text)) {
            return self.end(End::Prompt(mode.clone()), State::Idle);
        }
        let is_progress = wait.exchange.progress.iter().any(|pattern| pattern.is_match(&last));
        let is_own = !wait.is_after(current);
        if !last.ends_with(ENDS) || is_progress || is_own {
            return Vec::new();
        }
        let question = shown(&self.secrets.blot_line(&last));
        if wait.is_accepted {
            return vec![Action::Unclear(question)];
        }
        self.over(End::Question(question, Unanswered::Unknown))
    }

    /// Asks for the next page, if a pager waits.
    fn turn_page(&mut self, last: &str, now: Duration) -> Option<Vec<Action>> {
        let pagers = &self.product.pagers;
        let (found, key) =
            pagers.iter().find_map(|pager| Some((pager.pattern.find(last)?, pager.key.clone())))?;
        let words = found.as_str().to_owned();
        self.screen.remove_last(&words);
        self.note_sign(now);
        self.is_judged = true;
        Some(vec![Action::Send(Typed::new(key))])
    }

    /// Presses the key that a line asks for which the device has ended, as in `Press [Enter]:`. Other questions count
    /// only where the cursor is: in a line of its own, one may be quoted.
    fn reply_above(&mut self, now: Duration) -> Option<Vec<Action>> {
        let State::Waits(wait) = &self.state else { return None };
        let lines = self.screen.lines_from(wait.first_answered());
        let line = lines.into_iter().rfind(|line| !line.text.is_empty())?;
        let is_key =
            |question: &Question| matches!(question.reply, Reply::Key(_)) && question.needs.is_none();
        self.reply(&line.text, line.first_row, now, is_key)
    }

    /// Answers a question that the product file has. `row` is where it is.
    fn reply(
        &mut self,
        last: &str,
        row: usize,
        now: Duration,
        may_be: impl Fn(&Question) -> bool,
    ) -> Option<Vec<Action>> {
        let State::Waits(wait) = &mut self.state else { return None };
        let since = self.screen.lines_from(wait.answered);
        let fits = |question: &Question| {
            let after = question.after.as_ref();
            may_be(question)
                && question.ask.is_match(last)
                && after.is_none_or(|after| since.iter().any(|line| after.is_match(&line.text)))
        };
        if !wait.is_after(row) {
            return None;
        }
        let fitting = || wait.exchange.questions.iter().enumerate().filter(|(_, q)| fits(q));
        let is_missing =
            |q: &Question| q.needs.as_ref().is_some_and(|(need, _)| !wait.consents.contains(need));
        // The same words may ask for several things at once: all of them must have been said yes to.
        let first = fitting().next()?;
        let (number, question) = if first.1.needs.is_none() {
            first
        } else {
            fitting().find(|(_, q)| is_missing(q)).unwrap_or(first)
        };
        let times = wait.asked.entry(number).or_default();
        if *times >= ANSWERS {
            let question = shown(&self.secrets.blot_line(last));
            return Some(self.over(End::Question(question, Unanswered::AskedAgain)));
        }
        *times += 1;
        let refused = question.needs.as_ref().filter(|(need, _)| !wait.consents.contains(need));
        let template = match (refused, &question.reply) {
            (Some((need, otherwise)), _) => {
                wait.missing.get_or_insert(*need);
                Some(otherwise)
            }
            (None, Reply::Line(template)) => Some(template),
            (None, Reply::Key(_)) => None,
        };
        wait.answered = row;
        let says_yes = refused.is_none() && matches!(question.needs, Some((Need::Agreement, _)));
        let agreed = says_yes.then(|| Action::Agreed(shown(&self.secrets.blot_line(last))));
        let filled = template.map(|template| template.answer(&wait.values, &self.product.allowed));
        let typed = match (filled, &question.reply) {
            (Some(Ok(line)), _) => self.line(&line.text),
            (Some(Err(error)), _) => {
                let question = shown(&self.secrets.blot_line(last));
                return Some(self.over(End::Question(question, Unanswered::NoValue(error))));
            }
            (None, Reply::Key(key)) => Typed::new(key.clone()),
            (None, Reply::Line(_)) => return None,
        };
        self.note_sign(now);
        self.is_judged = true;
        Some([Action::Send(typed)].into_iter().chain(agreed).collect())
    }

    /// Ends the command if the device asks who signs in, which is none of its questions: on a line that outlives the
    /// session, such as a console, that is how its end shows. A device that was restarting may have taken the command
    /// for the name of an account.
    fn signed_out(&mut self, last: &str) -> Option<Vec<Action>> {
        let State::Waits(wait) = &self.state else { return None };
        let command = wait.command()?;
        let taken = |line: &str| {
            line.strip_suffix(command).map(str::trim_end).is_some_and(|ask| self.product.asks_who(ask))
        };
        let lines = self.screen.lines_from(wait.first_answered());
        if lines.iter().any(|line| taken(&line.text)) {
            return Some(self.over(End::NotSent));
        }
        let is_new = wait.is_after(self.screen.current());
        (is_new && self.product.asks_who(last)).then(|| self.over(End::Closed))
    }

    /// Ends the command if the prompt is back.
    fn prompt(&mut self, last: &str) -> Option<Vec<Action>> {
        let State::Waits(wait) = &self.state else { return None };
        if !wait.is_after(self.screen.current()) {
            return None;
        }
        let (mode, _) = self.product.modes.iter().find(|(_, mode)| mode.prompt.is_match(last))?;
        let mode = mode.clone();
        Some(self.end(End::Prompt(mode), State::Idle))
    }
}
