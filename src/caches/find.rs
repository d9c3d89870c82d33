//! Finds one object by its name.
//!
//! An absence from a cache proves nothing: the watch that fills the cache may lag behind the watch that
//! delivered the object which refers to the missing one. So the API server is asked before an object counts
//! as missing.

use super::Caches;
use super::fresh::named;
use crate::api::{Baseline, ManagedNode, NodeUpdate};
use crate::publish::Kind;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, ResourceExt as _};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Interval of the polls of a cache for an object that the API server has.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Interval after which the API server is asked again, because the object may have been deleted meanwhile.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

impl Caches {
    /// Returns the machine with this name; `None` if the API server has none.
    ///
    /// # Errors
    /// Errors of the API server.
    pub async fn node(
        &self,
        client: &Client,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<ManagedNode>>, kube::Error> {
        find(&self.nodes, client, namespace, name).await
    }

    /// Returns the baseline with this name; `None` if the API server has none.
    ///
    /// # Errors
    /// Errors of the API server.
    pub async fn baseline(
        &self,
        client: &Client,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Baseline>>, kube::Error> {
        find(&self.baselines, client, namespace, name).await
    }

    /// Reports whether the namespace has a NodeUpdate with this name and UID.
    ///
    /// # Errors
    /// Errors of the API server.
    pub async fn has_update(
        &self,
        client: &Client,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<bool, kube::Error> {
        let cached = self.updates.get(&ObjectRef::new(name).within(namespace));
        if cached.is_some_and(|update| update.uid().as_deref() == Some(uid)) {
            return Ok(true);
        }
        let api: Api<NodeUpdate> = Api::namespaced(client.clone(), namespace);
        let listed = api.list_metadata(&named(name)).await?;
        Ok(listed.items.iter().any(|update| update.uid().as_deref() == Some(uid)))
    }
}

/// Returns the object from the cache. If only the API server has it, waits until the cache has it too,
/// because other parts of the operator read it there.
async fn find<K: Kind>(
    cache: &Store<K>,
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<K>>, kube::Error>
where
    K::DynamicType: Eq + Hash + Clone,
{
    let key = ObjectRef::new(name).within(namespace);
    let api: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), namespace);
    loop {
        if let Some(found) = cache.get(&key) {
            return Ok(Some(found));
        }
        // An object that cannot be deserialized is in no cache.
        let there = api.list(&named(name)).await?.items.into_iter().any(|item| item.0.is_ok());
        if !there {
            return Ok(None);
        }
        tracing::info!(kind = %K::kind(&()), name, "a cache is behind the API server; waiting for it");
        let asked = Instant::now();
        while cache.get(&key).is_none() && asked.elapsed() < RETRY_INTERVAL {
            // sleep: a cache cannot notify about a single object.
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}
