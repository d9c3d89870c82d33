//! Opens and closes the network paths of a run, and performs the writes for it. Every step is
//! idempotent.

use super::error::{ExposeError, WriteOutcome, is_invalid, lacks_node_port};
use super::make::called_ports;
use super::paths::impossible;
use super::service::{ServicePorts, repair};
use super::{ActiveMachine, Exposer, ports, secret, services};
use crate::api::LABEL_RUN_UID;
use crate::api::update_run::{CallbackStatus, Exposure, RunnerPorts, UpdateRunStatus};
use crate::api::{UpdateRun, condition};
use crate::failure::chain;
use crate::membership::{RunnerLocation, Runners};
use crate::publish::{self, CONTROLLER, is_conflict, is_gone};
use farrier_network::FileService;
use farrier_network::ledger::Pair;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// A status lists at most this many addresses.
const MAX_ADDRESSES: usize = 64;

impl Exposer {
    /// Opens what the run's machines need, or updates it to what they need now. `runs` are all
    /// runs, as they are after our own writes.
    ///
    /// # Errors
    /// A conflict: the run was changed meanwhile. All other errors are kept and reported by
    /// [`Self::observe`].
    pub async fn open(
        &self,
        run: &UpdateRun,
        runs: &[Arc<UpdateRun>],
        machines: &[ActiveMachine],
    ) -> Result<ExposeOutcome, kube::Error> {
        let uid = run.uid().unwrap_or_default();
        let done = self.try_open(run, runs, machines).await;
        let mut progress = self.progress();
        let progress = progress.entry(uid).or_default();
        match done {
            Ok(written) => {
                progress.error_since = None;
                progress.policies.get_or_insert_with(Instant::now);
                Ok(written.map_or(ExposeOutcome::Unchanged, |run| ExposeOutcome::Written(Box::new(run))))
            }
            Err(ExposeError::Server(error)) if is_conflict(&error) => Err(error),
            // The run is reconciled again when the caches show the change.
            Err(ExposeError::Meanwhile) => Ok(ExposeOutcome::Failed),
            Err(error_since) => {
                let message = error_since.message();
                tracing::warn!(run = %run.name_any(), "{message}");
                progress.error_since = Some((message, Instant::now()));
                Ok(ExposeOutcome::Failed)
            }
        }
    }

    async fn try_open(
        &self,
        run: &UpdateRun,
        runs: &[Arc<UpdateRun>],
        machines: &[ActiveMachine],
    ) -> Result<Option<UpdateRun>, ExposeError> {
        let runners = self.membership.live();
        let calls = machines.iter().any(|machine| machine.way_back.is_some());
        let exposure = run.spec.callback.exposure;
        let mut written = None;
        if calls && impossible(exposure, &runners).is_none() {
            self.identify(run).await?;
            let needed = services::needed(machines);
            self.make_host_keys(run, &needed).await?;
            written = self.give_ports(run, runs, &runners, &needed).await?;
        }
        let current = written.as_ref().unwrap_or(run);
        self.make_policies(current, machines, &runners).await?;
        if calls
            && exposure != Exposure::HostPort
            && let Some(without_ports) = self.make_service(current).await?
        {
            written = Some(without_ports);
        }
        if !calls && let Some(closed) = self.close_ports(run).await.map_err(ExposeError::Server)? {
            written = Some(closed);
        }
        Ok(written)
    }

    /// Creates the run's identity, and checks from time to time that it still exists.
    async fn identify(&self, run: &UpdateRun) -> Result<(), ExposeError> {
        let uid = run.uid().unwrap_or_default();
        let seen = self.progress().get(&uid).and_then(|progress| progress.identity);
        if seen.is_none_or(|at| at.elapsed() >= secret::CHECK_INTERVAL) {
            secret::ensure(&self.client, run).await.map_err(ExposeError::Words)?;
            self.progress().entry(uid).or_default().identity = Some(Instant::now());
        }
        Ok(())
    }

