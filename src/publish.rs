//! The only writers to the API server besides `act`: statuses and events.
//!
//! Statuses are written by server-side apply with one field manager for each part of the operator, so
//! that no part has to read before it writes and no part overwrites the fields of another.

mod events;

pub use events::{Action, Events};

use crate::api::update_run::ListenerStatus;
use crate::api::{LogRequest, LogRequestStatus, NodeUpdate, UpdateRun};
use k8s_openapi::NamespaceResourceScope;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::fmt::Debug;

/// Annotation of a run that names the replica that decides about it, and since when.
const LEADER_ANNOTATION: &str = "farrier.dev/leader";

/// Field manager of the controller.
pub const CONTROLLER: &str = "farrier-controller";

/// Field manager of runners.
pub const RUNNER: &str = "farrier-runner";

/// Maximum length of a field manager's name in the API server.
const MAX_MANAGER_LEN: usize = 128;

/// A namespaced kind that has a status.
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
/// Errors of the API server; 404 when the object is gone, 409 when it was replaced by another object.
pub async fn status<K: Kind>(
    client: &Client,
    object: &K,
    manager: &str,
    status: &impl Serialize,
) -> Result<K, kube::Error> {
    // The UID, if known, prevents writes to a new object of the same name.
    let metadata = match object.uid() {
        Some(uid) => json!({"name": object.name_any(), "uid": uid}),
        None => json!({"name": object.name_any()}),
    };
    write_status(client, object, manager, status, metadata).await
}

/// Writes a status that was computed from exactly this version of the object.
///
/// # Errors
/// Errors of the API server; 404 when the object is gone, 409 when it has another version now.
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

/// Writes a runner's report about its listeners for a run; `None` removes the report. Each runner uses
/// a field manager of its own, so that runners do not touch each other's reports.
///
/// # Errors
/// Errors of the API server; 404 when the run is gone, 409 when it was replaced by another object.
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
/// Errors of the API server.
pub async fn object<K: Kind>(client: &Client, manager: &str, object: &K) -> Result<K, kube::Error> {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    api.patch(&object.name_any(), &PatchParams::apply(manager).force(), &Patch::Apply(object)).await
}

/// Adds or removes our finalizer, and returns the changed object. Returns `None` if no change was
/// needed, or if the object is gone.
///
/// # Errors
/// Errors of the API server; a conflict means that another client changed the object meanwhile.
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
    // The resource version makes the patch a compare-and-swap: a finalizer that another client added
    // meanwhile is kept.
    let patch = json!({"metadata": {"finalizers": list, "resourceVersion": object.resource_version()}});
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    match api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(changed) => Ok(Some(changed)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Records in the run which replica decides about it from now on. The API server then rejects writes
/// that are based on an earlier version.
///
/// # Errors
/// Errors of the API server.
pub async fn decider(client: &Client, run: &UpdateRun, who: &str) -> Result<UpdateRun, kube::Error> {
    let api: Api<UpdateRun> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let patch = json!({"metadata": {"annotations": {LEADER_ANNOTATION: who}}});
    api.patch(&run.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await
}

/// Hands a NodeUpdate over to another runner.
///
/// # Errors
/// Errors of the API server; 409 when the object has another version now.
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

/// Creates a run. Returns false if there is one of this name.
///
/// # Errors
/// Errors of the API server.
pub async fn create_run(client: &Client, run: &UpdateRun) -> Result<bool, kube::Error> {
    let api: Api<UpdateRun> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let parameters = PostParams { field_manager: Some(CONTROLLER.into()), ..PostParams::default() };
    match api.create(&parameters, run).await {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes a part of a log into the status of a request, of which the metadata may be enough.
///
/// # Errors
/// Errors of the API server; 404 when the request is gone, 409 when it was replaced by another one.
pub async fn log_part(
    client: &Client,
    request: &(impl ResourceExt + Sync),
    part: &LogRequestStatus,
) -> Result<(), kube::Error> {
    let api: Api<LogRequest> = Api::namespaced(client.clone(), &request.namespace().unwrap_or_default());
    let patch = json!({"metadata": {"uid": request.uid()}, "status": part});
    api.patch_status(&request.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await.map(|_| ())
}

/// Creates a request for a log, with a name that the API server chooses.
///
/// # Errors
/// Errors of the API server; 403 when the user may not create it.
pub async fn create_log_request(
    client: &Client,
    namespace: &str,
    request: &LogRequest,
) -> Result<LogRequest, kube::Error> {
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), request).await
}

/// Deletes a request for a log, if it is there.
///
/// # Errors
/// Errors of the API server.
pub async fn delete_log_request(client: &Client, namespace: &str, name: &str) -> Result<(), kube::Error> {
    let api: Api<LogRequest> = Api::namespaced(client.clone(), namespace);
    match api.delete(name, &DeleteParams::default()).await {
        Err(error) if !is_gone(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Reports whether the API server says that the object does not exist.
pub fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Reports whether the object could not be created because its namespace is being deleted.
pub fn is_of_dying_namespace(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating")
}

/// Reports whether the API server says that another client changed the object first.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Reports whether the API server has understood the request and rejects it. A busy or restarting API server answers
/// 429 or 5xx, and will answer later.
pub fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code < 500 && status.code != 429)
}

/// Writes what was trusted on first use, and no other field of the status: `field` is `hostKey` or
/// `certificate`.
///
/// # Errors
/// Errors of the API server.
pub async fn first_use(
    client: &Client,
    namespace: &str,
    node: &str,
    field: &str,
    value: &str,
) -> Result<(), kube::Error> {
    let api: Api<crate::api::ManagedNode> = Api::namespaced(client.clone(), namespace);
    let patch = json!({"status": {field: value}});
    api.patch_status(node, &PatchParams::default(), &Patch::Merge(&patch)).await.map(|_| ())
}
