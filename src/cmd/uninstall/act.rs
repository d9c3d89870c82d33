//! The changes that an uninstallation makes in the cluster.

use crate::api::{FINALIZER, NodeUpdate, UpdateRun};
use crate::exposure;
use crate::publish::{self, Kind};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Label on the Leases of operators.
const PART: &str = "farrier.dev/part";

/// Label on the objects of a run.
const RUN: &str = "farrier.dev/run-uid";

/// Reports whether the operator's Deployment exists and is not being deleted. `helm template` prints
/// hooks among the other objects: applied together with them, the hooks would clean up under a running
/// operator.
pub(super) async fn is_installed(client: &Client, namespace: &str, name: &str) -> Result<bool, kube::Error> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(name).await?.is_some_and(|found| found.metadata.deletion_timestamp.is_none()))
}

/// Removes the objects that the operator created for itself in its namespace.
pub(super) async fn own_objects(client: &Client, namespace: &str) -> Result<(), kube::Error> {
    labelled::<Lease>(client, namespace, PART).await?;
    labelled::<Service>(client, namespace, RUN).await?;
    labelled::<NetworkPolicy>(client, namespace, RUN).await
}

async fn labelled<K>(client: &Client, namespace: &str, label: &str) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    for object in api.list(&ListParams::default().labels(label)).await? {
        match api.delete(&object.name_any(), &DeleteParams::default()).await {
            Ok(_) => tracing::info!(kind = %K::kind(&()), name = %object.name_any(), "removed"),
            Err(error) if publish::is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Removes the operator's finalizer from every run and NodeUpdate, so that users can delete them
/// without an operator. Also removes the keys of runs that have not ended, which are useless from now
/// on.
pub(super) async fn remove_finalizers(client: &Client, namespaces: &[String]) -> Result<(), kube::Error> {
    for run in super::all::<UpdateRun>(client, namespaces).await?.iter().filter(|run| super::is_open(run)) {
        exposure::remove_identity(client, run).await?;
    }
    unbind::<NodeUpdate>(client, namespaces).await?;
    unbind::<UpdateRun>(client, namespaces).await
}

async fn unbind<K: Kind>(client: &Client, namespaces: &[String]) -> Result<(), kube::Error> {
    for object in super::all::<K>(client, namespaces).await? {
        if publish::finalizer(client, &object, FINALIZER, false).await?.is_some() {
            let namespace = object.namespace().unwrap_or_default();
            tracing::info!(kind = %K::kind(&()), namespace, name = %object.name_any(), "the finalizer is removed");
        }
    }
    Ok(())
}
