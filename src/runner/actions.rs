//! Converts recorded actions between the status and the update logic.

use crate::api::node_update::ActionRecord;
use farrier_update::Millis;
use farrier_update::device::{Action, ActionId, Ending, State, Ticket, Verb};
use farrier_update::model::RunnerName;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads the actions of a status. Words of a later version become `Unknown`.
pub(super) fn read(records: &[ActionRecord]) -> Vec<Action> {
    records.iter().map(action).collect()
}

/// Returns the actions as a status has them.
pub(super) fn written(actions: &[Action]) -> Vec<ActionRecord> {
    actions.iter().map(record).collect()
}

fn action(from: &ActionRecord) -> Action {
    // The pattern has no `..`: a field that was forgotten here would be lost at the next write.
    let ActionRecord {
        id,
        verb,
        component,
        state,
        ending,
        of,
        follows,
        to,
        boot,
        members,
        ticket,
        until,
        by,
        at,
    } = from;
    Action {
        id: ActionId(*id),
        verb: word(verb, Verb::Unknown),
        component: component.clone(),
        state: word(state, State::Unknown),
        of: of.map(ActionId),
        follows: follows.clone(),
        to: to.clone(),
        boot: boot.clone(),
        members: members.clone(),
        ticket: ticket.clone().map(Ticket),
        until: until.as_ref().map(millis),
        by: RunnerName(by.clone()),
        at: millis(at),
        ending: ending.as_deref().map(|ending| word(ending, Ending::Unknown)),
    }
}

fn record(from: &Action) -> ActionRecord {
    let Action { id, verb, component, state, of, follows, to, boot, members, ticket, until, by, at, ending } =
        from;
    ActionRecord {
        id: id.0,
        verb: name(verb),
        component: component.clone(),
        state: name(state),
        ending: ending.as_ref().map(name),
        of: of.map(|id| id.0),
        follows: follows.clone(),
        to: to.clone(),
        boot: boot.clone(),
        members: members.clone(),
        ticket: ticket.as_ref().map(|ticket| ticket.0.clone()),
        until: until.map(time),
        by: by.0.clone(),
        at: time(*at),
    }
}

/// Reads a word of an enumeration; a word of a later version is `unknown`.
fn word<T: DeserializeOwned>(text: &str, unknown: T) -> T {
    serde_json::from_value(text.into()).unwrap_or(unknown)
}

/// Returns the name of a variant.
fn name<T: Serialize>(word: &T) -> String {
    serde_json::to_value(word).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(super) fn millis(at: &MicroTime) -> Millis {
    Millis(u64::try_from(at.0.as_millisecond()).unwrap_or_default())
}

pub(super) fn time(at: Millis) -> MicroTime {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    MicroTime(jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action() -> Action {
        Action {
            id: ActionId(3),
            verb: Verb::SignOut,
            component: "bios".into(),
            state: State::Ended,
            of: Some(ActionId(1)),
            follows: "1.0".into(),
            to: "2.0".into(),
            boot: "b-7".into(),
            members: vec!["Bay 1".into(), "Bay 2".into()],
            ticket: Some(Ticket("/redfish/v1/TaskService/Tasks/7".into())),
            until: Some(Millis(1_764_417_600_123)),
            by: "farrier-0".into(),
            at: Millis(1_764_417_500_456),
            ending: Some(Ending::Done),
        }
    }

    /// An action that changes on its way through the status would be judged wrongly by the next runner, and its
    /// request sent twice.
    #[test]
    fn an_action_survives_the_status() {
        let bare =
            Action { of: None, members: Vec::new(), ticket: None, until: None, ending: None, ..action() };
        for action in [action(), bare] {
            let stored = serde_json::to_string(&written(std::slice::from_ref(&action))).unwrap();
            assert_eq!(read(&serde_json::from_str::<Vec<ActionRecord>>(&stored).unwrap()), [action]);
        }
    }

    /// After a roll-back, the words of the later version must not be read as "not begun".
    #[test]
    fn words_of_a_later_version_are_unknown() {
        let mut later = written(&[action()]);
        (later[0].verb, later[0].state, later[0].ending) =
            ("Licence".into(), "Paused".into(), Some("Postponed".into()));
        let read = read(&later);
        assert_eq!(
            (read[0].verb, read[0].state, read[0].ending),
            (Verb::Unknown, State::Unknown, Some(Ending::Unknown))
        );
    }
}
