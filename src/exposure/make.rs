//! Creates and repairs the Service of a run. `act` writes it.

use super::error::{ExposeError, WriteOutcome, lacks_node_port};
use super::objects::{ObjectTemplate, has_same_digest};
use super::paths::bound;
use super::service::{ServicePorts, differences, outer_ports};
use super::{BoundPorts, Exposer, services};
use crate::api::LABEL_RUN_UID;
use crate::api::UpdateRun;
use crate::api::update_run::{CallbackStatus, Exposure, ListenerStatus, UpdateRunStatus};
use crate::failure::chain;
use crate::membership::RunnerLocation;
use crate::publish::{self, Action, CONTROLLER};
use farrier_network::FileService;
use farrier_network::ledger::Pair;
use farrier_update::Reason;
use k8s_openapi::api::core::v1::Service;
use kube::{Resource, ResourceExt};
use std::time::{Duration, Instant};

/// How often an object is repaired within [`REPAIR_WINDOW`]. A client that changes the object more
/// often does so immediately, as an admission policy would, and each round costs a write and a
/// reconciliation.
const MAX_REPAIRS: usize = 10;

/// The window in which repairs are counted.
const REPAIR_WINDOW: Duration = Duration::from_mins(1);

impl Exposer {
    /// Creates the run's Service or repairs it. Returns the run if its status was written because
    /// the ports that machines were given are no longer available.
    pub(super) async fn make_service(&self, run: &UpdateRun) -> Result<Option<UpdateRun>, ExposeError> {
        let (pairs, services) = bound_ports(run);
        let Some((template, pair)) = self.template(run).zip(pairs.into_iter().next()) else {
            return Ok(None);
        };
        let sftp = services.iter().find(|(service, _)| *service == FileService::Sftp).map(|(_, port)| *port);
        let ports = ServicePorts { pair, sftp };
        let (exposure, uid) = (run.spec.callback.exposure, run.uid().unwrap_or_default());
        let nodes = recorded(run);
        let Some(wanted) = template.service(exposure, ports, nodes) else { return Ok(None) };
        let (there, name) = (self.service_of(&uid), wanted.name_any());
        let full = format!("Service {}/{name}", self.site.namespace);
        let touched = match there.as_deref() {
            Some(there) => {
                let fields = differences(there, &wanted);
                if fields.is_empty() {
                    self.mark_seen(&uid, &name);
                    return Ok(None);
                }
                if has_same_digest(there, &wanted) {
                    self.may_repair(&uid, "Service", &name, &fields)?;
                    Some(format!("{full} was changed by somebody ({})", fields.join(", ")))
                } else {
                    None
                }
            }
            None => self.was_seen(&uid, &name).then(|| format!("{full} was deleted by somebody")),
        };
        let (mut written, mut lost) = (self.write_service(there.as_deref(), &wanted).await, None);
        if let (Err(error), Some(_)) = (&written, nodes)
            && lacks_node_port(error)
        {
            // Another Service has the ports that machines were given. Intent before effect: the
            // next reconciliation must not take the new ports for a foreign change.
            tracing::warn!(run = %run.name_any(), error = %chain(error), "the Service's previous node ports are no longer available");
            lost = Some(self.forget_ports(run).await?);
            let Some(other) = template.service(exposure, ports, None) else { return Ok(lost) };
            written = self.write_service(there.as_deref(), &other).await;
        }
        let changed = written.map_err(|error| self.message("Service", &name, &error))?;
        if changed != WriteOutcome::Nothing {
            self.forget_seen(&uid, &name);
            if let Some(touched) = touched {
                self.announce(run, &touched).await;
            }
        }
        Ok(lost)
    }

    /// Removes from the status the ports that machines can no longer connect to.
    async fn forget_ports(&self, run: &UpdateRun) -> Result<UpdateRun, ExposeError> {
        let status = run.status.clone().unwrap_or_default();
        let callback = status.callback.map(without_ports);
        let status = UpdateRunStatus { callback, ..status };
        publish::status_of_version(&self.client, run, CONTROLLER, &status).await.map_err(ExposeError::Server)
    }

    /// Records that an object of the run is in its desired state.
    pub(super) fn mark_seen(&self, uid: &str, name: &str) {
        self.progress().entry(uid.to_owned()).or_default().seen.insert(name.to_owned());
    }