    /// Writes the ports of each runner and the addresses that machines connect to.
    async fn give_ports(
        &self,
        run: &UpdateRun,
        runs: &[Arc<UpdateRun>],
        runners: &Runners,
        needed: &BTreeSet<FileService>,
    ) -> Result<Option<UpdateRun>, ExposeError> {
        let allocation = ports::allocation(run, runs, runners);
        let services = services::allocation(run, runs, runners, &allocation, needed);
        let first = |service, runner: &str| services.get(&service)?.first.get(runner).copied();
        let given: Vec<RunnerPorts> = allocation
            .pairs
            .iter()
            .map(|(runner, pair)| RunnerPorts {
                runner: runner.clone(),
                http_port: pair.http,
                https_port: pair.https,
                sftp_port: first(FileService::Sftp, runner),
                ftp_port: first(FileService::Ftp, runner),
            })
            .collect();
        let status = run.status.clone().unwrap_or_default();
        let since = status.callback.as_ref().map_or_else(condition::now, |old| old.since.clone());
        let reached = self.reached(run, &given, runners).await;
        let callback = CallbackStatus { since, ports: given, ..reached };
        if status.callback.as_ref() == Some(&callback) {
            return Ok(None);
        }
        let status = UpdateRunStatus { callback: Some(callback), listeners: Vec::new(), ..status };
        // Intent before effect, and against the version that the intent was computed from.
        let written = publish::status_of_version(&self.client, run, CONTROLLER, &status).await;
        let written = written.map_err(ExposeError::Server)?;
        self.announce_services(run, callback_of(run), callback_of(&written)).await;
        Ok(Some(written))
    }

