//! The only writers to the API server beside `act`: statuses and events.
//!
//! Statuses are written by server-side apply, one field manager for each part of the operator, so
//! that nobody has to read before writing and nobody overwrites what is another's.

mod events;

pub use events::{Action, Events};

use crate::api::update_run::ListenerStatus;
use crate::api::{NodeUpdate, UpdateRun};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

/// Says of a run which replica decides about it, and since when.
const LEADER_ANNOTATION: &str = "farrier.dev/leader";

/// Field manager of the controller.
pub const CONTROLLER: &str = "farrier-controller";

/// Field manager of runners.
pub const RUNNER: &str = "farrier-runner";

/// The API server takes field managers of this length at most.
const MAX_MANAGER_LEN: usize = 128;

/// A kind that lives in a namespace and has a status.
pub trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static
{
}

/// Writes a status. The object must exist.
///
/// # Errors
/// Those of the API server; 404 when the object is gone, 409 when it is another one now.
pub async fn status<K: Kind>(
    client: &Client,
    object: &K,
    manager: &str,
    status: &impl Serialize,
) -> Result<K, kube::Error> {
    // The UID, where it is known, keeps it from an object that was made anew under the same name.
    let metadata = match object.uid() {
        Some(uid) => json!({"name": object.name_any(), "uid": uid}),
        None => json!({"name": object.name_any()}),
    };
    write_status(client, object, manager, status, metadata).await
}

/// Writes a status that was worked out from exactly this version of the object.
///
/// # Errors
/// Those of the API server; 404 when the object is gone, 409 when it is another version now.
pub async fn status_of_version<K: Kind>(
    client: &Client,
    object: &K,
    manager: &str,
    status: &impl Serialize,
) -> Result<K, kube::Error> {
    let metadata = json!({"name": object.name_any(), "resourceVersion": object.resource_version()});
    write_status(client, object, manager, status, metadata).await
}

async fn write_status<K: Kind>(
    client: &Client,
    object: &K,
    manager: &str,
    status: &impl Serialize,
    metadata: serde_json::Value,
) -> Result<K, kube::Error> {
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": metadata,
        "status": status,
    });
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    api.patch_status(&object.name_any(), &PatchParams::apply(manager).force(), &Patch::Apply(&patch)).await
}

/// Writes what a runner says of its ports for a run; `None` takes it back. Each runner is a field
/// manager of its own, so that none touches what another says.
///
/// # Errors
/// Those of the API server; 404 when the run is gone, 409 when it is another one now.
pub async fn listener(
    client: &Client,
    run: &UpdateRun,
    runner: &str,
    report: Option<&ListenerStatus>,
) -> Result<(), kube::Error> {
    let manager: String = format!("{RUNNER}-{runner}").chars().take(MAX_MANAGER_LEN).collect();
    let status = match report {
        Some(report) => json!({"listeners": [report]}),
        None => json!({}),
    };
    self::status(client, run, &manager, &status).await.map(|_| ())
}

/// Writes an object without its status.
///
/// # Errors
/// Those of the API server.
pub async fn object<K: Kind>(client: &Client, manager: &str, object: &K) -> Result<K, kube::Error> {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    api.patch(&object.name_any(), &PatchParams::apply(manager).force(), &Patch::Apply(object)).await
}

/// Adds or removes our finalizer, and returns the object as it is then. `None`: nothing was to be
/// changed, or the object is gone.
///
/// # Errors
/// Those of the API server; a conflict means that somebody else changed the object meanwhile.
pub async fn finalizer<K: Kind>(
    client: &Client,
    object: &K,
    finalizer: &str,
    wanted: bool,
) -> Result<Option<K>, kube::Error> {
    let has = object.finalizers().iter().any(|f| f == finalizer);
    if has == wanted {
        return Ok(None);
    }
    let mut list: Vec<&str> =
        object.finalizers().iter().map(String::as_str).filter(|f| *f != finalizer).collect();
    if wanted {
        list.push(finalizer);
    }
    // The version makes it a comparison: a finalizer that somebody else has set meanwhile stays.
    let patch = json!({"metadata": {"finalizers": list, "resourceVersion": object.resource_version()}});
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    match api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(changed) => Ok(Some(changed)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes into a run who decides about it from now on. Whatever was to be written about the version
/// before is refused from then on.
///
/// # Errors
/// Those of the API server.
pub async fn decider(client: &Client, run: &UpdateRun, who: &str) -> Result<UpdateRun, kube::Error> {
    let api: Api<UpdateRun> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let patch = json!({"metadata": {"annotations": {LEADER_ANNOTATION: who}}});
    api.patch(&run.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await
}

/// Hands a machine in a run to another runner.
///
/// # Errors
/// Those of the API server; 409 when it is another version now.
pub async fn hand_over(
    client: &Client,
    update: &NodeUpdate,
    runner: &str,
) -> Result<NodeUpdate, kube::Error> {
    let api: Api<NodeUpdate> = Api::namespaced(client.clone(), &update.namespace().unwrap_or_default());
    let version = update.resource_version();
    let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"runner": runner}});
    api.patch(&update.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await
}

/// Whether the API server says that there is no such object.
pub fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether nothing can be made any more because the namespace is being deleted.
pub fn is_of_dying_namespace(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating")
}

/// Whether the API server says that somebody else was faster.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Writes the host key that was trusted on first use, and nothing else of the status.
///
/// # Errors
/// Those of the API server.
pub async fn host_key(client: &Client, namespace: &str, node: &str, key: &str) -> Result<(), kube::Error> {
    let api: Api<crate::api::ManagedNode> = Api::namespaced(client.clone(), namespace);
    let patch = json!({"status": {"hostKey": key}});
    api.patch_status(node, &PatchParams::default(), &Patch::Merge(&patch)).await.map(|_| ())
}
