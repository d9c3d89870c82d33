//! The state that the parts of a running engine share: its session, directory and logs.

use crate::apply_error::ApplyError;
use crate::args::Session;
use crate::digest::Digest;
use crate::firewall::FirewallLeases;
use crate::logs::Logs;
use crate::output::Output;
use crate::shared::Shared;
use crate::work_dir::WorkDir;
use farrier_protocol::{EventBody, FailureCode, Payload, Step};
use std::path::PathBuf;
use std::sync::Arc;

/// The context of every task.
pub(crate) struct Engine {
    /// The engine's session.
    pub(crate) session: Session,
    /// Its directory.
    pub(crate) place: WorkDir,
    /// Its logs.
    pub(crate) logs: Logs,
    /// The log that the runner reads.
    pub(crate) output: Arc<Output>,
    /// Shared with the link.
    pub(crate) shared: Arc<Shared>,
    /// The engine's rules in the machine's firewall.
    pub(crate) firewall: Arc<FirewallLeases>,
}

impl Engine {
    /// Records an event that has already happened. If it cannot be written to the disk, it is delivered
    /// from memory; nothing more can be done about it.
    pub(crate) fn report(&self, body: EventBody) {
        self.shared.record(body).ok();
    }

    /// Returns the path of the payload of a step, whether or not it has been fetched.
    pub(crate) fn payload(&self, step: &Step, payload: &Payload) -> Result<PathBuf, ApplyError> {
        Ok(self.place.payloads().join(payload_digest(step, payload)?.hex()))
    }
}

/// Returns the digest that a step's payload must have.
pub(crate) fn payload_digest(step: &Step, payload: &Payload) -> Result<Digest, ApplyError> {
    payload.digest.parse().map_err(|message| ApplyError::other(&step.component, message))
}

/// Returns the event for a task that could not be done at all.
pub(crate) fn failed(task: &str, code: FailureCode, component: &str, message: String) -> EventBody {
    EventBody::TaskFailed { task: task.into(), code, component: component.into(), message }
}
