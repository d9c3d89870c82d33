//! What an error of a device means for an action.

use super::super::words::Meaning;
use super::super::{Refusal, Trouble as Refused};
use super::trouble;
use crate::drivers::device::Trouble;
use crate::failure::Failure;
use farrier_update::device::Answer;

/// What became of a request.
pub(super) type Answered = (Answer, Option<Trouble>);

/// Returns what an error means for the action.
pub(super) fn refused(error: Refused) -> Answered {
    let status = error.status();
    let meaning = error.refusal().and_then(Refusal::meaning);
    let answer = match (meaning, status) {
        (Some(Meaning::AlreadyInstalled), _) => Answer::AlreadyInstalled,
        // It says so itself; a server in front of it would not.
        (Some(Meaning::Busy | Meaning::InUse), Some(_)) => Answer::NotBegun,
        (Some(meaning), Some(_)) if meaning.reason().is_some() => Answer::Rejected,
        // Not carried out, and may be later: no session, unknown while it starts, or in use.
        (_, Some(401 | 404 | 408 | 409 | 423 | 425 | 429)) => Answer::NotBegun,
        (_, Some(400..=499 | 507)) => Answer::Rejected,
        _ if error.may_have_begun() => Answer::Unknown,
        _ => Answer::NotBegun,
    };
    let is_answer = status.is_some_and(|status| status != 401) && answer != Answer::Unknown;
    let said = Failure::from(error);
    let failure = match meaning.and_then(Meaning::failure) {
        Some((reason, Some(next))) => Failure::new(reason, format!("{}; {next}", said.message)),
        Some((reason, None)) => Failure::new(reason, said.message),
        None => said,
    };
    (answer, Some(Trouble { is_answer, ..trouble(failure) }))
}
