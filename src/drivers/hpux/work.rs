//! The requests that change an HP-UX machine, and how far its work is.

use super::catalogue::Catalogue;
use super::device::Device;
use super::link::{Answered, Cut, answered, refused, trouble};
use super::look::State;
use super::programs::{self, Installation, Staging};
use super::read::{fetch_progress, install_progress};
use super::said::{self, Refusal};
use super::software::is_name;
use crate::attempt::logbook::Intended;
use crate::drivers::device::{Image, Report, Trouble};
use crate::failure::Failure;
use farrier_update::device::{Action, Answer, Ending, Intent, Progress, Ticket};
use farrier_update::{Component, Reason};
use std::fs::File;
use std::time::Instant;

impl Device {
    /// Sends an image through the session.
    pub(super) async fn upload(&mut self, permission: &Intended, intent: &Intent, image: &Image) -> Answered {
        if let Some(failure) = self.unfit(intent, image) {
            return refused(failure);
        }
        let staging = Staging { directories: &self.directories, action: intent.id, size: image.size };
        let program = staging.receive();
        let may_send = || permission.time_left().is_some();
        match self.link.send(program, &image.path, may_send).await {
            Ok(lines) if has(&lines, "received") => (Answer::Done, None),
            Ok(lines) => self.judged(intent, &lines, None),
            Err(cut) => unfinished(cut),
        }
    }

    /// Has the machine fetch an image.
    pub(super) async fn pull(&mut self, permission: &Intended, intent: &Intent, image: &Image) -> Answered {
        if let Some(failure) = self.unfit(intent, image) {
            return refused(failure);
        }
        let way = image.offer.as_ref().map(|offer| (offer, self.tools_for(offer.scheme)));
        let digest = self.component(&intent.component).and_then(Component::digest);
        let (Some((offer, tools)), Some(digest)) = (way.filter(|(_, tools)| !tools.is_empty()), digest)
        else {
            let words = format!("{} has nothing to fetch its depot with", self.node);
            return refused(Failure::new(Reason::FetchFailed, words));
        };
        let digest = digest.trim_start_matches("sha256:").to_owned();
        let staging = Staging { directories: &self.directories, action: intent.id, size: image.size };
        let program = staging.fetch(offer, &tools, self.digester, &digest);
        let ticket = self.directories.fetch(intent.id);
        self.begun(permission, intent, program, Some(ticket)).await
    }

    /// Begins an installation.
    pub(super) async fn activate(
        &mut self,
        permission: &Intended,
        intent: &Intent,
        actions: &[Action],
    ) -> Answered {
        let staged = |action: &&Action| {
            let is_its = action.component == intent.component && action.id < intent.id;
            is_its && action.verb.is_staging() && action.ending == Some(Ending::Done)
        };
        let Some(image) = actions.iter().rfind(staged).map(|action| action.id) else {
            let words = format!("no depot of {} is on {}", intent.component, self.node);
            return refused(Failure::new(Reason::DeviceRefused, words));
        };
        let Some(name) = self.component(&intent.component).and_then(Component::depot_entry) else {
            return refused(said::no_name(&intent.component));
        };
        let installation = Installation {
            directories: &self.directories,
            image,
            action: intent.id,
            name,
            revision: &intent.to,
            may_restart: self.order.resets_host,
            allows_downgrade: self.force.downgrade,
            rewrites: self.force.rewrite,
        };
        let program = installation.program();
        let ticket = self.directories.activation(image, intent.id);
        self.begun(permission, intent, program, Some(ticket)).await
    }

    /// Restarts the machine.
    pub(super) async fn restart(&mut self, permission: &Intended, intent: &Intent) -> Answered {
        self.begun(permission, intent, programs::restart(&self.id, &intent.boot), None).await
    }

    /// Removes an image, and what was written beside it.
    pub(super) async fn remove(&mut self, permission: &Intended, intent: &Intent) -> Answered {
        let Some(image) = intent.of else { return (Answer::Rejected, None) };
        let program = programs::remove(&self.directories, image);
        match self.link.run(program, || permission.time_left().is_some()).await {
            Ok(lines) if has(&lines, "removed") => (Answer::Done, None),
            Ok(lines) => self.judged(intent, &lines, None),
            Err(cut) => unfinished(cut),
        }
    }

