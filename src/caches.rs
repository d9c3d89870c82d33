//! Caches of the cluster's objects: one watch per kind and namespace, shared by all parts of the operator.

mod find;
mod fresh;
mod merged;

pub use fresh::Compared;

use crate::api::{Baseline, LABEL_RUN_UID, ManagedNode, NodeUpdate, UpdateRun};
use crate::metrics::{Counters, Metrics};
use crate::publish::Kind;
use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use merged::MergedWatches;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Seconds after which the API server ends a watch, which is then resumed from where it ended. A watch
/// whose connection died silently is noticed five seconds later. With the library's 290 seconds, decisions
/// would rest on outdated objects for five minutes.
pub const WATCH_LIMIT: u32 = 45;

/// How many objects are listed at once. A page is in memory three times while it is read: as text, and as objects
/// with their managed fields, beside those that are kept. With the library's 500, 300 finished NodeUpdates cost
/// 4 MiB, which is not given back.
const PAGE: u32 = 100;

/// Length of the UIDs that the API server generates: 32 hexadecimal digits in five groups.
const UID_LENGTH: usize = 36;

/// The caches.
#[derive(Clone)]
pub struct Caches {
    /// Machines.
    pub nodes: Store<ManagedNode>,
    /// Baselines.
    pub baselines: Store<Baseline>,
    /// Runs.
    pub runs: Store<UpdateRun>,
    /// NodeUpdates.
    pub updates: Store<NodeUpdate>,
    /// The watched namespaces; empty means all.
    scope: Vec<String>,
}

/// Services and NetworkPolicies that the operator created for UpdateRuns.
#[derive(Clone)]
pub struct RunObjects {
    /// Services.
    pub services: Store<Service>,
    /// NetworkPolicies.
    pub policies: Store<NetworkPolicy>,
}

/// A change of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A machine.
    Node(ObjectRef<ManagedNode>),
    /// A baseline.
    Baseline(ObjectRef<Baseline>),
    /// A run.
    Run(ObjectRef<UpdateRun>),
    /// A NodeUpdate.
    Update(ObjectRef<NodeUpdate>),
    /// A Service or NetworkPolicy that was created for the run with this UID.
    RunObject(String),
}

/// The watches that fill a [`Caches`], and the changes that they report.
pub struct Watches {
    caches: Caches,
    unsynced: UnsyncedKinds,
    changes: mpsc::UnboundedReceiver<Change>,
    run_objects: Option<RunObjects>,
}

impl Watches {
    /// Starts the watches, of all namespaces if `namespaces` is empty. `own` is the operator's namespace,
    /// if Services and NetworkPolicies are created for runs there.
    pub fn start(client: &Client, namespaces: &[String], own: Option<&str>, metrics: &Metrics) -> Self {
        let (send, changes) = mpsc::unbounded_channel();
        let unsynced = UnsyncedKinds::default();
        let context =
            WatchContext { client, namespaces, labels: None, send: &send, metrics, unsynced: &unsynced };
        let caches = Caches {
            nodes: watch(&context, Change::Node),
            baselines: watch(&context, Change::Baseline),
            runs: watch(&context, Change::Run),
            updates: watch(&context, Change::Update),
            scope: namespaces.to_vec(),
        };
        let run_objects = own.map(|own| {
            let context =
                WatchContext { namespaces: &[own.to_owned()], labels: Some(LABEL_RUN_UID), ..context };
            RunObjects {
                services: watch(&context, |service| made_for(&service.name)),
                policies: watch(&context, |policy| made_for(&policy.name)),
            }
        });
        Self { caches, unsynced, changes, run_objects }
    }

    /// Returns the caches, which may not be filled yet.
    pub fn caches(&self) -> &Caches {
        &self.caches
    }

    /// Returns the kinds whose caches are still empty.
    pub fn unsynced(&self) -> &UnsyncedKinds {
        &self.unsynced
    }

    /// Waits until each cache has been filled once.
    ///
    /// # Errors
    /// When a watch has ended, which no watch does by itself.
    pub async fn ready(&self) -> Result<(), reflector::store::WriterDropped> {
        self.caches.nodes.wait_until_ready().await?;
        self.caches.baselines.wait_until_ready().await?;
        self.caches.runs.wait_until_ready().await?;
        self.caches.updates.wait_until_ready().await?;
        if let Some(run_objects) = &self.run_objects {
            run_objects.services.wait_until_ready().await?;
            run_objects.policies.wait_until_ready().await?;
        }
        Ok(())
    }

