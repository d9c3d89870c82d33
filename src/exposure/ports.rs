//! The ports of each runner for a run, computed from the ports of all runs and the reports of
//! runners.

use super::named::{claimant, from_api, given_port};
use crate::api::UpdateRun;
use crate::api::update_run::{Exposure, ListenerState, OnConflict as ApiOnConflict};
use crate::membership::{RunnerLocation, Runners};
use farrier_network::FileService;
use farrier_network::ledger::{
    Allocation, Block, Claim, Conflict, OnConflict, Pair, PairRequest, PairSharing, RunnerHost,
    allocate_after,
};
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Computes the pairs of a run's runners, and why some have none. Older runs that want ports too
/// come first.
pub(super) fn allocation(run: &UpdateRun, runs: &[Arc<UpdateRun>], runners: &Runners) -> Allocation {
    let age = |run: &UpdateRun| (run.creation_timestamp(), run.namespace(), run.name_any());
    let own = age(run);
    let mut older_runs: Vec<_> = runs.iter().filter(|other| wants(other) && age(other) < own).collect();
    older_runs.sort_by_cached_key(|other| age(other));
    let before: Vec<PairRequest> = older_runs.into_iter().map(|other| request(other, runners)).collect();
    let claims: Vec<Claim> = runs.iter().flat_map(|run| claims(run, runners)).collect();
    let wanting = runs.iter().filter(|run| wants(run));
    let conflicts: Vec<Conflict> = wanting.flat_map(|run| conflicts(run, runners)).collect();
    allocate_after(&before, &request(run, runners), &claims, &conflicts)
}

/// Returns the name of a run in the ledger, which messages show.
pub(super) fn id(run: &UpdateRun) -> String {
    format!("{}/{}", run.namespace().unwrap_or_default(), run.name_any())
}

/// Reports whether a run wants ports or has some.
fn wants(run: &UpdateRun) -> bool {
    run.status.as_ref().is_some_and(|s| s.callback.is_some())
}

fn request(run: &UpdateRun, runners: &Runners) -> PairRequest {
    let spec = &run.spec.callback;
    let shared = spec.exposure != Exposure::HostPort;
    PairRequest {
        run: id(run),
        runners: runners.iter().map(|(name, info)| runner_host(name, &info.location, shared)).collect(),
        wanted: Pair { http: spec.http_port, https: spec.https_port },
        on_conflict: match spec.on_conflict {
            ApiOnConflict::Next => OnConflict::Next,
            ApiOnConflict::Fail => OnConflict::Fail,
        },
        sharing: if shared { PairSharing::Shared } else { PairSharing::PerRunner },
        previous: previous(run, runners),
    }
}

pub(super) fn runner_host(name: &str, location: &RunnerLocation, shared: bool) -> RunnerHost {
    let block = match location {
        RunnerLocation::Pod { host_ports: Some(ports), .. } if !shared => {
            Some(Block { first: ports.first, count: ports.count })
        }
        RunnerLocation::Pod { .. } | RunnerLocation::Host { .. } => None,
    };
    RunnerHost { runner: name.to_owned(), host: host_of(name, location), block }
}

/// Returns the host of a runner. Runners with the same host cannot have the same port; a pod has
/// its ports to itself.
pub(super) fn host_of(name: &str, location: &RunnerLocation) -> String {
    match location {
        RunnerLocation::Host { id, .. } => id.clone(),
        RunnerLocation::Pod { .. } => format!("pod {name}"),
    }
}

/// Returns the pair that each live runner has for a run.
fn previous(run: &UpdateRun, runners: &Runners) -> BTreeMap<String, Pair> {
    let callback = run.status.as_ref().and_then(|s| s.callback.as_ref());
    callback
        .iter()
        .flat_map(|callback| &callback.ports)
        .filter(|ports| runners.contains_key(&ports.runner))
        .map(|ports| (ports.runner.clone(), Pair { http: ports.http_port, https: ports.https_port }))
        .collect()
}

/// Returns the pairs that a run's runners were given, and those that they still hold: the ports of
/// a run that has ended are released only when its runners report it.
pub(super) fn claims(run: &UpdateRun, runners: &Runners) -> Vec<Claim> {
    let id = id(run);
    let listeners = run.status.iter().flat_map(|s| &s.listeners);
    let held = listeners.filter(|listener_status| listener_status.state == ListenerState::Bound);
    let held = held.map(|listener_status| {
        (
            listener_status.runner.clone(),
            Pair { http: listener_status.http_port, https: listener_status.https_port },
        )
    });
    let all = previous(run, runners).into_iter().chain(held).filter_map(|(runner, pair)| {
        let host = host_of(&runner, &runners.get(&runner)?.location);
        Some(Claim::both(&id, &runner, &host, pair))
    });
    all.flatten().chain(service_claims(run, runners)).collect()
}

/// Returns the ports of file services that a run's runners were given, and those that they still hold.
fn service_claims(run: &UpdateRun, runners: &Runners) -> Vec<Claim> {
    let status = run.status.iter();
    let given =
        status.clone().flat_map(|s| &s.callback).flat_map(|callback| &callback.ports).flat_map(|ports| {
            FileService::ALL.map(|service| Some((&ports.runner, service, given_port(ports, service)?)))
        });
    let held = status.flat_map(|s| &s.listeners).flat_map(|listener| {
        let held = listener.services.iter().filter(|service| service.state == ListenerState::Bound);
        held.map(|held| Some((&listener.runner, from_api(held.service), held.port)))
    });
    let all = given.chain(held).flatten().filter_map(|(runner, service, first)| {
        let host = host_of(runner, &runners.get(runner)?.location);
        let run = claimant(&id(run), service);
        Some(service.ports(first).map(move |port| Claim {
            run: run.clone(),
            runner: runner.clone(),
            host: host.clone(),
            port,
        }))
    });
    all.flatten().collect()
}

pub(super) fn conflicts(run: &UpdateRun, runners: &Runners) -> Vec<Conflict> {
    let id = id(run);
    let listeners = run.status.iter().flat_map(|s| &s.listeners);
    listeners
        .filter_map(|listener| {
            let host = host_of(&listener.runner, &runners.get(&listener.runner)?.location);
            Some(listener.taken.iter().map(move |port| (host.clone(), *port)))
        })
        .flatten()
        .map(|(host, port)| Conflict { run: id.clone(), host, port })
        .collect()
}
