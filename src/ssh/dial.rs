//! Opens a TCP connection to one of a machine's addresses.
//!
//! The addresses are tried in the order that the user configured. The next attempt starts when the
//! previous one has failed, or has not responded within `HEAD_START`.

use crate::failure::Failure;
use farrier_update::Reason;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;
use tokio::net::TcpStream;

/// Timeout of one address. A lost SYN is repeated after 1, 3 and 7 seconds, so that three in a row must
/// be lost before a live machine counts as silent.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long the preferred address has before the next address is tried in parallel.
const HEAD_START: Duration = Duration::from_secs(2);

/// Timeout of name resolution.
const RESOLVE_LIMIT: Duration = Duration::from_secs(10);

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Internet Protocol version 4.
    V4,
    /// Internet Protocol version 6.
    V6,
}

/// The address and port of a machine.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name of the machine, for messages.
    pub node: String,
    /// Addresses and names, in the user's order.
    pub addresses: Vec<String>,
    /// Families that may be used, in order of preference.
    pub families: Vec<Family>,
    /// TCP port.
    pub port: u16,
}

/// A connection and the address that responded.
pub struct Dialled {
    /// The connection.
    pub stream: TcpStream,
    /// The address, with its zone, without the port.
    pub address: String,
    /// The entry of [`Target::addresses`] that the address belongs to.
    pub entry: String,
}

/// Connects to the machine. `server` is what is expected to listen there, for messages.
///
/// # Errors
/// `NameNotResolved`, `NoUsableAddress`, `ConnectionRefused`, `ConnectionTimedOut`, `NoRoute`; the
/// message lists the result of each address.
pub async fn dial(target: &Target, server: &str) -> Result<Dialled, Failure> {
    let (candidates, unresolved) = candidates(target).await;
    if candidates.is_empty() {
        return Err(no_candidates(target, &unresolved));
    }
    let mut failed = Vec::new();
    let mut waiting = candidates.into_iter();
    let mut attempts = FuturesUnordered::new();
    loop {
        if attempts.is_empty() {
            match waiting.next() {
                Some(candidate) => attempts.push(try_one(candidate)),
                None => return Err(all_failed(target, server, &failed, &unresolved)),
            }
        }
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(dialled) => return Ok(dialled),
                Err(refusal) => failed.push(refusal),
            },
            () = tokio::time::sleep(HEAD_START), if waiting.len() > 0 => {
                attempts.extend(waiting.next().map(try_one));
            }
        }
    }
}

/// Returns the addresses of a machine that may be used, with those that its names resolve to.
///
/// # Errors
/// `NameNotResolved`, `NoUsableAddress`.
pub async fn addresses(target: &Target) -> Result<Vec<IpAddr>, Failure> {
    let (candidates, unresolved) = candidates(target).await;
    if candidates.is_empty() {
        return Err(no_candidates(target, &unresolved));
    }
    Ok(candidates.into_iter().map(|candidate| candidate.socket.ip()).collect())
}

/// An address that did not respond, and why.
struct Refusal {
    address: String,
    reason: Reason,
    words: String,
}

/// An address to try, and the entry of the user's list that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    socket: SocketAddr,
    entry: String,
}

async fn try_one(candidate: Candidate) -> Result<Dialled, Refusal> {
    let Candidate { socket, entry } = candidate;
    let text = display(&socket);
    match tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(socket)).await {
        Ok(Ok(stream)) => Ok(Dialled { stream, address: text, entry }),
        Ok(Err(error)) => Err(Refusal { address: text, reason: classify(&error), words: error.to_string() }),
        Err(_) => Err(Refusal {
            address: text,
            reason: Reason::ConnectionTimedOut,
            words: format!("no answer within {} s", CONNECT_LIMIT.as_secs()),
        }),
    }
}

