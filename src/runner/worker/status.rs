//! What a task writes: statuses, each over the version before it, and at the end the release.

use super::UpdateWorker;
use crate::api::node_update::NodeUpdateStatus;
use crate::api::{NodeUpdate, condition};
use crate::failure::chain;
use crate::publish::{self, RUNNER};
use crate::runner::render::{Phase, RenderInput, status};
use crate::runner::{is_finished, release};
use crate::session::View;
use farrier_update::backoff;
use kube::{Api, ResourceExt};
use std::sync::PoisonError;
use std::time::Duration;

/// Ownership object it is.
enum Ownership {
    /// This runner's.
    Ours,
    /// Another runner's. This task is about to be ended.
    OtherRunner,
    /// It is gone, even if there is another one with its name.
    Deleted,
}

impl UpdateWorker<'_> {
    /// Renders and writes until it is written: a state that matters must not be lost because the
    /// API server is busy or down.
    pub(super) async fn publish(&mut self, phase: &Phase, number: u32) {
        self.shown = self.render(&self.shown, &self.view, phase, number);
        let mut tries = 0;
        while self.shown != self.old {
            if self.write(&self.shown).await {
                self.old = self.shown.clone();
                return;
            }
            tries += 1;
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
            generation: self.control.borrow().generation,
            now: &condition::now(),
        })
    }

    /// True: written, or there is nothing to write to any more.
    pub(super) async fn write(&self, status: &NodeUpdateStatus) -> bool {
        let mut written = self.write_once(status).await;
        if written.as_ref().is_err_and(publish::is_conflict) {
            written = match self.look_again().await {
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

    /// Writes over the version that is known. Whoever has taken over meanwhile has made another.
    async fn write_once(&self, status: &NodeUpdateStatus) -> Result<(), kube::Error> {
        let known = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let written = publish::status_of_version(&self.context.client, &known, RUNNER, status).await?;
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = written;
        Ok(())
    }

    /// Somebody else has written: reads what there is now, and whether it is ours to write to.
    async fn look_again(&self) -> Result<Ownership, kube::Error> {
        let Some(fresh) = self.api().get_opt(&self.update.name_any()).await? else {
            return Ok(Ownership::Deleted);
        };
        if fresh.uid() != self.update.uid() {
            return Ok(Ownership::Deleted);
        }
        let whose =
            if fresh.spec.runner == self.context.name { Ownership::Ours } else { Ownership::OtherRunner };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(whose)
    }

    /// The object may go: its finalizer is taken off. The version that is known is mostly the last one.
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
            tokio::time::sleep(backoff(tries, self.seed()).min(Duration::from_secs(30))).await;
        }
    }

    /// Takes the finalizer off this version of the object, or off the one that there is now. One that
    /// has not ended, as far as its status says, keeps it.
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
