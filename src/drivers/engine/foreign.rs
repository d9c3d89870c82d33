//! Engines of another build than the operator's own: the operator was upgraded or rolled back while the
//! machine was being updated. `docs/adr/0019` describes the guarantees.

use super::limits;
use super::{Deployed, Host, Session};
use crate::attempt::{Step, Waiting};
use crate::engine_api::Incompatible;
use crate::failure::Failure;
use farrier_protocol::{Task, Work};
use farrier_update::Reason;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Name of the engine in the process list.
const ENGINE: &str = "farrier-engine";

/// Maximum time that an engine takes to exit after its lease has expired.
const LEAVING: Duration = Duration::from_secs(30);

impl<H: Host> Session<'_, H> {
    /// Whether an engine of another build retires so that the operator's own engine can replace it.
    pub(super) fn is_replacing(&self) -> bool {
        self.replacing.load(Ordering::Relaxed)
    }

    /// Ensures that the operator's own engine performs a task, unless the running engine has already begun
    /// it.
    ///
    /// An engine of another build finishes what it has begun. It receives no new tasks: it may not know the
    /// requested work, or may do the work as an older version did.
    pub(super) async fn ensure_own_engine(&self, task: &Task) -> Result<(), Failure> {
        if self.engine_api.knows_task(&task.id) {
            return Ok(());
        }
        let mut view = self.view.subscribe();
        // The own engine's digest is known once the machine is known; an engine that connects may be earlier.
        if view.wait_for(|v| v.engine.is_some()).await.is_err() {
            return Ok(());
        }
        let (Some(own), Some(peer)) = (self.own_engine.get(), self.engine_api.peer()) else {
            return Ok(());
        };
        if peer.digest.as_ref() == Some(own) {
            return Ok(());
        }
        tracing::info!(theirs = ?peer.digest, ours = own, "the running engine is of another build; replacing it with this operator's engine");
        self.replacing.store(true, Ordering::Relaxed);
        let replaced = Box::pin(self.replace(own)).await;
        self.replacing.store(false, Ordering::Relaxed);
        replaced
    }

    async fn replace(&self, own: &str) -> Result<(), Failure> {
        let events = self.engine_api.events_after(0);
        let last = events.last().map_or(0, |event| event.seq);
        let retire = Task { id: format!("replace-{last}"), work: Work::Retire };
        let limit = limits::of(&retire.work, &events, &self.job.components);
        let retired = limits::within(limit, &self.stop, self.engine_api.perform(retire)).await;
        retired.ok_or_else(|| self.stalled("retire", limit))?;
        let greeted = limits::within(limits::GREETING, &self.stop, self.engine_api.greeted_by(own)).await;
        greeted.ok_or_else(|| self.stalled("greeting", limits::GREETING))
    }

    /// Waits until an engine with an incompatible protocol has exited. Returns a connected machine.
    ///
    /// The engine is not stopped: it finishes the current step, and exits when nobody has answered it for the
    /// length of its lease. Its journal remains, and the operator's own engine reads it.
    ///
    /// # Errors
    /// `EngineIncompatible` at `until`, the deadline of all such waits of this attempt.
    pub(super) async fn wait_for_incompatible_engine(
        &self,
        machine: H,
        deployed: &Deployed,
        incompatible: &Incompatible,
        until: Instant,
    ) -> Result<H, Failure> {
        let node = &self.job.node;
        let minutes = self.incompatible_engine_limit().as_secs().div_ceil(60);
        let failure = Failure::new(
            Reason::EngineIncompatible,
            format!(
                "{node}: {incompatible}; the engine finishes the component that it is installing and removes itself after {} min without an operator; Farrier waits for that for {minutes} min at most, and then continues the update with an engine of this operator",
                self.job.lease_seconds.div_ceil(60)
            ),
        );
        tracing::warn!(reason = %failure.reason, "{}", failure.message);
        let what = format!("an engine of another version to leave {node} ({incompatible})");
        let rest = until.saturating_duration_since(Instant::now());
        let mut waiting = Waiting::new(Reason::EngineIncompatible, what, "another engine", rest);
        waiting.holder = Some(farrier_protocol::Holder { pid: deployed.pid, name: ENGINE.into() });
        let gone = self.shown(waiting, Box::pin(self.wait_for_exit(machine, deployed, until)));
        let mut stop = self.stop.clone();
        tokio::select! {
            gone = gone => gone?.ok_or(failure),
            // The engine cannot be reached through the protocol. It exits by itself.
            Ok(_) = stop.wait_for(|stop| *stop) => Err(failure),
        }
    }

    /// Maximum time for an incompatible engine to exit.
    pub(super) fn incompatible_engine_limit(&self) -> Duration {
        let lease = Duration::from_secs(self.job.lease_seconds).saturating_add(LEAVING);
        limits::leaving(&self.job.components, lease)
    }

    /// Polls a process until it has exited, over a new connection if this one closes. `None`: the process
    /// still runs at the deadline.
    async fn wait_for_exit(
        &self,
        mut machine: H,
        deployed: &Deployed,
        until: Instant,
    ) -> Result<Option<H>, Failure> {
        while Instant::now() < until {
            let exited = self.process_exited(&machine, Some(deployed.pid), Some(&deployed.dir));
            let gone = tokio::time::timeout_at(until.into(), exited).await;
            match gone {
                Ok(Ok(())) => {
                    self.step(Step::Deploying);
                    return Ok(Some(machine));
                }
                Ok(Err(_)) => {
                    machine.close().await;
                    machine = self.connect().await?;
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }
}
