//! Ensures that the caches show earlier writes.
//!
//! A cache may lag, and a new leader has no writes of its own to compare the cache with.

use super::{Caches, PAGE};
use crate::api::{Baseline, ManagedNode};
use crate::publish::Kind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, NamespaceResourceScope, Selector, SelectorExt};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, Resource, ResourceExt};
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;

/// Interval of the comparisons of the caches with a list.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Interval after which the API server is asked again, because an awaited object may have been deleted.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// How long a comparison waits for the caches. A working watch delivers within milliseconds. A broken watch
/// is not waited for longer, because no other run is decided meanwhile.
const COMPARE_TIMEOUT: Duration = Duration::from_millis(250);

/// Interval of the polls during a comparison.
const COMPARE_INTERVAL: Duration = Duration::from_millis(10);

/// The objects that the API server has.
struct Listed {
    /// UID and version by namespace and name.
    objects: HashMap<(String, String), (Option<String>, u64)>,
    /// Version of the first page. A cached object that is older than this version and not in the list has
    /// been deleted.
    at: u64,
}

/// The objects of other writers that a decision about a run depends on.
#[derive(Debug)]
pub struct Compared<'a> {
    /// Namespace of the run.
    pub namespace: &'a str,
    /// Selects the nodes that are compared.
    pub nodes: LabelSelector,
    /// Name of the baseline, if the run refers to one.
    pub baseline: Option<&'a str>,
}

impl Caches {
    /// Reports whether the caches show all of these nodes and this baseline as the API server has them now.
    /// Asks the API server by consistent reads. Waits a moment for the caches to catch up.
    ///
    /// # Errors
    /// Errors of the API server.
    pub async fn shows(&self, client: &Client, what: &Compared<'_>) -> Result<bool, kube::Error> {
        // The schema accepts some selectors that cannot be parsed. They select nothing.
        let Ok(selector) = Selector::try_from(what.nodes.clone()) else { return Ok(true) };
        let selected = ListParams::default().labels_from(&selector);
        let api: Api<DeserializeGuard<ManagedNode>> = Api::namespaced(client.clone(), what.namespace);
        let nodes = list(&api, selected).await?;
        let of_nodes = |node: &ManagedNode| {
            node.namespace().as_deref() == Some(what.namespace) && selector.matches(node.labels())
        };
        let baselines = match what.baseline {
            Some(name) => {
                let api: Api<DeserializeGuard<Baseline>> = Api::namespaced(client.clone(), what.namespace);
                Some(list(&api, named(name)).await?)
            }
            None => None,
        };
        let of_baselines = |baseline: &Baseline| {
            baseline.namespace().as_deref() == Some(what.namespace)
                && Some(baseline.name_any().as_str()) == what.baseline
        };
        let asked = Instant::now();
        loop {
            if shows(&self.nodes, of_nodes, &nodes)
                && baselines.as_ref().is_none_or(|listed| shows(&self.baselines, of_baselines, listed))
            {
                return Ok(true);
            }
            if asked.elapsed() >= COMPARE_TIMEOUT {
                return Ok(false);
            }
            // sleep: a cache does not notify about changes.
            tokio::time::sleep(COMPARE_INTERVAL).await;
        }
    }

    /// Returns the APIs of a kind in all namespaces that are watched.
    pub fn apis<K>(&self, client: &Client) -> Vec<Api<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        if self.scope.is_empty() {
            return vec![Api::all(client.clone())];
        }
        self.scope.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect()
    }

    /// Returns when the caches show all writes of runs and NodeUpdates from before the call.
    ///
    /// # Errors
    /// Errors of the API server.
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
    let concerns = |object: &K| scope.is_none() || object.namespace().as_deref() == scope;
    loop {
        let listed = list(&api, ListParams::default()).await?;
        let asked = Instant::now();
        while asked.elapsed() < RETRY_INTERVAL {
            if shows(cache, concerns, &listed) {
                return Ok(());
            }
            // sleep: a cache does not notify about changes.
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        tracing::info!(kind = %K::kind(&()), "a cache is behind the API server; waiting for it");
    }
}

/// Returns parameters for a list of the one object with this name. The operator has the right to list, and
/// does not need the right to get.
pub(super) fn named(name: &str) -> ListParams {
    ListParams::default().fields(&format!("metadata.name={name}"))
}

/// Lists with a consistent read: without a resource version the API server answers with its latest state.
async fn list<K: Kind>(api: &Api<DeserializeGuard<K>>, asked: ListParams) -> Result<Listed, kube::Error> {
    let mut objects = HashMap::new();
    let mut at = None;
    let mut page = asked.limit(PAGE);
    loop {
        let list = api.list(&page).await?;
        at = at.or_else(|| number(list.metadata.resource_version.as_deref()));
        // An object that cannot be deserialized is in no cache.
        for object in list.items.into_iter().filter_map(|item| item.0.ok()) {
            let key = (object.namespace().unwrap_or_default(), object.name_any());
            let version = number(object.resource_version().as_deref()).unwrap_or(0);
            objects.insert(key, (object.uid(), version));
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(Listed { objects, at: at.unwrap_or(0) }),
        }
    }
}

/// Reports whether a cache has every listed object, in the listed version or a later one, and no other
/// object that is older than the list.
fn shows<K: Kind>(cache: &Store<K>, concerns: impl Fn(&K) -> bool, listed: &Listed) -> bool
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
        version(object) > listed.at || listed.objects.get(&key).is_some_and(|(uid, _)| *uid == object.uid())
    };
    listed.objects.iter().all(has) && cache.state().iter().all(|object| !concerns(object) || is_there(object))
}

/// Parses a resource version. The versions of one kind increase as numbers (KEP-5504).
fn number(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}
