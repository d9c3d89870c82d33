//! Ports of the file services of a run: some ports in a row for each runner.

use super::{Block, Claim, Conflict, OccupiedPorts, OnConflict, PairSharing, PortOwner, Refusal, RunnerHost};
use crate::words::FileService;
use std::collections::BTreeMap;

/// A run's request for the ports of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRequest {
    /// The run, as it is in [`Conflict`].
    pub run: String,
    /// The name under which the service has its claims. It differs from the run's own, so that the service and the
    /// run's pair never get the same port.
    pub claimant: String,
    /// The service.
    pub service: FileService,
    /// The runners that serve the run. Their order does not matter.
    pub runners: Vec<RunnerHost>,
    /// The first of the requested ports.
    pub wanted: u16,
    /// What to do when the ports are taken.
    pub on_conflict: OnConflict,
    /// Whether the runners may have different ports.
    pub sharing: PairSharing,
    /// The first of the previous ports, by name of the runner.
    pub previous: BTreeMap<String, u16>,
}

/// The outcome of a request: every runner is in one of the two maps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceAllocation {
    /// The first port, by name of the runner.
    pub first: BTreeMap<String, u16>,
    /// Why runners have no ports, by name of the runner.
    pub refused: BTreeMap<String, Refusal>,
}

impl ServiceRequest {
    /// Returns the claims of the service on one host.
    pub fn claims(&self, runner: &str, host: &str, first: u16) -> Vec<Claim> {
        let claim = |port| Claim {
            run: self.claimant.clone(),
            runner: runner.to_owned(),
            host: host.to_owned(),
            port,
        };
        self.service.ports(first).map(claim).collect()
    }
}

/// Allocates the ports of a service for each runner of a run: the requested ones first, then the next free ones
/// above them, within a block then those from its beginning on. Previous ports stay, unless the run's own runner
/// reports a conflict. With [`PairSharing::Shared`] all runners get the same ports. `claims` are the claims of all
/// runs, the run's own included.
pub fn allocate_service(
    request: &ServiceRequest,
    claims: &[Claim],
    conflicts: &[Conflict],
) -> ServiceAllocation {
    let mut runners: Vec<&RunnerHost> = request.runners.iter().collect();
    runners.sort_by(|a, b| a.runner.cmp(&b.runner));
    runners.dedup_by(|a, b| a.runner == b.runner);
    let mut occupied = OccupiedPorts::of(claims, conflicts, |claim| claim.run == request.claimant);
    let mut allocation = ServiceAllocation::default();
    let groups: Vec<Vec<&RunnerHost>> = match request.sharing {
        PairSharing::Shared => vec![runners],
        PairSharing::PerRunner => runners.into_iter().map(|runner| vec![runner]).collect(),
    };
    let mut give = |group: &[&RunnerHost], first: u16, occupied: &mut OccupiedPorts| {
        for runner in group {
            for port in request.service.ports(first) {
                occupied.add(&runner.host, port, PortOwner::Run(request.claimant.clone()));
            }
            allocation.first.insert(runner.runner.clone(), first);
        }
    };
    // What stays comes first, so that nobody else on the host gets it.
    let mut new = Vec::new();
    for group in groups {
        match kept(request, &group, &occupied, conflicts) {
            Some(first) => give(&group, first, &mut occupied),
            None => new.push(group),
        }
    }
    let mut refused = BTreeMap::new();
    for group in new {
        match search(request, &group, &occupied) {
            Ok(first) => give(&group, first, &mut occupied),
            Err(refusal) => {
                refused.extend(group.iter().map(|runner| (runner.runner.clone(), refusal.clone())));
            }
        }
    }
    allocation.refused = refused;
    allocation
}

/// Returns the ports that the runners of a group have, if all of those that have some have the same, and may keep it.
fn kept(
    request: &ServiceRequest,
    group: &[&RunnerHost],
    occupied: &OccupiedPorts,
    conflicts: &[Conflict],
) -> Option<u16> {
    let mut had = group.iter().filter_map(|runner| Some((*runner, *request.previous.get(&runner.runner)?)));
    let (_, first) = had.next()?;
    if had.any(|(_, other)| other != first) {
        return None;
    }
    let is_reported = |runner: &RunnerHost| {
        let own = conflicts.iter().filter(|c| c.run == request.run && c.host == runner.host);
        own.into_iter().any(|conflict| request.service.ports(first).any(|port| port == conflict.port))
    };
    let is_own = |runner: &RunnerHost| request.previous.contains_key(&runner.runner);
    let may_have = |runner: &&RunnerHost| {
        let within = is_within(request, first, runner.block);
        // What another run claims as well was this run's first.
        let clear = if is_own(runner) {
            !is_taken_by_own(request, runner, first, occupied)
        } else {
            fits(request, first, &[runner], occupied)
        };
        within && clear && !is_reported(runner)
    };
    group.iter().all(may_have).then_some(first)
}

/// Reports whether another runner of the same run has one of these ports on the same host.
fn is_taken_by_own(
    request: &ServiceRequest,
    runner: &RunnerHost,
    first: u16,
    occupied: &OccupiedPorts,
) -> bool {
    let own = PortOwner::Run(request.claimant.clone());
    request.service.ports(first).any(|port| occupied.by(&runner.host, port) == Some(&own))
}

