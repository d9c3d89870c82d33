//! Pairs of ports for the callback servers of a run.

use super::{Block, Claim, Conflict, OccupiedPorts, OnConflict, Pair, Refusal};
use std::collections::{BTreeMap, BTreeSet};

/// A runner that needs a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerHost {
    /// The name of the runner.
    pub runner: String,
    /// The host of the runner.
    pub host: String,
    /// The ports that the runner may use; `None` allows all.
    pub block: Option<Block>,
}

/// Whether runners may have different pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairSharing {
    /// Each runner has its own pair: host ports.
    PerRunner,
    /// All runners have the same pair: one Service is in front of them.
    Shared,
}

/// A run's request for pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairRequest {
    /// The run.
    pub run: String,
    /// The runners that serve the run. Their order does not matter.
    pub runners: Vec<RunnerHost>,
    /// The requested ports.
    pub wanted: Pair,
    /// What to do when the ports are taken.
    pub on_conflict: OnConflict,
    /// Whether the runners may have different pairs.
    pub sharing: PairSharing,
    /// The previous pairs, by name of the runner.
    pub previous: BTreeMap<String, Pair>,
}

/// The outcome of a request: every runner is in one of the two maps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocation {
    /// Pairs, by name of the runner.
    pub pairs: BTreeMap<String, Pair>,
    /// Why runners have no pair, by name of the runner.
    pub refused: BTreeMap<String, Refusal>,
}

/// Allocates a pair for each runner of a run.
///
/// The requested pair comes first, then the next free pair above it: both ports free on that host,
/// with the same distance between them. Within a block the search continues at its beginning, and
/// takes adjacent ports if the distance does not fit. `claims` are the claims of all runs, the
/// run's own included.
pub fn allocate(request: &PairRequest, claims: &[Claim], conflicts: &[Conflict]) -> Allocation {
    let mut runners: Vec<&RunnerHost> = request.runners.iter().collect();
    runners.sort_by(|a, b| a.runner.cmp(&b.runner));
    runners.dedup_by(|a, b| a.runner == b.runner);
    // The run's own previous pairs are either allocated again below, or given up.
    let occupied = OccupiedPorts::of(claims, conflicts, |claim| claim.run == request.run);
    match request.sharing {
        PairSharing::PerRunner => each(request, &runners, occupied, conflicts),
        PairSharing::Shared => same(request, &runners, &occupied, conflicts),
    }
}

/// Allocates a pair for each runner of a run, after the requests in `before`, in their order. Pairs
/// that these requests have not been given yet are kept free for them, so that a later run never
/// overtakes a waiting one.
pub fn allocate_after<'a>(
    before: impl IntoIterator<Item = &'a PairRequest>,
    request: &PairRequest,
    claims: &[Claim],
    conflicts: &[Conflict],
) -> Allocation {
    let mut claims = claims.to_vec();
    let mut unserved: Vec<&PairRequest> = Vec::new();
    for other in before {
        // A request that cannot be served usually asks for the same as an earlier one, and is skipped at
        // almost no cost.
        if unserved.iter().any(|earlier| is_equivalent(earlier, other)) {
            continue;
        }
        let given = allocate(other, &claims, conflicts).pairs;
        if given == other.previous {
            unserved.extend(given.is_empty().then_some(other));
            continue;
        }
        for runner_host in &other.runners {
            let Some(pair) = given.get(&runner_host.runner) else { continue };
            claims.extend(Claim::both(&other.run, &runner_host.runner, &runner_host.host, *pair));
        }
    }
    allocate(request, &claims, conflicts)
}

/// Reports whether two requests without previous pairs would get the same result.
fn is_equivalent(one: &PairRequest, other: &PairRequest) -> bool {
    let PairRequest { run: _, runners, wanted, on_conflict, sharing, previous } = one;
    previous.is_empty()
        && other.previous.is_empty()
        && (runners, wanted, on_conflict, sharing)
            == (&other.runners, &other.wanted, &other.on_conflict, &other.sharing)
}

