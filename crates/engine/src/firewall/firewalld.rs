//! firewalld: a rich rule in the runtime configuration of the zone of the connection. The permanent
//! configuration is not touched. A rich rule has no comment; instead firewalld removes it when its time has
//! expired. So a rule of the owner's looks like ours, which is the one that we advise: ours is one of which there
//! is a lease, and which the permanent configuration does not have.

use super::{Opening, TOOL, tool};
use crate::command::{self, Errors};
use std::net::IpAddr;
use std::time::Duration;

const PROGRAM: &str = "firewall-cmd";

/// Returns the zone that decides about the opening's connections; `None` if firewalld does not run.
pub(super) fn zone(opening: Opening) -> Option<String> {
    command::find(PROGRAM)?;
    tool(PROGRAM, &["--state"]).ok()?;
    let active = tool(PROGRAM, &["--get-active-zones"]).unwrap_or_default();
    let of_interface = || {
        let route = tool("ip", &["-o", "route", "get", &opening.peer.to_string()]).ok()?;
        let interface = route.split_whitespace().skip_while(|word| *word != "dev").nth(1)?;
        zone_of(&active, |kind, item| kind == "interfaces:" && item == interface)
    };
    let of_source = zone_of(&active, |kind, item| kind == "sources:" && contains(item, opening.peer));
    of_source.or_else(of_interface).or_else(|| {
        let default = tool(PROGRAM, &["--get-default-zone"]).ok()?;
        Some(default.trim().to_owned()).filter(|zone| !zone.is_empty())
    })
}

/// Reports whether a zone rejects the opening's connections.
pub(super) fn restricts(zone: &str, opening: Opening) -> bool {
    let target = tool(PROGRAM, &[&in_zone(zone), "--list-all"]).unwrap_or_default();
    let accepts = target.lines().any(|line| line.trim() == "target: ACCEPT");
    let has_port = || is_yes(&[&in_zone(zone), &format!("--query-port={}/tcp", opening.port)]);
    !accepts && !has_port()
}

/// Returns the rich rule of an opening.
pub(super) fn rule(Opening { peer, port }: Opening) -> String {
    let family = if peer.is_ipv4() { "ipv4" } else { "ipv6" };
    format!("rule family=\"{family}\" source address=\"{peer}\" port port=\"{port}\" protocol=\"tcp\" accept")
}

pub(super) fn open(zone: &str, opening: Opening, span: Duration) -> Result<(), String> {
    let (rule, timeout) =
        (format!("--add-rich-rule={}", rule(opening)), format!("--timeout={}", span.as_secs()));
    tool(PROGRAM, &[&in_zone(zone), &rule, &timeout]).map(|_| ())
}

pub(super) fn close(zone: &str, opening: Opening) -> Result<(), String> {
    if !has(zone, opening) {
        return Ok(());
    }
    tool(PROGRAM, &[&in_zone(zone), &format!("--remove-rich-rule={}", rule(opening))]).map(|_| ())
}

/// Reports whether the rule is there, and is not one of the permanent configuration, which is the owner's.
pub(super) fn has(zone: &str, opening: Opening) -> bool {
    accepts(zone, opening) && !is_permanent(zone, opening)
}

/// Reports whether the rule is there, whoever has made it.
pub(super) fn accepts(zone: &str, opening: Opening) -> bool {
    is_yes(&[&in_zone(zone), &format!("--query-rich-rule={}", rule(opening))])
}

/// Reports whether the owner has stored the same rule.
pub(super) fn is_permanent(zone: &str, opening: Opening) -> bool {
    is_yes(&["--permanent", &in_zone(zone), &format!("--query-rich-rule={}", rule(opening))])
}

fn in_zone(zone: &str) -> String {
    format!("--zone={zone}")
}

/// Asks a question whose answer is the exit status.
fn is_yes(question: &[&str]) -> bool {
    command::capture(PROGRAM, question, Errors::Discard, TOOL).is_ok_and(|output| output.status.success())
}

/// Parses the active zones: the name of each, then lines with its interfaces and its sources.
fn zone_of(active: &str, is_it: impl Fn(&str, &str) -> bool) -> Option<String> {
    let mut zone = None;
    for line in active.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        if !line.starts_with(' ') {
            zone = Some(first.to_owned());
        } else if words.any(|item| is_it(first, item)) {
            return zone;
        }
    }
    None
}

/// Reports whether a source, like `10.0.0.0/8`, contains an address. Sources of other kinds do not.
fn contains(source: &str, address: IpAddr) -> bool {
    let (network, length) = source.split_once('/').unwrap_or((source, "128"));
    let Ok(length) = length.parse::<u32>() else { return false };
    let prefix = |bits: u128, width: u32| {
        let length = length.min(width);
        if length == 0 { 0 } else { bits >> (width - length) }
    };
    match (network.parse(), address) {
        (Ok(IpAddr::V4(network)), IpAddr::V4(address)) => {
            prefix(u32::from(network).into(), 32) == prefix(u32::from(address).into(), 32)
        }
        (Ok(IpAddr::V6(network)), IpAddr::V6(address)) => {
            prefix(network.into(), 128) == prefix(address.into(), 128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_of_an_address_or_interface_is_found() {
        let active = "public\n  interfaces: eth0 eth1\nwork (default)\n  sources: 10.0.0.0/8 ipset:x\n";
        let of = |wanted: &str| zone_of(active, |_, item| item == wanted);
        assert_eq!(of("eth1").as_deref(), Some("public"));
        let by_source = |ip: &str| {
            zone_of(active, |kind, item| kind == "sources:" && contains(item, ip.parse().unwrap()))
        };
        assert_eq!(by_source("10.9.8.7").as_deref(), Some("work"));
        assert_eq!(by_source("192.0.2.1"), None);
    }

    #[test]
    fn sources_are_networks_or_addresses() {
        let is_in = |source, ip: &str| contains(source, ip.parse().unwrap());
        assert!(is_in("10.0.0.7", "10.0.0.7") && !is_in("10.0.0.7", "10.0.0.6"));
        assert!(is_in("0.0.0.0/0", "10.0.0.7") && !is_in("0.0.0.0/0", "fd00::1"));
        assert!(is_in("fd00::/8", "fd77::1") && !is_in("fd00::/8", "fe80::1"));
        assert!(!is_in("00:11:22:33:44:55", "10.0.0.7"));
    }
}
