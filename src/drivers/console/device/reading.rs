//! What a device shows of itself.

use super::super::file::Stage;
use super::super::read::{self, Installed, Standing};
use super::super::session::Ask;
use super::Device;
use crate::attempt::{Firmware, Survey};
use crate::drivers::device::{Other, Trouble};
use farrier_protocol::Facts;
use farrier_update::Reason;
use farrier_update::device::{Action, ActionId, BootMarks, Entry, Part, Progress, ResetTarget, Task, Ticket};
use std::collections::BTreeMap;

/// Where users see that an entry was read.
const SOURCE: &str = "console";

/// What a device has shown.
pub(super) struct Found {
    versions: Vec<Installed>,
    standing: Option<Standing>,
    boot: String,
    product: String,
}

impl Device {
    /// Asks for all that a reading needs.
    pub(super) async fn ask_everything(&mut self) -> Result<Found, Trouble> {
        let boot = if self.product().boot.is_some() { self.boot_mark().await? } else { String::new() };
        let said = self.reads(Ask::Versions).await?;
        let versions = read::versions(&self.product().versions, &said);
        if versions.is_empty() {
            return Err(self.nothing_found(&Ask::Versions, &said));
        }
        let named = versions.iter().filter_map(|found| Some((found.entry.clone(), found.part.clone()?)));
        self.parts = named.collect();
        let standing = if self.reads_work { self.standing().await? } else { None };
        Ok(Found { versions, standing, boot, product: self.product().name.clone() })
    }

    /// Reads how far the work of the device is; `None` if it shows none, or the product cannot be asked.
    async fn standing(&mut self) -> Result<Option<Standing>, Trouble> {
        if self.product().work.is_none() {
            return Ok(None);
        }
        let said = self.reads(Ask::Work).await?;
        Ok(self.product().work.as_ref().and_then(|work| read::work(work, &said)))
    }

    /// Reads the text that is another one after each start.
    pub(super) async fn boot_mark(&mut self) -> Result<String, Trouble> {
        let said = self.reads(Ask::Boot).await?;
        Ok(self.product().boot.as_ref().map(|boot| read::boot(boot, &said)).unwrap_or_default())
    }

    /// Returns the version of an entry, and whether a second copy differs from it.
    pub(super) async fn versions(&mut self) -> Result<Vec<Installed>, Trouble> {
        let said = self.reads(Ask::Versions).await?;
        Ok(read::versions(&self.product().versions, &said))
    }
}

impl Found {
    pub(super) fn entries(&self) -> BTreeMap<String, Entry> {
        let waits = self.standing.as_ref().is_some_and(|standing| standing.stage == Stage::WaitsForReset);
        let entry = |installed: &Installed| {
            let pending = (waits && installed.other.is_some()).then_some(ResetTarget::Manager);
            let entry = Entry { version: installed.version.clone(), part: Part::Manager, pending };
            (installed.entry.clone(), entry)
        };
        self.versions.iter().map(entry).collect()
    }

    pub(super) fn marks(&self) -> BootMarks {
        BootMarks { manager: self.boot.clone(), host: String::new() }
    }

    pub(super) fn survey(&self) -> Survey {
        let firmware = self.versions.iter().map(|installed| {
            let other = installed.other.as_ref();
            Firmware {
                id: installed.entry.clone(),
                name: installed.entry.clone(),
                source: SOURCE.to_owned(),
                software_id: String::new(),
                version: installed.version.clone(),
                updateable: true,
                health: other.map(|other| format!("the second copy is {other}")).unwrap_or_default(),
            }
        });
        let facts = Facts { model: self.product.clone(), ..Facts::default() };
        Survey { facts, packages: Vec::new(), firmware: firmware.collect(), notes: Vec::new() }
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

/// Returns the name of the work of an action. A device has none.
pub(super) fn ticket_of(action: &Action) -> Ticket {
    ticket(action.id)
}

/// Returns the name of the work of an action.
pub(super) fn ticket(action: ActionId) -> Ticket {
    Ticket(format!("action {}", action.0))
}
