//! The rules of a device, in order of precedence.
//!
//! 1. A removal whose answer is not known is judged.
//! 2. Sessions of earlier runners are ended.
//! 3. Preparations whose answer was lost are looked for.
//! 4. Work that is recorded as intended or begun is judged, adopted or followed, whatever attempt
//!    it is from.
//! 5. Unless the attempt is cancelled, the next verb of the next component is intended.
//! 6. Everything of ours is removed, and the device is looked at again.
//! 7. The session is ended, and the attempt is concluded.
//!
//! Whatever these rules ask of the device needs contact: a silent device is waited for and then
//! given up, one that has named a time is not asked before, and a session is opened first.

use super::conclude::conclude;
use super::decision::Next;
use super::observed::Observed;
use super::view::View;
use super::{judge, prepare, session, teardown, work};

/// Decides what to do next with a device.
///
/// # Guarantees
///
/// The function is total and deterministic. Each `Wait` ends after the present time. Each request
/// that changes the device is intended first, and follows from recorded actions and believed
/// readings alone.
///
/// # Assumptions
///
/// The caller records an intent over exactly the version of the list that it passed in, sends its
/// request only while the runner's Lease holds, and records what [`super::Action::answered`]
/// returns. It passes in only readings of this attempt, which it takes after the actions were read.
pub fn next(observed: &Observed<'_>) -> Next {
    let view = View::of(observed);
    let step = judge::removals(view)
        .or_else(|| session::fence(view))
        .or_else(|| prepare::find_lost(view))
        .or_else(|| judge::work(view))
        .or_else(|| work::advance(view))
        .or_else(|| teardown::take_back(view))
        .or_else(|| teardown::sign_out(view));
    match step {
        Some(step @ (Next::Read | Next::Follow(..) | Next::Intend(_))) => {
            session::postponed(view).or_else(|| session::connect(view)).unwrap_or(step)
        }
        Some(
            step
            @ (Next::Plan | Next::Record(..) | Next::Withdraw(_) | Next::Wait { .. } | Next::Conclude(_)),
        ) => step,
        None => conclude(view),
    }
}
