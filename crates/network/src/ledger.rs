//! Who gets which port: a pure function of what is claimed and of what was reported.
//!
//! Nobody looks whether a port is free before it is given away, for the answer would be old when it
//! is used. A port that is claimed by nobody is free until a runner that tried to bind it reports
//! that it is not. Then the next one is given, and so on until the bind succeeds.
//!
//! Ports are counted per host. A host is whatever has its own port numbers: a pod, or a machine that
//! runners share. Two pods on one machine are two hosts.
//!
//! An allocation that stands is given again as it is, whatever others claim, until its own run
//! reports a conflict: only then is it known that somebody else was first.

use std::collections::BTreeMap;

mod pair;
mod range;

pub use pair::{Allocation, PairRequest, PairSharing, RunnerHost, allocate, allocate_after};
pub use range::{HostNetwork, RangePort, RangeProfile, RangeRequest, ReturnPorts, take, take_return};

/// The two ports of the callback server for one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Pair {
    /// For devices that cannot do TLS.
    pub http: u16,
    /// For engines, and for devices that can.
    pub https: u16,
}

impl Pair {
    /// What every run asks for unless it says otherwise: the ports that sites have opened for
    /// HP SUM since 6.x.
    pub const USUAL: Self = Self { http: 63001, https: 63002 };

    /// Both, in no particular order.
    pub fn ports(self) -> [u16; 2] {
        [self.http, self.https]
    }
}

/// Ports of a host that are set aside for Farrier: those that the pod declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Block {
    /// The lowest.
    pub first: u16,
    /// How many. What would lie above 65535 does not exist.
    pub count: u16,
}

impl Block {
    /// The highest port; `None` where there is none.
    pub fn last(self) -> Option<u16> {
        Some(self.first.saturating_add(self.count.checked_sub(1)?))
    }

    /// Whether the port is one of them.
    pub fn contains(self, port: u16) -> bool {
        self.last().is_some_and(|last| (self.first..=last).contains(&port))
    }
}

/// A port that was given to somebody and not given back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// Which run has it. Messages name it as it stands here.
    pub run: String,
    /// Name of the runner that listens on it.
    pub runner: String,
    /// Where.
    pub host: String,
    /// Which.
    pub port: u16,
}

impl Claim {
    /// The claims that go with a pair.
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
/// A report counts as long as its runner makes it. When it is taken back the same port is given again,
/// and the runner finds out whether it is free by then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The run that it should have served.
    pub run: String,
    /// Where.
    pub host: String,
    /// Which.
    pub port: u16,
}

/// What to do when the ports that were asked for are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// Give the next that are free.
    #[default]
    Next,
    /// Give none.
    Fail,
}

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortOwner {
    /// A run.
    Run(String),
    /// Somebody else on that host, as a runner found out.
    Foreign,
}

/// Why no port could be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The ports that were asked for are taken, and no others are wanted.
    #[error("on {host} {}", taken_list(.taken))]
    PortsTaken {
        /// Where.
        host: String,
        /// Which, and by whom.
        taken: Vec<(u16, PortOwner)>,
    },
    /// The ports that were asked for are not among those set aside, and no others are wanted.
    #[error("on {host} only the ports {} to {} are set aside, and {}/{} are not among them", .first, .last, .wanted.http, .wanted.https)]
    OutsideBlock {
        /// Where.
        host: String,
        /// What was asked for.
        wanted: Pair,
        /// The lowest port that is set aside.
        first: u16,
        /// The highest.
        last: u16,
    },
    /// Nothing is left.
    #[error(
        "on {host} nothing that fits is left of the ports {first} to {last}: {by_runs} are had by runs, {by_others} by others"
    )]
    Exhausted {
        /// Where.
        host: String,
        /// The lowest port that was considered.
        first: u16,
        /// The highest.
        last: u16,
        /// How many of them runs have.
        by_runs: usize,
        /// How many of them somebody else has.
        by_others: usize,
    },
    /// All runners of the run need the same ports, and another of them is on the same host.
    #[error("on {host} {other} has the ports already, and both need the same")]
    HostShared {
        /// Where.
        host: String,
        /// The runner that has them.
        other: String,
    },
}

impl Refusal {
    /// The refusal as text, with `place` in place of the host's identifier, which people do not know.
    pub fn at(&self, place: &str) -> String {
        let mut refusal = self.clone();
        let (Self::PortsTaken { host, .. }
        | Self::OutsideBlock { host, .. }
        | Self::Exhausted { host, .. }
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
            PortOwner::Foreign => format!("port {port} {is}by something that is not Farrier's"),
        }
    };
    taken.iter().enumerate().map(one).collect::<Vec<_>>().join(", and ")
}

/// What is taken, seen by one who asks.
#[derive(Debug, Default)]
struct OccupiedPorts {
    by_host: BTreeMap<String, BTreeMap<u16, PortOwner>>,
}

impl OccupiedPorts {
    /// Everything but what the one who asks has itself.
    fn of(claims: &[Claim], conflicts: &[Conflict], except: impl Fn(&Claim) -> bool) -> Self {
        let mut taken = Self::default();
        for conflict in conflicts {
            taken.add(&conflict.host, conflict.port, PortOwner::Foreign);
        }
        // Last, so that a port that both are said of is the run's: it says more.
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
