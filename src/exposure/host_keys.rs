//! The Secret that holds the host keys of the SFTP and SCP service. There is one in each namespace with runs that use
//! the service. It stays when the run is gone: devices remember the key of a host, and refuse another one.

use super::secret;
use crate::api::UpdateRun;
use crate::callback::HostKeys;
use crate::failure::chain;
use crate::publish::is_gone;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};

/// Name of the Secret. A user may make it beforehand, with keys of their own.
const NAME: &str = "farrier-sftp-host-keys";

/// Reads the host keys.
///
/// # Errors
/// Why they cannot be used, and what to do. The controller makes them before it gives the service a port, so keys that do
/// not exist were deleted.
pub async fn host_keys(client: &Client, run: &UpdateRun) -> Result<HostKeys, String> {
    let namespace = run.namespace().unwrap_or_default();
    let secret = match Api::<Secret>::namespaced(client.clone(), &namespace).get(NAME).await {
        Ok(secret) => secret,
        Err(error) if is_gone(&error) => {
            return Err(format!(
                "Secret {NAME} in namespace {namespace} was deleted; the controller makes it again with other keys within a minute, or create it from a copy so that devices which remember the old keys go on working"
            ));
        }
        Err(error) => return Err(format!("Secret {NAME} cannot be read: {}", chain(&error))),
    };
    let data = secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0)).collect();
    HostKeys::from_map(&data).map_err(|error| {
        format!(
            "Secret {NAME} in namespace {namespace} cannot be used: {error}; correct it, or delete it, and the controller makes it again"
        )
    })
}

/// Creates the host keys unless they exist. They have no owner, and stay.
pub(super) async fn ensure(client: &Client, run: &UpdateRun) -> Result<(), String> {
    secret::create_missing(client, run, NAME, || {
        HostKeys::generate().map(secret::with).map_err(|error| error.to_string())
    })
    .await
}
