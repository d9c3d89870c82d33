//! Commands that change a device. Each is sent once, and what comes of it decides what is recorded.

use super::super::dialogue::{Answer as Said, End};
use super::super::file::Verb as Command;
use super::super::meaning::Meaning;
use super::super::session::{Ask, Hints, gone};
use super::checks::{Health, Unhealthy};
use super::offered;
use super::reading::ticket;
use super::trouble::answer;
use super::{Device, Running, Stage};
use crate::attempt::logbook::Intended;
use crate::drivers::device::{Contact, Image, Trouble};
use farrier_update::device::{Answer, Intent};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a command may take until the device accepts it, before it is followed like work: it may fetch and check the
/// image first, which takes minutes.
const PATIENCE: Duration = Duration::from_secs(15);

impl Device {
    /// Sends the command of an action, and returns what is known of it afterwards.
    pub(super) async fn work(
        &mut self,
        permission: &Intended,
        intent: &Intent,
        command: Command,
        image: Option<&Image>,
        mut report: impl FnMut(Contact) + Send,
    ) -> (Answer, Option<Trouble>) {
        let ask = Ask::Request(command);
        let Some(left) = permission.time_left() else { return (Answer::NotBegun, None) };
        let until = Instant::now() + left;
        let values = match offered::values(self, intent, image) {
            Ok(values) => values,
            Err(failure) => return (Answer::Rejected, Some(answer(failure))),
        };
        let mut order = match self.order(ask.clone(), values) {
            Ok(order) => order,
            Err(trouble) => return (Answer::Rejected, Some(trouble)),
        };
        if self.is_running() {
            self.hang_up().await;
        }
        match tokio::time::timeout_at(until, self.is_ready(&ask, &mut report)).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some((means, trouble)))) => return (refusal(means), Some(trouble)),
            Ok(Err(trouble)) => return (Answer::NotBegun, Some(trouble)),
            // The readings took as long as the permission holds.
            Err(_) => return (Answer::NotBegun, None),
        }
        order.consents = self.consents.clone();
        order.until = Some(until);
        let Some(line) = &mut self.line else { return (Answer::NotBegun, None) };
        let mut sent = line.session.send(order).await;
        let said = tokio::select! {
            biased;
            said = &mut sent.answer => Some(said.unwrap_or_else(|_| gone())),
            () = is_accepted(&mut sent.hints) => None,
            // sleep: what takes longer is followed.
            () = tokio::time::sleep(PATIENCE) => None,
        };
        for question in &sent.hints.borrow().agreed {
            report(Contact::AgreementAccepted { question: question.clone() });
        }
        match said {
            None => {
                self.running = Some(Running { action: intent.id, stage: Stage::Runs(sent) });
                (Answer::Began(ticket(intent.id)), None)
            }
            Some(said) => self.answered(intent, &ask, said).await,
        }
    }

    /// Makes the device ready for a command: a session, what must be so before it is changed, the mode. Returns what
    /// it is not ready for.
    async fn is_ready(
        &mut self,
        ask: &Ask,
        report: impl FnMut(Contact) + Send,
    ) -> Result<Option<(Meaning, Trouble)>, Trouble> {
        if !matches!(ask, Ask::Request(Command::Pull | Command::Activate | Command::ResetManager)) {
            self.sign_in(report).await?;
        } else if let Some(unready) = self.is_healthy(report).await? {
            return Ok(Some(unready));
        }
        self.enters(ask).await?;
        Ok(None)
    }

    /// Opens a session, and checks what must be so before the device is changed. Returns what it is not ready for.
    pub(super) async fn is_healthy(
        &mut self,
        report: impl FnMut(Contact) + Send,
    ) -> Result<Option<(Meaning, Trouble)>, Trouble> {
        self.sign_in(report).await?;
        Ok(match self.check(|_| true).await? {
            Health::NotAsked | Health::Well => None,
            Health::Unwell(Unhealthy { name, means, line }) => {
                Some((means, answer(self.unhealthy(&name, means, &line))))
            }
        })
    }

    /// Returns what is known after a command that has ended already.
    async fn answered(&mut self, intent: &Intent, ask: &Ask, said: Said) -> (Answer, Option<Trouble>) {
        self.is_over(&said).await;
        let why = || Some(answer(self.why_not(ask, &said)));
        let needs_words = self.needs_words(ask);
        if said.accepted {
            return self.began(intent, said);
        }
        if said.missing.is_some() {
            return (Answer::Rejected, why());
        }
        if let Some((means, _)) = said.refused {
            return (refusal(means), why());
        }
        match &said.end {
            End::Prompt(_) if !needs_words => self.began(intent, said),
            // Words that the file does not know. Nothing was agreed to, so nothing has begun.
            End::Prompt(_) if !said.answered => (Answer::Rejected, why()),
            // The readings tell whether it has begun all the same.
            End::Prompt(_) | End::Question(..) => self.began(intent, said),
            End::NotSent => (Answer::NotBegun, why()),
            End::Closed | End::TimedOut(_) | End::TooMuch => (Answer::Unknown, why().map(lost)),
        }
    }

    fn began(&mut self, intent: &Intent, said: Said) -> (Answer, Option<Trouble>) {
        self.running = Some(Running { action: intent.id, stage: Stage::Over(said) });
        (Answer::Began(ticket(intent.id)), None)
    }
}

/// The device did not answer at all.
fn lost(trouble: Trouble) -> Trouble {
    Trouble { is_answer: false, ..trouble }
}

/// Returns what a refusal means for the action.
pub(super) fn refusal(means: Meaning) -> Answer {
    if means == Meaning::AlreadyInstalled {
        Answer::AlreadyInstalled
    } else if means.passes() {
        Answer::NotBegun
    } else {
        Answer::Rejected
    }
}

async fn is_accepted(hints: &mut watch::Receiver<Hints>) {
    if hints.wait_for(|hints| hints.is_accepted).await.is_err() {
        // The command has ended, and its answer tells more.
        std::future::pending::<()>().await;
    }
}
