//! Machines that take our engine: one attempt, from the first connection to the final check.
//!
//! The walk is the same for every system; what differs is behind the trait [`Host`].
//!
//! ```text
//! keep   connect ─► probe ─► deploy ─► serve ──(lost? reconnect)──► … ─► retired
//! work   survey ─► plan ─► fetch ─► apply ─► survey ─► conclude ─► retire
//! then   check
//! ```
//!
//! `keep` and `work` run concurrently. `keep` maintains the stream to the engine; `work` sends tasks and does
//! not notice when the stream is replaced. A stream is an SSH channel, or a connection that the engine opens
//! to the callback server (`return_path`), or one that the runner
//! opens to the engine's port (`listen`). Whatever the result of `work`, it ends with the engine removing
//! everything from the machine. This module knows neither Kubernetes nor the API types.

mod await_listener;
mod connect;
mod foreign;
mod host;
mod limits;
mod listen;
mod preflight;
mod reboot;
mod record;
mod return_path;
mod stage;
#[cfg(test)]
mod tests;
mod waits;
mod work;

pub use host::{
    DeployProgress, Deployed, Host, Launch, Milestone, NotDeployed, Probe, StageFile, StageOrder,
    StagedPayload, StagedPayloads,
};

use crate::attempt::{Desk, Drain, End, Goal, Job, ListenerWait, NoDrain, Step, Tools, View};
use crate::callback::DialIdentity;
use crate::drivers::Driver;
use crate::engine_api::{EngineApi, PayloadFiles};
use crate::failure::Failure;
use crate::metrics::Counters;
use crate::payload::Store;
use farrier_protocol::{EventBody, LeaseKind};
use farrier_update::Reason;
use futures::future::BoxFuture;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::watch;

/// One attempt.
struct Session<'a, H: Host> {
    settings: &'a H::Settings,
    job: &'a Job,
    tools: &'a Tools,
    stop: watch::Receiver<bool>,
    view: &'a watch::Sender<View>,
    /// Whether the reboot that the view shows is recorded.
    reboot_recorded: watch::Receiver<bool>,
    drain: Arc<dyn Drain>,
    engine_api: Arc<EngineApi>,
    /// The host key that was accepted on first use in this attempt.
    first_key: Mutex<Option<String>>,
    /// Callback addresses that were sent to the engine.
    sent_addresses: Mutex<Vec<(String, u16)>>,
    /// The wait for the callback server, while it does not listen.
    listener_wait: Mutex<Option<ListenerWait>>,
    /// The identity for connections to the engine's port, made when it is needed.
    dial_identity: OnceLock<DialIdentity>,
    /// Prefix of all task ids, set when the engine's journal is known.
    series: OnceLock<String>,
    /// Digest of the operator's own engine for this machine, set when the machine's architecture is known.
    own_engine: OnceLock<String>,
    /// True while an engine of another build retires so that the operator's own engine can replace it.
    replacing: AtomicBool,
    /// What was found of staged payloads, if the machine was searched for them.
    staged: OnceLock<StagedPayloads>,
    /// What is to be staged when the engine has left.
    staging: OnceLock<stage::Staging>,
}

/// The driver of machines that take an engine.
pub struct EngineDriver<H: Host> {
    settings: H::Settings,
}

impl<H: Host> EngineDriver<H> {
    /// Creates the driver of one machine.
    pub fn new(settings: H::Settings) -> Self {
        Self { settings }
    }
}

impl<H: Host> Driver for EngineDriver<H> {
    fn attempt<'a>(&'a self, job: &'a Job, desk: Desk<'a>) -> BoxFuture<'a, End> {
        // The engine keeps a journal of its own.
        let Desk { tools, stop, view, logbook: _, actions: _, offers: _, drain, reboot_recorded } = desk;
        Box::pin(async move {
            if *stop.borrow() && !job.touched {
                return End::Cancelled;
            }
            let session = Session::<H>::new(&self.settings, job, tools, stop, view);
            Session { reboot_recorded, drain, ..session }.run().await
        })
    }
}

