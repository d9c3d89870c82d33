//! The runners that live, and who gets what.
//!
//! Work is spread by how much each runner has in flight, over all runs. What is in flight stays
//! where it is as long as its runner lives: moving it would cost more than an uneven load.

use super::{UpdateFacts, WaitingOn};
use crate::model::RunnerName;
use crate::reason::Reason;
use std::collections::BTreeMap;

/// The live runners, and what each has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runners {
    load: BTreeMap<RunnerName, Load>,
}

/// Compared in this order: where few nodes are in flight, all runners get their turn nevertheless.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    in_flight: usize,
    /// Those that are over included.
    all: usize,
}

impl Load {
    fn add(&mut self, in_flight: bool) {
        self.in_flight += usize::from(in_flight);
        self.all += 1;
    }
}

impl Runners {
    /// These live, and these NodeUpdates there are, of whichever run.
    pub fn new<'a>(
        live: impl IntoIterator<Item = RunnerName>,
        updates: impl IntoIterator<Item = &'a UpdateFacts>,
    ) -> Self {
        let mut load: BTreeMap<_, Load> = live.into_iter().map(|name| (name, Load::default())).collect();
        for update in updates {
            if let Some(load) = load.get_mut(&update.runner) {
                load.add(update.in_flight());
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

    /// Of those that fit, the runner with the least in flight; of several the one that has had the least, and the first
    /// by name of those. Counts what it gets.
    pub fn pick(&mut self, fits: impl Fn(&RunnerName) -> bool) -> Option<RunnerName> {
        let fitting = self.load.iter().filter(|(name, _)| fits(name));
        let name = fitting.min_by_key(|(_, load)| *load)?.0.clone();
        self.load.get_mut(&name)?.add(true);
        Some(name)
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
        let Some(runner) = runners.pick(|_| true) else { break };
        handed.push((key, runner));
    }
    handed
}
