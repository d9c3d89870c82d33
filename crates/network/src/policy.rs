//! Which connections a run's machines and runners may open, as data from which NetworkPolicies are
//! built.
//!
//! Rules are written for the pods of the operator: ingress is what they accept, egress what they
//! open. Rules name the pod's own ports, since policies match after Services are translated. This
//! module does not know Kubernetes, and the same input always gives the same rules, so that they
//! can be compared with the existing ones.

use crate::cidr;
use crate::ledger::Pair;
use crate::table::{Actual, ListenPorts, Need, PortOf, calls_back_always, needs};
use crate::words::{Channel, Direction, FileService, MachineType, Phase, Scheme, Transport};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

mod checks;

pub use checks::{Finding, Ranges, Unusable, check_machine, check_ports};

/// Default for the maximum number of CIDRs of a rule: a policy of ten such rules stays far below
/// the 1.5 MB that the API server accepts.
pub const CIDRS_PER_RULE: usize = 1000;

/// The progress of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The update has not started: nothing is open for the machine.
    Waiting,
    /// The machine is in this phase.
    In(Phase),
    /// The update has ended: nothing is open for the machine any more.
    Ended,
}

/// A machine of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The type of the machine.
    pub kind: MachineType,
    /// The addresses of the machine; [`cidr::parse`] parses them.
    pub addresses: Vec<IpAddr>,
    /// Port of the SSH server.
    pub ssh_port: u16,
    /// Port of the HTTPS server.
    pub api_port: u16,
    /// The ports of the engine, on channel `Listen`.
    pub listen: ListenPorts,
    /// The channel of the engine.
    pub channel: Channel,
    /// The protocol by which a machine without an engine fetches an image at present; `None` if it
    /// fetches nothing.
    pub fetches: Option<Scheme>,
    /// The progress of the machine.
    pub stage: Stage,
}

/// The input that rules are computed from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    /// The machines of the run.
    pub machines: Vec<Machine>,
    /// The pairs that the run's listeners are bound to, as numbered inside their pods.
    pub pairs: BTreeSet<Pair>,
    /// The file services that runners have opened for the run, each with its first port.
    pub services: BTreeSet<(FileService, u16)>,
    /// Addresses of the operator's pods: a runner relays an engine's stream to the runner of its
    /// session.
    pub peers: Vec<IpAddr>,
}

/// A path that is open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Ingress or egress, from the view of the operator's pods.
    pub way: PolicyType,
    /// The addresses of the other end.
    pub cidrs: Vec<IpNet>,
    /// The ports: of the pod (ingress) or of the other end (egress).
    pub ports: BTreeSet<Port>,
}

/// Ingress or egress, from the view of the operator's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyType {
    /// The other end opens the connection.
    Ingress,
    /// The pod opens the connection.
    Egress,
}

/// A port that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// TCP or UDP.
    pub transport: Transport,
    /// The port number.
    pub port: u16,
}

/// Returns the rules for a run, in a fixed order.
///
/// Addresses that need the same ports share a rule; no rule has more than `at_most` CIDRs (at least
/// one). Ports in parentheses (`Need::optional`) are not opened towards machines. Nothing is open for
/// machines that wait or have ended. The return path of a machine with an engine is open only in phases
/// that need it; that of any other machine only while it fetches an image, and only the port for that, unless the machine needs its
/// return path in every phase ([`calls_back_always`]).
pub fn rules(input: &Input, at_most: usize) -> Vec<Rule> {
    let mut open: BTreeMap<(PolicyType, BTreeSet<Port>), BTreeSet<IpAddr>> = BTreeMap::new();
    let mut return_port = false;
    for machine in &input.machines {
        for (way, ports) in ports_of(machine, input) {
            // Only streams of engines are relayed to other runners.
            return_port |= way == PolicyType::Ingress && machine.kind.carries_engine();
            open.entry((way, ports)).or_default().extend(machine.addresses.iter().copied());
        }
    }
    if return_port {
        let ports: BTreeSet<Port> = input.pairs.iter().map(|pair| tcp(pair.https)).collect();
        for way in [PolicyType::Ingress, PolicyType::Egress] {
            open.entry((way, ports.clone())).or_default().extend(input.peers.iter().copied());
        }
    }
    let mut rules = Vec::new();
    for ((way, ports), addresses) in open {
        for cidrs in cidr::cover(addresses).chunks(at_most.max(1)) {
            rules.push(Rule { way, cidrs: cidrs.to_vec(), ports: ports.clone() });
        }
    }
    rules
}

fn ports_of(machine: &Machine, input: &Input) -> Vec<(PolicyType, BTreeSet<Port>)> {
    let phase = match machine.stage {
        Stage::In(phase) => phase,
        Stage::Waiting | Stage::Ended => return Vec::new(),
    };
    let mut ports: BTreeMap<PolicyType, BTreeSet<Port>> = BTreeMap::new();
    for need in needs(machine.kind, machine.channel, phase).into_iter().filter(|need| is_open(machine, need))
    {
        match need.direction {
            Direction::ToTarget => {
                let actual = Actual {
                    ssh: machine.ssh_port,
                    api: machine.api_port,
                    listen: machine.listen,
                    ..Actual::default()
                };
                let needed = need.port.resolve(&actual);
                // Only the engine's ports are a range without a listener on each: it listens on one of them.
                let last = if need.port == PortOf::Listen { needed.last } else { needed.first };
                let open = (needed.first..=last).map(|port| Port { transport: need.transport, port });
                ports.entry(PolicyType::Egress).or_default().extend(open);
            }
            // Without a listener no port is open, whatever the default numbers are.
            Direction::FromTarget => {
                let open = input.pairs.iter().filter_map(|pair| return_port(need.port, *pair)).map(tcp);
                ports.entry(PolicyType::Ingress).or_default().extend(open);
            }
        }
    }
    let service = machine.fetches.and_then(Scheme::service).filter(|_| !machine.kind.carries_engine());
    if let Some(service) = service.filter(|_| phase == Phase::Deployment) {
        let open = input.services.iter().filter(|(open, _)| *open == service);
        let open = open.flat_map(|(service, first)| service.ports(*first)).map(tcp);
        ports.entry(PolicyType::Ingress).or_default().extend(open);
    }
    ports.into_iter().filter(|(_, ports)| !ports.is_empty()).collect()
}

/// Reports whether the port of a need is open at present.
fn is_open(machine: &Machine, need: &Need) -> bool {
    match need.direction {
        Direction::FromTarget if !machine.kind.carries_engine() => {
            let is_for = |scheme| need.port == PortOf::of(scheme) || calls_back_always(machine.kind);
            machine.fetches.is_some_and(is_for)
        }
        Direction::FromTarget | Direction::ToTarget => !need.optional,
    }
}

fn return_port(port: PortOf, pair: Pair) -> Option<u16> {
    match port {
        PortOf::Http => Some(pair.http),
        PortOf::Https => Some(pair.https),
        PortOf::Fixed(_) | PortOf::Ssh | PortOf::Listen | PortOf::Service(_) | PortOf::Range { .. } => None,
    }
}

fn tcp(port: u16) -> Port {
    Port { transport: Transport::Tcp, port }
}

#[cfg(test)]
mod tests;