fn each(
    request: &PairRequest,
    runners: &[&RunnerHost],
    mut occupied: OccupiedPorts,
    conflicts: &[Conflict],
) -> Allocation {
    let mut allocation = Allocation::default();
    let mut keep = |runner_host: &RunnerHost, pair: Pair, occupied: &mut OccupiedPorts| {
        for port in pair.ports() {
            occupied.add(&runner_host.host, port, super::PortOwner::Run(request.run.clone()));
        }
        allocation.pairs.insert(runner_host.runner.clone(), pair);
    };
    let mut new = Vec::new();
    let mut kept_ports: BTreeSet<(&str, u16)> = BTreeSet::new();
    for runner_host in runners {
        // Of two runners of one run on one host, only one can have a port.
        let kept = previous(request, runner_host, conflicts).filter(|pair| {
            pair.ports().iter().all(|port| !kept_ports.contains(&(runner_host.host.as_str(), *port)))
        });
        match kept {
            Some(pair) => {
                kept_ports.extend(pair.ports().map(|port| (runner_host.host.as_str(), port)));
                keep(runner_host, pair, &mut occupied);
            }
            None => new.push(*runner_host),
        }
    }
    let mut refused = BTreeMap::new();
    for runner_host in new {
        match search(request, &[runner_host], &occupied) {
            Ok(pair) => keep(runner_host, pair, &mut occupied),
            Err(refusal) => {
                refused.insert(runner_host.runner.clone(), refusal);
            }
        }
    }
    allocation.refused = refused;
    allocation
}

fn same(
    request: &PairRequest,
    runners: &[&RunnerHost],
    occupied: &OccupiedPorts,
    conflicts: &[Conflict],
) -> Allocation {
    let mut allocation = Allocation::default();
    let mut hosts: BTreeMap<&str, &str> = BTreeMap::new();
    let mut served: Vec<&RunnerHost> = Vec::new();
    for runner_host in runners {
        if let Some(other) = hosts.insert(&runner_host.host, &runner_host.runner) {
            let refusal = Refusal::HostShared { host: runner_host.host.clone(), other: other.to_owned() };
            allocation.refused.insert(runner_host.runner.clone(), refusal);
            hosts.insert(&runner_host.host, other);
        } else {
            served.push(runner_host);
        }
    }
    if let Some(pair) = common(request, &served, conflicts) {
        for runner_host in served {
            let had = request.previous.contains_key(&runner_host.runner);
            if had || fits(pair, &[runner_host], occupied) {
                allocation.pairs.insert(runner_host.runner.clone(), pair);
            } else {
                // The other runners' pairs are in use; moving all of them for a later runner would
                // disconnect engines.
                allocation.refused.insert(runner_host.runner.clone(), taken(pair, runner_host, occupied));
            }
        }
        return allocation;
    }
    match search(request, &served, occupied) {
        Ok(pair) => {
            allocation.pairs.extend(served.iter().map(|runner_host| (runner_host.runner.clone(), pair)));
        }
        Err(refusal) => {
            let all = served.iter().map(|runner_host| (runner_host.runner.clone(), refusal.clone()));
            allocation.refused.extend(all);
        }
    }
    allocation
}

/// Returns the pair that all runners with a previous pair share, if it is still valid for each of
/// them.
fn common(request: &PairRequest, runners: &[&RunnerHost], conflicts: &[Conflict]) -> Option<Pair> {
    let mut common = None;
    for runner_host in runners.iter().filter(|runner_host| request.previous.contains_key(&runner_host.runner))
    {
        let pair = previous(request, runner_host, conflicts)?;
        if *common.get_or_insert(pair) != pair {
            return None;
        }
    }
    common
}

/// Returns the runner's previous pair, unless it is no longer possible.
fn previous(request: &PairRequest, runner_host: &RunnerHost, conflicts: &[Conflict]) -> Option<Pair> {
    let pair = *request.previous.get(&runner_host.runner)?;
    let reported = conflicts
        .iter()
        .any(|c| c.run == request.run && c.host == runner_host.host && pair.ports().contains(&c.port));
    let allowed = pair.ports().iter().all(|port| runner_host.block.is_none_or(|block| block.contains(*port)));
    (allowed && !reported).then_some(pair)
}

