//! The runner: to NodeUpdates what a kubelet is to Pods.
//!
//! Each NodeUpdate that is assigned to this runner and has not ended gets one worker, which makes attempts
//! until the NodeUpdate ends. The object is the only state: after a restart the runner starts the workers
//! again, and they find on the machines what the engines have done meanwhile.

mod actions;
mod callback;
mod clean_up;
mod count;
mod drain;
mod listeners;
mod load;
mod log_requests;
mod machine_offers;
mod offers;
mod owner;
mod record;
mod render;
mod worker;

pub use listeners::{Listeners, keep as run_listeners};
pub use log_requests::answer as run_log_requests;
pub use owner::orphans;

use crate::api::node_update::Intent;
use crate::api::{ABANDON_ANNOTATION, FINALIZER, NodeUpdate, condition};
use crate::attempt::{LogRetention, Tools};
use crate::caches::Caches;
use crate::drivers::Register;
use crate::exposure::Resolver;
use crate::heartbeat::{HEARTBEAT_INTERVAL, Heartbeat};
use crate::lease::Hold;
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::publish::{self, Events};
use crate::telemetry;
use farrier_update::ownership::Owner;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

/// What the workers of a runner share.
pub struct Context {
    /// Client of the API server.
    pub client: Client,
    /// Client that asks for evictions, and repeats nothing by itself.
    pub evictions: Client,
    /// Caches of the cluster's objects.
    pub caches: Caches,
    /// The classes of machines.
    pub register: Register,
    /// Engines and payloads.
    pub tools: Tools,
    /// Writes events.
    pub events: Events,
    /// Name of this runner, as in `spec.runner`.
    pub name: String,
    /// This process in the Leases of machines, without the NodeUpdate.
    pub owner: Owner,
    /// Whether this runner may work. Other runners take over the machines of a runner whose Lease has
    /// expired.
    pub holds: Hold,
    /// The engine's lease: how long it may run without contact, in seconds.
    pub lease_seconds: u64,
    /// How long attempts wait for others on a machine, in seconds.
    pub wait_seconds: u64,
    /// How long logs stay on machines.
    pub log_retention: LogRetention,
    /// The live runners.
    pub membership: Membership,
    /// Resolves host names.
    pub names: Arc<Resolver>,
    /// The callback servers of this runner.
    pub listeners: Listeners,
    /// Counts accepted and rejected connections of the callback servers of all runs.
    pub callback_counters: Arc<crate::callback::Counters>,
    /// Counts the results of the work.
    pub metrics: Metrics,
    /// Liveness signal of the runner's loop.
    pub heartbeat: Heartbeat,
}

/// What the runner sends to a worker in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TaskControl {
    intent: Intent,
    /// Whether the object is deleted without waiting for the machine.
    abandon: bool,
    /// Generation of the object that contains this state.
    generation: Option<i64>,
}

struct TaskHandle {
    control: watch::Sender<TaskControl>,
    stop: watch::Sender<bool>,
    /// Aborts the work when the handle is dropped. The engine continues, and the API server rejects a write
    /// of this runner that is still in flight once another runner has written.
    _work: AbortOnDropHandle<()>,
}

/// The workers of a runner, by the UID of their NodeUpdate.
struct Tasks {
    context: Arc<Context>,
    under_way: HashMap<String, TaskHandle>,
    /// NodeUpdates that are released already, although the cache may not show that yet.
    released: HashSet<String>,
    /// Number of released NodeUpdates above which those that are gone are forgotten. It grows with what is left, so
    /// that not every end looks through all NodeUpdates.
    prune_at: usize,
    /// NodeUpdates whose run is gone.
    orphans: HashSet<String>,
    /// NodeUpdates whose run is not in the cache, while the API server is asked whether the run is gone.
    asked: HashSet<String>,
    notes: mpsc::UnboundedSender<Note>,
}

/// Messages from background tasks to the loop.
enum Note {
    /// The worker of this NodeUpdate has ended and released its object.
    Ended(String),
    /// Whether the run of this NodeUpdate exists.
    Run { uid: String, update: ObjectRef<NodeUpdate>, is_there: bool },
}

/// Number of released NodeUpdates that are remembered at least, before those that are gone are forgotten.
const PRUNE_THRESHOLD: usize = 1024;

/// Works on every assigned NodeUpdate until `changed` ends.
///
/// `changed` carries the namespaces and names of NodeUpdates that changed.
pub async fn run(context: Arc<Context>, mut changed: mpsc::UnboundedReceiver<(String, String)>) {
    let (notes_send, mut notes) = mpsc::unbounded_channel();
    let caches = context.caches.clone();
    let holds = context.holds.clone();
    let (under_way, released, orphans, asked) = Default::default();
    let mut tasks =
        Tasks { context, under_way, released, prune_at: PRUNE_THRESHOLD, orphans, asked, notes: notes_send };
    let mut holding = false;
    loop {
        tasks.context.heartbeat.heartbeat();
        tokio::select! {
            () = holds.gained(), if !holding => {
                holding = true;
                for update in caches.updates.state() {
                    tasks.consider(&update);
                }
            }
            () = holds.lost(), if holding => {
                holding = false;
                tasks.leave_all();
            }
            () = tokio::time::sleep(HEARTBEAT_INTERVAL) => {}
            Some(note) = notes.recv() => match note {
                Note::Ended(uid) => tasks.end(uid),
                Note::Run { uid, update, is_there } => {
                    tasks.asked.remove(&uid);
                    if !is_there {
                        tracing::warn!(update = %update, "its UpdateRun is gone: no new work is started, and its machine is cleaned");
                        tasks.orphans.insert(uid);
                        caches.updates.get(&update).into_iter().filter(|_| holding).for_each(|u| tasks.consider(&u));
                    }
                }
            },
            name = changed.recv() => match name {
                Some((namespace, name)) => {
                    let update = caches.updates.get(&ObjectRef::new(&name).within(&namespace));
                    if let Some(update) = update.filter(|_| holding) {
                        tasks.consider(&update);
                    }
                }
                None => return,
            },
        }
    }
}

