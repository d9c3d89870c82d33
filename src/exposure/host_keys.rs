//! The Secret that holds the host keys of the SFTP and SCP service. There is one in each namespace with runs that use
//! the service. It stays when the run is gone: devices remember the key of a host, and refuse another one.

use crate::api::UpdateRun;
use crate::callback::HostKeys;
use crate::failure::chain;
use crate::publish::{CONTROLLER, is_conflict, is_gone};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

/// Name of the Secret. A user may make it beforehand, with keys of their own.
const NAME: &str = "farrier-sftp-host-keys";

/// Reads the host keys.
///
/// # Errors
/// `None` if they do not exist yet; otherwise why they cannot be used.
pub async fn host_keys(client: &Client, run: &UpdateRun) -> Result<HostKeys, Option<String>> {
    let namespace = run.namespace().unwrap_or_default();
    let secret = match Api::<Secret>::namespaced(client.clone(), &namespace).get(NAME).await {
        Ok(secret) => secret,
        Err(error) if is_gone(&error) => return Err(None),
        Err(error) => return Err(Some(format!("Secret {NAME} cannot be read: {}", chain(&error)))),
    };
    let data = secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0)).collect();
    HostKeys::from_map(&data).map_err(|error| {
        Some(format!(
            "Secret {NAME} in namespace {namespace} cannot be used: {error}; correct it, or delete it, and the next run makes it again"
        ))
    })
}

/// Creates the host keys unless they exist.
pub(super) async fn ensure(client: &Client, run: &UpdateRun) -> Result<(), String> {
    let namespace = run.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    match api.get_metadata_opt(NAME).await {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => {}
        Err(error) => return Err(format!("Secret {NAME} cannot be read: {}", chain(&error))),
    }
    let keys = HostKeys::generate().map_err(|error| error.to_string())?;
    let mut secret = Secret {
        type_: Some("Opaque".to_owned()),
        data: Some(keys.into_iter().map(|(key, bytes)| (key, ByteString(bytes))).collect()),
        ..Secret::default()
    };
    secret.metadata.name = Some(NAME.to_owned());
    secret.metadata.namespace = Some(namespace);
    let params = PostParams { field_manager: Some(CONTROLLER.into()), ..PostParams::default() };
    match api.create(&params, &secret).await {
        Ok(_) => Ok(()),
        Err(error) if is_conflict(&error) => Ok(()),
        Err(error) => Err(format!("Secret {NAME} cannot be made: {}", chain(&error))),
    }
}
