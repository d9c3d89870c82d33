//! One attempt at one machine, from the first packet to the last look.
//!
//! ```text
//! keep   connect ─► probe ─► deploy ─► talk ──(lost? once more)──► … ─► retired
//! work              survey ─► plan ─► fetch ─► apply ─► survey ─► conclude ─► retire
//! then   look
//! ```
//!
//! The two run side by side: `keep` sees to it that there is a stream, `work` hands out tasks and
//! does not notice when the stream is another one. A stream is an SSH channel, or a call of the
//! engine (`call`). Whatever `work` comes to, it ends by having the
//! engine take everything back. Knows neither Kubernetes nor the API types.

mod await_listener;
mod callback;
mod connect;
mod diagnosis;
mod foreign;
mod job;
mod limits;
mod preflight;
mod record;
mod return_path;
mod view;
mod waiting;
mod waits;
mod work;

pub use callback::{Awaited, CallbackOptions, CallbackTarget, ResolvedTarget};
pub use job::{Goal, Job, Tools};
pub use view::{ReturnPath, Step, Survey, View};
pub use waiting::Waiting;

use crate::drivers::linux::Machine;
use crate::engine_api::{EngineApi, PayloadFiles};
use crate::failure::Failure;
use crate::metrics::Counters;
use crate::payload::Store;
use farrier_update::{NodeVerdict, Reason};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::watch;

/// How an attempt ended. What is left on the machine stands in the [`View`].
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Everything was done; the verdict says what came of it.
    Finished(NodeVerdict),
    /// The plan is made, nothing was changed.
    Planned,
    /// The inventory was taken, and nothing else was asked for.
    Inventoried,
    /// The run was cancelled before anything came of it.
    Cancelled,
    /// It could not be done.
    Failed(Failure),
}

/// One attempt.
pub struct Session<'a> {
    job: &'a Job,
    tools: &'a Tools,
    stop: watch::Receiver<bool>,
    view: &'a watch::Sender<View>,
    engine_api: Arc<EngineApi>,
    /// The host key that was accepted on first use in this very attempt.
    first_key: Mutex<Option<String>>,
    /// Where the engine was told to call.
    told: Mutex<Vec<(String, u16)>>,
    /// What the ids of all tasks begin with, once the engine's journal is known.
    series: OnceLock<String>,
    /// Digest of the engine that this operator has for the machine, once the machine is known.
    own_engine: OnceLock<String>,
    /// An engine of another build retires so that our own can take its place.
    replacing: AtomicBool,
}

/// Makes an attempt. `stop` becomes true when the run is cancelled.
pub async fn run(job: &Job, tools: &Tools, stop: watch::Receiver<bool>, view: &watch::Sender<View>) -> End {
    if *stop.borrow() && !job.touched {
        return End::Cancelled;
    }
    let served = tools.metrics.payload_served.clone();
    let files = Files { store: tools.store.clone(), digests: job.digests(), served };
    let engine_api = Arc::new(EngineApi::new(&job.session, job.lease_seconds, Box::new(files)));
    let session = Session {
        job,
        tools,
        stop,
        view,
        engine_api,
        first_key: Mutex::default(),
        told: Mutex::default(),
        series: OnceLock::new(),
        own_engine: OnceLock::new(),
        replacing: AtomicBool::new(false),
    };
    // The future is 32 KiB; on the heap it does not grow those of the callers.
    Box::pin(session.run()).await
}