impl Tasks {
    /// Handles the end of a worker that has released its object.
    fn end(&mut self, uid: String) {
        self.under_way.remove(&uid);
        self.orphans.remove(&uid);
        self.released.insert(uid);
        if self.released.len() > self.prune_at {
            let known: HashSet<String> =
                self.context.caches.updates.state().iter().filter_map(|u| u.uid()).collect();
            self.released.retain(|uid| known.contains(uid));
            self.prune_at = self.released.len() * 2 + PRUNE_THRESHOLD;
        }
    }

    /// Aborts all workers and leaves the machines as they are: other runners may already work on them.
    fn leave_all(&mut self) {
        if !self.under_way.is_empty() {
            tracing::warn!(
                machines = self.under_way.len(),
                "this runner could not renew its Lease; other runners may take over its machines until it can"
            );
        }
        self.under_way.clear();
    }

    /// Whether the run of this NodeUpdate is known to be gone. Starts a request to the API server if the
    /// cache does not have the run.
    fn is_orphan(&mut self, uid: &str, update: &Arc<NodeUpdate>) -> bool {
        if self.orphans.contains(uid) {
            return true;
        }
        if self.context.cached_run(update).is_none() && self.asked.insert(uid.to_owned()) {
            let (context, notes) = (self.context.clone(), self.notes.clone());
            let (uid, update) = (uid.to_owned(), update.clone());
            tokio::spawn(async move {
                let is_there = context.run_of(&update).await.is_some();
                // The receiver is closed when the operator exits.
                notes.send(Note::Run { uid, update: ObjectRef::from_obj(&*update), is_there }).ok();
            });
        }
        false
    }

    /// Starts a worker for the object, updates the control of an existing worker, or stops the worker if
    /// another runner has taken over.
    fn consider(&mut self, update: &Arc<NodeUpdate>) {
        let Some(uid) = update.uid() else { return };
        if update.spec.runner != self.context.name {
            if self.under_way.remove(&uid).is_some() {
                tracing::warn!(node = %update.spec.node_ref.name, run = %update.spec.run_ref.name, to = %update.spec.runner, "another runner has taken over");
            }
            return;
        }
        if self.released.contains(&uid) {
            return;
        }
        let finished = is_finished(update);
        let control = control(update, !finished && self.is_orphan(&uid, update));
        if let Some(task) = self.under_way.get(&uid) {
            task.stop
                .send_if_modified(|stop| !std::mem::replace(stop, *stop || control.intent == Intent::Cancel));
            task.control.send_if_modified(|old| std::mem::replace(old, control) != control);
            return;
        }
        if finished && !update.finalizers().iter().any(|f| f == FINALIZER) {
            return;
        }
        let (control_send, control_receive) = watch::channel(control);
        let (stop_send, stop_receive) = watch::channel(control.intent == Intent::Cancel);
        let context = self.context.clone();
        let update = update.clone();
        let notes = self.notes.clone();
        // All log lines of the worker carry these fields at any log level: a span of a lower level would be
        // disabled where only warnings are logged.
        let span = tracing::error_span!(
            "node_update",
            namespace = update.namespace(),
            run = update.spec.run_ref.name,
            node = update.spec.node_ref.name,
            runner = context.name,
        );
        if let Some(run) = update.owner_references().first() {
            telemetry::join_run(&span, &run.uid);
        }
        let key = uid.clone();
        let work = async move {
            worker::run(&context, &update, finished, control_receive, stop_receive).await;
            // The receiver is closed when the operator exits.
            notes.send(Note::Ended(uid)).ok();
        };
        let work = AbortOnDropHandle::new(tokio::spawn(work.instrument(span)));
        self.under_way.insert(key, TaskHandle { control: control_send, stop: stop_send, _work: work });
    }
}

/// Returns the control of a worker. `orphan`: the object's run is gone.
fn control(update: &NodeUpdate, orphan: bool) -> TaskControl {
    let deleted = update.metadata.deletion_timestamp.is_some();
    TaskControl {
        intent: if deleted || orphan { Intent::Cancel } else { update.spec.intent },
        abandon: deleted && update.annotations().contains_key(ABANDON_ANNOTATION),
        generation: update.metadata.generation,
    }
}

/// Whether the NodeUpdate has ended.
pub fn is_finished(update: &NodeUpdate) -> bool {
    update.status.as_ref().is_some_and(|s| {
        condition::is(&s.conditions, "Succeeded", "True")
            || condition::is(&s.conditions, "Succeeded", "False")
    })
}

/// Releases the object: the machine is clean, or the operator has given it up.
async fn release(context: &Context, update: &NodeUpdate) -> Result<(), kube::Error> {
    publish::finalizer(&context.client, update, FINALIZER, false).await.map(|_| ())
}