    /// Returns the caches, and the changes from now on.
    pub fn into_parts(self) -> (Caches, Option<RunObjects>, mpsc::UnboundedReceiver<Change>) {
        (self.caches, self.run_objects, self.changes)
    }
}

/// Kinds whose caches have not been filled yet.
///
/// Kept separately from the caches: a cache wakes only one of the tasks that wait for it, so that no second
/// task may call `wait_until_ready`.
#[derive(Debug, Clone, Default)]
pub struct UnsyncedKinds(Arc<Mutex<BTreeSet<&'static str>>>);

impl UnsyncedKinds {
    /// Returns the names of the kinds.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the change of an object that was created for a run. Its name is `farrier-<UID>`; the names of
/// policies have a suffix.
fn made_for(name: &str) -> Change {
    let uid = name.strip_prefix("farrier-").unwrap_or_default();
    Change::RunObject(uid.chars().take(UID_LENGTH).collect())
}

/// What each watch needs.
struct WatchContext<'a> {
    client: &'a Client,
    namespaces: &'a [String],
    /// Label selector of the watched objects.
    labels: Option<&'static str>,
    send: &'a mpsc::UnboundedSender<Change>,
    metrics: &'a Metrics,
    unsynced: &'a UnsyncedKinds,
}

fn watch<K: Kind>(
    context: &WatchContext<'_>,
    change: impl Fn(ObjectRef<K>) -> Change + Send + 'static,
) -> Store<K>
where
    K::DynamicType: Eq + Hash + Clone,
{
    let WatchContext { client, namespaces, labels, send, metrics, unsynced } = context;
    let config = watcher::Config::default().timeout(WATCH_LIMIT).page_size(PAGE);
    let config = labels.map_or_else(|| config.clone(), |labels| config.clone().labels(labels));
    let (store, writer) = reflector::store();
    let send = (*send).clone();
    unsynced.lock().insert(kind::<K>());
    let unsynced = (*unsynced).clone();
    let known = store.clone();
    let interruptions = metrics.watch_interruptions.clone();
    let unreadable = metrics.objects_unreadable.clone();
    let mut stream = Box::pin(
        events(client, namespaces, &config, &known, &unreadable)
            // The managed fields are not used here and make up a third of each object.
            .modify(|object: &mut K| object.meta_mut().managed_fields = None)
            .reflect(writer),
    );
    tokio::spawn(async move {
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Apply(object) | Event::Delete(object) | Event::InitApply(object)) => {
                    // The receiver is dropped when the operator ends.
                    send.send(change(ObjectRef::from_obj(&object))).ok();
                }
                Ok(Event::InitDone) => {
                    unsynced.lock().remove(kind::<K>());
                }
                Ok(Event::Init) => {}
                Err(error) => {
                    interruptions.count([kind::<K>()]);
                    tracing::warn!(kind = %K::kind(&()), error = %crate::failure::chain(&error), "a watch was interrupted and is being restarted");
                }
            }
        }
    });
    store
}

/// Returns the events of a kind in the namespaces as one watch.
fn events<K: Kind>(
    client: &Client,
    namespaces: &[String],
    config: &watcher::Config,
    known: &Store<K>,
    unreadable: &Counters<1>,
) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K::DynamicType: Eq + Hash + Clone,
{
    let one = |api: Api<DeserializeGuard<K>>| {
        let (known, unreadable) = (known.clone(), unreadable.clone());
        watcher(api, config.clone()).default_backoff().filter_map(move |event| {
            std::future::ready(event.map(|event| readable(event, &known, &unreadable)).transpose())
        })
    };
    match namespaces {
        [] => one(Api::all(client.clone())).boxed(),
        [namespace] => one(Api::namespaced(client.clone(), namespace)).boxed(),
        _ => {
            let mut merged = MergedWatches::new(namespaces, known.clone());
            let parts = namespaces.iter().enumerate().map(|(number, namespace)| {
                one(Api::namespaced(client.clone(), namespace)).map(move |event| (number, event)).boxed()
            });
            futures::stream::select_all(parts)
                .flat_map(move |(number, event)| {
                    futures::stream::iter(match event {
                        Ok(event) => merged.event(number, event).into_iter().map(Ok).collect(),
                        Err(error) => vec![Err(error)],
                    })
                })
                .boxed()
        }
    }
}

/// Converts an event as if unreadable objects did not exist. One such object, written by hand or by another
/// version, must not stop the work on all others.
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

/// Returns the name of a kind as a label value.
fn kind<K: Kind>() -> &'static str {
    match K::kind(&()) {
        Cow::Borrowed(kind) => kind,
        Cow::Owned(_) => "other",
    }
}