impl<'a, H: Host> Session<'a, H> {
    fn new(
        settings: &'a H::Settings,
        job: &'a Job,
        tools: &'a Tools,
        stop: watch::Receiver<bool>,
        view: &'a watch::Sender<View>,
    ) -> Self {
        let served = tools.metrics.payload_served.clone();
        let files = Files { store: tools.store.clone(), digests: job.digests(), served };
        let log = tools.logs.as_ref().map(|logs| logs.writer(&job.session, job.log.secrets.clone()));
        let engine_api = EngineApi::new(&job.session, job.lease_seconds, Box::new(files)).with_log(log);
        let engine_api = Arc::new(engine_api);
        Self {
            settings,
            job,
            tools,
            stop,
            view,
            reboot_recorded: watch::channel(false).1,
            drain: Arc::new(NoDrain),
            engine_api,
            first_key: Mutex::default(),
            sent_addresses: Mutex::default(),
            listener_wait: Mutex::new(job.calls().and_then(|calls| calls.awaited.as_ref()?.begun.clone())),
            dial_identity: OnceLock::new(),
            series: OnceLock::new(),
            own_engine: OnceLock::new(),
            replacing: AtomicBool::new(false),
            staged: OnceLock::new(),
            staging: OnceLock::new(),
        }
    }
}

