//! The check of the parts of a product file.

use super::{Fit, Lint};
use crate::drivers::console::file;
use crate::drivers::console::product::{
    Boot, Check, Entry, Interruption, Mode, Pager, Question, Reply, Request, Versions, Way, Word, Work,
};
use regex::Regex;

impl Lint<'_> {
    pub(super) fn modes(&mut self) -> Vec<(String, Option<Mode>)> {
        let modes = &self.file.modes;
        if modes.is_empty() {
            self.find("modes", "there is no mode; without a prompt the end of a command is not known");
        }
        if !modes.is_empty() && modes.values().all(|mode| mode.enter.is_some()) {
            self.find("modes", "each mode has `enter`; the one that a session begins in has none");
        }
        modes.iter().map(|(name, mode)| (name.clone(), self.one_mode(name, mode))).collect()
    }

    fn one_mode(&mut self, name: &str, mode: &file::Mode) -> Option<Mode> {
        let at = format!("modes.{name}");
        self.source(&at, mode.cite.as_ref(), mode.assumed.as_ref());
        let prompt = self.pattern(&format!("{at}.prompt"), mode.prompt.as_ref(), Fit::Whole);
        match (&mode.sample, &prompt) {
            (None, _) => self.find(format!("{at}.sample"), "a prompt as the device shows it is missing"),
            (Some(sample), Some(prompt)) if !prompt.is_match(sample.trim_end()) => {
                self.find(format!("{at}.prompt"), format!("it does not fit the sample `{sample}`"));
            }
            (Some(_), _) => {}
        }
        let enter = match &mode.enter {
            Some(way) => Some(self.way(&format!("{at}.enter"), way)?),
            None => None,
        };
        Some(Mode { prompt: prompt?, enter })
    }

    /// Checks a command that changes the session alone.
    pub(super) fn way(&mut self, at: &str, way: &file::Way) -> Option<Way> {
        let command = self.command(&format!("{at}.ask"), &way.ask);
        let questions = self.questions(&format!("{at}.questions"), &way.questions);
        Some(Way { command: command?, questions })
    }

    pub(super) fn checks(&mut self) -> Vec<Check> {
        let mut checked = Vec::new();
        for (n, check) in self.file.readings.checks.iter().enumerate() {
            let at = format!("readings.checks[{n}]");
            if check.name.trim().is_empty() {
                self.find(
                    format!("{at}.name"),
                    "it is empty; say what is checked, for example `the standby module`",
                );
            }
            let command = self.command(&format!("{at}.ask"), &check.ask);
            let healthy = self.pattern(&format!("{at}.healthy"), check.healthy.as_ref(), Fit::Part);
            let words = self.words(&format!("{at}.words"), &check.words);
            let both = command.zip(healthy);
            checked.extend(both.map(|(command, healthy)| Check {
                name: check.name.clone(),
                when: check.when,
                command,
                healthy,
                words,
            }));
        }
        checked
    }

    pub(super) fn pagers(&mut self) -> Vec<Pager> {
        let pagers = self.file.pagers.iter().enumerate();
        let checked = pagers.map(|(n, pager)| {
            let at = format!("pagers[{n}]");
            self.source(&at, pager.cite.as_ref(), pager.assumed.as_ref());
            if pager.key.is_none() {
                self.find(format!("{at}.key"), "the key for the next page is missing, for example \" \"");
            }
            let pattern = self.pattern(&format!("{at}.pattern"), pager.pattern.as_ref(), Fit::End);
            Some(Pager { pattern: pattern?, key: pager.key.clone()? })
        });
        checked.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    pub(super) fn words(&mut self, at: &str, words: &[file::Word]) -> Vec<Word> {
        let mut checked = Vec::new();
        for (n, word) in words.iter().enumerate() {
            let at = format!("{at}[{n}]");
            self.source(&at, word.cite.as_ref(), word.assumed.as_ref());
            let pattern = self.pattern(&format!("{at}.pattern"), word.pattern.as_ref(), Fit::Part);
            checked.extend(pattern.map(|pattern| Word { pattern, means: word.means }));
        }
        checked
    }

    pub(super) fn questions(&mut self, at: &str, questions: &[file::Question]) -> Vec<Question> {
        let mut checked = Vec::new();
        for (n, question) in questions.iter().enumerate() {
            checked.extend(self.question(&format!("{at}[{n}]"), question));
        }
        checked
    }

    fn question(&mut self, at: &str, question: &file::Question) -> Option<Question> {
        self.source(at, question.cite.as_ref(), question.assumed.as_ref());
        let ask = self.pattern(&format!("{at}.ask"), question.ask.as_ref(), Fit::End);
        let after = question.after.as_ref();
        let after = after.map(|after| self.pattern(&format!("{at}.after"), Some(after), Fit::Part));
        let reply = match (&question.answer, &question.key) {
            (Some(answer), None) => self.template(&format!("{at}.answer"), answer).map(Reply::Line),
            (None, Some(key)) if !key.is_empty() => Some(Reply::Key(key.clone())),
            (None, Some(_)) => {
                self.find(
                    format!("{at}.key"),
                    "the key is empty; Enter is \"\\r\", Control-C is \"\\u0003\"",
                );
                None
            }
            (Some(_), Some(_)) => {
                self.find(at, "it has an answer and a key; write one of them");
                None
            }
            (None, None) => {
                self.find(
                    format!("{at}.answer"),
                    "the question has no answer; write what is sent, or leave the question out, so that a device \
                     that asks it is reported",
                );
                None
            }
        };
        let needs = match (question.needs, &question.otherwise) {
            (Some(need), Some(otherwise)) => {
                Some(self.template(&format!("{at}.otherwise"), otherwise).map(|otherwise| (need, otherwise)))
            }
            (None, None) => None,
            (Some(need), None) => {
                let says = format!(
                    "what is sent without the user's consent ({need:?}) is missing, for example \"n\""
                );
                self.find(format!("{at}.otherwise"), says);
                return None;
            }
            (None, Some(_)) => {
                self.find(
                    format!("{at}.needs"),
                    "there is `otherwise`, and it is not said what is consented to",
                );
                return None;
            }
        };
        // What was reported is `Some(None)`.
        let (after, needs) =
            (after.map_or(Some(None), |a| a.map(Some)), needs.map_or(Some(None), |n| n.map(Some)));
        Some(Question { ask: ask?, after: after?, reply: reply?, needs: needs? })
    }

    pub(super) fn request(&mut self, verb: file::Verb, request: &file::Request) -> Option<Request> {
        let at = format!("requests.{verb:?}");
        let command = self.command(&format!("{at}.ask"), &request.ask);
        let questions = self.questions(&format!("{at}.questions"), &request.questions);
        let words = self.words(&format!("{at}.words"), &request.words);
        let mut progress = Vec::new();
        for (n, pattern) in request.progress.iter().enumerate() {
            progress.extend(self.with_group(&format!("{at}.progress[{n}]"), Some(pattern), "percent"));
        }
        let mut accepted: Vec<Regex> = Vec::new();
        for (n, pattern) in request.accepted.iter().enumerate() {
            accepted.extend(self.pattern(&format!("{at}.accepted[{n}]"), Some(pattern), Fit::Part));
        }
        let changes = !matches!(verb, file::Verb::SignOut);
        if changes && request.accepted.is_empty() {
            self.find(
                format!("{at}.accepted"),
                "the words are missing without which the command was not accepted; a prompt alone proves nothing",
            );
        }
        Some(Request { command: command?, questions, progress, words, accepted })
    }

    pub(super) fn versions(&mut self) -> Option<Versions> {
        let Some(versions) = &self.file.readings.versions else {
            self.find("readings.versions", "it is missing; without versions nothing can be decided");
            return None;
        };
        let command = self.command("readings.versions.ask", &versions.ask);
        if versions.entries.is_empty() {
            self.find("readings.versions.entries", "there is no entry");
        }
        let mut entries = Vec::new();
        for (n, entry) in versions.entries.iter().enumerate() {
            let at = format!("readings.versions.entries[{n}]");
            self.source(&at, entry.cite.as_ref(), entry.assumed.as_ref());
            let all = entry.all.clone();
            let version = if entry.version.is_none() && all.is_some() {
                None
            } else {
                let found = self.with_group(&format!("{at}.version"), entry.version.as_ref(), "version");
                let Some(found) = found else { continue };
                Some(found)
            };
            entries.push(Entry { name: entry.entry.clone(), version, all });
        }
        self.members(&entries);
        Some(Versions { command: command?, entries })
    }

    /// Checks that the things that must all have a version are there, with a name each.
    fn members(&mut self, entries: &[Entry]) {
        let has_names = |version: &Regex| version.capture_names().flatten().any(|group| group == "name");
        for all in entries.iter().filter_map(|entry| entry.all.as_ref()) {
            let mut of_kind = entries.iter().filter(|entry| entry.name == *all).peekable();
            if of_kind.peek().is_none() || !of_kind.all(|e| e.version.as_ref().is_some_and(has_names)) {
                self.find(
                    "readings.versions.entries",
                    format!("`all: {all}` needs an entry `{all}` whose pattern has the group `name`"),
                );
            }
        }
    }

    /// `None` if it is not in the file, or something is wrong in it.
    pub(super) fn work(&mut self) -> Option<Work> {
        let work = self.file.readings.work.as_ref()?;
        let command = self.command("readings.work.ask", &work.ask);
        let mut states = Vec::new();
        for (n, state) in work.states.iter().enumerate() {
            let at = format!("readings.work.states[{n}]");
            self.source(&at, state.cite.as_ref(), state.assumed.as_ref());
            let pattern = self.pattern(&format!("{at}.pattern"), state.pattern.as_ref(), Fit::Part);
            states.extend(pattern.map(|pattern| (pattern, state.means)));
        }
        Some(Work { command: command?, take: work.take, states })
    }

    /// `None` if it is not in the file, or something is wrong in it.
    pub(super) fn interruption(&mut self) -> Option<Interruption> {
        let interruption = self.file.readings.interruption.as_ref()?;
        let command = self.command("readings.interruption.ask", &interruption.ask);
        let mut remarks = Vec::new();
        for (n, remark) in interruption.words.iter().enumerate() {
            let at = format!("readings.interruption.words[{n}]");
            self.source(&at, remark.cite.as_ref(), remark.assumed.as_ref());
            if remark.says.trim().is_empty() {
                self.find(format!("{at}.says"), "write what users read in the plan");
            }
            let pattern = self.pattern(&format!("{at}.pattern"), remark.pattern.as_ref(), Fit::Part);
            remarks.extend(pattern.map(|pattern| (pattern, remark.says.clone())));
        }
        Some(Interruption { command: command?, remarks })
    }

    /// `None` if it is not in the file, or something is wrong in it.
    pub(super) fn boot(&mut self) -> Option<Boot> {
        let boot = self.file.readings.boot.as_ref()?;
        let command = self.command("readings.boot.ask", &boot.ask);
        let pattern = self.with_group("readings.boot.pattern", boot.pattern.as_ref(), "mark");
        Some(Boot { command: command?, pattern: pattern? })
    }
}