    async fn begun(
        &mut self,
        permission: &Intended,
        intent: &Intent,
        program: bytes::Bytes,
        ticket: Option<String>,
    ) -> Answered {
        match self.link.run(program, || permission.time_left().is_some()).await {
            Ok(lines) => self.judged(intent, &lines, ticket),
            Err(cut) => unfinished(cut),
        }
    }

    /// Reads the answer of a program.
    fn judged(&self, intent: &Intent, lines: &[String], ticket: Option<String>) -> Answered {
        if has(lines, "began") {
            return (ticket.map_or(Answer::Done, |ticket| Answer::Began(Ticket(ticket))), None);
        }
        let Some(words) = lines.iter().find_map(|line| line.strip_prefix("refused ")) else {
            let words = format!(
                "{} has not said what became of a request ({}); it is read again",
                self.node,
                said::without_urls(lines.iter().map(String::as_str))
            );
            return (Answer::Unknown, Some(answered(Failure::new(Reason::DeviceAnswerInvalid, words))));
        };
        // Another request of the same action has made it, whose answer was lost.
        if words.starts_with("taken ") {
            return (Answer::Unknown, None);
        }
        let Refusal { failure, passes } = said::refusal(&self.node, &intent.component, words);
        let answer = if passes { Answer::NotBegun } else { Answer::Rejected };
        (answer, Some(answered(failure)))
    }

    /// Returns why an image is not sent, by what is in it.
    fn unfit(&self, intent: &Intent, image: &Image) -> Option<Failure> {
        let component = self.component(&intent.component)?;
        let Some(name) = component.depot_entry().filter(|name| is_name(name)) else {
            return Some(said::no_name(&intent.component));
        };
        let depot = File::open(&image.path).ok().and_then(|mut file| Catalogue::of(&mut file))?;
        let revision = component.version.trim();
        if !depot.has(name, revision) {
            return Some(said::not_in_depot(&component.name, name, revision, depot.software.iter()));
        }
        (depot.restarts(name) && !self.order.resets_host)
            .then(|| said::restart_not_allowed(&self.node, &component.name))
    }

    /// Asks how far a fetch or an installation is.
    pub(super) async fn followed(&mut self, ticket: &Ticket) -> Result<Report, Trouble> {
        if !self.directories.are_of(&ticket.0) {
            return Ok(Progress::Gone.into());
        }
        let lines = self.link.run(programs::follow(&ticket.0), || true).await;
        let lines = lines.map_err(|cut| trouble(cut.failure()))?;
        let progress = Followed::read(&lines);
        Ok(if ticket.0.ends_with("/fetch") {
            progress.fetch()
        } else {
            self.installation(&ticket.0, &progress)
        })
    }

    /// Returns how far an installation is. One that restarts the machine is over when that has restarted.
    fn installation(&mut self, work: &str, followed: &Followed) -> Report {
        let Followed { state, words, restarts, has_restarted, has_agent, holders } = followed;
        let progress = install_progress(*state, *has_agent).unwrap_or(Progress::Gone);
        let report = |progress: Progress, words: String| Report { words, ..progress.into() };
        match (progress, state) {
            (Progress::Gone, _) if *restarts && *has_restarted => {
                report(Progress::Done, "the machine has restarted after the installation".to_owned())
            }
            (Progress::Done, State::Ended(_)) if *restarts && !has_restarted => {
                let since = *self.ended.entry(work.to_owned()).or_insert_with(Instant::now);
                let is_late = since.elapsed() >= self.limits.settle;
                let words = "swinstall has ended, and the machine is about to restart".to_owned();
                report(if is_late { Progress::Done } else { Progress::Running }, words)
            }
            (_, State::Ended(code)) => {
                let (reason, words) = said::install_ended(*code, words, holders);
                let reason = (progress == Progress::Failed).then_some(reason);
                Report { reason, ..report(progress, words) }
            }
            (progress, State::Running | State::Unstarted | State::Gone) => report(progress, words.clone()),
        }
    }

