//! The runner: to NodeUpdates what a kubelet is to Pods.
//!
//! Each NodeUpdate that is assigned to this runner and has not ended gets one task, which goes
//! from attempt to attempt until it ends. The object is the only state: after a restart the tasks
//! are simply begun again, and find on the machines what the engines have done meanwhile.

mod load;
mod record;
mod render;
mod task;

pub use record::label_value;

use crate::api::node_update::Intent;
use crate::api::{ABANDON_ANNOTATION, FINALIZER, NodeUpdate, condition};
use crate::publish::{self, Events};
use crate::session::Tools;
use crate::world::World;
use kube::{Client, ResourceExt};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// What the tasks of a runner share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What is known of the cluster.
    pub world: World,
    /// Engines and payloads.
    pub tools: Tools,
    /// Writes events.
    pub events: Events,
    /// Name of this runner, as in `spec.runner`.
    pub name: String,
    /// How long an engine may go without contact, in seconds.
    pub lease_seconds: u64,
}

/// What a task is told while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    intent: Intent,
    /// The object is being deleted without waiting for the machine.
    abandon: bool,
}

struct Task {
    wish: watch::Sender<Wish>,
    stop: watch::Sender<bool>,
}

/// Works on everything that is assigned, until `changed` ends.
///
/// `changed` carries the namespaces and names of NodeUpdates that changed.
pub async fn run(context: Arc<Context>, mut changed: mpsc::UnboundedReceiver<(String, String)>) {
    let mut tasks: HashMap<String, Task> = HashMap::new();
    let (ended_send, mut ended) = mpsc::unbounded_channel::<String>();
    for update in context.world.updates.state() {
        consider(&context, &update, &mut tasks, &ended_send);
    }
    loop {
        tokio::select! {
            Some(uid) = ended.recv() => {
                tasks.remove(&uid);
                // Something may have changed between the task's last look and its end.
                if let Some(update) = context.world.updates.find(|u| u.uid().as_deref() == Some(uid.as_str())) {
                    consider(&context, &update, &mut tasks, &ended_send);
                }
            }
            name = changed.recv() => match name {
                Some((namespace, name)) => {
                    let found = context.world.updates.find(|u| u.name_any() == name && u.namespace().as_deref() == Some(namespace.as_str()));
                    if let Some(update) = found {
                        consider(&context, &update, &mut tasks, &ended_send);
                    }
                }
                None => return,
            },
        }
    }
}

/// Starts a task for the object, tells the one it has, or lets the object go.
fn consider(
    context: &Arc<Context>,
    update: &Arc<NodeUpdate>,
    tasks: &mut HashMap<String, Task>,
    ended: &mpsc::UnboundedSender<String>,
) {
    if update.spec.runner != context.name {
        return;
    }
    let Some(uid) = update.uid() else { return };
    let wish = wish(update);
    if let Some(task) = tasks.get(&uid) {
        task.stop.send_if_modified(|stop| !std::mem::replace(stop, *stop || wish.intent == Intent::Cancel));
        task.wish.send_if_modified(|old| std::mem::replace(old, wish) != wish);
        return;
    }
    let finished = is_finished(update);
    if finished && !update.finalizers().iter().any(|f| f == FINALIZER) {
        return;
    }
    let (wish_send, wish_receive) = watch::channel(wish);
    let (stop_send, stop_receive) = watch::channel(wish.intent == Intent::Cancel);
    tasks.insert(uid.clone(), Task { wish: wish_send, stop: stop_send });
    let context = context.clone();
    let update = update.clone();
    let ended = ended.clone();
    tokio::spawn(async move {
        if finished {
            release(&context, &update).await;
        } else {
            task::run(&context, &update, wish_receive, stop_receive).await;
        }
        ended.send(uid).ok();
    });
}

fn wish(update: &NodeUpdate) -> Wish {
    let deleted = update.metadata.deletion_timestamp.is_some();
    Wish {
        intent: if deleted { Intent::Cancel } else { update.spec.intent },
        abandon: deleted && update.annotations().contains_key(ABANDON_ANNOTATION),
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
async fn release(context: &Context, update: &NodeUpdate) {
    if let Err(error) = publish::finalizer(&context.client, update, FINALIZER, false).await {
        tracing::debug!(update = %update.name_any(), error = %crate::failure::chain(&error), "the finalizer stays for now");
    }
}