impl<H: Host> Session<'_, H> {
    async fn run(&self) -> End {
        self.resume_reboot();
        let mut keep = pin!(self.keep());
        let mut work = pin!(self.work());
        let mut machine = None;
        let worked = tokio::select! {
            () = self.cancelled_before_deploy() => return End::Cancelled,
            kept = &mut keep => match kept {
                // The engine has retired; `work` is about to receive that event.
                Ok(kept) => { machine = Some(kept); work.await }
                Err(failure) => return self.end_unreachable(failure),
            },
            never = self.follow() => match never {},
            worked = &mut work => worked,
        };
        if !self.engine_api.is_retired() {
            // Boxed: this path is rare and should not enlarge the future of every attempt.
            Box::pin(self.check_stalled_machine(&worked)).await;
            return worked.unwrap_or_else(End::Failed);
        }
        let machine = match machine {
            Some(machine) => Ok(machine),
            // An engine that retires but does not exit must not block the attempt.
            None => match limits::within(limits::LEAVING, &self.stop, keep).await {
                Some(kept) => kept,
                None => Box::pin(self.connect()).await,
            },
        };
        let (worked, machine) = Box::pin(self.finish_staging(worked, machine)).await;
        let looked = match machine {
            Ok(machine) => self.final_check(machine, &worked).await,
            Err(failure) => Looked::default().and(Err(failure)),
        };
        self.conclude_cleaning(looked);
        match worked {
            Ok(end) => end,
            Err(failure) => End::Failed(failure),
        }
    }

    /// The engine makes no progress and has not retired. Checks what is left on the machine; the session does
    /// not wait for the engine to exit.
    async fn check_stalled_machine(&self, worked: &Result<End, Failure>) {
        self.step(Step::CleaningUp);
        let look = async {
            match self.connect().await {
                Ok(machine) => self.final_check(machine, worked).await,
                Err(failure) => Looked::default().and(Err(failure)),
            }
        };
        let looked = limits::within(limits::LEAVING, &self.stop, look).await;
        let (node, minutes) = (&self.job.node, self.job.lease_seconds.div_ceil(60));
        let (left, seen) = match looked {
            Some(Looked { found, failure: None }) if found.is_empty() => {
                self.view.send_modify(|v| v.clean = Some(Ok(())));
                return;
            }
            Some(Looked { found, failure: Some(failure) }) if found.is_empty() => {
                (found, format!("the last check failed: {}", failure.message))
            }
            Some(Looked { found, failure: _ }) => {
                (found.clone(), format!("{} is still there", found.join(", ")))
            }
            None => (Vec::new(), "the last check did not end".to_owned()),
        };
        let why = worked.as_ref().err().map(|failure| format!(" ({})", failure.message)).unwrap_or_default();
        self.view.send_modify(|v| {
            v.leases = u32::try_from(left.len()).unwrap_or(u32::MAX);
            v.leftovers = left;
            v.clean = Some(Err(Failure::new(
                Reason::CleanupFailed,
                format!(
                    "the engine on {node} has not removed everything: {seen}; a running engine removes it after {minutes} min without contact, otherwise remove it by hand, and check which other users work as root on the machine{why}"
                ),
            )));
        });
    }

    /// The engine is unreachable. It removes everything when its lease expires.
    fn end_unreachable(&self, failure: Failure) -> End {
        if self.view.borrow().engine.is_some() {
            let node = &self.job.node;
            let minutes = self.job.lease_seconds.div_ceil(60);
            self.view.send_modify(|v| {
                v.clean = Some(Err(Failure::new(
                    Reason::CleanupPending,
                    format!("{node} cannot be reached; its engine removes everything after {minutes} min without contact"),
                )));
            });
        }
        End::Failed(failure)
    }

    /// Returns when the run is cancelled before anything was put on the machine: there is nothing to clean
    /// up.
    async fn cancelled_before_deploy(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() || self.job.touched || self.view.borrow().deploying {
            std::future::pending::<()>().await;
        }
    }

    /// Checks whether anything of Farrier's is left on the machine; reconnects if necessary.
    async fn final_check(&self, machine: H, worked: &Result<End, Failure>) -> Looked {
        let machine = if machine.is_closed() {
            match self.connect().await {
                Ok(machine) => machine,
                Err(failure) => return Looked::default().and(Err(failure)),
            }
        } else {
            machine
        };
        let settled = Box::pin(self.settle_staged(&machine, worked)).await;
        let looked = self.look(&machine).await.and(settled.map(|()| Vec::new()));
        machine.close().await;
        looked
    }

    /// Looks for everything of this session on the machine.
    async fn look(&self, machine: &H) -> Looked {
        let looked = Looked::default().and(machine.look().await);
        if !self.may_have_opened_firewall() {
            return looked;
        }
        looked.and(machine.look_in_firewall(&self.job.session).await)
    }

    /// Reports whether the machine's firewall may have rules of this session, whatever this attempt was asked for:
    /// an earlier one may have made them. The journal names each rule that an engine has made.
    fn may_have_opened_firewall(&self) -> bool {
        let may_open = self.job.listen.as_ref().is_some_and(|listen| listen.may_open_firewall);
        // What an earlier attempt has made is not known without the journal, and an engine that cleans up may have
        // found none.
        let is_unknown = self.job.touched && !self.engine_api.is_greeted();
        if may_open || is_unknown || self.job.goal == Goal::CleanUp {
            return true;
        }
        let is_rule = |body: &EventBody| matches!(body, EventBody::LeaseTaken { lease } if lease.kind == LeaseKind::Firewall);
        self.engine_api.events_after(0).iter().any(|event| is_rule(&event.body))
    }

    fn conclude_cleaning(&self, looked: Looked) {
        let node = &self.job.node;
        let mut left: Vec<String> =
            self.engine_api.leftovers().iter().map(|l| format!("{} ({})", l.what, l.why)).collect();
        let Looked { found, failure } = looked;
        left.extend(found);
        let clean = match failure {
            _ if !left.is_empty() => Err(Failure::new(
                Reason::Leftovers,
                format!("{node} still has {}; remove it by hand", left.join(", ")),
            )),
            None => Ok(()),
            Some(failure) => Err(Failure::new(
                Reason::CleanupFailed,
                format!(
                    "the engine has removed everything, but the last check of {node} failed: {}",
                    failure.message
                ),
            )),
        };
        self.view.send_modify(|v| {
            v.leases = u32::try_from(left.len()).unwrap_or(u32::MAX);
            v.leftovers = left;
            v.clean = Some(clean);
        });
    }

    /// The host key that this attempt has accepted on first use, if any.
    fn first_key(&self) -> Option<String> {
        self.first_key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The result of the checks of a machine.
#[derive(Debug, Default)]
struct Looked {
    /// What is left on it.
    found: Vec<String>,
    /// Why it is not known what else is left.
    failure: Option<Failure>,
}

impl Looked {
    /// Adds the result of another check.
    fn and(mut self, result: Result<Vec<String>, Failure>) -> Self {
        match result {
            Ok(found) => self.found.extend(found),
            Err(failure) => self.failure = self.failure.or(Some(failure)),
        }
        self
    }
}

/// The payloads that this session may serve.
struct Files {
    store: Store,
    digests: Vec<String>,
    served: Counters<0>,
}

impl PayloadFiles for Files {
    fn file(&self, digest: &str) -> Option<PathBuf> {
        self.digests.iter().any(|d| d == digest).then(|| self.store.path(digest)).flatten()
    }

    fn count_sent(&self, bytes: usize) {
        self.served.add([], bytes as u64);
    }
}