impl Session<'_> {
    async fn run(&self) -> End {
        let mut keep = pin!(self.keep());
        let mut work = pin!(self.work());
        let mut machine = None;
        let worked = tokio::select! {
            () = self.stopped_before_arrival() => return End::Cancelled,
            kept = &mut keep => match kept {
                // The engine retired, and `work` is about to hear of it.
                Ok(kept) => { machine = Some(kept); work.await }
                Err(failure) => return self.given_up(failure),
            },
            never = self.follow() => match never {},
            worked = &mut work => worked,
        };
        if !self.engine_api.is_retired() {
            // Boxed, as what is rarely needed is no part of what each attempt holds.
            Box::pin(self.left_alone(&worked)).await;
            return worked.unwrap_or_else(End::Failed);
        }
        let machine = match machine {
            Some(machine) => Ok(machine),
            // An engine that retires and stays must not keep us.
            None => match limits::within(limits::LEAVING, &self.stop, keep).await {
                Some(kept) => kept,
                None => Box::pin(self.connect()).await,
            },
        };
        let looked = match machine {
            Ok(machine) => self.last_look(machine).await,
            Err(failure) => Err(failure),
        };
        self.conclude_cleaning(looked);
        match worked {
            Ok(end) => end,
            Err(failure) => End::Failed(failure),
        }
    }

    /// The engine does not get on with its work and has not retired: what is there can be seen, and
    /// whether it goes cannot be waited for.
    async fn left_alone(&self, worked: &Result<End, Failure>) {
        self.step(Step::CleaningUp);
        let look = async { self.last_look(self.connect().await?).await };
        let looked = limits::within(limits::LEAVING, &self.stop, look).await;
        let (node, minutes) = (&self.job.node, self.job.lease_seconds.div_ceil(60));
        let (left, seen) = match looked {
            Some(Ok(found)) if found.is_empty() => {
                self.view.send_modify(|v| v.clean = Some(Ok(())));
                return;
            }
            Some(Ok(found)) => (found.clone(), format!("{} is still there", found.join(", "))),
            Some(Err(failure)) => (Vec::new(), format!("the last check failed: {}", failure.message)),
            None => (Vec::new(), "the last check did not end".to_owned()),
        };
        let why = worked.as_ref().err().map(|failure| format!(" ({})", failure.message)).unwrap_or_default();
        self.view.send_modify(|v| {
            v.leases = u32::try_from(left.len()).unwrap_or(u32::MAX);
            v.leftovers = left;
            v.clean = Some(Err(Failure::new(
                Reason::CleanupFailed,
                format!(
                    "the engine on {node} has not removed everything: {seen}; a running engine removes it after {minutes} min without contact, otherwise remove it by hand, and find out who else works as root there{why}"
                ),
            )));
        });
    }

    /// The engine is out of reach. It removes everything when its lease expires.
    fn given_up(&self, failure: Failure) -> End {
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

    /// Cancelled before anything was put on the machine: there is nothing to take back.
    async fn stopped_before_arrival(&self) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|stop| *stop).await.is_err() || self.job.touched || self.view.borrow().deploying {
            std::future::pending::<()>().await;
        }
    }

    /// Looks whether anything of ours is left; connects once more if need be.
    async fn last_look(&self, machine: Machine) -> Result<Vec<String>, Failure> {
        let machine = if machine.connection.is_closed() { self.connect().await? } else { machine };
        let found = machine.look().await;
        machine.connection.close().await;
        found
    }

    fn conclude_cleaning(&self, looked: Result<Vec<String>, Failure>) {
        let node = &self.job.node;
        let mut left: Vec<String> =
            self.engine_api.leftovers().iter().map(|l| format!("{} ({})", l.what, l.why)).collect();
        let clean = match looked {
            Ok(found) => {
                left.extend(found);
                if left.is_empty() {
                    Ok(())
                } else {
                    Err(Failure::new(
                        Reason::Leftovers,
                        format!("{node} still has {}; remove it by hand", left.join(", ")),
                    ))
                }
            }
            Err(failure) => Err(Failure::new(
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

    /// Host keys as they are known now, the one of this attempt included.
    fn pinned(&self) -> Option<String> {
        self.first_key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The payloads that this session may hand out.
struct Files {
    store: Store,
    digests: Vec<String>,
    served: Counters<0>,
}

impl PayloadFiles for Files {
    fn file(&self, digest: &str) -> Option<PathBuf> {
        self.digests.iter().any(|d| d == digest).then(|| self.store.path(digest)).flatten()
    }

    fn handed_out(&self, bytes: usize) {
        self.served.add([], bytes as u64);
    }
}
