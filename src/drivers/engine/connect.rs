//! Connects to the machine, deploys the engine, and reconnects after a loss.

use super::reboot::Tries;
use super::return_path::EngineCallback;
use super::waits::Shown;
use super::{DeployProgress, Deployed, Host, Launch, Milestone, NotDeployed, Session, limits};
use crate::attempt::{Step, Waiting};
use crate::failure::Failure;
use crate::metrics::result_of;
use farrier_update::Reason;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How long the session tries to reconnect to a lost machine before the attempt ends: longer than most
/// machines take to reboot. The engine continues meanwhile, and the next attempt can resume its work.
const RECONNECT_TIMEOUT: Duration = Duration::from_mins(5);

/// Time between two connection attempts.
pub(super) const RECONNECT_INTERVAL: Duration = Duration::from_secs(5);

/// Time between two checks whether another engine still runs.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

impl<H: Host> Session<'_, H> {
    /// Keeps the engine running and served until it has retired. Returns the machine for the final check.
    pub(super) async fn keep(&self) -> Result<H, Failure> {
        let mut calls = self.register_callback();
        let (mut machine, mut deployed) =
            if self.job.resumed { self.wait_for_machine().await? } else { self.arrive().await? };
        let mut call = None;
        let mut short = 0;
        let mut foreign_until = None;
        loop {
            let since = Instant::now();
            let talked = match (&deployed.listening, calls.as_mut().filter(|_| deployed.calls_back)) {
                (Some(listening), _) => Box::pin(self.serve_dialled(&machine, listening)).await,
                (None, Some(calls)) => self.serve_callbacks(&machine, calls, call.take()).await,
                (None, None) => self.talk(&machine, &deployed).await,
            };
            if self.engine_api.is_retired() && !self.is_replacing() {
                return Ok(machine);
            }
            if let Some(incompatible) = self.engine_api.incompatible() {
                // An engine that connects must not be answered: each answer renews its lease.
                drop(calls.take());
                // One deadline for the attempt: an engine that is still there after the wait was answered
                // once more, and would otherwise be waited for again.
                let until =
                    *foreign_until.get_or_insert_with(|| Instant::now() + self.incompatible_engine_limit());
                let gone = self.wait_for_incompatible_engine(machine, &deployed, &incompatible, until);
                machine = Box::pin(gone).await?;
                calls = self.register_callback();
                deployed = self.deploy(&machine).await?;
                continue;
            }
            let never_came = deployed.listening.is_some() || deployed.calls_back && !self.has_called();
            if let (Err(failure), true) = (&talked, never_came) {
                self.block(failure.clone());
                (machine, deployed) = self.deploy_otherwise(machine).await?;
                continue;
            }
            short = if self.is_short(since) { short + 1 } else { 0 };
            if short >= limits::MAX_SHORT_STREAMS {
                return Err(talked.err().unwrap_or_else(|| self.keeps_ending()));
            }
            tracing::info!("the stream to the engine ended; reconnecting");
            let called = async {
                match calls.as_mut().filter(|_| deployed.calls_back) {
                    Some(calls) => calls.next_stream().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                back = self.return_to_machine(&machine) => {
                    let (other, now) = back?;
                    machine = other.unwrap_or(machine);
                    deployed = now;
                }
                // The engine connected first.
                stream = called => call = Some(stream),
            }
        }
    }

    /// Reports whether a stream that has begun at this time and ended now has failed. A machine that is being
    /// rebooted ends each stream.
    pub(super) fn is_short(&self, since: Instant) -> bool {
        since.elapsed() < limits::SHORT_STREAM && self.reboot_under_way().is_none()
    }

    /// Deploys the engine again after its port, or the callback server, could not be reached. The SSH connection is
    /// still open, unless the runner was connected to the port before.
    pub(super) async fn deploy_otherwise(&self, machine: H) -> Result<(H, Deployed), Failure> {
        if !machine.is_closed() {
            let deployed = self.deploy(&machine).await?;
            return Ok((machine, deployed));
        }
        let (other, deployed) = self.return_to_machine(&machine).await?;
        Ok((other.unwrap_or(machine), deployed))
    }

    /// Connects for the first time, and deploys the engine.
    async fn arrive(&self) -> Result<(H, Deployed), Failure> {
        let machine = self.connect().await?;
        match self.deploy(&machine).await {
            Ok(deployed) => Ok((machine, deployed)),
            Err(failure) => {
                self.check_after_failed_deploy(&machine).await;
                Err(failure)
            }
        }
    }

    /// Serves the engine over the SSH connection until the stream ends, or until the callback server for
    /// which the engine waits listens.
    async fn talk(&self, machine: &H, deployed: &Deployed) -> Result<(), Failure> {
        tokio::select! {
            talked = machine.talk(deployed, &self.engine_api) => talked,
            () = self.target_available() => Ok(()),
        }
    }

    /// Connects and authenticates.
    #[tracing::instrument(name = "step", skip_all, fields(step = "connect"))]
    pub(super) async fn connect(&self) -> Result<H, Failure> {
        let recorded = self.first_key();
        let metrics = &self.tools.metrics;
        H::connect(self.settings, self.job, recorded.as_deref(), metrics, |milestone| {
            if let Milestone::HostKeyAccepted { first: Some(key) } = &milestone {
                *self.first_key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.clone());
            }
            self.view.send_modify(|v| match milestone {
                Milestone::Reached { address } => v.address = Some(address),
                Milestone::HostKeyAccepted { first } => {
                    v.host_key_accepted = true;
                    v.first_key = first.or(v.first_key.take());
                }
                Milestone::Negotiated { old } => v.old_algorithms = Some(old),
                Milestone::SignedIn => v.authenticated = true,
            });
        })
        .await
    }

    /// Deploys the engine, or attaches to a running one. If another session's engine is at work on the
    /// machine, waits for it to leave.
    #[tracing::instrument(name = "step", skip_all, fields(step = "deploy"))]
    pub(super) async fn deploy(&self, machine: &H) -> Result<Deployed, Failure> {
        let limit = Duration::from_secs(self.job.wait_seconds);
        let (begun, mut waiting) = (Instant::now(), None);
        loop {
            let (failure, holder) = match Box::pin(self.try_deploy(machine)).await {
                Ok(deployed) => return Ok(deployed),
                Err(NotDeployed::Failed(failure)) => return Err(failure),
                Err(NotDeployed::Busy { failure, holder }) => (failure, holder),
            };
            let rest = limit.saturating_sub(begun.elapsed());
            if rest.is_zero() || *self.stop.borrow() {
                return Err(failure);
            }
            let node = &self.job.node;
            let what = format!("another engine to leave {node}");
            let first = || Waiting::new(Reason::MachineBusy, what, "another engine", rest);
            let waiting = waiting.get_or_insert_with(first);
            waiting.holder.clone_from(&holder);
            tracing::info!(reason = %failure.reason, "{}; waiting for it to exit", failure.message);
            let gone = self.process_exited(machine, holder.map(|holder| holder.pid), None);
            let mut stop = self.stop.clone();
            let over = Box::pin(async {
                tokio::select! {
                    gone = gone => gone,
                    // The next try decides how to proceed.
                    () = tokio::time::sleep(rest) => Ok(()),
                    Ok(_) = stop.wait_for(|stop| *stop) => Ok(()),
                }
            });
            self.shown(waiting.clone(), over).await?;
        }
    }

    /// Returns when a process on the machine has exited; if its pid is unknown, returns after an interval.
    /// `dir` is the directory of the process if the process is an engine of this session.
    pub(super) async fn process_exited(
        &self,
        machine: &H,
        pid: Option<u32>,
        dir: Option<&str>,
    ) -> Result<(), Failure> {
        let Some(pid) = pid else {
            // sleep: there is no process to poll.
            tokio::time::sleep(RECONNECT_INTERVAL).await;
            return Ok(());
        };
        loop {
            // sleep: the machine does not report the end of a process.
            tokio::time::sleep(POLL_INTERVAL).await;
            if !machine.has_process(pid, dir).await? {
                return Ok(());
            }
        }
    }

    async fn try_deploy(&self, machine: &H) -> Result<Deployed, NotDeployed> {
        let job = self.job;
        let probe = machine.probe().await?;
        let engine = self.tools.engines.for_machine(&job.node, &probe.system, &probe.arch).await?;
        self.own_engine.get_or_init(|| engine.digest.clone());
        Box::pin(self.find_staged(machine, &probe)).await;
        if *self.stop.borrow()
            && !job.touched
            && probe.existing.is_empty()
            && self.view.borrow().engine.is_none()
        {
            let words = format!("the run was cancelled before anything was put on {}", job.node);
            return Err(Failure::new(Reason::Cancelled, words).into());
        }
        self.view.send_modify(|v| {
            if v.step == Step::Connecting {
                v.step = Step::Deploying;
            }
        });
        let callback = match self.listen_config(&probe)? {
            Some(listens) => Some(listens),
            None => self.return_path(machine, &probe).await?,
        };
        let launch = Launch {
            engine: &engine,
            session: &job.session,
            run: &job.run,
            lease_seconds: job.lease_seconds,
            retention: job.log.retention,
            callback: callback.as_ref().map(|callback| &callback.config),
        };
        let mut shown = None;
        let report = |progress| match progress {
            DeployProgress::Begins => self.view.send_modify(|v| v.deploying = true),
            DeployProgress::Waits { holder, limit } => {
                let what = format!("an earlier deployment to {} to end", job.node);
                let short = "an earlier deployment";
                let waiting = Waiting::new(Reason::MachineBusy, what, short, limit);
                shown = Some(Shown::begin(self.view, Waiting { holder: Some(holder), ..waiting }));
            }
            DeployProgress::Continues => shown = None,
        };
        let deployed = machine.deploy(&launch, &probe, report).await;
        drop(shown);
        let result = deployed.as_ref().map_err(|e| e.clone().failure());
        self.tools.metrics.engine_deploys.count([result_of(&result, Reason::EngineDeployed.as_str())]);
        let deployed = deployed?;
        self.view.send_modify(|v| v.engine = Some(deployed.dir.clone()));
        if let Some(EngineCallback { config, tried: false }) = &callback
            && !self.engine_reaches(machine, &deployed.dir, &config.addresses).await
        {
            // Tries again; the engine is now configured without a callback.
            return Box::pin(self.try_deploy(machine)).await;
        }
        Ok(deployed)
    }

    /// Checks the machine after a failed deployment. Usually nothing is left, and then no clean-up is needed
    /// later. If something is left, the clean-up of the NodeUpdate removes it.
    async fn check_after_failed_deploy(&self, machine: &H) {
        let deploying = self.view.borrow().deploying;
        if !deploying {
            return;
        }
        let looked = self.look(machine).await;
        if looked.found.is_empty() && looked.failure.is_none() {
            self.view.send_modify(|v| v.clean = Some(Ok(())));
        }
    }

    /// Returns to a machine whose engine has not retired: over the existing connection, or over a new
    /// connection, which is returned as well. Retries until a rebooting machine answers.
    async fn return_to_machine(&self, machine: &H) -> Result<(Option<H>, Deployed), Failure> {
        if !machine.is_closed()
            && let Ok(deployed) = self.deploy(machine).await
        {
            return Ok((None, deployed));
        }
        machine.close().await;
        let (machine, deployed) = self.wait_for_machine().await?;
        Ok((Some(machine), deployed))
    }

    /// Reconnects to a machine that has answered before in this attempt, and shows the wait for it.
    async fn wait_for_machine(&self) -> Result<(H, Deployed), Failure> {
        let what = format!("{} to answer again", self.job.node);
        let lost = || Waiting::new(Reason::ConnectionLost, what, "the machine", RECONNECT_TIMEOUT);
        let waiting = self.reboot_wait().unwrap_or_else(lost);
        self.shown(waiting, Box::pin(self.reconnect())).await
    }

    pub(super) async fn reconnect(&self) -> Result<(H, Deployed), Failure> {
        let until = Instant::now() + RECONNECT_TIMEOUT;
        let mut tries = Tries::default();
        loop {
            let arrived = async {
                let machine = self.connect().await?;
                // The machine answers again, whatever the deployment has to wait for.
                self.view.send_modify(|v| v.lost = None);
                let deployed = self.deploy(&machine).await?;
                Ok::<_, Failure>((machine, deployed))
            };
            let arrived = arrived.await;
            if let Err(failure) = &arrived
                && let Some(next) = self.after_failed_try(failure, &mut tries)
            {
                let pause = next?;
                tracing::info!(reason = %failure.reason, "the machine is not back from its reboot yet");
                // sleep: a machine does not tell when it is back.
                tokio::time::sleep(pause).await;
                continue;
            }
            match arrived {
                Ok(arrived) => return Ok(arrived),
                Err(failure) if failure.reason.retryable() && Instant::now() < until => {
                    self.view.send_modify(|v| v.lost = Some(failure.clone()));
                    tracing::info!(reason = %failure.reason, "the machine is not back yet");
                    // sleep: a machine does not tell when it is back.
                    tokio::time::sleep(RECONNECT_INTERVAL).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    pub(super) fn keeps_ending(&self) -> Failure {
        Failure::new(
            Reason::EngineLost,
            format!(
                "the stream to the engine on {} keeps closing; check /var/log/farrier/{} on the machine",
                self.job.node, self.job.run
            ),
        )
    }
}
