//! A hook of the user: an HTTP server, or a Job.

use super::{Aim, Blocked, Clock, Next, Record, State, intent, reached};
use crate::reason::Reason;

/// What the hook has answered to the last call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has done what it was asked for.
    Done,
    /// It has not yet; it is asked again.
    NotYet(String),
    /// It has failed for good.
    Failed(String),
}

/// Decides what is done next with a hook. `answer`: what it has answered in this state of the record, in this process.
pub fn next_of_hook(record: Option<Record>, aim: Aim, clock: Clock, answer: Option<&Answer>) -> Next {
    if let Some(intent) = intent(record, aim, clock) {
        return Next::Record(intent);
    }
    let Some(record) = record else { return Next::Done };
    let (end, failed, timed_out) = match (aim, record.state) {
        (Aim::Drain, State::Draining) => (State::Drained, Reason::DrainFailed, Reason::DrainTimedOut),
        (Aim::Undrain, State::Undraining) => (State::Undrained, Reason::UndrainFailed, Reason::UndrainFailed),
        (Aim::Drain, State::Drained | State::Undraining | State::Undrained)
        | (Aim::Undrain, State::Draining | State::Drained | State::Undrained) => return Next::Done,
    };
    match answer {
        Some(Answer::Done) => Next::Record(reached(record, end, clock)),
        Some(Answer::Failed(words)) => Next::Fail(failed, Blocked::Hook(words.clone())),
        Some(Answer::NotYet(words)) if clock.now >= record.until => {
            Next::Fail(timed_out, Blocked::Hook(words.clone()))
        }
        Some(Answer::NotYet(words)) => Next::Wait(Blocked::Hook(words.clone())),
        None => Next::Call,
    }
}