    /// Returns the addresses and ports that machines connect to.
    async fn reached(&self, run: &UpdateRun, given: &[RunnerPorts], runners: &Runners) -> CallbackStatus {
        let mut found = CallbackStatus {
            since: condition::now(),
            ports: Vec::new(),
            addresses: Vec::new(),
            http_port: None,
            https_port: None,
            sftp_port: None,
        };
        let homes = given.iter().filter_map(|ports| runners.get(&ports.runner)).map(|info| &info.location);
        let mut addresses: Vec<IpAddr> = homes
            .flat_map(|location| match location {
                RunnerLocation::Host { addresses, .. } => addresses.clone(),
                RunnerLocation::Pod { host_ips, .. } => host_ips.clone(),
            })
            .collect();
        if run.spec.callback.exposure != Exposure::HostPort {
            let service = self.service_of(&run.uid().unwrap_or_default());
            let outer = called_ports(run, service.as_deref());
            let Some(ServicePorts { pair: Pair { http, https }, sftp }) = outer else { return found };
            (found.http_port, found.https_port) = (Some(http), Some(https));
            found.sftp_port = sftp.filter(|_| given.iter().any(|ports| ports.sftp_port.is_some()));
            if run.spec.callback.exposure == Exposure::LoadBalancer {
                addresses = match service {
                    Some(service) => self.balancer(&service).await,
                    None => Vec::new(),
                };
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MAX_ADDRESSES);
        found.addresses = addresses.iter().map(ToString::to_string).collect();
        found
    }

    async fn balancer(&self, service: &Service) -> Vec<IpAddr> {
        let ingress = service.status.as_ref().and_then(|s| s.load_balancer.as_ref()?.ingress.as_ref());
        let mut found = Vec::new();
        for entry in ingress.into_iter().flatten() {
            found.extend(entry.ip.as_ref().and_then(|ip| ip.parse::<IpAddr>().ok()));
            if let Some(name) = &entry.hostname {
                found.extend(self.names.look_up(name).await);
            }
        }
        found
    }

    /// Closes everything that is open for a run. Returns the run if its status was written.
    ///
    /// # Errors
    /// Errors of the API server.
    pub async fn close(&self, run: &UpdateRun) -> Result<Option<UpdateRun>, kube::Error> {
        let uid = run.uid().unwrap_or_default();
        self.remove_objects(&uid).await?;
        self.progress().remove(&uid);
        self.close_ports(run).await
    }

    /// Closes the ports of a run, and leaves the paths to its machines open. Returns the run if its status
    /// was written.
    async fn close_ports(&self, run: &UpdateRun) -> Result<Option<UpdateRun>, kube::Error> {
        let uid = run.uid().unwrap_or_default();
        if let Some(service) = self.service_of(&uid) {
            self.delete_object(&*service).await?;
        }
        let status = run.status.clone().unwrap_or_default();
        if status.callback.is_none() {
            return Ok(None);
        }
        if let Some(progress) = self.progress().get_mut(&uid) {
            (progress.identity, progress.ingress_path, progress.host_keys) = (None, None, None);
        }
        secret::remove(&self.client, run).await?;
        self.remove_dead_listeners(run).await?;
        let status = UpdateRunStatus { callback: None, listeners: Vec::new(), ..status };
        let written = publish::status_of_version(&self.client, run, CONTROLLER, &status).await?;
        self.announce_services(run, callback_of(run), None).await;
        Ok(Some(written))
    }

    /// Removes the listener states of runners that are gone and cannot remove them themselves.
    async fn remove_dead_listeners(&self, run: &UpdateRun) -> Result<(), kube::Error> {
        let runners = self.membership.live();
        let listeners = run.status.iter().flat_map(|status| &status.listeners);
        for listener in listeners.filter(|listener| !runners.contains_key(&listener.runner)) {
            publish::listener(&self.client, run, &listener.runner, None).await?;
        }
        Ok(())
    }

    /// Deletes the Services and policies that were created for the run with this UID.
    pub(super) async fn remove_objects(&self, uid: &str) -> Result<(), kube::Error> {
        let Some(objects) = &self.site.objects else { return Ok(()) };
        for service in objects.services.state() {
            if service.labels().get(LABEL_RUN_UID).is_some_and(|of| of == uid) {
                self.delete_object(&*service).await?;
            }
        }
        for policy in objects.policies.state() {
            if policy.labels().get(LABEL_RUN_UID).is_some_and(|of| of == uid) {
                self.delete_object(&*policy).await?;
            }
        }
        Ok(())
    }

    /// Writes a Service. If the existing Service cannot be changed into the desired one, it is
    /// deleted, and the next reconciliation creates it again.
    pub(super) async fn write_service(
        &self,
        there: Option<&Service>,
        wanted: &Service,
    ) -> Result<WriteOutcome, kube::Error> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), &self.site.namespace);
        let Some(there) = there else {
            let params = PatchParams::apply(CONTROLLER).force();
            return api
                .patch(&wanted.name_any(), &params, &Patch::Apply(wanted))
                .await
                .map(|_| WriteOutcome::Object);
        };
        match replace(&api, there, &repair(there, wanted)).await {
            Err(error) if is_invalid(&error) && !lacks_node_port(&error) => {
                let fields = chain(&error);
                tracing::warn!(service = %there.name_any(), error = %fields, "it cannot be changed to the desired Service, and is deleted and created again");
                self.delete_object(there).await?;
                Ok(WriteOutcome::Object)
            }
            written => written,
        }
    }

    /// Writes a policy over the existing one.
    pub(super) async fn write_policy(
        &self,
        there: &NetworkPolicy,
        patch: &serde_json::Value,
    ) -> Result<(), ExposeError> {
        let api: Api<NetworkPolicy> = Api::namespaced(self.client.clone(), &self.site.namespace);
        match replace(&api, there, patch).await {
            Ok(WriteOutcome::Object) => Ok(()),
            Ok(WriteOutcome::Nothing) => Err(ExposeError::Meanwhile),
            Err(error) => Err(self.message("NetworkPolicy", &there.name_any(), &error)),
        }
    }

    pub(super) async fn apply<K>(&self, object: &K) -> Result<(), ExposeError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.site.namespace);
        let name = object.name_any();
        let params = PatchParams::apply(CONTROLLER).force();
        match api.patch(&name, &params, &Patch::Apply(object)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.message(&K::kind(&()), &name, &error)),
        }
    }

    pub(super) async fn delete_object<K>(&self, object: &K) -> Result<(), kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.site.namespace);
        let only = Preconditions { uid: object.uid(), resource_version: None };
        let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
        match api.delete(&object.name_any(), &params).await {
            Ok(_) => Ok(()),
            Err(error) if is_gone(&error) || is_conflict(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn callback_of(run: &UpdateRun) -> Option<&CallbackStatus> {
    run.status.as_ref()?.callback.as_ref()
}

/// Writes a merge patch over an existing object. The patch names the version that it was computed
/// from.
async fn replace<K>(api: &Api<K>, there: &K, patch: &serde_json::Value) -> Result<WriteOutcome, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let params = PatchParams { field_manager: Some(CONTROLLER.to_owned()), ..PatchParams::default() };
    match api.patch(&there.name_any(), &params, &Patch::Merge(patch)).await {
        Ok(now) if now.resource_version() != there.resource_version() => Ok(WriteOutcome::Object),
        Ok(_) => Ok(WriteOutcome::Nothing),
        // The run is reconciled again when the cache shows the current object.
        Err(error) if is_conflict(&error) || is_gone(&error) => Ok(WriteOutcome::Nothing),
        Err(error) => Err(error),
    }
}

/// The outcome of opening.
pub enum ExposeOutcome {
    /// Nothing of the run was written.
    Unchanged,
    /// The run's status was written.
    Written(Box<UpdateRun>),
    /// Opening failed, and the paths report it: no work may start on them.
    Failed,
}

#[cfg(test)]
mod tests;
