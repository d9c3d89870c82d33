//! How far the work of a command is.

use super::super::dialogue::{Answer as Said, End};
use super::super::file::{Stage as Standing, Verb as Command, When};
use super::super::read::{self, Installed};
use super::super::session::{Ask, Sent, gone};
use super::checks::{Health, Unhealthy};
use super::reading::is_ticket_of;
use super::{Device, Stage};
use crate::drivers::device::{Report, Trouble};
use farrier_update::Reason;
use farrier_update::device::{Action, Progress, Ticket};
use farrier_update::version::{Scheme, compare_installed};
use tokio::sync::oneshot::error::TryRecvError;

impl Device {
    /// Asks how far the work of a ticket is.
    pub(super) async fn how_far(&mut self, ticket: &Ticket) -> Result<Report, Trouble> {
        let Some(action) = self.actions.iter().find(|action| is_ticket_of(ticket, action)).cloned() else {
            return Ok(Progress::Gone.into());
        };
        let Some(running) = self.running.as_mut().filter(|running| running.action == action.id) else {
            if let Some(report) = self.answered_late().await {
                return Ok(report);
            }
            return self.by_readings(&action, None).await;
        };
        let said = match &mut running.stage {
            Stage::Over(said) => said.clone(),
            Stage::Runs(sent) => {
                self.agreed.extend(sent.hints.borrow().agreed.clone());
                self.worked.extend(sent.hints.borrow().is_accepted.then_some(action.id));
                let Some(said) = ended(sent) else { return Ok(under_way(sent)) };
                running.stage = Stage::Over(said.clone());
                self.is_over(&said).await;
                said
            }
        };
        self.by_readings(&action, Some(said)).await
    }

    /// Takes note of work that the device shows: it is that of our open action.
    pub(super) fn note_work(&mut self, standing: Option<&read::Standing>) {
        let is_at_work = standing.is_some_and(|standing| match standing.stage {
            Standing::Queued | Standing::Running | Standing::WaitsForReset => true,
            Standing::Nothing | Standing::Done | Standing::Failed => false,
        });
        let open = self.open_work().filter(|_| is_at_work).map(|action| action.id);
        self.worked.extend(open);
    }

    /// Takes note of the end of a command.
    pub(super) async fn is_over(&mut self, said: &Said) {
        if let Some(running) = self.running.as_ref().filter(|_| said.accepted) {
            self.worked.insert(running.action);
        }
        if let Some(line) = &mut self.line {
            line.session.note(said);
        }
        if !matches!(said.end, End::Prompt(_)) {
            self.hang_up().await;
        }
    }

    /// Returns how far work is whose command has ended, or was sent by another runner.
    async fn by_readings(&mut self, action: &Action, said: Option<Said>) -> Result<Report, Trouble> {
        let told = said.as_ref().and_then(|said| self.told(action, said));
        let is_refused = said.as_ref().is_some_and(|said| !said.accepted && said.refused.is_some());
        // What the device has refused is not under way.
        if let Some(report) = told.as_ref().filter(|_| is_refused) {
            return Ok(report.clone());
        }
        self.sign_in(|_| {}).await?;
        if self.product().work.is_some() {
            return self.by_work(action, told).await;
        }
        let unclear = said.filter(Said::is_unclear).and_then(|said| {
            let ask = Ask::Request(super::command_of(action.verb)?);
            Some(self.why_not(&ask, &said).message)
        });
        match told {
            Some(told) if told.progress == Progress::Done => self.once_settled(told).await,
            // Words that the file does not know, after a question that was answered with yes: the versions tell.
            Some(_) if let Some(unclear) = unclear => {
                Ok(with_words(self.by_versions(action).await?, &unclear))
            }
            Some(told) => Ok(self.with_difference(told).await?),
            None => self.by_versions(action).await,
        }
    }

    /// Adds to the report of a failure what has another version than the rest.
    async fn with_difference(&mut self, report: Report) -> Result<Report, Trouble> {
        let differs = self.versions().await?.iter().find_map(Installed::difference);
        Ok(differs.map_or_else(|| report.clone(), |differs| with_words(report.clone(), &differs)))
    }

    /// Returns what the end of a command says; `None` if it says nothing, because the line was lost.
    fn told(&self, action: &Action, said: &Said) -> Option<Report> {
        let ask = Ask::Request(super::command_of(action.verb)?);
        let is_failed =
            said.refused.is_some() || said.missing.is_some() || !said.accepted && self.needs_words(&ask);
        match &said.end {
            End::Closed | End::NotSent | End::TimedOut(_) | End::TooMuch if said.refused.is_none() => None,
            End::Prompt(_) if !is_failed => Some(Progress::Done.into()),
            End::Prompt(_)
            | End::Question(..)
            | End::Closed
            | End::NotSent
            | End::TimedOut(_)
            | End::TooMuch => {
                let failure = self.why_not(&ask, said);
                Some(Report {
                    reason: Some(failure.reason),
                    words: failure.message,
                    ..Progress::Failed.into()
                })
            }
        }
    }

    /// Reports whether a command is accepted by words only.
    pub(super) fn needs_words(&self, ask: &Ask) -> bool {
        let Ask::Request(verb) = ask else { return false };
        self.product().requests.get(verb).is_some_and(|request| !request.accepted.is_empty())
    }

