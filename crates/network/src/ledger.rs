//! The port ledger: a pure function of claims and reported conflicts that allocates ports.
//!
//! The ledger does not check whether a port is free, because the answer would be outdated when the
//! port is used. A port without a claim is free until a runner that tried to bind it reports a
//! conflict. Then the next port is allocated, and so on until the bind succeeds.
//!
//! Ports are counted per host. A host is anything with its own port numbers: a pod, or a machine
//! that runners share. Two pods on one machine are two hosts.
//!
//! An existing allocation is returned unchanged, whatever others claim, until its own run reports a
//! conflict: only that report shows that another program was first.

use crate::words::FileService;
use std::collections::BTreeMap;

mod pair;
mod range;
mod service;

pub use pair::{Allocation, PairRequest, PairSharing, RunnerHost, allocate, allocate_after};
pub use range::{HostNetwork, RangePort, RangeProfile, RangeRequest, ReturnPorts, take, take_return};
pub use service::{ServiceAllocation, ServiceRequest, allocate_service};

/// The two ports of the callback server for one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Pair {
    /// The port for devices that cannot do TLS.
    pub http: u16,
    /// The port for engines, and for devices that can do TLS.
    pub https: u16,
}

impl Pair {
    /// The default of every run: the ports that sites have opened for HP SUM since 6.x.
    pub const USUAL: Self = Self { http: 63001, https: 63002 };

    /// Returns both ports, in no particular order.
    pub fn ports(self) -> [u16; 2] {
        [self.http, self.https]
    }
}

/// Ports of a host that are reserved for Farrier: those that the pod declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Block {
    /// The lowest port.
    pub first: u16,
    /// The number of ports. Ports above 65535 do not exist.
    pub count: u16,
}

impl Block {
    /// Returns the highest port; `None` for an empty block.
    pub fn last(self) -> Option<u16> {
        Some(self.first.saturating_add(self.count.checked_sub(1)?))
    }

    /// Reports whether the port is in the block.
    pub fn contains(self, port: u16) -> bool {
        self.last().is_some_and(|last| (self.first..=last).contains(&port))
    }
}

/// A port that was allocated and has not been released.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// The run that has the port. Messages show it as it is here.
    pub run: String,
    /// The runner that listens on the port.
    pub runner: String,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Claim {
    /// Returns the claims of a pair.
    pub fn both(run: &str, runner: &str, host: &str, pair: Pair) -> [Self; 2] {
        pair.ports().map(|port| Self {
            run: run.to_owned(),
            runner: runner.to_owned(),
            host: host.to_owned(),
            port,
        })
    }
}

/// A runner could not bind a port that it was given.
///
/// A report counts as long as its runner makes it. When the runner withdraws it, the same port is
/// allocated again, and the runner finds out whether it is free by then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The run that the port was for.
    pub run: String,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What to do when the requested ports are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Allocate the next free ports.
    #[default]
    Next,
    /// Allocate no ports.
    Fail,
}

/// The owner of a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortOwner {
    /// A run.
    Run(String),
    /// Another program on that host, as a runner found out.
    Foreign,
}

