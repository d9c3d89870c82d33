//! The ways between runners and machines: opened before a node is begun, closed before the end.
//!
//! How they are opened (ports, Services, NetworkPolicies) is not known here. Where nothing has to
//! be opened, [`NetworkPaths::free`] says so and none of this matters.

use super::progress::{Fleet, NodeProgress};
use super::status::{State, cond};
use super::{Cond, CondStatus, Effect, Intent, Observed, WaitingOn};
use crate::model::{Millis, RunnerName};
use crate::reason::Reason;
use std::collections::BTreeSet;

/// How the ways of a run stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPaths {
    /// From the runners to the machines.
    pub out: PathState,
    /// From the machines to the callback server.
    pub back: PathState,
    /// Runners that the machines can call. Where there are some, only they get nodes that call.
    pub listening: BTreeSet<RunnerName>,
}

/// How one way stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathState {
    /// Nothing has to be opened: nobody keeps it closed.
    Free,
    /// It is closed.
    Closed,
    /// It is being opened, and that goes on by itself.
    Opening {
        /// Why it takes time.
        reason: Reason,
        /// In words.
        message: String,
        /// When to look again at the latest.
        until: Option<Millis>,
    },
    /// It is partly open, and gets no further until somebody does something.
    Stuck {
        /// Why.
        reason: Reason,
        /// In words, with the way out.
        message: String,
        /// When it is tried again.
        until: Option<Millis>,
    },
    /// Nothing of it is open, and cannot be until somebody does something.
    Blocked {
        /// Why.
        reason: Reason,
        /// In words, with the way out.
        message: String,
        /// When it is tried again.
        until: Option<Millis>,
    },
    /// It will not be opened: the run's own words forbid it.
    Refused {
        /// Why.
        reason: Reason,
        /// In words, with the way out.
        message: String,
        /// Whether something of it is open all the same.
        open: bool,
    },
    /// It is open.
    Open {
        /// What is open, for people.
        message: String,
    },
    /// It is being closed.
    Closing {
        /// What is still open.
        message: String,
    },
}

impl NetworkPaths {
    /// Nothing is kept closed, and nobody calls back.
    pub const fn free() -> Self {
        Self { out: PathState::Free, back: PathState::Closed, listening: BTreeSet::new() }
    }

    /// Whether nothing is open.
    pub const fn are_closed(&self) -> bool {
        self.out.is_closed() && self.back.is_closed()
    }

    /// What a node has to wait for before it is begun.
    pub(super) fn blocker(&self, calls_back: bool) -> Option<WaitingOn> {
        self.out.blocker().or_else(|| self.back.blocker().filter(|_| calls_back))
    }
}

impl PathState {
    const fn is_closed(&self) -> bool {
        matches!(self, Self::Free | Self::Closed | Self::Blocked { .. } | Self::Refused { open: false, .. })
    }

    fn blocker(&self) -> Option<WaitingOn> {
        let (reason, message, until) = match self {
            Self::Free | Self::Open { .. } => return None,
            Self::Closed => (Reason::Exposing, "the ways to it are about to be opened", None),
            Self::Closing { message } => (Reason::Exposing, message.as_str(), None),
            Self::Opening { reason, message, until }
            | Self::Stuck { reason, message, until }
            | Self::Blocked { reason, message, until } => (*reason, message.as_str(), *until),
            Self::Refused { reason, message, open: _ } => (*reason, message.as_str(), None),
        };
        Some(WaitingOn { reason, message: message.to_owned(), until })
    }
}

/// What is done about the ways: opened or kept as the nodes need them as long as any is worked on
/// or wants to be, closed otherwise.
pub(super) fn effect(
    observed: &Observed,
    fleet: &Fleet<'_>,
    effects: &[Effect],
    wants: bool,
) -> Option<Effect> {
    let begins = |effect: &Effect| match effect {
        Effect::RecordStarts { .. } => true,
        Effect::Start { node: _, intent, runner: _ } | Effect::SetIntent { node: _, intent } => {
            *intent != Intent::Cancel
        }
        Effect::RecordTargets { .. }
        | Effect::OpenWays
        | Effect::CloseWays
        | Effect::ReleaseRun
        | Effect::DeleteRun => false,
    };
    let needed =
        observed.run.finished.is_none() && (wants || fleet.active() > 0 || effects.iter().any(begins));
    let concerned = observed.paths.out != PathState::Free || calls_back(observed, fleet);
    if needed && concerned {
        return Some(Effect::OpenWays);
    }
    (!observed.paths.are_closed()).then_some(Effect::CloseWays)
}

/// Whether a node calls back whose turn is or may come.
fn calls_back(observed: &Observed, fleet: &Fleet<'_>) -> bool {
    observed.targets.iter().any(|(node, facts)| {
        facts.calls_back && !matches!(fleet.nodes.get(node), None | Some(NodeProgress::Done(_)))
    })
}

/// The condition `Exposed`.
pub(super) fn exposed(observed: &Observed, state: &State) -> Cond {
    if !observed.targets.values().any(|facts| facts.calls_back) {
        return match &observed.paths.out {
            PathState::Blocked { reason, message, .. } | PathState::Stuck { reason, message, .. } => {
                cond(CondStatus::False, *reason, message)
            }
            PathState::Free
            | PathState::Closed
            | PathState::Opening { .. }
            | PathState::Refused { .. }
            | PathState::Open { .. }
            | PathState::Closing { .. } => cond(
                CondStatus::True,
                Reason::NotRequired,
                "every node is reached through its own SSH session; no port is opened",
            ),
        };
    }
    if let PathState::Blocked { reason, message, .. } | PathState::Stuck { reason, message, .. } =
        &observed.paths.out
    {
        return cond(CondStatus::False, *reason, message);
    }
    match &observed.paths.back {
        PathState::Open { message } => cond(CondStatus::True, Reason::Exposed, message),
        PathState::Opening { reason, message, .. } => cond(CondStatus::Unknown, *reason, message),
        PathState::Stuck { reason, message, .. }
        | PathState::Blocked { reason, message, .. }
        | PathState::Refused { reason, message, .. } => cond(CondStatus::False, *reason, message),
        PathState::Closing { message } => cond(CondStatus::False, Reason::Closing, message),
        PathState::Free | PathState::Closed => match state {
            State::Ended(_) | State::Stopping { .. } | State::Closing => {
                cond(CondStatus::False, Reason::Closed, "every port of the run is closed")
            }
            State::Waiting { .. } | State::Moving { .. } => {
                cond(CondStatus::Unknown, Reason::Closed, "ports are opened when the first node is begun")
            }
        },
    }
}