    /// Returns how far work is by what the device shows of it.
    async fn by_work(&mut self, action: &Action, told: Option<Report>) -> Result<Report, Trouble> {
        let said = self.reads(Ask::Work).await?;
        let standing = self.product().work.as_ref().and_then(|work| read::work(work, &said));
        self.note_work(standing.as_ref());
        let failed = told.as_ref().filter(|told| told.progress == Progress::Failed);
        let words = standing.as_ref().map_or_else(|| said.quote(), read::Standing::in_words);
        let report = |progress: Progress| Report { words: words.clone(), ..progress.into() };
        Ok(match standing.as_ref().map(|standing| standing.stage) {
            Some(Standing::Queued) => report(Progress::Queued),
            Some(Standing::Running) => report(Progress::Running),
            Some(Standing::WaitsForReset) => report(Progress::WaitsForReset),
            // What else is shown may be the end of what was done before.
            Some(Standing::Done | Standing::Failed) if let Some(failed) = failed => failed.clone(),
            Some(Standing::Failed) => {
                Report { reason: Some(self.reason_of(action, &words)), ..report(Progress::Failed) }
            }
            // It may be the end of earlier work, and the version is the same before and after.
            Some(Standing::Done) if told.is_none() && !self.is_proven(action) => Report {
                words: format!("{words}; whether that is the end of this work cannot be told"),
                ..Progress::Running.into()
            },
            Some(Standing::Done) => self.once_settled(report(Progress::Done)).await?,
            Some(Standing::Nothing) | None => match told {
                Some(told) => told,
                None => self.by_versions(action).await?,
            },
        })
    }

    /// Reports whether the end of work that the device shows is that of an action: the version tells, unless the same
    /// one is installed again. Then the device must have been seen at work on it.
    fn is_proven(&self, action: &Action) -> bool {
        let is_same = compare_installed(Scheme::Natural, &action.follows, &action.to).is_eq();
        !is_same || self.worked.contains(&action.id)
    }

    /// While two copies of the firmware differ, or one does not show, or what must be so again is not, the work is not
    /// over.
    async fn once_settled(&mut self, report: Report) -> Result<Report, Trouble> {
        if let Some(differs) = self.versions().await?.iter().find_map(Installed::difference) {
            return Ok(with_words(Report { progress: Progress::Running, ..report }, &differs));
        }
        Ok(match self.check(|when| when != When::Before).await? {
            Health::NotAsked | Health::Well => report,
            Health::Unwell(Unhealthy { name, line, .. }) => {
                let words = format!("{name} is not as it must be: {line}");
                Report { words, ..Progress::Running.into() }
            }
        })
    }

    /// Returns how far work is of which the device shows nothing: it is over when the version is there, or when the
    /// device has restarted.
    async fn by_versions(&mut self, action: &Action) -> Result<Report, Trouble> {
        let versions = self.versions().await?;
        let differs = versions.iter().find_map(Installed::difference).unwrap_or_default();
        let entry = self.entry_of(&action.component);
        let mut own = versions.iter().filter(|installed| entry.is_none_or(|entry| installed.entry == entry));
        let is_there = own.any(|installed| installed.version_for(Some(&action.to)) == action.to);
        if is_there && !action.to.is_empty() && action.to != action.follows {
            return self.once_settled(Progress::Done.into()).await;
        }
        if self.product().boot.is_some() && !action.boot.is_empty() {
            let boot = self.boot_mark().await?;
            if !boot.is_empty() && boot != action.boot {
                return Ok(Progress::Done.into());
            }
        }
        let progress = if self.product().work.is_some() { Progress::Gone } else { Progress::Running };
        Ok(with_words(progress.into(), &differs))
    }

    /// Returns what a line about failed work means.
    fn reason_of(&self, action: &Action, line: &str) -> Reason {
        let command: Option<Command> = super::command_of(action.verb);
        let request = command.and_then(|command| self.product().requests.get(&command));
        let own = request.map(|request| request.words.iter()).into_iter().flatten();
        let word = own.chain(&self.product().words).find(|word| word.pattern.is_match(line));
        word.map_or(Reason::InstallerFailed, |word| word.means.reason())
    }
}

/// Adds words to a report.
fn with_words(report: Report, words: &str) -> Report {
    let both = [report.words.as_str(), words].into_iter().filter(|words| !words.is_empty());
    Report { words: both.collect::<Vec<_>>().join("; "), ..report }
}

/// Returns the end of a command, once there is one.
fn ended(sent: &mut Sent) -> Option<Said> {
    match sent.answer.try_recv() {
        Ok(said) => Some(said),
        Err(TryRecvError::Closed) => Some(gone()),
        Err(TryRecvError::Empty) => None,
    }
}

/// Returns how far a command is that has not ended.
fn under_way(sent: &Sent) -> Report {
    let hints = sent.hints.borrow();
    let words = match (&hints.unclear, hints.percent) {
        (Some(line), _) => format!("it shows `{line}`, and nobody answers that"),
        (None, Some(percent)) => format!("{percent} %"),
        (None, None) if hints.is_accepted => "it has accepted the command".to_owned(),
        (None, None) => "it has not accepted the command yet".to_owned(),
    };
    Report { words, ..Progress::Running.into() }
}
