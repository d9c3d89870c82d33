//! The laws of `device::next`, tested over simulated devices and runners.
//!
//! A history is made from a seed: a device with its habits, an order of the user, and faults. The
//! runners do what `next` says, and are killed, frozen and replaced. Laws are checked at each
//! decision, at each record, at each conclusion, and at the end on the device itself. A history
//! that breaks a law is played again with its trace, which is printed with the seed.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has found something"
)]
#![expect(clippy::wildcard_enum_match_arm, reason = "a law is about some cases")]
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
#[path = "device_laws/parts.rs"]
mod parts;
#[path = "device_laws/reading.rs"]
mod reading;
#[path = "device_laws/runner.rs"]
mod runner;
#[path = "device_laws/world.rs"]
mod world;

use farrier_update::device::DeviceEnd;
use history::{Disturbance, Outcome};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Number of random histories.
const HISTORIES: u64 = 1_000_000;

/// Number of histories that are disturbed once at each point.
const CUT_HISTORIES: u64 = 1000;

/// Plays histories in two threads and counts how they end. Panics with the trace of the first one
/// that breaks a law.
fn play_all(count: u64, play: impl Fn(u64, bool) -> Outcome + Sync) -> BTreeMap<Option<&'static str>, u64> {
    let stop = AtomicBool::new(false);
    let half = |first: u64| {
        let mut ends = BTreeMap::new();
        for seed in (first..count).step_by(2).take_while(|_| !stop.load(Ordering::Relaxed)) {
            let outcome = play(seed, false);
            if outcome.broken.is_some() {
                stop.store(true, Ordering::Relaxed);
                return Err(seed);
            }
            *ends.entry(outcome.conclusion.map(|conclusion| name(conclusion.end))).or_insert(0) += 1;
        }
        Ok(ends)
    };
    let results = std::thread::scope(|scope| {
        let half = &half;
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
    let count = |end| ends.get(&Some(name(end))).copied().unwrap_or(0);
    assert!(count(DeviceEnd::Succeeded) > HISTORIES / 4, "{ends:?}");
    assert!(count(DeviceEnd::Cancelled) > HISTORIES / 20, "{ends:?}");
    assert!(count(DeviceEnd::Away) > HISTORIES / 200, "{ends:?}");
}

/// Names an end, for the count.
const fn name(end: DeviceEnd) -> &'static str {
    match end {
        DeviceEnd::Succeeded => "succeeded",
        DeviceEnd::Failed => "failed",
        DeviceEnd::Cancelled => "cancelled",
        DeviceEnd::Away => "away",
        DeviceEnd::Refused(_) => "refused",
    }
}

/// If caution alone decided, each crash of the operator would leave devices that somebody has to
/// check by hand: on a device that keeps its tasks, a crash at any point changes nothing.
#[test]
fn a_crash_at_any_point_changes_no_result_of_an_honest_device() {
    let play = |seed: u64, traced: bool| {
        let whole = history::play_honest(seed, Disturbance::Nothing, traced);
        let broken = |point: u32| {
            let cut = history::play_honest(seed, Disturbance::KillAt(point), traced);
            let (expected, found) = (whole.components(), cut.components());
            let differs = (expected != found).then(|| format!("{expected:?} became {found:?}"));
            let law = cut.broken.clone().or(differs)?;
            Some(Outcome { broken: Some(format!("killed at {point}: {law}")), ..cut })
        };
        (0..whole.points).find_map(broken).unwrap_or(whole)
    };
    let ends = play_all(CUT_HISTORIES, play);
    assert!(ends.get(&Some("succeeded")).is_some_and(|count| *count > CUT_HISTORIES / 2), "{ends:?}");
}

/// A user who cancels must get an end, whatever is going on, and nothing may be left behind.
#[test]
fn a_cancellation_at_any_decision_ends_the_attempt_and_leaves_nothing() {
    let play = |seed: u64, traced: bool| {
        let whole = history::play_honest(seed, Disturbance::Nothing, traced);
        let broken = |decision: u32| {
            let cancelled = history::play_honest(seed, Disturbance::CancelAt(decision), traced);
            let leaves =
                cancelled.conclusion.as_ref().is_none_or(|conclusion| !conclusion.leftovers.is_empty());
            let law = cancelled.broken.clone().or_else(|| leaves.then(|| "something is left".to_owned()))?;
            Some(Outcome { broken: Some(format!("cancelled at {decision}: {law}")), ..cancelled })
        };
        // There are about twice as many decisions as points at which something is sent or written.
        (0..2 * whole.points).find_map(broken).unwrap_or(whole)
    };
    play_all(CUT_HISTORIES, play);
}
