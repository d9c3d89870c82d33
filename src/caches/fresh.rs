//! Making sure that the caches show what was written before.
//!
//! A cache may lag, and who has just begun to decide has no writes of its own to compare with.

use super::Caches;
use crate::api::{Baseline, ManagedNode};
use crate::publish::Kind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ListParams;
use kube::core::{DeserializeGuard, Selector, SelectorExt};
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

/// How long a comparison waits for the caches. A working watch delivers within milliseconds. A broken
/// one is not waited for longer, because no other run is decided meanwhile.
const COMPARE_FOR: Duration = Duration::from_millis(250);

/// How often it looks meanwhile.
const COMPARE_INTERVAL: Duration = Duration::from_millis(10);

/// So many objects are asked for at a time.
const PAGE: u32 = 500;

/// What the API server has.
struct Listed {
    /// Namespace and name, UID, version.
    objects: HashMap<(String, String), (Option<String>, u64)>,
    /// Version of the first page: what is older than that and was not in it is gone.
    at: u64,
}

/// What a decision about a run reads of what others create.
#[derive(Debug)]
pub struct Compared<'a> {
    /// Namespace of the run.
    pub namespace: &'a str,
    /// The nodes that count.
    pub nodes: LabelSelector,
    /// Name of the baseline, if there is to be one.
    pub baseline: Option<&'a str>,
}

impl Caches {
    /// Whether the caches show all of these nodes and this baseline that the API server has now. The
    /// API server is asked by consistent reads. Waits a moment for the caches to catch up.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn shows(&self, client: &Client, what: &Compared<'_>) -> Result<bool, kube::Error> {
        // The schema accepts some selectors that cannot be read. They select nothing.
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
            if asked.elapsed() >= COMPARE_FOR {
                return Ok(false);
            }
            // sleep: a cache does not tell when it has changed.
            tokio::time::sleep(COMPARE_INTERVAL).await;
        }
    }

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
    let concerns = |object: &K| scope.is_none() || object.namespace().as_deref() == scope;
    loop {
        let listed = list(&api, ListParams::default()).await?;
        let asked = Instant::now();
        while asked.elapsed() < RETRY_INTERVAL {
            if shows(cache, concerns, &listed) {
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        tracing::info!(kind = %K::kind(&()), "a cache is behind the API server; waiting for it");
    }
}

/// Parameters for a list of the one object with this name. The operator may list, and need not be given
/// the right to get.
pub(super) fn named(name: &str) -> ListParams {
    ListParams::default().fields(&format!("metadata.name={name}"))
}

/// A consistent read: without a resource version the API server answers with its latest state.
async fn list<K: Kind>(api: &Api<DeserializeGuard<K>>, asked: ListParams) -> Result<Listed, kube::Error> {
    let mut objects = HashMap::new();
    let mut at = None;
    let mut page = asked.limit(PAGE);
    loop {
        let list = api.list(&page).await?;
        at = at.or_else(|| number(list.metadata.resource_version.as_deref()));
        // What cannot be read is in no cache.
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

/// Whether a cache has all of it, as it is there or later, and nothing else that is older.
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

/// Versions of one kind grow as numbers (KEP-5504).
fn number(version: Option<&str>) -> Option<u64> {
    version?.parse().ok()
}
