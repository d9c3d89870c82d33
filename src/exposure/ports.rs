//! Which runner gets which ports for a run, worked out from what all runs have and runners say.

use crate::api::UpdateRun;
use crate::api::update_run::{Exposure, OnConflict as ApiOnConflict};
use crate::membership::{Home, Runners};
use farrier_network::ledger::{
    Allocation, Block, Claim, Conflict, OnConflict, Pair, PairRequest, Seat, Sharing, allocate,
};
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The pairs of a run's runners, and why some have none.
pub(super) fn allocation(run: &UpdateRun, runs: &[Arc<UpdateRun>], runners: &Runners) -> Allocation {
    let spec = &run.spec.callback;
    let shared = spec.exposure != Exposure::HostPort;
    let seats = runners.iter().map(|(name, info)| seat(name, &info.home, shared)).collect();
    let request = PairRequest {
        run: run.uid().unwrap_or_default(),
        seats,
        wanted: Pair { http: spec.http_port, https: spec.https_port },
        on_conflict: match spec.on_conflict {
            ApiOnConflict::Next => OnConflict::Next,
            ApiOnConflict::Fail => OnConflict::Fail,
        },
        sharing: if shared { Sharing::Same } else { Sharing::Each },
        standing: standing(run, runners),
    };
    let open = || runs.iter().filter(|run| run.status.as_ref().is_some_and(|s| s.callback.is_some()));
    let claims: Vec<Claim> = open().flat_map(|run| claims(run, runners)).collect();
    let conflicts: Vec<Conflict> = open().flat_map(|run| conflicts(run, runners)).collect();
    allocate(&request, &claims, &conflicts)
}

fn seat(name: &str, home: &Home, shared: bool) -> Seat {
    let block = match home {
        Home::Pod { host_ports: Some(ports), .. } if !shared => {
            Some(Block { first: ports.first, count: ports.count })
        }
        Home::Pod { .. } | Home::Host { .. } => None,
    };
    Seat { runner: name.to_owned(), host: host_of(name, home), block }
}

/// Runners with the same host cannot have the same port: a pod has its ports to itself.
fn host_of(name: &str, home: &Home) -> String {
    match home {
        Home::Host { id, .. } => id.clone(),
        Home::Pod { .. } => format!("pod {name}"),
    }
}

/// What each live runner has for a run.
fn standing(run: &UpdateRun, runners: &Runners) -> BTreeMap<String, Pair> {
    let callback = run.status.as_ref().and_then(|s| s.callback.as_ref());
    callback
        .iter()
        .flat_map(|callback| &callback.ports)
        .filter(|ports| runners.contains_key(&ports.runner))
        .map(|ports| (ports.runner.clone(), Pair { http: ports.http_port, https: ports.https_port }))
        .collect()
}

fn claims(run: &UpdateRun, runners: &Runners) -> Vec<Claim> {
    let uid = run.uid().unwrap_or_default();
    let all = standing(run, runners).into_iter().filter_map(|(runner, pair)| {
        let host = host_of(&runner, &runners.get(&runner)?.home);
        Some(Claim::both(&uid, &runner, &host, pair))
    });
    all.flatten().collect()
}

fn conflicts(run: &UpdateRun, runners: &Runners) -> Vec<Conflict> {
    let uid = run.uid().unwrap_or_default();
    let listeners = run.status.iter().flat_map(|s| &s.listeners);
    listeners
        .filter_map(|listener| {
            let host = host_of(&listener.runner, &runners.get(&listener.runner)?.home);
            Some(listener.taken.iter().map(move |port| (host.clone(), *port)))
        })
        .flatten()
        .map(|(host, port)| Conflict { run: uid.clone(), host, port })
        .collect()
}
