//! Which connections a run's machines and runners may open, as data to make NetworkPolicies of.
//!
//! Rules are written for the pods of the operator: ingress is what may come in to them, egress what
//! they may open. They name the pod's own ports, since policies match after services are translated.
//! Nothing here knows Kubernetes, and the same input always gives the same rules, so that they can be
//! compared with what is there.

use crate::cidr;
use crate::ledger::Pair;
use crate::table::{Actual, PortOf, needs};
use crate::words::{Channel, Direction, MachineType, Phase, Transport};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

mod checks;

pub use checks::{Finding, Ranges, Unusable, check_machine, check_ports};

/// How many CIDRs a rule has at most, where nothing else is wanted: a policy of ten such rules stays
/// far below the 1.5 MB that the API server takes.
pub const CIDRS_PER_RULE: usize = 1000;

/// What is being done with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not begun: nothing is open for it.
    Waiting,
    /// In a phase.
    In(Phase),
    /// Done with: nothing is open for it any more.
    Ended,
}

/// A machine of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its type.
    pub kind: MachineType,
    /// Its addresses; [`cidr::parse`] makes them of text.
    pub addresses: Vec<IpAddr>,
    /// Port of its SSH server.
    pub ssh_port: u16,
    /// Port of its engine, on channel `Listen`.
    pub listen_port: u16,
    /// How its engine talks.
    pub channel: Channel,
    /// What is being done with it.
    pub stage: Stage,
}

/// What rules are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    /// The machines of the run.
    pub machines: Vec<Machine>,
    /// The pairs that the run's listeners are bound to, as numbered inside their pods.
    pub pairs: BTreeSet<Pair>,
    /// Addresses of the operator's pods: a runner hands an engine's stream to the one that has it.
    pub peers: Vec<IpAddr>,
}

/// A way that is open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// In or out, seen from the operator's pods.
    pub way: PolicyType,
    /// The other end.
    pub cidrs: Vec<IpNet>,
    /// On which ports, of the pod (in) or of the other end (out).
    pub ports: BTreeSet<Port>,
}

/// In or out, seen from the operator's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyType {
    /// The other end opens the connection.
    Ingress,
    /// The pod opens it.
    Egress,
}

/// A port that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// TCP or UDP.
    pub transport: Transport,
    /// Its number.
    pub port: u16,
}

/// The rules for a run, in a fixed order.
///
/// What needs the same ports shares a rule; no rule has more than `at_most` CIDRs (at least one).
/// Ports in parentheses (`Need::optional`) are not opened. Machines that wait or have ended have
/// nothing open, nor has the way back of a machine that does not need one in its phase.
pub fn rules(input: &Input, at_most: usize) -> Vec<Rule> {
    let mut open: BTreeMap<(PolicyType, BTreeSet<Port>), BTreeSet<IpAddr>> = BTreeMap::new();
    let mut return_port = false;
    for machine in &input.machines {
        for (way, ports) in ports_of(machine, &input.pairs) {
            return_port |= way == PolicyType::Ingress;
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

fn ports_of(machine: &Machine, pairs: &BTreeSet<Pair>) -> Vec<(PolicyType, BTreeSet<Port>)> {
    let phase = match machine.stage {
        Stage::In(phase) => phase,
        Stage::Waiting | Stage::Ended => return Vec::new(),
    };
    let mut ports: BTreeMap<PolicyType, BTreeSet<Port>> = BTreeMap::new();
    for need in needs(machine.kind, machine.channel, phase).into_iter().filter(|need| !need.optional) {
        match need.direction {
            Direction::ToTarget => {
                let actual =
                    Actual { ssh: machine.ssh_port, listen: machine.listen_port, ..Actual::default() };
                let port = Port { transport: need.transport, port: need.port.resolve(&actual).first };
                ports.entry(PolicyType::Egress).or_default().insert(port);
            }
            // Without a listener there is nothing to open, whatever the usual numbers are.
            Direction::FromTarget => {
                let open = pairs.iter().filter_map(|pair| return_port(need.port, *pair)).map(tcp);
                ports.entry(PolicyType::Ingress).or_default().extend(open);
            }
        }
    }
    ports.into_iter().filter(|(_, ports)| !ports.is_empty()).collect()
}

fn return_port(port: PortOf, pair: Pair) -> Option<u16> {
    match port {
        PortOf::Http => Some(pair.http),
        PortOf::Https => Some(pair.https),
        PortOf::Fixed(_) | PortOf::Ssh | PortOf::Listen | PortOf::Range { .. } => None,
    }
}

fn tcp(port: u16) -> Port {
    Port { transport: Transport::Tcp, port }
}

#[cfg(test)]
mod tests;
