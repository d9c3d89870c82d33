//! The simulated API server: one NodeUpdate with its actions, its owner and its version.

use farrier_update::device::{Action, ActionId, Change, prune, record};
use farrier_update::model::{Millis, RunnerName};

/// The NodeUpdate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Api {
    pub(crate) actions: Vec<Action>,
    pub(crate) version: u64,
    /// Number of the runner that it is assigned to.
    pub(crate) owner: u32,
    pub(crate) cancelled: bool,
    /// Whether caches may be behind.
    pub(crate) keeps_earlier: bool,
    /// The list before the last write, as a cache may still show it.
    pub(crate) earlier: Vec<Action>,
    pub(crate) earlier_version: u64,
}

/// The write was computed from another version, or by a runner that is not the owner any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conflict;

impl Api {
    fn check(&mut self, runner: u32, version: u64) -> Result<(), Conflict> {
        if self.owner != runner || self.version != version {
            return Err(Conflict);
        }
        if self.keeps_earlier {
            self.earlier.clone_from(&self.actions);
            self.earlier_version = self.version;
        }
        self.version += 1;
        Ok(())
    }

    /// Adds an action.
    pub(crate) fn intend(&mut self, runner: u32, version: u64, action: Action) -> Result<(), Conflict> {
        self.check(runner, version)?;
        self.actions.push(action);
        prune(&mut self.actions);
        Ok(())
    }

    /// Changes an action.
    pub(crate) fn record(
        &mut self,
        runner: u32,
        version: u64,
        (id, change): (ActionId, &Change),
        now: Millis,
    ) -> Result<(), Conflict> {
        self.check(runner, version)?;
        record(&mut self.actions, id, change, &RunnerName(String::new()), now);
        Ok(())
    }

    pub(crate) const fn cancel(&mut self) {
        self.cancelled = true;
        self.version += 1;
    }

    pub(crate) const fn assign(&mut self, runner: u32) {
        self.owner = runner;
        self.version += 1;
    }
}
