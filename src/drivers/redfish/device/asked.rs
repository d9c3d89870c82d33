//! The requests of a reading.

use super::super::Link;
use super::super::inventory::{Inventory as Everything, Work};
use super::{Device, preparations, recorded, sessions, signed_out, trouble};
use crate::drivers::device::Trouble;
use farrier_update::device::{Action, Artifact};

/// What a device has answered.
pub(super) struct Asked {
    pub(super) everything: Everything,
    pub(super) work: Work,
    /// Sessions of ours, and what prepares updates.
    pub(super) ours: Vec<Artifact>,
    /// Whether there can be no other session of ours.
    pub(super) lists_sessions: bool,
    /// Whether the configuration of the device is locked.
    pub(super) is_locked: bool,
}

impl Device {
    /// Asks for everything that a reading needs.
    ///
    /// # Errors
    /// What concerns the device as a whole.
    pub(super) async fn ask(&mut self, actions: &[Action]) -> Result<Asked, Trouble> {
        let Some(session) = &self.session else { return Err(signed_out()) };
        self.sessions.extend(actions.iter().filter_map(recorded));
        let everything = Everything::read(session).await.map_err(trouble)?;
        let work = if self.reads_work {
            let repository = everything.update.as_ref().and_then(|update| update.ways.repository.as_ref());
            let work = Work::read(session, &everything.root, repository, &self.over).await;
            work.map_err(|error| trouble(error.into()))?
        } else {
            Work::default()
        };
        let known = sessions::known(session, &self.sessions).await.map_err(|error| trouble(error.into()))?;
        let lost: Vec<&Action> = actions.iter().filter(|action| sessions::is_lost(action)).collect();
        let lost = sessions::lost(session, &everything, &self.sessions, &lost).await;
        let lost = lost.map_err(|error| trouble(error.into()))?;
        let prepared = preparations::found(session, &everything, actions, &self.marks).await;
        let prepared = prepared.map_err(|error| trouble(error.into()))?;
        let is_locked = self.reads_work
            && self.lock.read(session, &everything).await.map_err(|error| trouble(error.into()))?;
        let found = lost.found.iter();
        let found = found.filter_map(|lost| Some((lost.action, Link::parse(&lost.ticket.0).ok()?)));
        self.sessions.extend(found);
        let ours = prepared.into_iter().chain(known).chain(lost.found).collect();
        Ok(Asked { everything, work, ours, lists_sessions: lost.is_complete, is_locked })
    }
}
