//! Which machines are due for an inventory, and how they are put into runs.
//!
//! Like a `CronJob`, the schedule has no memory of its own: when a machine is due follows from when it was last looked
//! at, which its status says, and from its UID. So a restart or another replica moves nothing and repeats nothing.

use crate::model::{Millis, NodeName};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::time::Duration;

/// The delay that is added to each interval of a machine is at most this part of it. It is determined by the UID of
/// the machine and by when it was last looked at: machines that were looked at together, for instance after an
/// outage, drift apart, and none is looked at more often than its interval says.
const JITTER_PART: u32 = 10;

/// Times at which machines become due are rounded up to a multiple of this part of their interval, so that one run
/// has many machines: at most 96 runs a day for a namespace of machines with `every: 24h`.
const SLOTS: u32 = 96;

/// Shortest and longest distance between two such times. A shorter one would make runs of single machines, and a
/// longer one would be a burst.
const SLOT: (Duration, Duration) = (Duration::from_mins(1), Duration::from_mins(15));

/// Maximum number of machines in a run: as many names as `spec.nodes` takes.
pub const MAX_NODES: usize = 1000;

/// Maximum number of scheduled runs of a namespace that have not ended. One that waits for a machine, which may take
/// as long as the work of another run, does not stop the others.
pub const MAX_OPEN: usize = 4;

/// A machine with a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: NodeName,
    /// Its UID.
    pub uid: String,
    /// How often its inventory is taken.
    pub every: Duration,
    /// When it was created.
    pub created: Millis,
    /// When its inventory was last taken or tried, or a run was created that tries it; `None` if never.
    pub looked: Option<Millis>,
    /// Whether it is left alone at present: on hold, being deleted, in the work of a run, or named by a scheduled
    /// run that has not ended.
    pub is_busy: bool,
}

impl Machine {
    /// Returns when the machine is due. It may be in the past.
    ///
    /// A recorded time that lies further in the future than the interval is that of a clock that was wrong: such a
    /// machine is due.
    pub fn due_at(&self, now: Millis) -> Millis {
        let (last, interval) = match self.looked {
            Some(looked) => (looked, self.every),
            None => (self.created, Duration::ZERO),
        };
        if last > now.after(self.every) {
            return now;
        }
        last.after(interval).after(self.jitter(last)).rounded_up(self.slot())
    }

    /// Returns the delay that follows the time `last`: from nothing to a tenth of the interval. It is another one each
    /// time, because machines with equal delays would stay together.
    fn jitter(&self, last: Millis) -> Duration {
        let digest = Sha256::new().chain_update(&self.uid).chain_update(last.0.to_be_bytes()).finalize();
        let number = digest.iter().take(4).fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let most = (self.every / JITTER_PART).as_millis();
        // Numbers of 32 bits, so that the product is the fraction `number / 2^32` of it.
        let part = most.saturating_mul(u128::from(number)) >> 32;
        Duration::from_millis(u64::try_from(part).unwrap_or(u64::MAX))
    }

    fn slot(&self) -> Duration {
        (self.every / SLOTS).clamp(SLOT.0, SLOT.1)
    }
}

impl Millis {
    /// Rounds up to a multiple of `step` since 1970.
    fn rounded_up(self, step: Duration) -> Self {
        let step = u64::try_from(step.as_millis()).unwrap_or(u64::MAX).max(1);
        Self(self.0.div_ceil(step).saturating_mul(step))
    }
}

/// A run that takes inventories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryRun {
    /// Its name. The same machines that are due for the same inventories have the same name.
    pub name: String,
    /// Its machines, in the order of names.
    pub nodes: Vec<NodeName>,
}

/// Decides which run is created in a namespace; `open` scheduled runs have not ended there.
pub fn decide(now: Millis, machines: &[Machine], open: usize) -> Option<InventoryRun> {
    if open >= MAX_OPEN {
        return None;
    }
    let due = machines.iter().filter(|machine| !machine.is_busy);
    let mut due: Vec<(Millis, &Machine)> =
        due.map(|machine| (machine.due_at(now), machine)).filter(|(at, _)| *at <= now).collect();
    due.sort_by(|(at, machine), (other_at, other)| (at, &machine.name).cmp(&(other_at, &other.name)));
    due.truncate(MAX_NODES);
    let latest = due.iter().map(|(at, _)| *at).max()?;
    let nodes: BTreeSet<NodeName> = due.iter().map(|(_, machine)| machine.name.clone()).collect();
    Some(InventoryRun { name: name(latest, &due), nodes: nodes.into_iter().collect() })
}

/// Returns `inventory-<time at which the last of them was due>-<digest of which is due for which inventory>`.
fn name(latest: Millis, due: &[(Millis, &Machine)]) -> String {
    let mut digest = Sha256::new();
    for (_, machine) in due {
        digest.update(machine.uid.as_bytes());
        digest.update([0]);
        digest.update(machine.looked.map_or(0, |looked| looked.0).to_be_bytes());
    }
    let digest = digest.finalize().iter().take(4).fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
    // 2026-11-30T23:45:00Z to 20261130-2345
    let time: String = latest.to_string().chars().filter(char::is_ascii_digit).take(12).collect();
    let (date, minute) = time.split_at_checked(8).unwrap_or((&time, ""));
    format!("inventory-{date}-{minute}-{digest:08x}")
}

#[cfg(test)]
mod tests;
