//! Assembles a decision: status and wake-up time follow from the other parts.

use super::paths;
use super::progress::Fleet;
use super::state::State;
use super::status::render;
use super::{Decision, Effect, Observed, WaitingOn, Wake};
use crate::model::NodeName;
use crate::reason::Reason;
use std::time::Duration;

/// How often a run that waits for another run checks again. A run does not watch the
/// NodeUpdates of other runs. Half a minute is short compared to an update, and is a
/// negligible load for the API server.
pub(super) const RESYNC_INTERVAL: Duration = Duration::from_secs(30);

/// Assembles a decision; status and wake-up time follow from the other parts.
pub(super) fn conclude(
    observed: &Observed,
    fleet: &Fleet<'_>,
    effects: Vec<Effect>,
    waiting: Vec<(NodeName, WaitingOn)>,
    state: &State,
) -> Decision {
    conclude_with_paths(observed, fleet, effects, waiting, state, false)
}

/// As [`conclude`]; `wants` means that a node would be started if the network paths to it
/// were open.
pub(super) fn conclude_with_paths(
    observed: &Observed,
    fleet: &Fleet<'_>,
    mut effects: Vec<Effect>,
    waiting: Vec<(NodeName, WaitingOn)>,
    state: &State,
    wants: bool,
) -> Decision {
    let records = effects.iter().any(|effect| matches!(effect, Effect::RecordTargets { .. }));
    let paths = paths::effect(observed, fleet, &effects, wants).filter(|_| !records);
    if paths == Some(Effect::ClosePaths) {
        // The run is released or deleted only after its network paths are closed.
        effects.retain(|effect| !matches!(effect, Effect::ReleaseRun | Effect::DeleteRun));
    }
    let ends_open = matches!(state, State::Ended(_)) && observed.run.finished.is_none();
    let state = if ends_open && !observed.paths.are_closed() { &State::Closing } else { state };
    // The addresses behind a host name may change without any notification, so open paths
    // are checked regularly.
    let checks_paths = paths == Some(Effect::OpenPaths);
    if let Some(paths) = paths {
        effects.insert(0, paths);
    }
    let look_again = |waiting_on: &WaitingOn| {
        matches!(
            waiting_on.reason,
            Reason::WaitingForNode | Reason::PartnerAtWork | Reason::WaitingForFaultDomain
        )
        .then(|| observed.now.after(RESYNC_INTERVAL))
    };
    let wake = waiting
        .iter()
        .filter_map(|(_, waiting_on)| waiting_on.until.or_else(|| look_again(waiting_on)))
        .chain(checks_paths.then(|| observed.now.after(RESYNC_INTERVAL)))
        .filter(|&until| until > observed.now)
        .min()
        .map_or(Wake::OnChange, Wake::At);
    let begun = effects.iter().flat_map(|effect| match effect {
        Effect::RecordStarts { nodes } => nodes.clone(),
        Effect::RecordTargets { .. }
        | Effect::Start { .. }
        | Effect::SetIntent { .. }
        | Effect::OpenPaths
        | Effect::ClosePaths
        | Effect::ReleaseRun
        | Effect::DeleteRun => Vec::new(),
    });
    let status = render(observed, fleet, &begun.collect::<Vec<_>>(), state);
    Decision { effects, waiting, status, wake, confirm: false }
}
