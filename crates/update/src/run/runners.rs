//! The live runners, and the assignment of nodes to them.
//!
//! Nodes are distributed by the number of nodes that each runner has in flight, over all runs. A node
//! in flight stays with its runner while the runner is live: moving the node would cost more than an
//! uneven load.

use super::{UpdateFacts, WaitingOn};
use crate::model::RunnerName;
use crate::reason::Reason;
use std::collections::BTreeMap;

/// The live runners, and the load of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runners {
    load: BTreeMap<RunnerName, Load>,
}

/// The load of one runner. Loads are compared in the order of the fields, so all runners get nodes even
/// while few nodes are in flight.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Load {
    in_flight: usize,
    /// Total number of nodes, including those that have ended.
    all: usize,
}

impl Load {
    fn add(&mut self, in_flight: bool) {
        self.in_flight += usize::from(in_flight);
        self.all += 1;
    }
}

impl Runners {
    /// Creates the view from the live runners and the NodeUpdates of all runs.
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

    /// Reports whether this runner is live.
    pub fn has(&self, name: &RunnerName) -> bool {
        self.load.contains_key(name)
    }

    /// Reports whether no runner is live.
    pub fn is_empty(&self) -> bool {
        self.load.is_empty()
    }

    /// Picks the fitting runner with the fewest nodes in flight, and counts the new node. A tie is
    /// resolved by the fewest nodes in total, then by name.
    pub fn pick(&mut self, fits: impl Fn(&RunnerName) -> bool) -> Option<RunnerName> {
        let fitting = self.load.iter().filter(|(name, _)| fits(name));
        let name = fitting.min_by_key(|(_, load)| *load)?.0.clone();
        self.load.get_mut(&name)?.add(true);
        Some(name)
    }

    /// Returns what a NodeUpdate whose runner is gone waits for; `None` if the runner is live.
    pub(super) fn missing(&self, update: &UpdateFacts) -> Option<WaitingOn> {
        if self.has(&update.runner) {
            return None;
        }
        let message = if self.is_empty() {
            format!(
                "runner {} does not answer, and no other runner is live; start the operator",
                update.runner
            )
        } else {
            format!("runner {} does not answer; another runner takes over", update.runner)
        };
        Some(WaitingOn { reason: Reason::WaitingForRunner, message, until: None })
    }
}

/// Returns the NodeUpdates to reassign, each with its new runner: those that still need a runner and
/// whose runner is gone, in the given order.
///
/// The caller passes the NodeUpdates of all runs, including runs that have ended or are gone, because a
/// runner does the cleanup on a machine.
///
/// # Guarantees
///
/// A NodeUpdate with a live runner keeps it. If no runner is live, nothing is reassigned.
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
