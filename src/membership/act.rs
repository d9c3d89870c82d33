//! Deletes the Leases of runners that were killed.

use crate::publish::{is_conflict, is_gone};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};

/// Deletes Leases, each only in the version that was seen.
pub(super) async fn remove(api: &Api<Lease>, dead: &[Lease]) -> Result<(), kube::Error> {
    for lease in dead {
        let name = lease.name_any();
        let as_seen = Preconditions { uid: lease.uid(), resource_version: lease.resource_version() };
        match api.delete(&name, &DeleteParams::default().preconditions(as_seen)).await {
            Ok(_) => tracing::info!(lease = %name, "the Lease of a runner that was killed is deleted"),
            Err(error) if is_conflict(&error) || is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
