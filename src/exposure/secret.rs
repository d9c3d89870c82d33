//! The Secret that holds a run's TLS identity. It lives in the run's namespace and is deleted with
//! the run.

use crate::api::UpdateRun;
use crate::callback::RunIdentity;
use crate::failure::chain;
use crate::publish::{CONTROLLER, is_conflict, is_gone};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often the operator checks whether a run's Secrets were deleted: runs that wait for ports are
/// reconciled many times, and restarted runners cannot answer engines without the identity.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// Type of the Secret, so that it is not mistaken for another Secret.
const TYPE: &str = "farrier.dev/callback";

/// Maximum length of a Secret's name.
const MAX_NAME_LEN: usize = 253;

/// Returns the name of a run's Secret.
pub(super) fn name_of(run: &UpdateRun) -> String {
    let run = run.name_any();
    let room = MAX_NAME_LEN - "-callback".len();
    let cut: String = run.chars().take(room).collect();
    format!("{cut}-callback")
}

/// Reads the run's TLS identity.
///
/// # Errors
/// `None` if the identity does not exist yet; otherwise why it cannot be used.
pub async fn identity(client: &Client, run: &UpdateRun) -> Result<RunIdentity, Option<String>> {
    let (name, namespace) = (name_of(run), run.namespace().unwrap_or_default());
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let secret = match api.get(&name).await {
        Ok(secret) => secret,
        Err(error) if is_gone(&error) => return Err(None),
        Err(error) => return Err(Some(format!("Secret {name} cannot be read: {}", chain(&error)))),
    };
    if !is_of(&secret, run) {
        return Err(Some(format!(
            "Secret {name} in namespace {namespace} is not Farrier's; delete or rename it"
        )));
    }
    let data = secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0)).collect();
    let uid = run.uid().unwrap_or_default();
    RunIdentity::from_map(&uid, &data).map_err(|error| {
        Some(format!("Secret {name} cannot be used: {error}; delete it, and the operator creates it again"))
    })
}

/// Creates the identity unless it exists.
pub(super) async fn ensure(client: &Client, run: &UpdateRun) -> Result<(), String> {
    create_missing(client, run, &name_of(run), || {
        let identity =
            RunIdentity::generate(&run.uid().unwrap_or_default()).map_err(|error| error.to_string())?;
        let mut secret = Secret { type_: Some(TYPE.to_owned()), ..with(identity.to_map()) };
        secret.metadata.owner_references = run.controller_owner_ref(&()).map(|owner| vec![owner]);
        Ok(secret)
    })
    .await
}

/// Creates a Secret of this name in the run's namespace unless it exists.
pub(super) async fn create_missing(
    client: &Client,
    run: &UpdateRun,
    name: &str,
    make: impl FnOnce() -> Result<Secret, String>,
) -> Result<(), String> {
    let namespace = run.namespace().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    match api.get_metadata_opt(name).await {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => {}
        Err(error) => return Err(format!("Secret {name} cannot be read: {}", chain(&error))),
    }
    let mut secret = make()?;
    secret.metadata.name = Some(name.to_owned());
    secret.metadata.namespace = Some(namespace);
    let params = PostParams { field_manager: Some(CONTROLLER.into()), ..PostParams::default() };
    match api.create(&params, &secret).await {
        Ok(_) => Ok(()),
        Err(error) if is_conflict(&error) => Ok(()),
        Err(error) => Err(format!("Secret {name} cannot be made: {}", chain(&error))),
    }
}

/// Returns a Secret with this content.
pub(super) fn with(content: BTreeMap<String, Vec<u8>>) -> Secret {
    let data = content.into_iter().map(|(key, bytes)| (key, ByteString(bytes))).collect();
    Secret { data: Some(data), ..Secret::default() }
}

/// Deletes the identity if it belongs to this run.
///
/// # Errors
/// Errors of the API server.
pub async fn remove(client: &Client, run: &UpdateRun) -> Result<(), kube::Error> {
    let name = name_of(run);
    let api: Api<Secret> = Api::namespaced(client.clone(), &run.namespace().unwrap_or_default());
    let Some(found) = api.get_metadata_opt(&name).await? else { return Ok(()) };
    let ours = found.owner_references().iter().any(|owner| Some(&owner.uid) == run.meta().uid.as_ref());
    if !ours {
        return Ok(());
    }
    let only = Preconditions { uid: found.uid(), resource_version: None };
    match api.delete(&name, &DeleteParams { preconditions: Some(only), ..DeleteParams::default() }).await {
        Ok(_) => Ok(()),
        Err(error) if is_gone(&error) || is_conflict(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_of(secret: &Secret, run: &UpdateRun) -> bool {
    secret.owner_references().iter().any(|owner| Some(&owner.uid) == run.meta().uid.as_ref())
}
