//! The record of a drain in the status of a NodeUpdate.

use crate::api::node_update::{DrainState, DrainStatus};
use crate::attempt::{Drained, View};
use crate::runner::actions::{millis, time};
use farrier_update::drain::{Record, State};

/// Returns the record; `None` if nothing was begun.
pub(super) fn of(stored: &DrainStatus) -> Option<Record> {
    let state = match stored.state {
        DrainState::Planned => return None,
        DrainState::Draining => State::Draining,
        DrainState::Drained => State::Drained,
        DrainState::Undraining => State::Undraining,
        DrainState::Undrained => State::Undrained,
    };
    let at = |time: &Option<_>| time.as_ref().map(millis).unwrap_or_default();
    Some(Record { state, round: stored.round, since: at(&stored.since), until: at(&stored.until) })
}

/// Returns the record as a status has it.
pub(super) fn status(drained: &Drained) -> DrainStatus {
    let Drained { what, kubernetes_node, record: Record { state, round, since, until } } = drained;
    DrainStatus {
        state: match state {
            State::Draining => DrainState::Draining,
            State::Drained => DrainState::Drained,
            State::Undraining => DrainState::Undraining,
            State::Undrained => DrainState::Undrained,
        },
        what: what.clone(),
        kubernetes_node: kubernetes_node.clone(),
        round: *round,
        since: Some(time(*since)),
        until: Some(time(*until)),
    }
}

/// Returns what a status says about the drain: what this attempt has recorded, or an earlier one, or what the plan will
/// need. `planned`: what it says if the machine will be drained.
pub(in crate::runner) fn rendered(
    old: Option<&DrainStatus>,
    view: &View,
    planned: Option<&DrainStatus>,
) -> Option<DrainStatus> {
    match (&view.drain, old) {
        (Some(drained), _) => Some(status(drained)),
        (None, Some(old)) if old.state != DrainState::Planned => Some(old.clone()),
        (None, Some(_) | None) if view.plan.is_some() => planned.filter(|_| view.is_disrupted).cloned(),
        (None, old) => old.cloned(),
    }
}

/// Reports whether a record must be stored before anything else is done.
pub(in crate::runner) fn stays(stored: Option<&DrainStatus>, shown: Option<&DrainStatus>) -> bool {
    stored == shown || shown.is_none_or(|shown| shown.state == DrainState::Planned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::{Millis, NodePlan};
    use std::sync::Arc;

    fn planned() -> DrainStatus {
        let (state, what) = (DrainState::Planned, "Node w-17".to_owned());
        DrainStatus { state, what, kubernetes_node: Some("w-17".into()), round: 0, since: None, until: None }
    }

    /// Otherwise a successor would begin a drain anew that is under way, with another deadline, or never take it back.
    #[test]
    fn a_record_is_read_as_it_was_written() {
        for state in [State::Draining, State::Drained, State::Undraining, State::Undrained] {
            let record = Record {
                state,
                round: 2,
                since: Millis(1_764_500_000_123),
                until: Millis(1_764_500_900_123),
            };
            let drained = Drained { what: "Node w-17".into(), kubernetes_node: Some("w-17".into()), record };
            assert_eq!(of(&status(&drained)), Some(record));
        }
        assert_eq!(of(&planned()), None);
    }

    /// Otherwise nobody learns from a plan that pods will be evicted; or a record is lost when the next attempt begins,
    /// and the Node stays cordoned.
    #[test]
    fn a_plan_shows_a_drain_and_an_attempt_keeps_its_record() {
        let disrupting = View {
            plan: Some(Arc::new(NodePlan { items: Vec::new() })),
            is_disrupted: true,
            ..View::default()
        };
        assert_eq!(rendered(None, &disrupting, Some(&planned())), Some(planned()));
        let harmless = View { is_disrupted: false, ..disrupting.clone() };
        assert_eq!(rendered(Some(&planned()), &harmless, Some(&planned())), None);
        let recorded = DrainStatus { state: DrainState::Drained, ..planned() };
        for view in [disrupting, View::default()] {
            assert_eq!(rendered(Some(&recorded), &view, Some(&planned())), Some(recorded.clone()));
        }
    }
}
