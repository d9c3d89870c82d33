//! The file services of a run (SFTP with SCP, and FTP): which are needed at present, and their ports.

use super::named::{claimant, from_api, given_port, named_port};
use super::ports::{claims, conflicts, id, runner_host};
use super::{ActiveMachine, Exposer, WayBack, host_keys, secret};
use crate::api::UpdateRun;
use crate::api::update_run::{
    CallbackStatus, Exposure, ListenerState, ListenerStatus, OnConflict as ApiOnConflict,
};
use crate::membership::Runners;
use crate::publish::Action;
use farrier_network::FileService;
use farrier_network::ledger::{
    Allocation, Claim, Conflict, OnConflict, PairSharing, ServiceAllocation, ServiceRequest, allocate_service,
};
use farrier_update::Reason;
use kube::{Resource, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// The first port that a process without capabilities may bind.
const UNPRIVILEGED: u16 = 1024;

/// What is added to a port below that: 22 becomes 63022, which nothing else uses.
const ABOVE: u16 = 63_000;

/// Returns the services that machines need at present.
pub(super) fn needed(machines: &[ActiveMachine]) -> BTreeSet<FileService> {
    let of = |machine: &ActiveMachine| match machine.way_back {
        Some(WayBack::Fetch(scheme)) => scheme.service(),
        Some(WayBack::Engine) | None => None,
    };
    machines.iter().filter_map(of).collect()
}

/// Returns the services for which runners were given ports, each with its first port.
fn given(callback: &CallbackStatus) -> BTreeSet<FileService> {
    let has =
        |service: &FileService| callback.ports.iter().any(|ports| given_port(ports, *service).is_some());
    FileService::ALL.into_iter().filter(has).collect()
}

/// Returns the services that runners listen for, each with its first port.
pub(super) fn bound<'a>(
    callback: &'a CallbackStatus,
    listeners: &'a [&ListenerStatus],
) -> impl Iterator<Item = (FileService, u16)> + 'a {
    let all = callback.ports.iter().flat_map(|ports| FileService::ALL.map(|service| (ports, service)));
    all.filter_map(|(ports, service)| {
        let port = given_port(ports, service)?;
        let is_bound = reported(listeners, &ports.runner, service, port) == Some(ListenerState::Bound);
        is_bound.then_some((service, port))
    })
}

/// Returns what a runner reports of exactly this port.
pub(super) fn reported(
    listeners: &[&ListenerStatus],
    runner: &str,
    service: FileService,
    port: u16,
) -> Option<ListenerState> {
    let of_runner = listeners.iter().filter(|listener| listener.runner == runner);
    let mut services = of_runner.flat_map(|listener| &listener.services);
    services
        .find(|status| from_api(status.service) == service && status.port == port)
        .map(|status| status.state)
}

/// Computes the ports of the needed services, in their order, after the pairs of the run.
pub(super) fn allocation(
    run: &UpdateRun,
    runs: &[Arc<UpdateRun>],
    runners: &Runners,
    pairs: &Allocation,
    needed: &BTreeSet<FileService>,
) -> BTreeMap<FileService, ServiceAllocation> {
    let mut all: Vec<Claim> = runs.iter().flat_map(|run| claims(run, runners)).collect();
    let conflicts: Vec<Conflict> = runs.iter().flat_map(|run| conflicts(run, runners)).collect();
    let host = |runner: &str| runners.get(runner).map(|info| super::ports::host_of(runner, &info.location));
    for (runner, pair) in &pairs.pairs {
        all.extend(host(runner).iter().flat_map(|host| Claim::both(&id(run), runner, host, *pair)));
    }
    let mut allocations = BTreeMap::new();
    for service in needed {
        let Some(request) = request(run, runners, *service) else { continue };
        let allocation = allocate_service(&request, &all, &conflicts);
        for (runner, first) in &allocation.first {
            all.extend(host(runner).iter().flat_map(|host| request.claims(runner, host, *first)));
        }
        allocations.insert(*service, allocation);
    }
    allocations
}

/// Returns the port for which a pod listens: a Service forwards any port to it, and the process may bind none below
/// 1024.
fn within_pods(port: u16, shared: bool) -> u16 {
    if shared && port < UNPRIVILEGED { ABOVE + port } else { port }
}

fn request(run: &UpdateRun, runners: &Runners, service: FileService) -> Option<ServiceRequest> {
    let callback = &run.spec.callback;
    let shared = callback.exposure != Exposure::HostPort;
    let given = run.status.iter().flat_map(|status| &status.callback).flat_map(|callback| &callback.ports);
    let given = given.filter(|ports| runners.contains_key(&ports.runner));
    Some(ServiceRequest {
        run: id(run),
        claimant: claimant(&id(run), service),
        service,
        runners: runners.iter().map(|(name, info)| runner_host(name, &info.location, shared)).collect(),
        wanted: named_port(run, service).map(|port| within_pods(port, shared))?,
        on_conflict: match callback.on_conflict {
            ApiOnConflict::Next => OnConflict::Next,
            ApiOnConflict::Fail => OnConflict::Fail,
        },
        sharing: if shared { PairSharing::Shared } else { PairSharing::PerRunner },
        previous: given
            .filter_map(|ports| Some((ports.runner.clone(), given_port(ports, service)?)))
            .collect(),
    })
}

impl Exposer {
    /// Makes what the services need beside their ports: the host keys of SFTP. It is checked from time to time that they
    /// still exist, as with the run's identity.
    pub(super) async fn make_host_keys(
        &self,
        run: &UpdateRun,
        needed: &BTreeSet<FileService>,
    ) -> Result<(), super::error::ExposeError> {
        let uid = run.uid().unwrap_or_default();
        let seen = self.progress().get(&uid).and_then(|progress| progress.host_keys);
        let is_due = seen.is_none_or(|at| at.elapsed() >= secret::CHECK_INTERVAL);
        if needed.contains(&FileService::Sftp) && is_due {
            host_keys::ensure(&self.client, run).await.map_err(super::error::ExposeError::Words)?;
            self.progress().entry(uid).or_default().host_keys = Some(Instant::now());
        }
        Ok(())
    }

    /// Publishes an event for each service that was turned on or off.
    pub(super) async fn announce_services(
        &self,
        run: &UpdateRun,
        before: Option<&CallbackStatus>,
        after: Option<&CallbackStatus>,
    ) {
        let (old, new) = (before.map(given).unwrap_or_default(), after.map(given).unwrap_or_default());
        let about = run.object_ref(&());
        for service in new.difference(&old) {
            let ports = after.iter().flat_map(|callback| &callback.ports);
            let ports = ports.filter_map(|ports| Some((&ports.runner, given_port(ports, *service)?)));
            let list: Vec<String> = ports
                .map(|(runner, first)| match service.count() {
                    1 => format!("{runner} on port {first}"),
                    more => format!("{runner} on ports {first} to {}", first.saturating_add(more - 1)),
                })
                .collect();
            let keys = match service {
                FileService::Sftp => "; the host keys are in status.listeners",
                FileService::Ftp => "",
            };
            let note = format!(
                "the {service} service is turned on for machines that fetch by it: {}{keys}",
                list.join(", ")
            );
            self.events.normal(&about, Reason::FileServiceOpened, Action::Open, &note).await;
        }
        for service in old.difference(&new) {
            let note =
                format!("the {service} service is turned off: no machine of the run fetches by it any more");
            self.events.normal(&about, Reason::FileServiceClosed, Action::Close, &note).await;
        }
    }
}
