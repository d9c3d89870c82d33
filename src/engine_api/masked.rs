//! Keeps credentials out of what an engine reports in free text: it ends up in statuses and events.

use crate::log_store::Secrets;
use farrier_protocol::{Event, EventBody, StepExit};

/// Masks the credentials in the texts of an event.
#[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds quote nothing that a program printed")]
pub(super) fn mask(event: &mut Event, secrets: &Secrets) {
    match &mut event.body {
        EventBody::StepFinished { output, exit, .. } => {
            secrets.mask_text(output);
            if let StepExit::NotStarted { detail, .. } = exit {
                secrets.mask_text(detail);
            }
        }
        EventBody::TaskFailed { message, .. } => secrets.mask_text(message),
        _ => {}
    }
}