/// Searches for a pair that is free for all of these runners.
fn search(request: &PairRequest, runners: &[&RunnerHost], occupied: &OccupiedPorts) -> Result<Pair, Refusal> {
    let wanted = request.wanted;
    if fits(wanted, runners, occupied) {
        return Ok(wanted);
    }
    let Some(runner_host) = runners.iter().find(|runner_host| !fits(wanted, &[runner_host], occupied)) else {
        // There is no runner at all.
        return Ok(wanted);
    };
    match request.on_conflict {
        OnConflict::Fail => Err(taken(wanted, runner_host, occupied)),
        OnConflict::Next => candidates(wanted, runner_host.block)
            .find(|pair| fits(*pair, runners, occupied))
            .ok_or_else(|| exhausted(wanted, runners, occupied)),
    }
}

fn fits(pair: Pair, runners: &[&RunnerHost], occupied: &OccupiedPorts) -> bool {
    runners.iter().all(|runner_host| {
        pair.ports().iter().all(|port| {
            occupied.is_free(&runner_host.host, *port)
                && runner_host.block.is_none_or(|block| block.contains(*port))
        })
    })
}

/// Returns all pairs that may be allocated instead of `wanted`, best first.
fn candidates(wanted: Pair, block: Option<Block>) -> impl Iterator<Item = Pair> {
    // Ports above the block are not searched, because waiting runs ask again and again.
    let highest = block.map_or(u16::MAX, |block| block.last().unwrap_or(0));
    let above = (wanted.http.saturating_add(1)..=highest).filter_map(move |http| moved(wanted, http));
    let (below, neighbours) = match block {
        // Within a block all ports are equal; outside of a block, ports below the wanted ones
        // usually belong to something else.
        Some(block) => (block.first..wanted.http, block.first..block.last().unwrap_or(block.first)),
        None => (0..0, 0..0),
    };
    above
        .chain(below.filter_map(move |http| moved(wanted, http)))
        .chain(neighbours.map(|http| Pair { http, https: http.saturating_add(1) }))
}

/// Returns `wanted`, moved so that it begins at `http`, with the distance kept.
fn moved(wanted: Pair, http: u16) -> Option<Pair> {
    let https = i32::from(http) + i32::from(wanted.https) - i32::from(wanted.http);
    u16::try_from(https).ok().filter(|https| *https > 0).map(|https| Pair { http, https })
}

fn taken(wanted: Pair, runner_host: &RunnerHost, occupied: &OccupiedPorts) -> Refusal {
    let host = runner_host.host.clone();
    if let Some(block) = runner_host.block
        && wanted.ports().iter().any(|port| !block.contains(*port))
    {
        return Refusal::OutsideBlock {
            host,
            wanted,
            first: block.first,
            last: block.last().unwrap_or(block.first),
        };
    }
    let taken = wanted
        .ports()
        .into_iter()
        .filter_map(|port| Some((port, occupied.by(&runner_host.host, port)?.clone())))
        .collect();
    Refusal::PortsTaken { host, taken }
}

fn exhausted(wanted: Pair, runners: &[&RunnerHost], occupied: &OccupiedPorts) -> Refusal {
    let range = |runner_host: &RunnerHost| match runner_host.block {
        Some(block) => (block.first, block.last().unwrap_or(block.first)),
        None => (wanted.http.min(wanted.https), u16::MAX),
    };
    // The host with the fewest free ports is the one to report.
    let worst = runners
        .iter()
        .max_by_key(|runner_host| {
            let (first, last) = range(runner_host);
            (first..=last).filter(|port| !occupied.is_free(&runner_host.host, *port)).count()
        })
        .map(|runner_host| (runner_host.host.as_str(), range(runner_host)));
    let (host, (first, last)) = worst.unwrap_or_default();
    occupied.exhausted(host, first, last)
}
