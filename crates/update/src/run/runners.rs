//! The runners that live, and who gets what.
//!
//! Work is spread by how much each runner has in flight, over all runs. What is in flight stays
//! where it is as long as its runner lives: moving it would cost more than an uneven load.

use super::{UpdateFacts, WaitingOn};
use crate::model::RunnerName;
use crate::reason::Reason;
use std::collections::BTreeMap;

/// The live runners, and how many nodes each has in flight.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runners {
    load: BTreeMap<RunnerName, usize>,
}

impl Runners {
    /// These live, and these NodeUpdates there are, of whichever run.
    pub fn new<'a>(
        live: impl IntoIterator<Item = RunnerName>,
        updates: impl IntoIterator<Item = &'a UpdateFacts>,
    ) -> Self {
        let mut load: BTreeMap<_, _> = live.into_iter().map(|name| (name, 0)).collect();
        for update in updates.into_iter().filter(|update| update.in_flight()) {
            if let Some(load) = load.get_mut(&update.runner) {
                *load += 1;
            }
        }
        Self { load }
    }

    /// Whether this runner lives.
    pub fn has(&self, name: &RunnerName) -> bool {
        self.load.contains_key(name)
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.load.is_empty()
    }

    /// The runner with the least in flight, the first by name of several. Counts what it gets.
    pub fn pick(&mut self) -> Option<RunnerName> {
        let (name, load) = self.load.iter_mut().min_by_key(|(_, load)| **load)?;
        *load += 1;
        Some(name.clone())
    }

    /// What a NodeUpdate waits for whose runner is gone; `None`: it is there.
    pub(super) fn missing(&self, update: &UpdateFacts) -> Option<WaitingOn> {
        if self.has(&update.runner) {
            return None;
        }
        let message = if self.is_empty() {
            format!("runner {} does not answer, and there is no other one; start the operator", update.runner)
        } else {
            format!("runner {} does not answer; another one takes over", update.runner)
        };
        Some(WaitingOn { reason: Reason::WaitingForRunner, message, until: None })
    }
}

/// Which NodeUpdates are handed to another runner, and to which: those that still need one and
/// whose runner is gone. They come back in the order in which they were given.
///
/// To be asked with the NodeUpdates of all runs, also of runs that are at their end or gone: what
/// is on a machine is taken back by a runner.
///
/// # Guarantees
///
/// What has a live runner keeps it. Where none lives nothing is handed over.
pub fn reassign<'a, K>(
    updates: impl IntoIterator<Item = (K, &'a UpdateFacts)>,
    mut runners: Runners,
) -> Vec<(K, RunnerName)> {
    let mut handed = Vec::new();
    for (key, update) in updates {
        if !update.needs_runner() || runners.has(&update.runner) {
            continue;
        }
        let Some(runner) = runners.pick() else { break };
        handed.push((key, runner));
    }
    handed
}