fn classify(error: &io::Error) -> Reason {
    #[expect(clippy::wildcard_enum_match_arm, reason = "ErrorKind is non-exhaustive")]
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Reason::ConnectionRefused,
        io::ErrorKind::TimedOut => Reason::ConnectionTimedOut,
        _ => Reason::NoRoute,
    }
}

/// Returns the addresses to try, in order, and the names that did not resolve.
async fn candidates(target: &Target) -> (Vec<Candidate>, Vec<String>) {
    let mut found = Vec::new();
    let mut unresolved = Vec::new();
    for address in &target.addresses {
        let candidate = |socket| Candidate { socket, entry: address.clone() };
        match parse(address, target.port) {
            Parsed::Address(socket) => found.push(candidate(socket)),
            Parsed::NoSuchZone(zone) => {
                unresolved.push(format!("{address}: there is no network interface {zone} here"));
            }
            Parsed::Name => match resolve(address, target.port).await {
                Ok(sockets) => found.extend(sockets.into_iter().map(candidate)),
                Err(words) => unresolved.push(format!("{address}: {words}")),
            },
        }
    }
    let mut ordered: Vec<Candidate> = Vec::new();
    for family in &target.families {
        for candidate in found.iter().filter(|c| c.socket.is_ipv4() == (*family == Family::V4)) {
            if !ordered.iter().any(|other| other.socket == candidate.socket) {
                ordered.push(candidate.clone());
            }
        }
    }
    (ordered, unresolved)
}

async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the name service did not answer within {} s", RESOLVE_LIMIT.as_secs())),
    }
}

enum Parsed {
    Address(SocketAddr),
    NoSuchZone(String),
    Name,
}

fn parse(address: &str, port: u16) -> Parsed {
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Parsed::Address(SocketAddr::new(ip, port));
    }
    let Some((host, zone)) = bare.split_once('%') else { return Parsed::Name };
    let Ok(ip) = host.parse::<Ipv6Addr>() else { return Parsed::Name };
    match interface_index(zone) {
        Some(index) => Parsed::Address(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, index))),
        None => Parsed::NoSuchZone(zone.to_owned()),
    }
}

/// Returns the index of a network interface, given by name or as a number.
fn interface_index(zone: &str) -> Option<u32> {
    zone.parse()
        .ok()
        .or_else(|| interfaces().into_iter().find(|(name, _)| name == zone).map(|(_, index)| index))
}

/// Returns names and indices of the interfaces that have IPv6 addresses; the others have no zone. Uses
/// the kernel's list for the current network namespace, because /sys may have been mounted in another
/// one.
fn interfaces() -> Vec<(String, u32)> {
    let list = std::fs::read_to_string("/proc/self/net/if_inet6").unwrap_or_default();
    list.lines()
        .filter_map(|line| {
            // Fields: address index prefix scope flags name
            let words: Vec<&str> = line.split_whitespace().collect();
            Some(((*words.get(5)?).to_owned(), u32::from_str_radix(words.get(1)?, 16).ok()?))
        })
        .collect()
}

/// Formats the address as the user would write it: no port, the zone by name.
fn display(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), zone_name(v6.scope_id())),
        SocketAddr::V4(_) | SocketAddr::V6(_) => address.ip().to_string(),
    }
}

fn zone_name(index: u32) -> String {
    interfaces().into_iter().find(|(_, i)| *i == index).map_or_else(|| index.to_string(), |(name, _)| name)
}

fn no_candidates(target: &Target, unresolved: &[String]) -> Failure {
    let node = &target.node;
    if unresolved.is_empty() {
        return Failure::new(
            Reason::NoUsableAddress,
            format!(
                "none of the addresses of {node} ({}) is of a family in spec.addressFamilies; add an address or a family",
                target.addresses.join(", ")
            ),
        );
    }
    Failure::new(
        Reason::NameNotResolved,
        format!(
            "no address of {node} could be resolved ({}); correct spec.addresses or the name service",
            unresolved.join("; ")
        ),
    )
}

