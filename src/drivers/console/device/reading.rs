//! What a device shows of itself.

use super::super::dialogue::Answer as Said;
use super::super::file::{Stage, When};
use super::super::read::{self, Installed, Member, Standing};
use super::super::session::Ask;
use super::Device;
use super::checks::{Health, Unhealthy};
use crate::attempt::{Firmware, Survey};
use crate::drivers::device::{Other, Part as ReportedPart, Trouble};
use crate::failure::Failure;
use farrier_protocol::Facts;
use farrier_update::Reason;
use farrier_update::device::{Action, ActionId, BootMarks, Entry, Part, Progress, ResetTarget, Task, Ticket};
use farrier_update::version::{Scheme, compare_installed};
use std::collections::BTreeMap;

/// Where users see that an entry was read.
const SOURCE: &str = "console";

/// Bytes of all things of which an entry may consist: a complex of 32 entities has less.
const LONGEST_MEMBERS: usize = 1024;

/// What a device has shown.
pub(super) struct Found {
    versions: Vec<Installed>,
    standing: Option<Standing>,
    boot: String,
    product: String,
    interruption: String,
    /// Whether what must always be so is so; `None` if the product has nothing of the kind.
    health: Option<Result<(), Failure>>,
    /// The versions that the components are to have, by entry.
    wanted: BTreeMap<String, String>,
}

impl Device {
    /// Asks for all that a reading needs.
    pub(super) async fn ask_everything(&mut self) -> Result<Found, Trouble> {
        let boot = if self.product().boot.is_some() { self.boot_mark().await? } else { String::new() };
        let said = self.reads(Ask::Versions).await?;
        let versions = self.installed(&said);
        if versions.is_empty() {
            return Err(self.nothing_found(&Ask::Versions, &said));
        }
        let named = versions.iter().filter_map(|found| Some((found.entry.clone(), found.part.clone()?)));
        self.parts = named.collect();
        let standing = if self.reads_work { self.standing().await? } else { None };
        self.note_work(standing.as_ref());
        let wanted = self.components.iter().filter_map(|component| {
            Some((component.own_entry()?.to_owned(), component.version.trim().to_owned()))
        });
        let wanted = wanted.collect();
        let interruption = self.interruption().await?;
        let (product, health) = (self.product().name.clone(), self.health().await?);
        Ok(Found { versions, standing, boot, product, interruption, health, wanted })
    }

    /// Checks what must always be so.
    async fn health(&mut self) -> Result<Option<Result<(), Failure>>, Trouble> {
        Ok(match self.check(|when| when == When::Always).await {
            Ok(Health::NotAsked) => None,
            Ok(Health::Well) => Some(Ok(())),
            Ok(Health::Unwell(Unhealthy { name, means, line })) => {
                Some(Err(self.unhealthy(&name, means, &line)))
            }
            Err(trouble) if trouble.is_answer => Some(Err(trouble.failure)),
            Err(trouble) => return Err(trouble),
        })
    }

    /// Reads how far the work of the device is; `None` if it shows none, or the product cannot be asked.
    async fn standing(&mut self) -> Result<Option<Standing>, Trouble> {
        if self.product().work.is_none() {
            return Ok(None);
        }
        let said = self.reads(Ask::Work).await?;
        Ok(self.product().work.as_ref().and_then(|work| read::work(work, &said)))
    }

    /// Reads what an installation interrupts, once in an attempt; empty if the device does not tell it.
    async fn interruption(&mut self) -> Result<String, Trouble> {
        if self.interrupts.is_none() && self.product().interruption.is_some() {
            let said = match self.reads(Ask::Interruption).await {
                Ok(said) => Some(said),
                // The plan says less, and is no worse for it.
                Err(trouble) if trouble.is_answer => None,
                Err(trouble) => return Err(trouble),
            };
            let told = self.product().interruption.as_ref().zip(said.as_ref());
            self.interrupts =
                Some(told.map(|(reading, said)| read::interruption(reading, said)).unwrap_or_default());
        }
        Ok(self.interrupts.clone().unwrap_or_default())
    }

    /// Reads the text that is another one after each start.
    pub(super) async fn boot_mark(&mut self) -> Result<String, Trouble> {
        let said = self.reads(Ask::Boot).await?;
        Ok(self.product().boot.as_ref().map(|boot| read::boot(boot, &said)).unwrap_or_default())
    }

    /// Returns the version of an entry, and whether a second copy differs from it.
    pub(super) async fn versions(&mut self) -> Result<Vec<Installed>, Trouble> {
        let said = self.reads(Ask::Versions).await?;
        Ok(self.installed(&said))
    }

    /// Returns the versions in an answer. What was there before the work that is open belongs to them, also if it does
    /// not show.
    fn installed(&self, said: &Said) -> Vec<Installed> {
        let mut versions = read::versions(&self.product().versions, said);
        let Some(open) = self.open_work() else { return versions };
        let own = self.entry_of(&open.component);
        for installed in versions.iter_mut().filter(|installed| own == Some(installed.entry.as_str())) {
            installed.misses(&open.members);
            installed.misses(&earlier_members(open));
        }
        versions
    }
}

