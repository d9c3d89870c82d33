//! Renders nftables rules.

use super::demand::{Open, PortRequirements, Row};
use super::subject::{Endpoint, Family};
use super::text;
use farrier_network::{Direction, IpNet, Transport, cidr};
use std::fmt::Write as _;
use std::net::IpAddr;

const HEAD: &str = "\
# Connections of Farrier, as `farrier ports` worked them out.
#
# Loaded as it is (nft -f FILE) this counts and closes nothing; `nft list table inet farrier_ports`
# shows what was used. An accept here does not undo a drop in another table: where there is a
# firewall already, its own chain needs these rules.
table inet farrier_ports
delete table inet farrier_ports
table inet farrier_ports {
	chain wanted {
		ct state established,related accept
";

const FOOT: &str = "	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		jump wanted
	}
	chain input {
		type filter hook input priority filter; policy accept;
		jump wanted
	}
	chain output {
		type filter hook output priority filter; policy accept;
		jump wanted
	}
}
";

/// nft accepts comments of at most 128 bytes, including the terminating byte.
const COMMENT_LIMIT: usize = 120;

/// Renders a ruleset for `nft -f`.
pub(super) fn render(demand: &PortRequirements, optional: bool) -> anyhow::Result<String> {
    need_addresses(demand)?;
    let mut text = String::new();
    for note in &demand.notes {
        writeln!(text, "# note: {note}")?;
    }
    text.push_str(HEAD);
    for row in &demand.rows {
        add(&mut text, row, optional)?;
    }
    add_rest(&mut text, demand)?;
    text.push_str(FOOT);
    Ok(text)
}

/// Fails if a row has no machine address: rules without an address would open ports for every host.
pub(super) fn need_addresses(demand: &PortRequirements) -> anyhow::Result<()> {
    let without = demand.rows.iter().find(|row| row.machine.is_empty());
    if let Some(row) = without {
        anyhow::bail!("{}: rules need the machine's address; give --address", row.node);
    }
    Ok(())
}

fn add(text: &mut String, row: &Row, optional: bool) -> std::fmt::Result {
    let way = match row.direction {
        Direction::ToTarget => "to the machine",
        Direction::FromTarget => "from the machine",
    };
    let of = row.run.as_ref().map(|run| format!(" of {run}")).unwrap_or_default();
    write!(text, "\n\t\t# {}{of} ({}), {}, {way}: ", row.node, row.kind, text::phases(row))?;
    let Some(open) = &row.open else { return writeln!(text, "nothing") };
    writeln!(text, "{} {}, {}: {}", open.transport, open.numbers(), open.protocol, open.reason)?;
    if open.port.overflow {
        writeln!(text, "\t\t# Higher ports are used when these are taken.")?;
    }
    let names: Vec<&str> =
        row.machine.iter().filter(|place| place.address.is_none()).map(|place| place.text.as_str()).collect();
    if !names.is_empty() {
        writeln!(text, "\t\t# To be resolved, and added: {}", names.join(", "))?;
    }
    let silent = if open.optional && !optional {
        writeln!(text, "\t\t# Optional; only devices without HTTPS need it.")?;
        "# "
    } else {
        ""
    };
    for family in [Family::V4, Family::V6] {
        if let Some(rule) = rule(row, open, family) {
            writeln!(text, "\t\t{silent}{rule}")?;
        } else if set(&row.machine, family).is_some() {
            writeln!(
                text,
                "\t\t# None over {}: no such address of Farrier's is known; give it with --from",
                family.name()
            )?;
        }
    }
    Ok(())
}

/// Adds counters for all other traffic between the known endpoints.
fn add_rest(text: &mut String, demand: &PortRequirements) -> std::fmt::Result {
    let all = |of: fn(&Row) -> &Vec<Endpoint>| -> Vec<Endpoint> {
        demand.rows.iter().flat_map(of).cloned().collect()
    };
    let (machines, farrier) = (all(|row| &row.machine), all(|row| &row.farrier));
    for family in [Family::V4, Family::V6] {
        let (Some(machines), Some(farrier)) = (set(&machines, family), set(&farrier, family)) else {
            continue;
        };
        let ip = family.in_nft();
        writeln!(
            text,
            "\n\t\t# Whatever else passes between these, over {}. A drop here would close it.",
            family.name()
        )?;
        for (from, to, way) in [(&farrier, &machines, "to"), (&machines, &farrier, "from")] {
            let rest = "meta l4proto { tcp, udp } counter comment";
            writeln!(text, "\t\t{ip} saddr {from} {ip} daddr {to} {rest} \"not named, {way} machines\"")?;
        }
    }
    Ok(())
}

/// Returns the rule of one address family; `None` if an endpoint has no address of that family.
fn rule(row: &Row, open: &Open, family: Family) -> Option<String> {
    let machine = set(&row.machine, family)?;
    // If no address of Farrier is known, the rule leaves that side open. A name has no known address.
    let known = row.farrier.iter().any(|place| place.address.is_some());
    let farrier = if known { Some(set(&row.farrier, family)?) } else { None };
    let (from, to) = match row.direction {
        Direction::ToTarget => (farrier, Some(machine)),
        Direction::FromTarget => (Some(machine), farrier),
    };
    let ip = family.in_nft();
    let end = |side: &str, set: Option<String>| set.map(|set| format!("{ip} {side} {set} "));
    let (from, to) = (end("saddr", from).unwrap_or_default(), end("daddr", to).unwrap_or_default());
    let transport = match open.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    let comment = format!("{}, {}: {}", row.node, text::phases(row), open.protocol);
    let comment: String = comment.chars().take(COMMENT_LIMIT).collect();
    Some(format!("{from}{to}{transport} dport {} counter accept comment \"{comment}\"", open.numbers()))
}

impl Family {
    fn in_nft(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

fn set(places: &[Endpoint], family: Family) -> Option<String> {
    let addresses: Vec<IpAddr> =
        places.iter().filter_map(|place| place.address).filter(|ip| Family::of(*ip) == family).collect();
    let one = |net: &IpNet| {
        if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
    };
    let parts: Vec<String> = cidr::cover(addresses).iter().map(one).collect();
    match parts.as_slice() {
        [] => None,
        [single] => Some(single.clone()),
        several => Some(format!("{{ {} }}", several.join(", "))),
    }
}
