//! The runner: to NodeUpdates what a kubelet is to Pods.
//!
//! Each NodeUpdate that is assigned to this runner and has not ended gets one task, which goes
//! from attempt to attempt until it ends. The object is the only state: after a restart the tasks
//! are simply begun again, and find on the machines what the engines have done meanwhile.

mod access;
mod callback;
mod clean_up;
mod count;
mod listeners;
mod load;
mod owner;
mod record;
mod render;
mod worker;

pub use listeners::{Listeners, keep as run_listeners};
pub use owner::orphans;

use crate::api::node_update::Intent;
use crate::api::{ABANDON_ANNOTATION, FINALIZER, NodeUpdate, condition};
use crate::caches::Caches;
use crate::exposure::Resolver;
use crate::heartbeat::{HEARTBEAT_INTERVAL, Heartbeat};
use crate::lease::Hold;
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::publish::{self, Events};
use crate::session::Tools;
use crate::telemetry;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, ResourceExt};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

/// What the tasks of a runner share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What is known of the cluster.
    pub caches: Caches,
    /// Engines and payloads.
    pub tools: Tools,
    /// Writes events.
    pub events: Events,
    /// Name of this runner, as in `spec.runner`.
    pub name: String,
    /// Whether it may work. Others take over the machines of a runner that may not.
    pub holds: Hold,
    /// How long an engine may go without contact, in seconds.
    pub lease_seconds: u64,
    /// How long others are waited for on a machine, in seconds.
    pub wait_seconds: u64,
    /// Who else is there.
    pub membership: Membership,
    /// What names mean.
    pub names: Arc<Resolver>,
    /// The callback servers of this runner.
    pub listeners: Listeners,
    /// Counts what the callback servers of all runs accept and refuse.
    pub callback_counters: Arc<crate::callback::Counters>,
    /// Counts what comes of the work.
    pub metrics: Metrics,
    /// The loop's sign of life.
    pub heartbeat: Heartbeat,
}

/// What a task is told while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TaskControl {
    intent: Intent,
    /// The object is being deleted without waiting for the machine.
    abandon: bool,
    /// Generation of the object that says so.
    generation: Option<i64>,
}

struct TaskHandle {
    control: watch::Sender<TaskControl>,
    stop: watch::Sender<bool>,
    /// Cuts the work off where it is when the task is dropped. The engine goes on, and what this
    /// runner may still have on its way to the API server is refused when another one has written.
    _work: AbortOnDropHandle<()>,
}

/// The tasks of a runner, by the UID of their NodeUpdate.
struct Tasks {
    context: Arc<Context>,
    under_way: HashMap<String, TaskHandle>,
    /// Let go already, although the cache may not show it yet.
    released: HashSet<String>,
    /// Those whose run is gone.
    orphans: HashSet<String>,
    /// Those whose run is not in the cache, while the API server is asked whether it is gone.
    asked: HashSet<String>,
    notes: mpsc::UnboundedSender<Note>,
}

/// What tasks tell.
enum Note {
    /// This one has ended, and has let its object go.
    Ended(String),
    /// Whether the run of this one is there.
    Run { uid: String, update: ObjectRef<NodeUpdate>, is_there: bool },
}

/// So many may be remembered as let go beyond those that the cache has.
const PRUNE_THRESHOLD: usize = 1024;

/// Works on everything that is assigned, until `changed` ends.
///
/// `changed` carries the namespaces and names of NodeUpdates that changed.
pub async fn run(context: Arc<Context>, mut changed: mpsc::UnboundedReceiver<(String, String)>) {
    let (notes_send, mut notes) = mpsc::unbounded_channel();
    let caches = context.caches.clone();
    let holds = context.holds.clone();
    let (under_way, released, orphans, asked) = Default::default();
    let mut tasks = Tasks { context, under_way, released, orphans, asked, notes: notes_send };
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
    /// A task has ended, and has let its object go.
    fn end(&mut self, uid: String) {
        self.under_way.remove(&uid);
        self.orphans.remove(&uid);
        self.released.insert(uid);
        let known = self.context.caches.updates.state();
        if self.released.len() > known.len() + PRUNE_THRESHOLD {
            let known: HashSet<String> = known.iter().filter_map(|u| u.uid()).collect();
            self.released.retain(|uid| known.contains(uid));
        }
    }

    /// Leaves every machine as it is: perhaps others work on them by now.
    fn leave_all(&mut self) {
        if !self.under_way.is_empty() {
            tracing::warn!(
                machines = self.under_way.len(),
                "this runner could not renew its Lease; it leaves its machines to others until it can"
            );
        }
        self.under_way.clear();
    }

    /// Whether the run of this one is known to be gone. Asks, where the cache does not have it.
    fn is_orphan(&mut self, uid: &str, update: &Arc<NodeUpdate>) -> bool {
        if self.orphans.contains(uid) {
            return true;
        }
        if self.context.cached_run(update).is_none() && self.asked.insert(uid.to_owned()) {
            let (context, notes) = (self.context.clone(), self.notes.clone());
            let (uid, update) = (uid.to_owned(), update.clone());
            tokio::spawn(async move {
                let is_there = context.run_of(&update).await.is_some();
                // Nobody listens any more when the operator ends.
                notes.send(Note::Run { uid, update: ObjectRef::from_obj(&*update), is_there }).ok();
            });
        }
        false
    }

    /// Starts a task for the object, tells the one it has, or lets the object go.
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
        let (wish_send, wish_receive) = watch::channel(control);
        let (stop_send, stop_receive) = watch::channel(control.intent == Intent::Cancel);
        let context = self.context.clone();
        let update = update.clone();
        let notes = self.notes.clone();
        // Everything that is said below carries these, however little is logged: a span of a lower
        // level would be missing where only warnings are.
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
            worker::run(&context, &update, finished, wish_receive, stop_receive).await;
            // Nobody listens any more when the operator ends.
            notes.send(Note::Ended(uid)).ok();
        };
        let work = AbortOnDropHandle::new(tokio::spawn(work.instrument(span)));
        self.under_way.insert(key, TaskHandle { control: wish_send, stop: stop_send, _work: work });
    }
}

/// `orphan`: its run is gone.
fn control(update: &NodeUpdate, orphan: bool) -> TaskControl {
    let deleted = update.metadata.deletion_timestamp.is_some();
    TaskControl {
        intent: if deleted || orphan { Intent::Cancel } else { update.spec.intent },
        abandon: deleted && update.annotations().contains_key(ABANDON_ANNOTATION),
        generation: update.metadata.generation,
    }
}

/// Whether nothing follows any more.
pub fn is_finished(update: &NodeUpdate) -> bool {
    update.status.as_ref().is_some_and(|s| {
        condition::is(&s.conditions, "Succeeded", "True")
            || condition::is(&s.conditions, "Succeeded", "False")
    })
}

/// The machine is clean, or given up: the object may go.
async fn release(context: &Context, update: &NodeUpdate) -> Result<(), kube::Error> {
    publish::finalizer(&context.client, update, FINALIZER, false).await.map(|_| ())
}