    /// Reports whether an object of the run was seen in its desired state.
    pub(super) fn was_seen(&self, uid: &str, name: &str) -> bool {
        self.progress().get(uid).is_some_and(|progress| progress.seen.contains(name))
    }

    /// Records that an object of the run was written or deleted: until the cache shows that, a
    /// missing object does not mean that another client deleted it.
    pub(super) fn forget_seen(&self, uid: &str, name: &str) {
        self.progress().entry(uid.to_owned()).or_default().seen.remove(name);
    }

    /// Checks whether a foreign change is repaired again, or left until there are fewer of them.
    pub(super) fn may_repair(
        &self,
        uid: &str,
        kind: &str,
        name: &str,
        fields: &[&str],
    ) -> Result<(), ExposeError> {
        let mut all = self.progress();
        let repaired = all.entry(uid.to_owned()).or_default().repaired.entry(name.to_owned()).or_default();
        repaired.retain(|at| at.elapsed() < REPAIR_WINDOW);
        if repaired.len() < MAX_REPAIRS {
            repaired.push(Instant::now());
            return Ok(());
        }
        Err(ExposeError::Words(format!(
            "{kind} {}/{name} is changed by something else ({}) as often as the operator restores it; find out what changes it, for example an admission policy, and exclude objects with the label {LABEL_RUN_UID}",
            self.site.namespace,
            fields.join(", ")
        )))
    }

    /// Publishes an event that tells the user about a foreign change.
    pub(super) async fn announce(&self, run: &UpdateRun, what: &str) {
        let note = format!("{what}, and is restored; the operator owns it and deletes it with the run");
        tracing::warn!(run = %run.name_any(), "{note}");
        self.events.warning(&run.object_ref(&()), Reason::ExposureRestored, Action::Restore, &note).await;
    }

    pub(super) fn message(&self, kind: &str, name: &str, error: &kube::Error) -> ExposeError {
        ExposeError::Words(format!(
            "{kind} {name} in namespace {} cannot be made: {}; check the operator's permissions and the cluster's admission",
            self.site.namespace,
            chain(error)
        ))
    }

    pub(super) fn template<'a>(&'a self, run: &'a UpdateRun) -> Option<ObjectTemplate<'a>> {
        match &self.site.location {
            RunnerLocation::Pod { selector, .. } => {
                Some(ObjectTemplate { run, namespace: &self.site.namespace, selector })
            }
            RunnerLocation::Host { .. } => None,
        }
    }
}

/// Returns the ports of a run's Service that machines connect to.
pub(super) fn called_ports(run: &UpdateRun, service: Option<&Service>) -> Option<ServicePorts> {
    let outer = service.and_then(|service| outer_ports(service, run.spec.callback.exposure));
    let Some(recorded) = recorded(run) else { return outer };
    // A port that was added later is recorded as soon as the Service has it.
    Some(ServicePorts { sftp: recorded.sftp.or(outer.and_then(|outer| outer.sftp)), ..recorded })
}

/// Returns the node ports that machines were given: the Service keeps them, whatever others change.
/// The status no longer names them once they are unavailable.
fn recorded(run: &UpdateRun) -> Option<ServicePorts> {
    let callback = run.status.as_ref()?.callback.as_ref()?;
    let pair = Pair { http: callback.http_port?, https: callback.https_port? };
    let told = ServicePorts { pair, sftp: callback.sftp_port };
    (run.spec.callback.exposure == Exposure::NodePort).then_some(told)
}

/// Removes the addresses and ports that machines were given, because they no longer exist.
fn without_ports(callback: CallbackStatus) -> CallbackStatus {
    CallbackStatus { addresses: Vec::new(), http_port: None, https_port: None, sftp_port: None, ..callback }
}

/// Returns the ports that runners listen on.
pub(super) fn bound_ports(run: &UpdateRun) -> BoundPorts {
    let status = run.status.clone().unwrap_or_default();
    let listeners: Vec<&ListenerStatus> = status.listeners.iter().collect();
    let Some(callback) = &status.callback else { return BoundPorts::default() };
    let pairs = bound(callback, &listeners).map(|p| Pair { http: p.http_port, https: p.https_port });
    (pairs.collect(), services::bound(callback, &listeners).collect())
}
