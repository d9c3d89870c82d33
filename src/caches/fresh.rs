//! Making sure that the caches show what was written before.
//!
//! A cache may lag, and who has just begun to decide has no writes of its own to compare with.

use super::Caches;
use crate::publish::Kind;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, ResourceExt};
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;

/// How often the caches are compared with what they must show.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// After so long the API server is asked anew: what is awaited may be gone.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// So many objects are asked for at a time.
const PAGE: u32 = 500;

/// What the API server has: namespace and name, UID, version.
type Listed = HashMap<(String, String), (Option<String>, u64)>;

impl Caches {
    /// Returns when the caches show all that was written about runs and machines in runs before
    /// this was asked for.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn catch_up(&self, client: &Client) -> Result<(), kube::Error> {
        if self.scope.is_empty() {
            caught_up(&self.runs, Api::all(client.clone()), None).await?;
            caught_up(&self.updates, Api::all(client.clone()), None).await?;
        }
        for namespace in &self.scope {
            caught_up(&self.runs, Api::namespaced(client.clone(), namespace), Some(namespace)).await?;
            caught_up(&self.updates, Api::namespaced(client.clone(), namespace), Some(namespace)).await?;
        }
        Ok(())
    }
}

async fn caught_up<K: Kind>(
    cache: &Store<K>,
    api: Api<DeserializeGuard<K>>,
    scope: Option<&str>,
) -> Result<(), kube::Error>
where
    K::DynamicType: Eq + Hash + Clone,
{
    loop {
        let (listed, at) = list(&api).await?;
        let asked = Instant::now();
        while asked.elapsed() < RETRY_INTERVAL {
            if shows(cache, scope, &listed, at) {
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        tracing::info!(kind = %K::kind(&()), "a cache is behind the API server; waiting for it");
    }
}

/// Everything, and the version of the first page: what is older than that and was not in it is gone.
async fn list<K: Kind>(api: &Api<DeserializeGuard<K>>) -> Result<(Listed, u64), kube::Error> {
    let mut found = Listed::new();
    let mut at = None;
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await?;
        at = at.or_else(|| number(list.metadata.resource_version.as_deref()));
        // What cannot be read is in no cache.
        for object in list.items.into_iter().filter_map(|item| item.0.ok()) {
            let key = (object.namespace().unwrap_or_default(), object.name_any());
            let version = number(object.resource_version().as_deref()).unwrap_or(0);
            found.insert(key, (object.uid(), version));
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok((found, at.unwrap_or(0))),
        }
    }
}

/// Whether a cache has all of it, as it is there or later, and nothing that was gone.
fn shows<K: Kind>(cache: &Store<K>, scope: Option<&str>, listed: &Listed, at: u64) -> bool
where
    K::DynamicType: Eq + Hash + Clone,
{
    let version = |object: &K| number(object.resource_version().as_deref()).unwrap_or(0);
    let has = |((namespace, name), (uid, wanted)): (&(String, String), &(Option<String>, u64))| {
        let cached = cache.get(&ObjectRef::new(name).within(namespace));
        cached.is_some_and(|cached| cached.uid() == *uid && version(&cached) >= *wanted)
    };
    let is_there = |object: &K| {
        let key = (object.namespace().unwrap_or_default(), object.name_any());
        version(object) > at || listed.get(&key).is_some_and(|(uid, _)| *uid == object.uid())
    };
    let concerns = |object: &K| scope.is_none() || object.namespace().as_deref() == scope;
    listed.iter().all(has) && cache.state().iter().all(|object| !concerns(object) || is_there(object))
}

/// Versions of one kind grow as numbers (KEP-5504).
fn number(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}
