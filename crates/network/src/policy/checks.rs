//! Checks of addresses and ports before anything is opened for them.

use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// Address ranges of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Ranges of pods.
    pub pods: Vec<IpNet>,
    /// Ranges of Services.
    pub services: Vec<IpNet>,
}

/// A problem with an address or a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// A machine's address is in a pod range: a rule for it would admit pods.
    InsidePodRange {
        /// The address.
        address: IpAddr,
        /// The range.
        range: IpNet,
    },
    /// A machine's address is in a Service range: it leads to a pod.
    InsideServiceRange {
        /// The address.
        address: IpAddr,
        /// The range.
        range: IpNet,
    },
    /// No machine can have this address.
    Unusable {
        /// The address.
        address: IpAddr,
        /// The reason.
        why: Unusable,
    },
    /// Two services of the run have the same port.
    EqualPorts {
        /// The port.
        port: u16,
    },
    /// A port below 1024, which needs a capability to listen on.
    Privileged {
        /// The port.
        port: u16,
    },
}

/// Why no machine can have an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unusable {
    /// The address is the local host.
    Loopback,
    /// The address is a group of hosts.
    Multicast,
    /// The address is all hosts.
    Broadcast,
    /// The address is no host.
    Unspecified,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InsidePodRange { address, range } => {
                write!(f, "address {address} lies inside the pod range {range}")
            }
            Self::InsideServiceRange { address, range } => {
                write!(f, "address {address} lies inside the service range {range}")
            }
            Self::Unusable { address, why } => {
                let why = match why {
                    Unusable::Loopback => "a loopback",
                    Unusable::Multicast => "a multicast",
                    Unusable::Broadcast => "the broadcast",
                    Unusable::Unspecified => "the unspecified",
                };
                write!(f, "{address} is {why} address, at which no machine can be reached")
            }
            Self::EqualPorts { port } => write!(f, "port {port} is requested twice"),
            Self::Privileged { port } => {
                write!(f, "port {port} is below 1024, which needs the capability NET_BIND_SERVICE")
            }
        }
    }
}

/// Checks a machine's addresses.
pub fn check_machine(addresses: &[IpAddr], ranges: &Ranges) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in addresses.iter().map(IpAddr::to_canonical) {
        let within = |nets: &[IpNet]| nets.iter().find(|net| net.contains(&address)).copied();
        if let Some(why) = unusable(address) {
            findings.push(Finding::Unusable { address, why });
        }
        if let Some(range) = within(&ranges.pods) {
            findings.push(Finding::InsidePodRange { address, range });
        }
        if let Some(range) = within(&ranges.services) {
            findings.push(Finding::InsideServiceRange { address, range });
        }
    }
    findings
}

fn unusable(address: IpAddr) -> Option<Unusable> {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    [
        (address.is_loopback(), Unusable::Loopback),
        (address.is_multicast(), Unusable::Multicast),
        (broadcast, Unusable::Broadcast),
        (address.is_unspecified(), Unusable::Unspecified),
    ]
    .into_iter()
    .find_map(|(is, why)| is.then_some(why))
}

/// Checks the ports that a run asks for: HTTP, HTTPS, and optionally FTP.
///
/// Privileged ports are reported once each; whether they are allowed depends on the runner's
/// capabilities.
pub fn check_ports(http: u16, https: u16, ftp: Option<u16>) -> Vec<Finding> {
    let mut ports: Vec<u16> = [http, https].into_iter().chain(ftp).collect();
    ports.sort_unstable();
    let mut findings: Vec<Finding> = ports
        .windows(2)
        .filter_map(|two| match two {
            [one, other] if one == other => Some(Finding::EqualPorts { port: *one }),
            _ => None,
        })
        .collect();
    findings.dedup();
    ports.dedup();
    findings.extend(ports.into_iter().filter(|p| *p < 1024).map(|port| Finding::Privileged { port }));
    findings
}
