//! What was created and does not show in the caches yet.

use crate::api::NodeUpdate;
use crate::world::World;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Every NodeUpdate that a cache may not have seen. One decision is made at a time, so that there
/// is nothing to lock for longer than a look.
#[derive(Default)]
pub(crate) struct Pending {
    created: Mutex<BTreeMap<(String, String), Arc<NodeUpdate>>>,
}

impl Pending {
    /// Remembers an object until the cache shows it.
    pub(super) fn remember(&self, update: NodeUpdate) {
        let key = (update.namespace().unwrap_or_default(), update.name_any());
        self.created.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::new(update));
    }

    /// All NodeUpdates of a namespace: those of the cache, and those it does not show yet.
    pub(super) fn updates(&self, world: &World, namespace: &str) -> Vec<Arc<NodeUpdate>> {
        let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        created.retain(|(namespace, name), _| {
            world.updates.get(&ObjectRef::new(name).within(namespace)).is_none()
        });
        let mut all: Vec<Arc<NodeUpdate>> = world
            .updates
            .state()
            .into_iter()
            .filter(|u| u.namespace().as_deref() == Some(namespace))
            .collect();
        all.extend(created.iter().filter(|((of, _), _)| of == namespace).map(|(_, update)| update.clone()));
        all
    }
}
