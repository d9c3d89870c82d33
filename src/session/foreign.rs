//! Engines of another build than the operator's own: the operator was upgraded, or rolled back, while
//! the machine was being updated. `docs/adr/0019` says what is promised.

use super::limits;
use super::{Session, Step, Waiting};
use crate::drivers::linux::{Deployed, Machine};
use crate::engine_api::Incompatible;
use crate::failure::Failure;
use farrier_protocol::{Task, Work};
use farrier_update::Reason;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What an engine is called in the list of processes.
const ENGINE: &str = "farrier-engine";

/// How much longer than its lease an engine takes to leave at most.
const LEAVING: Duration = Duration::from_secs(30);

impl Session<'_> {
    /// Whether an engine of another build retires so that our own can take its place.
    pub(super) fn is_replacing(&self) -> bool {
        self.replacing.load(Ordering::Relaxed)
    }

    /// Makes sure that a task is done by our own engine, unless the one that is there has begun it.
    ///
    /// An engine of another build brings to its end what it has begun. It is not given anything new:
    /// it may not know what this operator asks for, or do it as an older version did.
    pub(super) async fn ensure_own_engine(&self, task: &Task) -> Result<(), Failure> {
        if self.engine_api.knows_task(&task.id) {
            return Ok(());
        }
        let mut view = self.view.subscribe();
        // Which engine is ours is known once the machine is; an engine that calls may be faster.
        if view.wait_for(|v| v.engine.is_some()).await.is_err() {
            return Ok(());
        }
        let (Some(own), Some(peer)) = (self.own_engine.get(), self.engine_api.peer()) else {
            return Ok(());
        };
        if peer.digest.as_ref() == Some(own) {
            return Ok(());
        }
        tracing::info!(theirs = ?peer.digest, ours = own, "the engine is of another build, and ours takes its place");
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

    /// Waits until an engine is gone that cannot be talked to. Returns a machine that can be talked to.
    ///
    /// Nothing is done to the engine: it brings its step to its end, and leaves when nobody has
    /// answered it for the length of its lease. Its journal stays, and our own engine reads it.
    pub(super) async fn outlast(
        &self,
        machine: Machine,
        deployed: &Deployed,
        incompatible: &Incompatible,
    ) -> Result<Machine, Failure> {
        let node = &self.job.node;
        let limit = self.outlast_limit();
        let minutes = limit.as_secs().div_ceil(60);
        let failure = Failure::new(
            Reason::EngineIncompatible,
            format!(
                "{node}: {incompatible}; the engine finishes the component that it is installing and removes itself after {} min without an operator; this is waited for, for {minutes} min at most, and then the update continues with an engine of this operator",
                self.job.lease_seconds.div_ceil(60)
            ),
        );
        tracing::warn!(reason = %failure.reason, "{}", failure.message);
        let what = format!("an engine of another version to leave {node} ({incompatible})");
        let mut waiting = Waiting::new(Reason::EngineIncompatible, what, "another engine", limit);
        waiting.holder = Some(farrier_protocol::Holder { pid: deployed.pid, name: ENGINE.into() });
        let until = Instant::now() + limit;
        let gone = self.shown(waiting, Box::pin(self.until_left(machine, deployed.pid, until)));
        let mut stop = self.stop.clone();
        tokio::select! {
            gone = gone => gone?.ok_or(failure),
            // It cannot be told. It leaves by itself.
            Ok(_) = stop.wait_for(|stop| *stop) => Err(failure),
        }
    }

    /// How long an engine that cannot be talked to may take to leave.
    pub(super) fn outlast_limit(&self) -> Duration {
        let lease = Duration::from_secs(self.job.lease_seconds).saturating_add(LEAVING);
        limits::leaving(&self.job.components, lease)
    }

    /// Looks at a process until it is gone, over another connection if this one ends. `None`: it is
    /// still there when the time is up.
    async fn until_left(
        &self,
        mut machine: Machine,
        pid: u32,
        until: Instant,
    ) -> Result<Option<Machine>, Failure> {
        while Instant::now() < until {
            let gone = tokio::time::timeout_at(until.into(), self.until_gone(&machine, Some(pid))).await;
            match gone {
                Ok(Ok(())) => {
                    self.step(Step::Deploying);
                    return Ok(Some(machine));
                }
                Ok(Err(_)) => {
                    machine.connection.close().await;
                    machine = self.connect().await?;
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }
}
