//! The file services of one listener: opened and closed as the run's status says, beside the pair of ports and without
//! touching it.

use super::super::Context;
use super::listener::Listener;
use super::service::ServiceListener;
use crate::api::UpdateRun;
use crate::api::update_run::{ListenerState, RunnerPorts};
use crate::callback::{self, BindErrorKind, Family, HostKeys, OpenService};
use crate::exposure;
use farrier_network::FileService;
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::time::Instant;

/// Closes all services, because the server that they belong to is closed.
pub(super) async fn shut(listener: &mut Listener) {
    listener.open_services.send_replace(BTreeMap::new());
    for (_, service) in std::mem::take(&mut listener.services) {
        if let Some(open) = service.open {
            open.close().await;
        }
    }
}

/// Opens and closes services until they are those that this runner was given ports for.
pub(super) async fn reconcile(
    context: &Context,
    run: &UpdateRun,
    given: &RunnerPorts,
    listener: &mut Listener,
) {
    for service in FileService::ALL {
        let wanted = exposure::given_port(given, service);
        if let Some(old) = listener.services.get(&service).filter(|old| Some(old.port) != wanted) {
            let port = old.port;
            listener.open_services.send_if_modified(|open| open.remove(&service).is_some());
            if let Some(ServiceListener { open: Some(open), .. }) = listener.services.remove(&service) {
                open.close().await;
                tracing::info!(run = %run.name_any(), %service, port, "the service is closed");
            }
        }
        let Some(port) = wanted else { continue };
        let taken = service.ports(port).any(|port| listener.is_taken(port));
        let is_due =
            listener.services.entry(service).or_insert_with(|| ServiceListener::new(port)).is_due(taken);
        if is_due && listener.active.is_some() {
            open(context, run, listener, service, port).await;
        }
    }
}

async fn open(context: &Context, run: &UpdateRun, listener: &mut Listener, service: FileService, port: u16) {
    let opened = try_open(context, run, listener, service, port).await;
    let (state, message, keys) = match opened {
        Ok(Some((open, keys))) => {
            tracing::info!(run = %run.name_any(), %service, port, "the service is open");
            listener.open_services.send_if_modified(|open| open.insert(service, port) != Some(port));
            if let Some(service) = listener.services.get_mut(&service) {
                service.open = Some(open);
            }
            (ListenerState::Bound, String::new(), keys.public())
        }
        // The server was closed in the meantime.
        Ok(None) => return,
        Err((state, message)) => (state, message, Vec::new()),
    };
    if let Some(found) = listener.services.get_mut(&service) {
        found.find(service, state, message, keys);
    }
}

async fn try_open(
    context: &Context,
    run: &UpdateRun,
    listener: &mut Listener,
    service: FileService,
    port: u16,
) -> Result<Option<(OpenService, HostKeys)>, (ListenerState, String)> {
    let keys = match service {
        FileService::Ftp => HostKeys::default(),
        FileService::Sftp => match exposure::host_keys(&context.client, run).await {
            Ok(keys) => keys,
            Err(message) => return Err((ListenerState::Failed, message)),
        },
    };
    let bound = match callback::bind_service(service, port, &[Family::V4, Family::V6]) {
        Ok(bound) => bound,
        Err(error) => {
            let error = error.named().await;
            let state = match error.kind {
                BindErrorKind::InUse(_) => {
                    listener.note_taken(error.port, Instant::now());
                    ListenerState::Conflict
                }
                BindErrorKind::NotPermitted => ListenerState::NotPermitted,
                BindErrorKind::NoFamily | BindErrorKind::Other(_) => ListenerState::Failed,
            };
            return Err((state, error.to_string()));
        }
    };
    let Some(active) = &listener.active else { return Ok(None) };
    Ok(Some((active.server.open(bound, &keys), keys)))
}
