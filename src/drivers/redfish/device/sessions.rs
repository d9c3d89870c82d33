//! Sessions of ours on a device, and those that may be ours because the answer to a sign-in was lost.

use super::super::inventory::Inventory as Everything;
use super::super::{Link, Resource, Session, Trouble};
use farrier_update::device::{Action, ActionId, Artifact, ArtifactKind, Ending, State, Ticket, Verb};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// How much earlier than its sign-in was recorded a session may say that it was created: clocks of BMCs count
/// seconds.
const BEFORE: SignedDuration = SignedDuration::from_secs(5);

/// From where a session was opened, where the device tells.
const ORIGIN: &str = "/ClientOriginIPAddress";

/// How much later: how long a runner may take to send a request, and the device to receive it.
const AFTER: SignedDuration = SignedDuration::from_mins(3);

/// Sessions that may be those of sign-ins whose answer was lost.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) found: Vec<Artifact>,
    /// Whether there can be no other one.
    pub(super) is_complete: bool,
}

/// Reports whether an action is a sign-in whose answer is not known.
pub(super) fn is_lost(action: &Action) -> bool {
    let is_settled = action.state == State::Ended && action.ending == Some(Ending::Unverified);
    action.verb == Verb::SignIn && (action.state == State::Intended || is_settled)
}

/// Returns the recorded sessions that are on the device.
///
/// # Errors
/// What concerns the device as a whole.
pub(super) async fn known(
    session: &Session,
    sessions: &BTreeMap<ActionId, Link>,
) -> Result<Vec<Artifact>, Trouble> {
    let mut found = Vec::new();
    for (action, link) in sessions {
        match session.get(link).await {
            Ok(_) => found.push(artifact(*action, link)),
            Err(error) if matches!(error.status(), Some(404 | 410)) => {}
            // It is not shown, which does not prove that it is not there.
            Err(error) if error.is_about_resource() => found.push(artifact(*action, link)),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Looks for the sessions of sign-ins whose answer was lost: those of the same account, created at that time, that
/// are not known.
///
/// # Errors
/// What concerns the device as a whole.
pub(super) async fn lost(
    session: &Session,
    everything: &Everything,
    known: &BTreeMap<ActionId, Link>,
    lost: &[&Action],
) -> Result<Lost, Trouble> {
    let mut result = Lost { found: Vec::new(), is_complete: true };
    let Some(collection) = everything.root.sessions.as_ref().filter(|_| !lost.is_empty()) else {
        return Ok(result);
    };
    let (members, is_whole) = Everything::collection(session, collection).await?;
    result.is_complete = is_whole;
    let ahead = everything.managers.iter().find_map(|manager| manager.ahead);
    let is_known = |link: &Link| known.values().any(|own| own.is_same(link));
    let origin = members.iter().find(|(link, _)| session.link().is_some_and(|own| own.is_same(link)));
    let origin = origin.and_then(|(_, own)| own.text(ORIGIN));
    // Sessions of our account that nobody has recorded.
    let unknown = members.iter().filter(|(link, resource)| {
        let user = resource.text("/UserName");
        !is_known(link) && user.is_none_or(|user| user.eq_ignore_ascii_case(session.user()))
    });
    for (link, resource) in unknown {
        let is_from_here = origin.is_none() || resource.text(ORIGIN).is_none_or(|from| Some(from) == origin);
        let created = ahead.and_then(|ahead| created(resource, ahead)).filter(|_| is_from_here);
        let of: Vec<_> = lost.iter().filter(|action| created.is_some_and(|at| is_of(action, at))).collect();
        match of[..] {
            [action] if resource.has("/UserName") => result.found.push(artifact(action.id, link)),
            // It may be ours, or that of somebody else with the same account.
            _ => result.is_complete = false,
        }
    }
    // Of several sessions, only one is ours, and nobody can tell which.
    let count = |action: ActionId| result.found.iter().filter(|found| found.action == action).count();
    let doubtful: Vec<ActionId> =
        lost.iter().map(|action| action.id).filter(|&action| count(action) > 1).collect();
    result.is_complete &= doubtful.is_empty();
    result.found.retain(|found| !doubtful.contains(&found.action));
    Ok(result)
}

/// Returns when a session was created, by the operator's clock.
fn created(resource: &Resource, ahead: SignedDuration) -> Option<Timestamp> {
    let created: Timestamp = resource.text("/CreatedTime")?.parse().ok()?;
    created.checked_sub(ahead).ok()
}

/// Reports whether a session that was created at this time may be that of a sign-in. The time of an action is that of
/// its last change: of one that is settled, later than the request.
fn is_of(action: &Action, created: Timestamp) -> bool {
    let Ok(at) = Timestamp::from_millisecond(i64::try_from(action.at.0).unwrap_or(i64::MAX)) else {
        return false;
    };
    let before = if action.state == State::Intended { BEFORE } else { AFTER };
    let apart = created.duration_since(at);
    apart >= -before && apart <= AFTER
}

fn artifact(action: ActionId, link: &Link) -> Artifact {
    let ticket = Ticket(link.as_str().to_owned());
    Artifact { kind: ArtifactKind::Session, ticket, action, whole: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrier_update::Millis;
    use farrier_update::device::Intent;

    fn sign_in(at: u64) -> Action {
        let none = String::new;
        let intent = Intent {
            id: ActionId(1),
            verb: Verb::SignIn,
            component: none(),
            of: None,
            follows: none(),
            to: none(),
            boot: none(),
            members: Vec::new(),
            until: None,
        };
        intent.into_action("a".into(), Millis(at))
    }

    /// The session of somebody else with the same account must stay.
    #[test]
    fn only_a_session_of_that_time_may_be_ours() {
        let action = sign_in(1_000_000);
        let created = |second: i64| Timestamp::from_second(second).unwrap();
        for (second, is_ours) in [(990, false), (996, true), (1000, true), (1170, true), (1200, false)] {
            assert_eq!(is_of(&action, created(second)), is_ours, "{second}");
        }
    }
}