/// Why no port could be allocated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The requested ports are taken, and the run accepts no others.
    #[error("on {host} {}", taken_list(.taken))]
    PortsTaken {
        /// The host.
        host: String,
        /// The taken ports and their owners.
        taken: Vec<(u16, PortOwner)>,
    },
    /// The requested ports are not among the reserved ones, and the run accepts no others.
    #[error("on {host} only the ports {} to {} are reserved, and {}/{} are not among them", .first, .last, .wanted.http, .wanted.https)]
    OutsideBlock {
        /// The host.
        host: String,
        /// The requested pair.
        wanted: Pair,
        /// The lowest reserved port.
        first: u16,
        /// The highest reserved port.
        last: u16,
    },
    /// No free port is left.
    #[error(
        "on {host} no free pair is left among the ports {first} to {last}: {by_runs} are allocated to runs, {by_others} are used by others"
    )]
    Exhausted {
        /// The host.
        host: String,
        /// The lowest port that was considered.
        first: u16,
        /// The highest port that was considered.
        last: u16,
        /// How many of these ports runs have.
        by_runs: usize,
        /// How many of these ports other programs have.
        by_others: usize,
    },
    /// The requested ports of a file service are not among the reserved ones, and the run accepts no others.
    #[error("on {host} only the ports {} to {} are reserved, and the {count} of {service} from {wanted} on are not among them", .first, .last, count = .service.count())]
    ServiceOutsideBlock {
        /// The host.
        host: String,
        /// The service.
        service: FileService,
        /// The first of the requested ports.
        wanted: u16,
        /// The lowest reserved port.
        first: u16,
        /// The highest reserved port.
        last: u16,
    },
    /// No free ports are left for a file service.
    #[error("on {host} there are no {} free ports in a row for {service} among the ports {first} to {last}", .service.count())]
    ServiceExhausted {
        /// The host.
        host: String,
        /// The service.
        service: FileService,
        /// The lowest port that was considered.
        first: u16,
        /// The highest port that was considered.
        last: u16,
    },
    /// All runners of the run need the same ports, and another runner is on the same host.
    #[error("on {host} {other} already uses the ports, and both runners need the same ports")]
    HostShared {
        /// The host.
        host: String,
        /// The runner that has the ports.
        other: String,
    },
}

impl Refusal {
    /// Returns the refusal as text, with `place` instead of the host's identifier, which users do not know.
    pub fn at(&self, place: &str) -> String {
        let mut refusal = self.clone();
        let (Self::PortsTaken { host, .. }
        | Self::OutsideBlock { host, .. }
        | Self::Exhausted { host, .. }
        | Self::ServiceOutsideBlock { host, .. }
        | Self::ServiceExhausted { host, .. }
        | Self::HostShared { host, .. }) = &mut refusal;
        place.clone_into(host);
        refusal.to_string()
    }
}

fn taken_list(taken: &[(u16, PortOwner)]) -> String {
    let one = |(n, (port, by)): (usize, &(u16, PortOwner))| {
        let is = if n == 0 { "is taken " } else { "" };
        match by {
            PortOwner::Run(run) => format!("port {port} {is}by run {run}"),
            PortOwner::Foreign => format!("port {port} {is}by another program"),
        }
    };
    taken.iter().enumerate().map(one).collect::<Vec<_>>().join(", and ")
}

/// The taken ports, from the view of one requester.
#[derive(Debug, Default)]
struct OccupiedPorts {
    by_host: BTreeMap<String, BTreeMap<u16, PortOwner>>,
}

impl OccupiedPorts {
    /// Collects all claims and conflicts except the requester's own claims.
    fn of(claims: &[Claim], conflicts: &[Conflict], except: impl Fn(&Claim) -> bool) -> Self {
        let mut taken = Self::default();
        for conflict in conflicts {
            taken.add(&conflict.host, conflict.port, PortOwner::Foreign);
        }
        // Claims come last, so that a port with both a claim and a conflict belongs to the run,
        // which is the more specific owner.
        for claim in claims.iter().filter(|c| !except(c)) {
            taken.add(&claim.host, claim.port, PortOwner::Run(claim.run.clone()));
        }
        taken
    }

    fn add(&mut self, host: &str, port: u16, by: PortOwner) {
        self.by_host.entry(host.to_owned()).or_default().insert(port, by);
    }

    fn by(&self, host: &str, port: u16) -> Option<&PortOwner> {
        self.by_host.get(host).and_then(|ports| ports.get(&port))
    }

    fn is_free(&self, host: &str, port: u16) -> bool {
        self.by(host, port).is_none()
    }

    fn exhausted(&self, host: &str, first: u16, last: u16) -> Refusal {
        let within = || self.by_host.get(host).into_iter().flat_map(|ports| ports.range(first..=last));
        let by_runs = within().filter(|(_, by)| matches!(by, PortOwner::Run(_))).count();
        let by_others = within().count().saturating_sub(by_runs);
        Refusal::Exhausted { host: host.to_owned(), first, last, by_runs, by_others }
    }
}

#[cfg(test)]
mod tests;
