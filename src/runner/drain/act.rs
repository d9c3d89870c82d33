//! What a drain changes in the cluster: one request each, repeated only while the API server does not answer.

use crate::api::CORDONED_BY_ANNOTATION as CORDONED_BY;
use crate::inputs::answer;
use crate::publish::{is_conflict, is_gone};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

/// Cordons a Node and writes who did that, or uncordons it and removes that (`None`). Does nothing if somebody has
/// changed the Node since it was read.
pub(super) async fn cordon(client: &Client, read: &Node, by: Option<&str>) -> Result<(), kube::Error> {
    let name = read.name_any();
    let patch = json!({
        "metadata": {"resourceVersion": read.resource_version(), "annotations": {CORDONED_BY: by}},
        "spec": {"unschedulable": by.map(|_| true)},
    });
    let api: Api<Node> = Api::all(client.clone());
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    match answer(&format!("Node {name}"), || api.patch(&name, &params, &patch)).await {
        Err(error) if !is_conflict(&error) && !is_gone(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Asks once for the eviction of a pod, if it is still the one that was read: kube's own call does not send this
/// condition. `client` must not repeat requests by itself.
pub(super) async fn evict(client: &Client, read: &Pod) -> Result<(), kube::Error> {
    let (namespace, name) = (read.namespace().unwrap_or_default(), read.name_any());
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": {"preconditions": {"uid": read.uid()}},
    });
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let asked: Result<Value, _> =
        api.create_subresource("eviction", &name, &PostParams::default(), &eviction).await;
    match asked {
        Err(error) if !is_conflict(&error) && !is_gone(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Creates a Job. One of its name is there already if the answer to an earlier request was lost.
pub(super) async fn create(client: &Client, job: &Job) -> Result<(), kube::Error> {
    let api: Api<Job> = Api::namespaced(client.clone(), &job.namespace().unwrap_or_default());
    let params = PostParams::default();
    match answer(&format!("Job {}", job.name_any()), || api.create(&params, job)).await {
        Err(error) if !is_conflict(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Deletes a Job; it is there until its pods are gone.
pub(super) async fn delete(client: &Client, namespace: &str, job: &str) -> Result<(), kube::Error> {
    let api: Api<Job> = Api::namespaced(client.clone(), namespace);
    let params = DeleteParams::foreground();
    match answer(&format!("Job {job}"), || api.delete(job, &params)).await {
        Err(error) if !is_gone(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
