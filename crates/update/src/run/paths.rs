//! The network paths between runners and machines: opened before a node is started, or when a node at work
//! begins to need them; closed when no node needs them any more, at the latest before the run ends.
//!
//! This module does not know how the paths are opened (ports, Services, NetworkPolicies). Where nothing
//! has to be opened, [`NetworkPaths::free`] says so and the rest of the module has no effect.

use super::progress::{Fleet, NodeProgress};
use super::state::{State, cond};
use super::{Cond, CondStatus, Effect, Intent, Observed, WaitingOn};
use crate::model::{Millis, RunnerName};
use crate::reason::Reason;
use std::collections::BTreeSet;

/// The state of a run's network paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPaths {
    /// From the runners to the machines.
    pub out: PathState,
    /// From the machines to the callback server.
    pub back: PathState,
    /// Runners that the machines can reach. If there are any, only these runners get nodes that call
    /// back.
    pub listening: BTreeSet<RunnerName>,
}

/// The state of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathState {
    /// Nothing has to be opened, because nothing closes the path.
    Free,
    /// The path is closed.
    Closed,
    /// The path is being opened, and no user action is needed.
    Opening {
        /// Why opening takes time.
        reason: Reason,
        /// The reason in words.
        message: String,
        /// Time of the next check at the latest.
        until: Option<Millis>,
    },
    /// The path is partly open, and the rest needs a user action.
    Stuck {
        /// The reason.
        reason: Reason,
        /// The reason in words, with the remedy.
        message: String,
        /// Time of the next attempt.
        until: Option<Millis>,
    },
    /// No part of the path is open, and opening needs a user action.
    Blocked {
        /// The reason.
        reason: Reason,
        /// The reason in words, with the remedy.
        message: String,
        /// Time of the next attempt.
        until: Option<Millis>,
    },
    /// The path will not be opened, because the run's own spec forbids it.
    Refused {
        /// The reason.
        reason: Reason,
        /// The reason in words, with the remedy.
        message: String,
        /// Whether a part of the path is open nevertheless.
        open: bool,
    },
    /// The path is open.
    Open {
        /// What is open, for users.
        message: String,
    },
    /// The path is being closed.
    Closing {
        /// What is still open.
        message: String,
    },
}

impl NetworkPaths {
    /// Returns paths that need no opening, in a run without callbacks.
    pub const fn free() -> Self {
        Self { out: PathState::Free, back: PathState::Closed, listening: BTreeSet::new() }
    }

    /// Reports whether no path is open.
    pub const fn are_closed(&self) -> bool {
        self.out.is_closed() && self.back.is_closed()
    }

    /// Returns what a node has to wait for before it is started.
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
            Self::Closed => (Reason::Exposing, "the network paths to it are about to be opened", None),
            Self::Closing { message } => (Reason::Exposing, message.as_str(), None),
            Self::Opening { reason, message, until }
            | Self::Stuck { reason, message, until }
            | Self::Blocked { reason, message, until } => (*reason, message.as_str(), *until),
            Self::Refused { reason, message, open: _ } => (*reason, message.as_str(), None),
        };
        Some(WaitingOn { reason, message: message.to_owned(), until })
    }
}

/// Returns the effect on the paths. The paths are opened or kept open as the nodes need them while any
/// node is in progress or ready to start; otherwise they are closed. Opening adapts: where the paths to
/// machines are restricted, it closes the way back when no node needs it.
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
        | Effect::OpenPaths
        | Effect::ClosePaths
        | Effect::ReleaseRun
        | Effect::DeleteRun => false,
    };
    let needed =
        observed.run.finished.is_none() && (wants || fleet.active() > 0 || effects.iter().any(begins));
    let concerned = observed.paths.out != PathState::Free || calls_back(observed, fleet);
    if needed && concerned {
        return Some(Effect::OpenPaths);
    }
    (!observed.paths.are_closed()).then_some(Effect::ClosePaths)
}

/// Reports whether any node that is or may be started has to connect to the callback server.
fn calls_back(observed: &Observed, fleet: &Fleet<'_>) -> bool {
    observed.targets.iter().any(|(node, facts)| {
        facts.calls_back
            && !matches!(fleet.nodes.get(node), None | Some(NodeProgress::Done(_) | NodeProgress::Skipped(_)))
    })
}

/// Renders the condition `Exposed`.
pub(super) fn exposed(observed: &Observed, state: &State) -> Cond {
    if observed.paths.back.is_closed() && !observed.targets.values().any(|facts| facts.calls_back) {
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
                "no node has to connect to the operator; no port of the run is open",
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
                cond(CondStatus::Unknown, Reason::Closed, "ports are opened when the first node is started")
            }
        },
    }
}
