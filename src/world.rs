//! What the operator knows of the cluster: one watch per kind and namespace, shared by all its parts.

mod fresh;
mod several;

use crate::api::{Baseline, ManagedNode, NodeUpdate, UpdateRun};
use crate::metrics::{Counters, Metrics};
use crate::publish::Kind;
use futures::StreamExt;
use futures::stream::BoxStream;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use several::Several;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// The caches.
#[derive(Clone)]
pub struct World {
    /// Machines.
    pub nodes: Store<ManagedNode>,
    /// Baselines.
    pub baselines: Store<Baseline>,
    /// Runs.
    pub runs: Store<UpdateRun>,
    /// Machines in runs.
    pub updates: Store<NodeUpdate>,
    /// The namespaces that are watched; none: all.
    scope: Vec<String>,
}

/// Something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A machine.
    Node(ObjectRef<ManagedNode>),
    /// A baseline.
    Baseline(ObjectRef<Baseline>),
    /// A run.
    Run(ObjectRef<UpdateRun>),
    /// A machine in a run.
    Update(ObjectRef<NodeUpdate>),
}

/// Watches that fill a [`World`], and the changes they see.
pub struct Watches {
    world: World,
    unfilled: Unfilled,
    changes: mpsc::UnboundedReceiver<Change>,
}

impl Watches {
    /// Starts the watches: of all namespaces if none is named.
    pub fn start(client: &Client, namespaces: &[String], metrics: &Metrics) -> Self {
        let (send, changes) = mpsc::unbounded_channel();
        let unfilled = Unfilled::default();
        let means = Means { client, namespaces, send: &send, metrics, unfilled: &unfilled };
        let world = World {
            nodes: watch(&means, Change::Node),
            baselines: watch(&means, Change::Baseline),
            runs: watch(&means, Change::Run),
            updates: watch(&means, Change::Update),
            scope: namespaces.to_vec(),
        };
        Self { world, unfilled, changes }
    }

    /// The caches, which may not be filled yet.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The caches that are still empty.
    pub fn unfilled(&self) -> &Unfilled {
        &self.unfilled
    }

    /// Waits until each cache has been filled once.
    ///
    /// # Errors
    /// When a watch ended, which none does by itself.
    pub async fn ready(&self) -> Result<(), reflector::store::WriterDropped> {
        self.world.nodes.wait_until_ready().await?;
        self.world.baselines.wait_until_ready().await?;
        self.world.runs.wait_until_ready().await?;
        self.world.updates.wait_until_ready().await
    }

    /// The caches and the changes from now on.
    pub fn into_parts(self) -> (World, mpsc::UnboundedReceiver<Change>) {
        (self.world, self.changes)
    }
}

/// Kinds whose cache has not been filled yet.
///
/// Kept apart from the caches: a cache wakes one of those who wait for it only, so that nobody
/// else may ask it whether it is ready.
#[derive(Debug, Clone, Default)]
pub struct Unfilled(Arc<Mutex<BTreeSet<&'static str>>>);

impl Unfilled {
    /// Their names.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What each watch needs.
struct Means<'a> {
    client: &'a Client,
    namespaces: &'a [String],
    send: &'a mpsc::UnboundedSender<Change>,
    metrics: &'a Metrics,
    unfilled: &'a Unfilled,
}

fn watch<K: Kind>(means: &Means<'_>, change: impl Fn(ObjectRef<K>) -> Change + Send + 'static) -> Store<K>
where
    K::DynamicType: Eq + Hash + Clone,
{
    let Means { client, namespaces, send, metrics, unfilled } = means;
    let (store, writer) = reflector::store();
    let send = (*send).clone();
    unfilled.lock().insert(kind::<K>());
    let unfilled = (*unfilled).clone();
    let known = store.clone();
    let interruptions = metrics.watch_interruptions.clone();
    let unreadable = metrics.objects_unreadable.clone();
    let mut stream = Box::pin(
        events(client, namespaces, &known, &unreadable)
            // Who wrote which field is of no interest here and is a third of each object.
            .modify(|object: &mut K| object.meta_mut().managed_fields = None)
            .reflect(writer),
    );
    tokio::spawn(async move {
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Apply(object) | Event::Delete(object) | Event::InitApply(object)) => {
                    // Nobody listens any more when the operator ends.
                    send.send(change(ObjectRef::from_obj(&object))).ok();
                }
                Ok(Event::InitDone) => {
                    unfilled.lock().remove(kind::<K>());
                }
                Ok(Event::Init) => {}
                Err(error) => {
                    interruptions.count([kind::<K>()]);
                    tracing::warn!(kind = %K::kind(&()), error = %crate::failure::chain(&error), "a watch was interrupted and is taken up again");
                }
            }
        }
    });
    store
}

/// What happens to a kind in the namespaces, as one watch.
fn events<K: Kind>(
    client: &Client,
    namespaces: &[String],
    known: &Store<K>,
    unreadable: &Counters<1>,
) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K::DynamicType: Eq + Hash + Clone,
{
    let one = |api: Api<DeserializeGuard<K>>| {
        let (known, unreadable) = (known.clone(), unreadable.clone());
        watcher(api, watcher::Config::default()).default_backoff().filter_map(move |event| {
            std::future::ready(event.map(|event| readable(event, &known, &unreadable)).transpose())
        })
    };
    match namespaces {
        [] => one(Api::all(client.clone())).boxed(),
        [namespace] => one(Api::namespaced(client.clone(), namespace)).boxed(),
        _ => {
            let mut several = Several::new(namespaces, known.clone());
            let parts = namespaces.iter().enumerate().map(|(number, namespace)| {
                one(Api::namespaced(client.clone(), namespace)).map(move |event| (number, event)).boxed()
            });
            futures::stream::select_all(parts)
                .flat_map(move |(number, event)| {
                    futures::stream::iter(match event {
                        Ok(event) => several.event(number, event).into_iter().map(Ok).collect(),
                        Err(error) => vec![Err(error)],
                    })
                })
                .boxed()
        }
    }
}

/// An event as it would be if objects that cannot be read did not exist: one such object, written
/// by hand or by another version, must not stop the work on all others.
fn readable<K: Kind>(
    event: Event<DeserializeGuard<K>>,
    known: &Store<K>,
    unreadable: &Counters<1>,
) -> Option<Event<K>>
where
    K::DynamicType: Eq + Hash + Clone,
{
    let gone = |object: InvalidObject| {
        let name = object.metadata.name.unwrap_or_default();
        let namespace = object.metadata.namespace.unwrap_or_default();
        unreadable.count([kind::<K>()]);
        tracing::error!(kind = %K::kind(&()), namespace, name, error = object.error, "an object cannot be read and is left out; correct or delete it");
        known.get(&ObjectRef::new(&name).within(&namespace)).map(|was| Event::Delete((*was).clone()))
    };
    match event {
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
        Event::InitApply(DeserializeGuard(Ok(object))) => Some(Event::InitApply(object)),
        Event::Apply(DeserializeGuard(Ok(object))) => Some(Event::Apply(object)),
        Event::Delete(DeserializeGuard(Ok(object))) => Some(Event::Delete(object)),
        Event::Apply(DeserializeGuard(Err(object))) | Event::Delete(DeserializeGuard(Err(object))) => {
            gone(object)
        }
        Event::InitApply(DeserializeGuard(Err(object))) => {
            gone(object);
            None
        }
    }
}

/// The name of a kind as the value of a label.
fn kind<K: Kind>() -> &'static str {
    match K::kind(&()) {
        Cow::Borrowed(kind) => kind,
        Cow::Owned(_) => "other",
    }
}