/// Returns the things of which an entry consists; none if there are so many that they do not fit into a status.
fn members(installed: &Installed) -> Vec<String> {
    let names = installed.members.iter().map(|member| member.entry.clone());
    let is_short = names.clone().map(|name| name.len()).sum::<usize>() <= LONGEST_MEMBERS;
    names.filter(|_| is_short).collect()
}

impl Found {
    pub(super) fn entries(&self) -> BTreeMap<String, Entry> {
        let waits = self.standing.as_ref().is_some_and(|standing| standing.stage == Stage::WaitsForReset);
        let entry = |installed: &Installed| {
            let pending = (waits && installed.other.is_some()).then_some(ResetTarget::Manager);
            let wanted = self.wanted.get(&installed.entry).map(String::as_str);
            let version = installed.version_for(wanted).to_owned();
            let entry = Entry { version, part: Part::Manager, pending, members: members(installed) };
            (installed.entry.clone(), entry)
        };
        self.versions.iter().map(entry).collect()
    }

    /// Returns what became of the things that must all have the version of an entry.
    pub(super) fn parts(&self, entry: &str) -> Vec<ReportedPart> {
        let wanted = self.wanted.get(entry).map(String::as_str);
        let of_entry = self.versions.iter().filter(|installed| installed.entry == entry);
        let members = of_entry.flat_map(|installed| &installed.members);
        let part = |Member { entry, version }: &Member| {
            let failed =
                wanted.is_some_and(|wanted| compare_installed(Scheme::Natural, version, wanted).is_ne());
            ReportedPart { entry: entry.clone(), failed }
        };
        members.map(part).collect()
    }

    pub(super) fn marks(&self) -> BootMarks {
        BootMarks { manager: self.boot.clone(), host: String::new() }
    }

    pub(super) fn survey(&self) -> Survey {
        let firmware = self.versions.iter().map(|installed| Firmware {
            id: installed.entry.clone(),
            name: installed.entry.clone(),
            source: SOURCE.to_owned(),
            software_id: String::new(),
            version: installed.version.clone(),
            updateable: true,
            health: installed.difference().unwrap_or_default(),
        });
        let facts = Facts { model: self.product.clone(), ..Facts::default() };
        let (interruption, parts) = (self.interruption.clone(), self.health.clone());
        Survey { facts, firmware: firmware.collect(), interruption, parts, ..Survey::default() }
    }

    /// Returns the work that the device does. It names nobody: it is that of our open action, if there is one.
    pub(super) fn tasks(&self, open: Option<&Action>) -> Vec<Task> {
        let progress = self.standing.as_ref().and_then(|standing| open_progress(standing.stage));
        let task = progress.map(|progress| Task {
            ticket: open.map_or_else(|| Ticket(format!("{}: work of another", self.product)), ticket_of),
            action: open.map(|action| action.id),
            progress,
        });
        task.into_iter().collect()
    }

    /// Returns the work that is not ours.
    pub(super) fn others(&self, open: Option<&Action>) -> Vec<Other> {
        let Some(standing) = &self.standing else { return Vec::new() };
        let is_others = open.is_none() && open_progress(standing.stage).is_some();
        let other =
            is_others.then(|| Other { words: standing.words.clone(), reason: Reason::ManagedElsewhere });
        other.into_iter().collect()
    }
}

/// Returns how far work is that is not over.
const fn open_progress(stage: Stage) -> Option<Progress> {
    match stage {
        Stage::Queued => Some(Progress::Queued),
        Stage::Running => Some(Progress::Running),
        Stage::WaitsForReset => Some(Progress::WaitsForReset),
        Stage::Nothing | Stage::Done | Stage::Failed => None,
    }
}

/// Returns the name of the work of an action.
fn ticket_of(action: &Action) -> Ticket {
    action.ticket.clone().unwrap_or_else(|| ticket(action.id))
}

/// What stands between the name of work and what must be there afterwards, in records of Farrier before
/// [`Action::members`] was there: `action 3 of Onboard Administrator bay 1, Onboard Administrator bay 2`.
const OF: &str = " of ";

/// Reports whether this is the name of the work of an action, also as an earlier Farrier recorded it.
pub(super) fn is_ticket_of(ticket: &Ticket, action: &Action) -> bool {
    let name = ticket.0.split_once(OF).map_or(ticket.0.as_str(), |(name, _)| name);
    name == self::ticket(action.id).0
}

/// Returns what must be there after the work, where an earlier Farrier has recorded it with its name.
fn earlier_members(action: &Action) -> Vec<String> {
    let named = action.ticket.as_ref().and_then(|ticket| ticket.0.split_once(OF));
    named.into_iter().flat_map(|(_, members)| members.split(", ").map(str::to_owned)).collect()
}

/// Returns the name of the work of an action: a device has none for it.
pub(super) fn ticket(action: ActionId) -> Ticket {
    Ticket(format!("action {}", action.0))
}
