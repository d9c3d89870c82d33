//! Ports of the older generations: ranges with a soft end, a preferred port, or a random pick.

use super::{Claim, Conflict, OccupiedPorts, Refusal};
use crate::table::{Overflow, Pick, Range};

/// How ports are taken from a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeProfile {
    /// Taken first if it is free.
    pub prefer: Option<u16>,
    /// The first port that is tried.
    pub first: u16,
    /// The last port that is expected.
    pub soft_last: u16,
    /// Whether higher ports are taken when no port up to `soft_last` is left.
    pub may_overflow: bool,
    /// Whether a random port of the range is taken instead of the lowest.
    pub random: bool,
}

impl From<&Range> for RangeProfile {
    fn from(range: &Range) -> Self {
        Self {
            prefer: range.prefer,
            first: range.first,
            soft_last: range.soft_last,
            // Overflow that a seed does not mention is not allowed: firewalls are opened for the
            // ports that it mentions.
            may_overflow: range.overflow == Overflow::Allowed,
            random: range.pick == Some(Pick::Random),
        }
    }
}

/// A request for a port from a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRequest {
    /// The run.
    pub run: String,
    /// The listener: a runner, or a process of it.
    pub runner: String,
    /// The host.
    pub host: String,
    /// The port that it was given before.
    pub previous: Option<u16>,
}

/// A port from a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangePort {
    /// The port.
    pub port: u16,
    /// Whether the port is above the soft end: firewalls that were opened for the range do not
    /// admit it.
    pub beyond: bool,
}

/// Takes one port from a range. `seed` decides where a random port is picked.
pub fn take(
    profile: RangeProfile,
    request: &RangeRequest,
    claims: &[Claim],
    conflicts: &[Conflict],
    seed: u64,
) -> Result<RangePort, Refusal> {
    let RangeProfile { prefer, first, soft_last, may_overflow, random } = profile;
    let taken = |port: u16| RangePort { port, beyond: port > soft_last };
    let own = |claim: &Claim| claim.run == request.run && claim.runner == request.runner;
    if let Some(port) = request.previous
        && !conflicts.iter().any(|c| c.run == request.run && c.host == request.host && c.port == port)
    {
        return Ok(taken(port));
    }
    let occupied = OccupiedPorts::of(claims, conflicts, own);
    let free = |port: &u16| occupied.is_free(&request.host, *port);
    if let Some(port) = prefer.filter(free) {
        return Ok(taken(port));
    }
    let within = || (first..=soft_last).filter(free);
    let count = u64::try_from(within().count()).unwrap_or(u64::MAX);
    let skip = if random { seed.checked_rem(count).unwrap_or(0) } else { 0 };
    let beyond = (soft_last.saturating_add(1)..=u16::MAX).filter(|_| may_overflow && soft_last < u16::MAX);
    let mut chosen = within().skip(usize::try_from(skip).unwrap_or(0)).chain(beyond.filter(free));
    let last = if may_overflow { u16::MAX } else { soft_last };
    chosen.next().map(taken).ok_or_else(|| occupied.exhausted(&request.host, first, last))
}

/// The properties of a host on which the return path of the SOAP era depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostNetwork {
    /// Whether the host has an IPv6 address besides IPv4.
    pub ipv6: bool,
    /// How many network interfaces the host has, the loopback not counted.
    pub interfaces: usize,
}

/// The ports from the range for messages from nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnPorts {
    /// The port for messages between the processes of the host itself, if they need one.
    pub local: Option<RangePort>,
    /// The port for the nodes.
    pub nodes: RangePort,
}

/// Takes the ports for messages from nodes.
///
/// With IPv4 only and one interface, the lowest free port serves the processes of the host itself
/// and the next one the nodes; otherwise the nodes get the lowest. `previous` of the request is the
/// nodes' port, `previous_local` that of the processes.
pub fn take_return(
    profile: RangeProfile,
    request: &RangeRequest,
    previous_local: Option<u16>,
    way: HostNetwork,
    claims: &[Claim],
    conflicts: &[Conflict],
) -> Result<ReturnPorts, Refusal> {
    if way.ipv6 || way.interfaces != 1 {
        return Ok(ReturnPorts { local: None, nodes: take(profile, request, claims, conflicts, 0)? });
    }
    let holder = |who: &str, port: u16| Claim {
        run: request.run.clone(),
        runner: format!("{}, {who}", request.runner),
        host: request.host.clone(),
        port,
    };
    // Both ports have the same holder, so each is ignored for the other unless it is claimed under
    // another name.
    let with = |given: Option<Claim>| claims.iter().cloned().chain(given).collect::<Vec<_>>();
    let nodes_claim = request.previous.map(|port| holder("nodes", port));
    let for_local = RangeRequest { previous: previous_local, ..request.clone() };
    let local = take(profile, &for_local, &with(nodes_claim), conflicts, 0)?;
    let local_claim = holder("local", local.port);
    let nodes = take(profile, request, &with(Some(local_claim)), conflicts, 0)?;
    Ok(ReturnPorts { local: Some(local), nodes })
}
