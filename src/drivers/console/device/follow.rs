//! How far the work of a command is.

use super::super::dialogue::{Answer as Said, End};
use super::super::file::{Stage as Standing, Verb as Command, When};
use super::super::read;
use super::super::session::{Ask, Sent, gone};
use super::reading::ticket_of;
use super::{Device, Stage};
use crate::drivers::device::{Report, Trouble};
use farrier_update::Reason;
use farrier_update::device::{Action, Progress, Ticket};
use tokio::sync::oneshot::error::TryRecvError;

impl Device {
    /// Asks how far the work of a ticket is.
    pub(super) async fn how_far(&mut self, ticket: &Ticket) -> Result<Report, Trouble> {
        let Some(action) = self.actions.iter().find(|action| ticket_of(action) == *ticket).cloned() else {
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
                let Some(said) = ended(sent) else { return Ok(under_way(sent)) };
                running.stage = Stage::Over(said.clone());
                self.is_over(&said).await;
                said
            }
        };
        self.by_readings(&action, Some(said)).await
    }

    /// Takes note of the end of a command.
    pub(super) async fn is_over(&mut self, said: &Said) {
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
        let is_refused = said.is_some_and(|said| !said.accepted && said.refused.is_some());
        // What the device has refused is not under way.
        if let Some(report) = told.as_ref().filter(|_| is_refused) {
            return Ok(report.clone());
        }
        self.sign_in(|_| {}).await?;
        if self.product().work.is_some() {
            return self.by_work(action, told).await;
        }
        match told {
            Some(told) if told.progress == Progress::Done => self.once_settled(told).await,
            Some(told) => Ok(told),
            None => self.by_versions(action).await,
        }
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
            Some(Standing::Done) => self.once_settled(report(Progress::Done)).await?,
            Some(Standing::Nothing) | None => match told {
                Some(told) => told,
                None => self.by_versions(action).await?,
            },
        })
    }

    /// While two copies of the firmware differ, or what must be so again is not, the work is not over.
    async fn once_settled(&mut self, report: Report) -> Result<Report, Trouble> {
        if self.versions().await?.iter().any(|installed| installed.other.is_some()) {
            return Ok(Report { progress: Progress::Running, ..report });
        }
        for number in 0..self.product().checks.len() {
            let is_asked =
                self.product().checks.get(number).is_some_and(|check| check.when == When::BeforeAndAfter);
            if !is_asked {
                continue;
            }
            let said = self.reads(Ask::Check(number)).await?;
            let Some(check) = self.product().checks.get(number) else { continue };
            if let Some((_, line)) = read::failed_check(check, &said) {
                let words = format!("{} is not as it must be: {line}", check.name);
                return Ok(Report { words, ..Progress::Running.into() });
            }
        }
        Ok(report)
    }

    /// Returns how far work is of which the device shows nothing: it is over when the version is there, or when the
    /// device has restarted.
    async fn by_versions(&mut self, action: &Action) -> Result<Report, Trouble> {
        let versions = self.versions().await?;
        let entry = self.entry_of(&action.component);
        let mut own = versions.iter().filter(|installed| entry.is_none_or(|entry| installed.entry == entry));
        let is_there = own.any(|installed| installed.version == action.to);
        if is_there && !action.to.is_empty() && action.to != action.follows {
            return self.once_settled(Progress::Done.into()).await;
        }
        if self.product().boot.is_some() && !action.boot.is_empty() {
            let boot = self.boot_mark().await?;
            if !boot.is_empty() && boot != action.boot {
                return Ok(Progress::Done.into());
            }
        }
        Ok(if self.product().work.is_some() { Progress::Gone.into() } else { Progress::Running.into() })
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
