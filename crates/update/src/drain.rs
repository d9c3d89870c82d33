//! What is done next to drain a machine before it is disrupted, and to undo that afterwards (docs/adr/0049). Nothing is
//! read or written here.
//!
//! The record is stored before each effect. Every decision is made anew from the record and from what is there, so
//! that it does not matter after which effect a process has died.

mod hook;
mod needed;
mod node;

pub use hook::{Answer, next_of_hook};
pub use needed::{is_disruptive, is_needed};
pub use node::{CordonedBy, NodeFacts, NodeSeen, Permissions, Pod, PodKind, next_of_node};

use crate::model::Millis;
use crate::reason::Reason;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a machine may take to be drained, and as long again to be undrained, if its user does not say it: a
/// database of some size needs minutes to hand over, and a pod may have half an hour of grace.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(15);

/// How far a machine is drained, as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It is being drained: part of that may have happened.
    Draining,
    /// It is drained, and may be disrupted.
    Drained,
    /// What was done to drain it is being taken back.
    Undraining,
    /// Nothing of that is left.
    Undrained,
}

/// What is recorded about the drain of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// How far it is.
    pub state: State,
    /// How many times the machine was drained, this time included; from 1.
    pub round: u32,
    /// Since when it is in this state.
    pub since: Millis,
    /// Until when it is to be drained, or undrained.
    pub until: Millis,
}

impl Record {
    /// Reports whether something may be left that is to be taken back.
    pub const fn is_open(&self) -> bool {
        match self.state {
            State::Draining | State::Drained | State::Undraining => true,
            State::Undrained => false,
        }
    }
}

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// The machine is to be disrupted.
    Drain,
    /// The machine is left alone.
    Undrain,
}

/// When, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The current time.
    pub now: Millis,
    /// How long a drain, and its reverse, may take.
    pub timeout: Duration,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Store this record. Everything else waits until it is stored.
    Record(Record),
    /// Make the Node unschedulable and write who did it, by one write that is conditional on the version that was read.
    Cordon,
    /// Make the Node schedulable and remove who had cordoned it, by one write as above.
    Uncordon,
    /// Evict the pods with these positions in what was read.
    Evict(Vec<usize>),
    /// Call the hook.
    Call,
    /// Look again a little later: this is waited for.
    Wait(Blocked),
    /// The aim is reached.
    Done,
    /// The aim is not reached, and is given up.
    Fail(Reason, Blocked),
}

/// What a drain waits for, or has failed because of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// Another NodeUpdate, which has cordoned the Node.
    Other(String),
    /// Pods, by their positions in what was read.
    Pods(Vec<usize>),
    /// Pods that the user does not allow to be evicted, by their positions.
    Forbidden(Vec<usize>),
    /// There is no such Node.
    NoNode,
    /// What the hook has answered, or why it could not be called.
    Hook(String),
}

/// Returns the record that has to be stored before anything is done towards `aim`; `None` if it is there.
///
/// A drain that goes on keeps its deadline, whoever continues it. A drain that is begun again after it was taken back
/// is another one.
pub fn intent(record: Option<Record>, aim: Aim, clock: Clock) -> Option<Record> {
    let (state, round) = match (aim, record) {
        (Aim::Drain, None) => (State::Draining, 1),
        // What was being taken back is no proof any more.
        (Aim::Drain, Some(Record { state: State::Undraining | State::Undrained, round, .. })) => {
            (State::Draining, round + 1)
        }
        (Aim::Drain, Some(Record { state: State::Draining | State::Drained, .. })) => return None,
        (Aim::Undrain, Some(Record { state: State::Draining | State::Drained, round, .. })) => {
            (State::Undraining, round)
        }
        (Aim::Undrain, None | Some(Record { state: State::Undraining | State::Undrained, .. })) => {
            return None;
        }
    };
    Some(Record { state, round, since: clock.now, until: clock.now.after(clock.timeout) })
}

/// Returns the record of the next state of what is in progress.
const fn reached(record: Record, state: State, clock: Clock) -> Record {
    Record { state, since: clock.now, ..record }
}
