//! Our own writes that the caches may not show yet.
//!
//! A decision must see the writes of the previous decision. Otherwise it starts a machine twice,
//! exceeds `maxConcurrent`, or continues a run that has ended. So the response to each of our writes is
//! kept until the cache shows that version of the object or a later one.

use crate::api::{NodeUpdate, UpdateRun};
use crate::caches::Caches;
use crate::publish::Kind;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Our writes of the two kinds that decisions are based on.
#[derive(Default)]
pub(crate) struct OwnWrites {
    runs: WriteCache<UpdateRun>,
    updates: WriteCache<NodeUpdate>,
    /// Time of the last status write per run, by UID.
    written: Mutex<BTreeMap<String, Instant>>,
}

impl OwnWrites {
    /// Returns the time until the status of this run may be written again; `None` if it may be written
    /// now.
    pub(super) fn too_soon(&self, run: &UpdateRun, every: Duration) -> Option<Duration> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|_, at| at.elapsed() < every);
        written.get(&run.uid().unwrap_or_default()).map(|at| every.saturating_sub(at.elapsed()))
    }

    /// Stores the API server's response to a write.
    pub(super) fn remember_run(&self, run: UpdateRun) {
        let uid = run.uid().unwrap_or_default();
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, Instant::now());
        self.runs.remember(run);
    }

    /// Stores the API server's response to a write.
    pub(super) fn remember_update(&self, update: NodeUpdate) {
        self.updates.remember(update);
    }

    /// Drops the stored response for a NodeUpdate that was deleted.
    pub(super) fn forget_update(&self, namespace: &str, name: &str) {
        self.updates.forget(namespace, name);
    }

    /// Drops the stored response for a run that was deleted.
    pub(super) fn forget_run(&self, namespace: &str, name: &str) {
        self.runs.forget(namespace, name);
    }

    /// Returns a run in its latest known version: the cached object or our own write.
    pub(super) fn run(&self, caches: &Caches, namespace: &str, name: &str) -> Option<Arc<UpdateRun>> {
        let known = caches.runs.get(&ObjectRef::new(name).within(namespace));
        // A run that is missing from the cache was deleted: it was cached when the decision was made.
        known.map(|run| self.runs.newer(run))
    }

    /// Returns all runs in their latest known versions.
    pub(super) fn runs(&self, caches: &Caches) -> Vec<Arc<UpdateRun>> {
        self.runs.newest(caches.runs.state())
    }

    /// Drops all stored responses.
    pub(super) fn clear(&self) {
        self.runs.clear();
        self.updates.clear();
    }

    /// Returns all NodeUpdates in their latest known versions.
    pub(super) fn all_updates(&self, caches: &Caches) -> Vec<Arc<NodeUpdate>> {
        let mut all = self.updates.newest(caches.updates.state());
        all.extend(self.updates.missing(&caches.updates));
        all
    }

    /// Returns all NodeUpdates of a namespace in their latest known versions.
    pub(super) fn updates(&self, caches: &Caches, namespace: &str) -> Vec<Arc<NodeUpdate>> {
        let mut all = self.all_updates(caches);
        all.retain(|update| update.metadata.namespace.as_deref() == Some(namespace));
        all
    }
}

/// Responses to our writes. Decisions are made one at a time, so that the lock is only ever held for lookups.
struct WriteCache<K> {
    objects: Mutex<Objects<K>>,
}

/// Objects by namespace and name.
type Objects<K> = BTreeMap<String, BTreeMap<String, Arc<K>>>;

impl<K> Default for WriteCache<K> {
    fn default() -> Self {
        Self { objects: Mutex::default() }
    }
}

impl<K: Kind> WriteCache<K> {
    fn remember(&self, object: K) {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        self.lock().entry(namespace).or_default().insert(name, Arc::new(object));
    }

    fn clear(&self) {
        self.lock().clear();
    }

    fn forget(&self, namespace: &str, name: &str) {
        remove(&mut self.lock(), namespace, name);
    }

    /// Returns the later version of the cached object and ours. Ours is dropped once the cache has
    /// caught up.
    fn newer(&self, cached: Arc<K>) -> Arc<K> {
        newer(&mut self.lock(), cached)
    }

    /// Returns the later version of each object.
    fn newest(&self, mut cached: Vec<Arc<K>>) -> Vec<Arc<K>> {
        let mut objects = self.lock();
        // Nearly always there is none: a cache catches up within moments.
        if !objects.is_empty() {
            cached = cached.into_iter().map(|cached| newer(&mut objects, cached)).collect();
        }
        cached
    }

    /// Returns our objects that are missing from the cache.
    fn missing(&self, cache: &Store<K>) -> Vec<Arc<K>> {
        let objects = self.lock();
        let all =
            objects.iter().flat_map(|(namespace, named)| named.iter().map(move |named| (namespace, named)));
        let absent =
            all.filter(|(namespace, (name, _))| cache.get(&ObjectRef::new(name).within(namespace)).is_none());
        absent.map(|(_, (_, object))| object.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Objects<K>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn newer<K: Kind>(objects: &mut Objects<K>, cached: Arc<K>) -> Arc<K> {
    let meta = cached.meta();
    let (namespace, name) =
        (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    match objects.get(namespace).and_then(|named| named.get(name)) {
        Some(ours) if ours.uid() == cached.uid() && version(&**ours) > version(&*cached) => ours.clone(),
        Some(_) => {
            remove(objects, namespace, name);
            cached
        }
        None => cached,
    }
}

fn remove<K>(objects: &mut Objects<K>, namespace: &str, name: &str) {
    let Some(named) = objects.get_mut(namespace) else { return };
    named.remove(name);
    if named.is_empty() {
        objects.remove(namespace);
    }
}

/// Parses the resource version, which grows as a number per object (KEP-5504). A version that is not a
/// number counts as the oldest.
fn version<K: Kind>(object: &K) -> Option<u64> {
    object.resource_version()?.parse().ok()
}
