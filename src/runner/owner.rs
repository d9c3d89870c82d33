//! The run that a NodeUpdate belongs to, and whether the run still exists.
//!
//! A run cannot be deleted while something of it may be on a machine: its finalizer prevents that. A user may
//! remove the finalizer by hand. The run's NodeUpdates are then orphaned: the runner installs nothing more
//! for them and cleans their machines.

use super::{Context, is_finished};
use crate::api::{NodeUpdate, UpdateRun};
use crate::caches::Caches;
use crate::failure::chain;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use std::sync::Arc;
use std::time::Duration;

/// Time between two requests while the API server does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);

impl Context {
    /// Returns the run of a NodeUpdate from the cache.
    pub(super) fn cached_run(&self, update: &NodeUpdate) -> Option<Arc<UpdateRun>> {
        cached_run(&self.caches, update)
    }

    /// Returns the run of a NodeUpdate; `None`: the run is gone, even if another run has its name. A cache
    /// may lag, so a run that the cache does not have, or has without the list of machines that was recorded
    /// before the NodeUpdate was created, is requested from the API server. Waits while the API server does
    /// not answer.
    pub(super) async fn run_of(&self, update: &NodeUpdate) -> Option<Arc<UpdateRun>> {
        let has_begun = |run: &Arc<UpdateRun>| run.status.as_ref().is_some_and(|s| s.nodes.is_some());
        if let Some(run) = self.cached_run(update).filter(has_begun) {
            return Some(run);
        }
        let api: Api<UpdateRun> =
            Api::namespaced(self.client.clone(), &update.namespace().unwrap_or_default());
        loop {
            match api.get_opt(&update.spec.run_ref.name).await {
                Ok(run) => return run.filter(|run| owns(run, update)).map(Arc::new),
                Err(error) => {
                    tracing::warn!(run = %update.spec.run_ref.name, error = %chain(&error), "the API server does not report whether the run exists; retrying");
                    // sleep: an API server that fails is not asked again at once.
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }
}

fn cached_run(caches: &Caches, update: &NodeUpdate) -> Option<Arc<UpdateRun>> {
    let namespace = update.namespace().unwrap_or_default();
    let run = caches.runs.get(&ObjectRef::new(&update.spec.run_ref.name).within(&namespace));
    run.filter(|run| owns(run, update))
}

/// Whether a NodeUpdate belongs to exactly this run. A NodeUpdate whose owner reference was removed belongs
/// to none.
fn owns(run: &UpdateRun, update: &NodeUpdate) -> bool {
    let owner = owner_uid(update);
    owner.is_some() && owner == run.meta().uid.as_deref()
}

/// Returns the UID of the run that a NodeUpdate belongs to.
pub(super) fn owner_uid(update: &NodeUpdate) -> Option<&str> {
    let owner = update.owner_references().iter().find(|owner| owner.kind == UpdateRun::kind(&()));
    owner.map(|owner| owner.uid.as_str())
}

/// Returns the NodeUpdates of a run, by namespace and name, that have not ended although the run is no longer
/// in the cache.
pub fn orphans(caches: &Caches, run: &ObjectRef<UpdateRun>) -> Vec<(String, String)> {
    let updates = caches.updates.state();
    let of_run = updates.iter().filter(|update| {
        update.spec.run_ref.name == run.name && update.namespace() == run.namespace && !is_finished(update)
    });
    of_run
        .filter(|update| cached_run(caches, update).is_none())
        .map(|update| (update.namespace().unwrap_or_default(), update.name_any()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn update(owners: &Value) -> NodeUpdate {
        serde_json::from_value(json!({
            "metadata": {"name": "r-db", "namespace": "n", "ownerReferences": owners},
            "spec": {"runRef": {"name": "r"}, "nodeRef": {"name": "db"}, "runner": "a", "intent": "Run"},
        }))
        .unwrap()
    }

    fn run(uid: &str) -> UpdateRun {
        serde_json::from_value(
            json!({"metadata": {"name": "r", "namespace": "n", "uid": uid}, "spec": {"selector": {}}}),
        )
        .unwrap()
    }

    /// Otherwise a new run of the same name would take over the machines of the old run.
    #[test]
    fn a_run_of_the_same_name_is_another_run() {
        let owner = |uid: &str| json!([{"apiVersion": "farrier.dev/v1alpha1", "kind": "UpdateRun", "name": "r", "uid": uid}]);
        assert!(owns(&run("u-1"), &update(&owner("u-1"))));
        assert!(!owns(&run("u-2"), &update(&owner("u-1"))));
        assert!(!owns(&run("u-1"), &update(&json!([]))), "deleted with --cascade=orphan");
    }
}