fn search(request: &ServiceRequest, group: &[&RunnerHost], occupied: &OccupiedPorts) -> Result<u16, Refusal> {
    let wanted = request.wanted;
    if fits(request, wanted, group, occupied) {
        return Ok(wanted);
    }
    let Some(runner) = group.iter().find(|runner| !fits(request, wanted, &[runner], occupied)) else {
        return Ok(wanted);
    };
    let (low, high) = match runner.block {
        Some(block) => (block.first, block.last().unwrap_or(block.first)),
        None => (wanted, u16::MAX),
    };
    let (host, service) = (runner.host.clone(), request.service);
    match request.on_conflict {
        OnConflict::Fail if !is_within(request, wanted, runner.block) => {
            Err(Refusal::ServiceOutsideBlock { host, service, wanted, first: low, last: high })
        }
        OnConflict::Fail => {
            let owner = |port| Some((port, occupied.by(&runner.host, port)?.clone()));
            Err(Refusal::PortsTaken { taken: service.ports(wanted).filter_map(owner).collect(), host })
        }
        OnConflict::Next => (wanted..=high)
            .chain(low..wanted)
            .find(|first| fits(request, *first, group, occupied))
            .ok_or(Refusal::ServiceExhausted { host, service, first: low, last: high }),
    }
}

fn is_within(request: &ServiceRequest, first: u16, block: Option<Block>) -> bool {
    let ports = request.service.ports(first);
    ports.clone().count() == usize::from(request.service.count())
        && block.is_none_or(|block| ports.clone().all(|port| block.contains(port)))
}

fn fits(request: &ServiceRequest, first: u16, group: &[&RunnerHost], occupied: &OccupiedPorts) -> bool {
    group.iter().all(|runner| {
        let free = request.service.ports(first).all(|port| occupied.is_free(&runner.host, port));
        free && is_within(request, first, runner.block)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Pair;

    fn request(service: FileService, wanted: u16, hosts: &[&str]) -> ServiceRequest {
        let block = None;
        let runner = |(n, host): (usize, &&str)| RunnerHost {
            runner: format!("r{n}"),
            host: (*host).to_owned(),
            block,
        };
        ServiceRequest {
            run: "a".to_owned(),
            claimant: format!("a ({service})"),
            service,
            runners: hosts.iter().enumerate().map(runner).collect(),
            wanted,
            on_conflict: OnConflict::Next,
            sharing: PairSharing::PerRunner,
            previous: BTreeMap::new(),
        }
    }

    fn firsts(allocation: &ServiceAllocation) -> Vec<u16> {
        allocation.first.values().copied().collect()
    }

    /// Otherwise two programs would want the same port, or a machine that fetches would lose its connection.
    #[test]
    fn ports_are_in_a_row_free_and_stay() {
        let mut request = request(FileService::Ftp, 63003, &["h", "h"]);
        let pair = Claim::both("a", "r0", "h", Pair { http: 63006, https: 63007 });
        let given = allocate_service(&request, &pair, &[]);
        assert_eq!(
            firsts(&given),
            [63008, 63013],
            "each runner of a host has its own, beside the run's pair"
        );
        request.previous = given.first;
        let claims: Vec<Claim> = [&pair[..], &request.claims("r0", "h", 63008)].concat();
        assert_eq!(firsts(&allocate_service(&request, &claims, &[])), [63008, 63013], "they stay");
        let report = |run: &str| Conflict { run: run.to_owned(), host: "h".to_owned(), port: 63009 };
        assert_eq!(firsts(&allocate_service(&request, &claims, &[report("b")])), [63008, 63013]);
        assert_eq!(firsts(&allocate_service(&request, &claims, &[report("a")])), [63018, 63013]);
    }

    /// Otherwise a run would open other ports than those that a firewall lets through.
    #[test]
    fn a_run_that_wants_these_ports_only_is_refused() {
        let request =
            ServiceRequest { on_conflict: OnConflict::Fail, ..request(FileService::Sftp, 63001, &["h"]) };
        let claims = Claim::both("b", "r9", "h", Pair::USUAL);
        let refused = allocate_service(&request, &claims, &[]).refused;
        assert_eq!(refused["r0"].to_string(), "on h port 63001 is taken by run b");
    }

    /// A pod has only the ports that it declares.
    #[test]
    fn ports_come_from_the_block() {
        let mut request = request(FileService::Ftp, 63013, &["p"]);
        request.runners[0].block = Some(Block { first: 63001, count: 16 });
        let pair = Claim::both("a", "r0", "p", Pair::USUAL);
        assert_eq!(firsts(&allocate_service(&request, &pair, &[])), [63003]);
        request.on_conflict = OnConflict::Fail;
        let refused = allocate_service(&request, &pair, &[]).refused["r0"].to_string();
        assert!(refused.contains("63001 to 63016") && refused.contains("5 of FTP from 63013"), "{refused}");
        request.runners[0].block = Some(Block { first: 63001, count: 4 });
        request.on_conflict = OnConflict::Next;
        let refused = allocate_service(&request, &pair, &[]).refused["r0"].to_string();
        assert!(refused.contains("no 5 free ports in a row for FTP"), "{refused}");
    }

    /// One Service stands before all runners.
    #[test]
    fn behind_a_service_all_runners_have_the_same_port() {
        let mut request = request(FileService::Sftp, 2222, &["p", "q"]);
        request.sharing = PairSharing::Shared;
        let other =
            request.claims("x", "q", 2222).into_iter().map(|claim| Claim { run: "b".to_owned(), ..claim });
        let given = allocate_service(&request, &other.collect::<Vec<_>>(), &[]);
        assert_eq!(firsts(&given), [2223, 2223]);
        request.previous = [("r0".to_owned(), 2223)].into();
        assert_eq!(firsts(&allocate_service(&request, &[], &[])), [2223, 2223], "a later runner gets it too");
    }
}
