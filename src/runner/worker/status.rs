//! Writes statuses, each based on the version before it, and at the end releases the object.

use super::UpdateWorker;
use super::retry::now;
use crate::api::node_update::{Intent, NodeUpdateStatus};
use crate::api::{NodeUpdate, condition};
use crate::attempt::View;
use crate::attempt::logbook::{self, Entry, Halt};
use crate::failure::chain;
use crate::publish::{self, RUNNER};
use crate::runner::render::{Phase, RenderInput, status};
use crate::runner::{actions, is_finished, release};
use farrier_update::backoff;
use kube::{Api, ResourceExt};
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

/// Maximum time between two tries to record an action: the machine waits meanwhile.
const MAX_RECORD_INTERVAL: Duration = Duration::from_secs(2);

/// Result of a check who owns the object.
enum Ownership {
    /// This runner owns the object.
    Ours,
    /// Another runner owns the object. This worker is about to be stopped.
    OtherRunner,
    /// The object was deleted, even if another object has its name.
    Deleted,
}

impl UpdateWorker<'_> {
    /// Renders the status and writes it until the write succeeds: an important state must not be lost because
    /// the API server is busy or down.
    pub(super) async fn publish(&mut self, phase: &Phase, number: u32) {
        self.shown = self.render(&self.shown, &self.view, phase, number);
        let mut tries = 0;
        while self.shown != self.old {
            if self.write(&self.shown).await {
                self.old = self.shown.clone();
                return;
            }
            tries += 1;
            // sleep: an API server that fails is not asked again at once.
            tokio::time::sleep(backoff(tries, self.seed()).min(Duration::from_secs(30))).await;
        }
    }

    pub(super) fn render(
        &self,
        old: &NodeUpdateStatus,
        view: &View,
        phase: &Phase,
        attempt: u32,
    ) -> NodeUpdateStatus {
        status(&RenderInput {
            old,
            view,
            phase,
            attempt,
            run: &self.update.spec.run_ref.name,
            abilities: self.abilities,
            generation: self.control.borrow().generation,
            drain: self.drain.planned(),
            now: &condition::now(),
        })
    }

    /// Returns true if the status was written, or if the object does not exist any more.
    pub(super) async fn write(&self, status: &NodeUpdateStatus) -> bool {
        let mut written = self.write_once(status).await;
        if written.as_ref().is_err_and(publish::is_conflict) {
            written = match self.reload(status).await {
                Ok(Ownership::Ours) => self.write_once(status).await,
                Ok(Ownership::Deleted) => return true,
                Ok(Ownership::OtherRunner) => return false,
                Err(error) => Err(error),
            };
        }
        match written {
            Ok(()) => true,
            Err(error) if publish::is_gone(&error) => true,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "a status could not be written");
                false
            }
        }
    }

    /// Records an entry of the logbook in the status `shown`. Returns the status as it is stored, and the end of
    /// the hold on the runner's Lease. Repeats the write until the API server answers.
    pub(super) async fn record(
        &self,
        entry: &Entry,
        shown: &NodeUpdateStatus,
    ) -> Result<(NodeUpdateStatus, Instant), Halt> {
        let mut recorded = actions::read(&shown.actions);
        let is_known = |id| recorded.iter().any(|action| action.id == id);
        if matches!(entry, Entry::Intent(intent) if is_known(intent.id)) {
            // The attempt was decided without this action.
            return Err(Halt::OtherRunner);
        }
        logbook::apply(&mut recorded, entry, &self.context.name, now());
        let status = NodeUpdateStatus { actions: actions::written(&recorded), ..shown.clone() };
        let is_work = entry.is_work();
        let mut tries = 0;
        loop {
            // Read before the write, so that the answer is never later than the hold.
            let until = self.context.holds.until().ok_or(Halt::LeaseLost)?;
            let Err(error) = self.write_once(&status).await else { return Ok((status, until)) };
            if publish::is_gone(&error) {
                return Err(Halt::Gone);
            }
            if publish::is_conflict(&error) {
                match self.reload(&status).await {
                    Ok(Ownership::Ours) if is_work && self.is_cancel_recorded() => {
                        return Err(Halt::Cancelled);
                    }
                    Ok(Ownership::Ours) => continue,
                    Ok(Ownership::OtherRunner) => return Err(Halt::OtherRunner),
                    Ok(Ownership::Deleted) => return Err(Halt::Gone),
                    Err(_) => {}
                }
            }
            tracing::warn!(error = %chain(&error), "an action could not be recorded; it is tried again");
            tries += 1;
            // sleep: an API server that fails is not asked again at once.
            tokio::time::sleep(backoff(tries, self.seed()).min(MAX_RECORD_INTERVAL)).await;
        }
    }

    fn is_cancel_recorded(&self) -> bool {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).spec.intent == Intent::Cancel
    }

    /// Writes the status with the known version as a precondition. A runner that has taken over has made
    /// another version.
    async fn write_once(&self, status: &NodeUpdateStatus) -> Result<(), kube::Error> {
        let known = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let written = publish::status_of_version(&self.context.client, &known, RUNNER, status).await?;
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = written;
        Ok(())
    }

    /// Reads the current object after a conflict over `writing`, and whether this runner still owns it. The known
    /// version stays the old one if it does not, so that nothing of its successor is overwritten.
    async fn reload(&self, writing: &NodeUpdateStatus) -> Result<Ownership, kube::Error> {
        let Some(fresh) = self.api().get_opt(&self.update.name_any()).await? else {
            return Ok(Ownership::Deleted);
        };
        if fresh.uid() != self.update.uid() {
            return Ok(Ownership::Deleted);
        }
        let actions = |update: &NodeUpdate| {
            update.status.as_ref().map(|status| status.actions.clone()).unwrap_or_default()
        };
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let found = actions(&fresh);
        // Actions that this process has not recorded were recorded by a successor of the same name. Those of
        // `writing` may be there already: the answer to an earlier try was lost.
        let is_known = found == actions(&latest) || found == writing.actions;
        if fresh.spec.runner != self.context.name || !is_known {
            return Ok(Ownership::OtherRunner);
        }
        *latest = fresh;
        Ok(Ownership::Ours)
    }

    /// Releases the object by removing its finalizer. The known version is usually the current one.
    pub(super) async fn release(&self) {
        let mut known = Some(self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let mut tries = 0;
        loop {
            let released = self.remove_finalizer(known.take()).await;
            let Err(error) = released else { return };
            tracing::debug!(error = %chain(&error), "the finalizer stays for now");
            if publish::is_conflict(&error) && tries == 0 {
                tries += 1;
                continue;
            }
            tries += 1;
            // sleep: an API server that fails is not asked again at once.
            tokio::time::sleep(backoff(tries, self.seed()).min(Duration::from_secs(30))).await;
        }
    }

    /// Removes the finalizer from this version of the object, or from the current one. An object whose status
    /// does not say that it has ended keeps its finalizer.
    async fn remove_finalizer(&self, known: Option<NodeUpdate>) -> Result<(), kube::Error> {
        let current = match known.filter(is_finished) {
            Some(known) => Some(known),
            None => self.api().get_opt(&self.update.name_any()).await?,
        };
        match current.filter(|current| current.uid() == self.update.uid() && is_finished(current)) {
            Some(current) => release(self.context, &current).await,
            None => Ok(()),
        }
    }

    fn api(&self) -> Api<NodeUpdate> {
        Api::namespaced(self.context.client.clone(), &self.update.namespace().unwrap_or_default())
    }
}
