//! Staged payloads: a run with operation Stage leaves them on the machine, and a later update finds them.
//!
//! Staging begins when the engine has left: from then on the machine has nothing of this session but what the user
//! wants to keep there. See docs/adr/0048.

use super::host::{StageFile, StageOrder, StagedPayload, StagedPayloads};
use super::{Host, Probe, Session, limits};
use crate::attempt::{self, End, Goal, StagedUntil, Step, Waiting};
use crate::failure::Failure;
use crate::payload::Stored;
use farrier_protocol::Reading;
use farrier_update::device::Scope;
use farrier_update::{NodePlan, Outcome, Reason, conclude_staged};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long users are told that the transfer may take. The limit of each payload follows from its size.
const TRANSFER: Duration = Duration::from_hours(1);

/// What is to be staged when the engine has left.
pub(super) struct Staging {
    plan: Arc<NodePlan>,
    readings: BTreeMap<String, Reading>,
    files: Vec<StageFile>,
    /// The parent directory of the engine's directory.
    place: String,
}

impl<H: Host> Session<'_, H> {
    /// Whether the run stages payloads and installs nothing.
    pub(super) fn is_staging(&self) -> bool {
        self.job.goal == Goal::Update && self.job.device.scope == Scope::Stage
    }

    /// Looks for payloads that an earlier run has staged, before the first deployment of an update. They are
    /// carried again if that is not possible.
    pub(super) async fn find_staged(&self, machine: &H, probe: &Probe) {
        if !probe.has_staged {
            self.view.send_modify(|v| v.has_none_staged = true);
        }
        let is_update = self.job.goal == Goal::Update && self.job.device.scope == Scope::Install;
        if !probe.has_staged || !is_update || self.staged.get().is_some() {
            return;
        }
        let found = machine.staged(&self.job.digests()).await.unwrap_or_else(|failure| {
            tracing::warn!(reason = %failure.reason, "staged payloads are not used: {}", failure.message);
            StagedPayloads::default()
        });
        self.staged.get_or_init(|| found);
    }

    /// Returns the payload with this digest, if it is staged where the engine looks for it.
    pub(super) fn staged(&self, digest: &str) -> Option<&StagedPayload> {
        let engine = self.view.borrow().engine.clone()?;
        let place = Path::new(&engine).parent()?.to_str()?.to_owned();
        self.staged.get()?.right.iter().find(|staged| staged.digest == digest && staged.place == place)
    }

    /// Adds to the failure of a source that the payload was staged, and is another file by now.
    pub(super) fn explain_changed(&self, digest: &str, failure: Failure) -> Failure {
        let is_changed = self.staged.get().is_some_and(|found| found.changed.iter().any(|d| d == digest));
        if !is_changed {
            return failure;
        }
        let message = format!(
            "{}; the staged file on {} was not the one with this digest any more, and was removed",
            failure.message, self.job.node
        );
        Failure::new(failure.reason, message)
    }

    /// Fetches what is to be staged from its sources. It is staged when the engine has left.
    pub(super) async fn prepare_staging(
        &self,
        plan: &Arc<NodePlan>,
        readings: BTreeMap<String, Reading>,
    ) -> Result<End, Failure> {
        let fetched = self.fetch(plan).await?;
        if *self.stop.borrow() {
            return Ok(End::Cancelled);
        }
        let file = |(digest, Stored { path, size, .. }): (String, Stored)| StageFile { digest, size, path };
        let files = fetched.into_iter().map(file).collect();
        let engine = self.view.borrow().engine.clone().unwrap_or_default();
        let place = Path::new(&engine).parent().and_then(Path::to_str).unwrap_or_default().to_owned();
        self.staging.get_or_init(|| Staging { plan: plan.clone(), readings, files, place });
        // The staging has another end, unless the engine does not leave.
        Ok(End::Failed(self.stalled("retire", limits::LEAVING)))
    }

    /// Stages what was prepared, if the work has come so far. Returns the end of the attempt.
    pub(super) async fn finish_staging(
        &self,
        worked: Result<End, Failure>,
        machine: Result<H, Failure>,
    ) -> (Result<End, Failure>, Result<H, Failure>) {
        let (Some(staging), Ok(_)) = (self.staging.get(), &worked) else { return (worked, machine) };
        let machine = match machine {
            Ok(machine) if machine.is_closed() => Box::pin(self.connect()).await,
            other => other,
        };
        match machine {
            Ok(machine) => (self.stage(&machine, staging).await, Ok(machine)),
            Err(failure) => (Err(failure.clone()), Err(failure)),
        }
    }

    async fn stage(&self, machine: &H, staging: &Staging) -> Result<End, Failure> {
        let Staging { plan, readings, files, place } = staging;
        self.step(Step::Staging);
        let lease = self.job.stage_for;
        let mut carried = 0;
        if !files.is_empty() {
            let order = StageOrder { place, lease, files };
            let what = format!("the payloads to arrive on {}", self.job.node);
            let waiting = Waiting::new(Reason::InProgress, what, "the payloads", TRANSFER);
            let served = &self.tools.metrics.payload_served;
            let sent = |bytes| {
                carried += bytes;
                served.add([], bytes);
            };
            let staged = tokio::select! {
                staged = self.shown(waiting, Box::pin(machine.stage(&order, sent))) => staged,
                // The release of the leases removes what was carried.
                () = self.stopped() => return Ok(End::Cancelled),
            };
            if let Err(failure) = staged {
                if carried > 0 {
                    let until = attempt::now().after(lease);
                    let words = format!("what was carried of the payloads, in {place}, until {until}");
                    self.view.send_modify(|v| v.kept.push(words));
                }
                return Err(failure);
            }
        }
        let until = attempt::now().after(lease);
        tracing::info!(carried, payloads = files.len(), "the payloads are staged");
        self.view.send_modify(|v| {
            v.payloads_verified = plan.payload_steps();
            v.kept.extend(files.iter().map(|file| format!("the payload {}, until {until}", file.digest)));
            v.staged.extend(files.iter().map(|file| StagedUntil { digest: file.digest.clone(), until }));
        });
        Ok(self.end_with(conclude_staged(plan, readings, &until.to_string())))
    }

    /// Takes back leases of a session that was cancelled, and removes staged payloads that were installed.
    pub(super) async fn settle_staged(
        &self,
        machine: &H,
        worked: &Result<End, Failure>,
    ) -> Result<(), Failure> {
        let is_cancelled = matches!(worked, Ok(End::Cancelled)) || *self.stop.borrow();
        let is_over = self.job.goal == Goal::CleanUp || (self.is_staging() && is_cancelled);
        if is_over {
            if machine.probe().await?.has_staged {
                machine.release_staged().await?;
            }
            self.view.send_modify(|v| v.staged.clear());
            return Ok(());
        }
        let Some(found) = self.staged.get() else { return Ok(()) };
        let (used, kept) = self.used(found);
        // Also without any: the look may have failed after it had taken leases.
        machine.remove_staged(&used).await?;
        self.view.send_modify(|v| {
            v.kept.extend(
                kept.iter().map(|digest| format!("the payload {digest}, which an earlier run has staged")),
            );
            v.unstaged = [used, found.changed.clone()].concat();
        });
        Ok(())
    }

    /// Returns the digests of staged payloads whose components are installed, and those of all others.
    fn used(&self, found: &StagedPayloads) -> (Vec<String>, Vec<String>) {
        let view = self.view.borrow();
        let is_installed = |digest: &String| {
            let of = |name: &str| view.results.iter().find(|result| result.name == name);
            let mut components = self.job.components.iter().filter(|c| c.digest() == Some(digest)).peekable();
            components.peek().is_some()
                && components.all(|component| {
                    of(&component.name).is_some_and(|result| {
                        matches!(
                            result.outcome,
                            Outcome::Updated | Outcome::RebootPending | Outcome::UpToDate
                        )
                    })
                })
        };
        found.right.iter().map(|staged| staged.digest.clone()).partition(is_installed)
    }
}
