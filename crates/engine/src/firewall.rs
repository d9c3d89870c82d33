//! The machine's own firewall: opens the engine's port for the runner's address, and closes it again.
//!
//! Several firewalls may be in effect at once, and a connection has to pass all of them. Each place that may
//! reject the connection (a chain of nftables, the chain `INPUT` of iptables, a zone of firewalld) gets one
//! rule at its beginning. Every rule is a lease: in the journal before it is made, with the session in its
//! comment, and gone at every end. Rules are made in the kernel or in firewalld's runtime configuration
//! only, so that a restart of the machine removes them. The machine's tools are used; none is linked.

mod firewalld;
mod iptables;
mod leases;
mod nft;
mod place;

pub(crate) use leases::FirewallLeases;

use crate::command::{self, Bounds, Errors};
use farrier_protocol::Leftover;
use place::Place;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// Limits of a tool. Those of iptables wait up to [`iptables::LOCK_SECONDS`] for each other.
const TOOL: Bounds = Bounds { time: Duration::from_secs(30), bytes: 16 * 1024 * 1024 };

/// What is opened: one TCP port for one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The address that may connect.
    pub(crate) peer: IpAddr,
    /// The port on this machine.
    pub(crate) port: u16,
}

impl Opening {
    /// Returns the family as nftables and the kernel write it.
    fn family(self) -> &'static str {
        if self.peer.is_ipv4() { "ip" } else { "ip6" }
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp {} from {}", self.port, self.peer)
    }
}

impl FromStr for Opening {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (port, peer) = text.strip_prefix("tcp ").and_then(|text| text.split_once(" from ")).ok_or(())?;
        Ok(Self { peer: peer.parse().map_err(|_| ())?, port: port.parse().map_err(|_| ())? })
    }
}

/// Identifies the rules of a session.
#[derive(Debug, Clone)]
struct Tag {
    session: String,
    run: String,
}

impl Tag {
    /// The beginning of every comment of the session.
    fn mark(session: &str) -> String {
        format!("farrier {session} ")
    }

    /// Returns the comment of a rule. nftables takes 128 characters.
    fn comment(&self, until: &str) -> String {
        let run: String = self.run.chars().take(40).collect();
        format!("{}run {run} until {until}", Self::mark(&self.session))
    }
}

/// Closes an opening that a lease names, whoever has opened it, and verifies that it is closed.
pub(crate) fn close(lease: &str, session: &str) -> Result<(), Leftover> {
    let left = |why: String| Leftover { what: lease.to_owned(), why };
    let Some((place, opening)) = read_lease(lease) else {
        return Err(left("this engine does not know this kind of rule".into()));
    };
    let mark = Tag::mark(session);
    place.close(opening, &mark, None).map_err(left)?;
    if place.has(opening, &mark) { Err(left("the rule is still there".into())) } else { Ok(()) }
}

/// Returns the text of a lease.
fn lease_text(place: &Place, opening: Opening) -> String {
    format!("{place}: {opening}")
}

fn read_lease(text: &str) -> Option<(Place, Opening)> {
    let (place, opening) = text.rsplit_once(": ")?;
    Some((place.parse().ok()?, opening.parse().ok()?))
}

/// Runs a tool and returns what it printed. The error is what it printed if it failed.
fn tool(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = command::capture(program, arguments, Errors::Merge, TOOL)?;
    if output.status.success() {
        return Ok(output.text);
    }
    let said = output.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said: String = said.chars().take(300).collect();
    Err(format!("{program}: {said} ({})", output.status))
}

/// Returns the places of this machine that may reject the opening's connections, without one that accepts them
/// already.
fn restricting(opening: Opening) -> Vec<Place> {
    let zone = firewalld::zone(opening);
    let (firewalld, iptables) = (zone.is_some(), iptables::has_nft_program(opening));
    let ruleset = nft::ruleset();
    // Without `nft`, the program of iptables is the only one that knows.
    let in_nftables = command::find("nft").is_none() || nft::has_table(&ruleset, opening.family(), "filter");
    let nftables = nft::places(&ruleset, opening, nft::Others { firewalld, iptables });
    let xtables = iptables::places(opening, in_nftables, firewalld);
    let zone = zone.filter(|zone| firewalld::restricts(zone, opening));
    let mut places: Vec<Place> = nftables.into_iter().map(Place::nft).collect();
    places
        .extend(xtables.into_iter().map(|found| Place::Iptables { program: found.program, ufw: found.ufw }));
    places.extend(zone.map(|zone| Place::Firewalld { zone }));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lease that cannot be read back stays on the machine when its engine is killed.
    #[test]
    fn leases_are_read_back() {
        let opening = Opening { peer: "fd77::1".parse().unwrap(), port: 62286 };
        for place in [
            Place::Nft { family: "inet".into(), table: "filter".into(), chain: "input".into() },
            Place::Iptables { program: "ip6tables-legacy".into(), ufw: false },
            Place::Iptables { program: "iptables".into(), ufw: true },
            Place::Firewalld { zone: "public".into() },
        ] {
            assert_eq!(read_lease(&lease_text(&place, opening)), Some((place, opening)));
        }
        assert_eq!(read_lease("pf: tcp 1 from 10.0.0.1"), None);
    }

    #[test]
    fn comments_fit_into_nftables() {
        let tag = Tag { session: "x".repeat(36), run: "r".repeat(253) };
        let comment = tag.comment("2026-11-30T02:00:00Z");
        assert!(comment.len() <= 128 && comment.starts_with(&Tag::mark(&tag.session)), "{comment}");
    }
}