    pub(super) fn component(&self, name: &str) -> Option<&Component> {
        self.components.iter().find(|component| component.name == name)
    }
}

/// What `follow.sh` has printed.
#[derive(Debug, PartialEq, Eq)]
struct Followed {
    state: State,
    words: String,
    /// Whether the machine restarts after what is installed.
    restarts: bool,
    /// Whether the machine has restarted since it was begun.
    has_restarted: bool,
    /// Whether something works on software.
    has_agent: bool,
    /// The processes that had the lock of the depot or of the products when an installation had failed.
    holders: Vec<String>,
}

impl Followed {
    fn read(lines: &[String]) -> Self {
        let of = |word: &str| lines.iter().find_map(|line| line.strip_prefix(word)).map(str::trim);
        let state: Vec<&str> = of("state ").unwrap_or_default().split_whitespace().collect();
        let (begun, boot) = (of("begun "), of("boot "));
        Self {
            state: State::read(&state),
            words: said::without_urls(lines.iter().filter_map(|line| line.strip_prefix("said "))),
            restarts: of("restarts ") == Some("yes"),
            has_restarted: begun.is_some() && boot.is_some() && begun != boot,
            has_agent: of("process ").is_some(),
            holders: lines
                .iter()
                .filter_map(|line| line.strip_prefix("holder "))
                .map(str::to_owned)
                .collect(),
        }
    }

    fn fetch(self) -> Report {
        let progress = fetch_progress(self.state).unwrap_or(Progress::Gone);
        match self.state {
            State::Ended(code) if code != 0 => {
                let (reason, words) = said::fetch_ended(code, &self.words);
                Report { reason: Some(reason), words, ..progress.into() }
            }
            State::Ended(_) | State::Running | State::Unstarted | State::Gone => progress.into(),
        }
    }
}

fn has(lines: &[String], word: &str) -> bool {
    lines.iter().any(|line| line == word)
}

fn unfinished(cut: Cut) -> Answered {
    match cut {
        Cut::Before(failure) => (Answer::NotBegun, Some(trouble(failure))),
        Cut::After(failure) => (Answer::Unknown, Some(trouble(failure))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(text: &str) -> Followed {
        Followed::read(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    /// Otherwise an installation that restarts the machine counts as lost, or as done before the restart.
    #[test]
    fn a_restart_shows_in_the_boot_marks() {
        let before = followed(
            "state gone\nbegun system boot Nov 30 11:02\nrestarts yes\nboot system boot Nov 30 11:02",
        );
        assert!(before.restarts && !before.has_restarted && before.state == State::Gone);
        let after = followed(
            "state gone\nbegun system boot Nov 30 11:02\nrestarts yes\nboot system boot Nov 30 11:40",
        );
        assert!(after.has_restarted);
        assert!(!followed("state gone\nrestarts yes\nboot x").has_restarted, "it is not known");
    }

    /// Otherwise a machine on which somebody else has the lock fails like one with a broken depot, and nobody learns who.
    #[test]
    fn a_failed_installation_names_who_has_the_lock() {
        let failed = followed("state ended 1\nsaid ERROR: locked\nholder 77 /opt/tool/backup");
        assert_eq!(failed.holders, ["77 /opt/tool/backup"]);
        let (reason, words) = said::install_ended(1, &failed.words, &failed.holders);
        assert_eq!(reason, Reason::PackageManagerBusy);
        assert!(words.contains("process 77 /opt/tool/backup") && words.contains("ERROR: locked"), "{words}");
        assert_eq!(said::install_ended(1, "x", &[]).0, Reason::InstallerFailed);
    }

    #[test]
    fn the_end_of_a_fetch_has_a_reason() {
        let report = followed("state ended 3\nsaid its digest is another one").fetch();
        assert_eq!((report.progress, report.reason), (Progress::Failed, Some(Reason::PayloadDigestMismatch)));
        assert_eq!(followed("state ended 0").fetch().progress, Progress::Done);
        assert_eq!(followed("state running").fetch().progress, Progress::Running);
    }
}