fn all_failed(target: &Target, server: &str, failed: &[Refusal], unresolved: &[String]) -> Failure {
    // The most specific reason comes first: a refusal proves that the machine is alive.
    let order = [Reason::ConnectionRefused, Reason::ConnectionTimedOut, Reason::NoRoute];
    let reason = order
        .into_iter()
        .find(|r| failed.iter().any(|f| f.reason == *r))
        .unwrap_or(Reason::ConnectionTimedOut);
    let mut words: Vec<String> =
        failed.iter().map(|f| format!("{} port {}: {}", f.address, target.port, f.words)).collect();
    words.extend(unresolved.iter().cloned());
    let next = if reason == Reason::ConnectionRefused {
        format!("check that the {server} runs and listens on this port")
    } else if reason == Reason::ConnectionTimedOut {
        "check that the machine is on and that no firewall drops this port".to_owned()
    } else {
        "check the route from the operator to the machine".to_owned()
    };
    Failure::new(reason, format!("{} did not answer ({}); {next}", target.node, words.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(addresses: &[&str], families: &[Family], port: u16) -> Target {
        Target {
            node: "db-01".into(),
            addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
            families: families.to_vec(),
            port,
        }
    }

    fn sockets(candidates: &[Candidate]) -> Vec<SocketAddr> {
        candidates.iter().map(|candidate| candidate.socket).collect()
    }

    #[tokio::test]
    async fn a_family_that_is_left_out_is_never_tried() {
        let (found, _) = candidates(&target(&["::1", "127.0.0.1"], &[Family::V4], 9)).await;
        assert_eq!(sockets(&found), vec!["127.0.0.1:9".parse().unwrap()]);
    }

    #[tokio::test]
    async fn the_preferred_family_comes_first_whatever_the_order_of_addresses() {
        let (found, _) = candidates(&target(&["127.0.0.1", "::1"], &[Family::V6, Family::V4], 9)).await;
        assert_eq!(sockets(&found), vec!["[::1]:9".parse().unwrap(), "127.0.0.1:9".parse().unwrap()]);
    }

    /// The certificate of a device is for the name that the user wrote, not for the address behind it.
    #[tokio::test]
    async fn a_connection_remembers_the_entry_that_its_address_belongs_to() {
        let (found, _) = candidates(&target(&["localhost"], &[Family::V4, Family::V6], 9)).await;
        assert!(!found.is_empty() && found.iter().all(|c| c.entry == "localhost"), "{found:?}");
    }

    #[tokio::test]
    async fn a_link_local_address_takes_its_zone_from_the_interface_name() {
        let (found, unresolved) = candidates(&target(&["fe80::1%lo"], &[Family::V6], 22)).await;
        assert_eq!(unresolved, Vec::<String>::new());
        assert_eq!(found.first().map(|c| display(&c.socket)).as_deref(), Some("fe80::1%lo"));
    }

    #[tokio::test]
    async fn an_unknown_zone_is_named() {
        let failure =
            dial(&target(&["fe80::1%nosuch0"], &[Family::V6], 22), "SSH server").await.err().unwrap();
        assert_eq!(failure.reason, Reason::NameNotResolved);
        assert!(failure.message.contains("nosuch0"), "{failure}");
    }

    #[tokio::test]
    async fn a_closed_port_is_distinguished_from_a_silent_port() {
        // Port 1 of loopback: nothing listens there on any machine that we know.
        let failure = dial(&target(&["127.0.0.1"], &[Family::V4], 1), "SSH server").await.err().unwrap();
        assert_eq!(failure.reason, Reason::ConnectionRefused);
        assert!(failure.message.contains("db-01") && failure.message.contains("port 1"), "{failure}");
    }

    #[tokio::test]
    async fn no_address_of_an_allowed_family_is_a_reason_of_its_own() {
        let failure = dial(&target(&["::1"], &[Family::V4], 22), "SSH server").await.err().unwrap();
        assert_eq!(failure.reason, Reason::NoUsableAddress);
    }
}
