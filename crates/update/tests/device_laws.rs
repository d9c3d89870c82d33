//! The laws of `device::next`, tested over simulated devices and runners.
//!
//! A history is made from a seed: a device with its habits, an order of the user, and faults. The
//! runners do what `next` says, and are killed, frozen and replaced. Laws are checked at each
//! decision, at each record, at each conclusion, and at the end on the device itself. A history
//! that breaks a law is played again with its trace, which is printed with the seed.

#![expect(clippy::indexing_slicing, reason = "a test that panics has found something")]
#![expect(clippy::disallowed_methods, reason = "the histories are divided among two threads")]

#[path = "device_laws/api.rs"]
mod api;
#[path = "device_laws/device.rs"]
mod device;
#[path = "device_laws/dice.rs"]
mod dice;
#[path = "device_laws/history.rs"]
mod history;
#[path = "device_laws/law.rs"]
mod law;
#[path = "device_laws/reading.rs"]
mod reading;
#[path = "device_laws/runner.rs"]
mod runner;
#[path = "device_laws/world.rs"]
mod world;

use farrier_update::device::DeviceEnd;
use history::Outcome;
use std::collections::BTreeMap;

/// Number of random histories.
const HISTORIES: u64 = 1_000_000;

/// Number of histories that are killed once at each point.
const CUT_HISTORIES: u64 = 3000;

/// Plays histories in two threads and counts how they end. Panics with the trace of the first one
/// that breaks a law.
fn play_all(count: u64, play: impl Fn(u64, bool) -> Outcome + Sync) -> BTreeMap<String, u64> {
    let half = |first: u64| {
        let mut ends = BTreeMap::new();
        for seed in (first..count).step_by(2) {
            let outcome = play(seed, false);
            if outcome.broken.is_some() {
                return Err(seed);
            }
            *ends.entry(format!("{:?}", outcome.end)).or_insert(0) += 1;
        }
        Ok(ends)
    };
    let results = std::thread::scope(|scope| {
        let threads = [0, 1].map(|first| scope.spawn(move || half(first)));
        threads.map(|thread| thread.join().unwrap())
    });
    let mut ends = BTreeMap::new();
    for result in results {
        let counted = result.unwrap_or_else(|seed| {
            let outcome = play(seed, true);
            panic!("seed {seed}: {}\n{}", outcome.broken.unwrap_or_default(), outcome.trace.join("\n"))
        });
        for (end, number) in counted {
            *ends.entry(end).or_insert(0) += number;
        }
    }
    ends
}

/// A device that is flashed twice, or is believed to be updated although it is not, may be lost.
#[test]
fn the_laws_hold_in_a_million_histories() {
    let ends = play_all(HISTORIES, history::play);
    // Laws that hold because nothing ever happens say nothing.
    let successes = ends.get(&format!("{:?}", Some(DeviceEnd::Succeeded))).copied().unwrap_or(0);
    assert!(successes > HISTORIES / 4, "{ends:?}");
}
