//! nftables: base chains at the hook for incoming packets.

use super::{Opening, tool};

/// Words of a rule after which a packet may not be accepted.
const VERDICTS: [&str; 7] = ["drop", "reject", "jump", "goto", "queue", "vmap", "xt"];

/// A base chain at the hook `input`.
#[derive(Debug, PartialEq, Eq)]
struct Chain<'a> {
    family: &'a str,
    table: &'a str,
    name: &'a str,
    /// Whether its policy or one of its rules may reject a packet.
    restricts: bool,
}

/// Who else rules tables of nftables on this machine.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Others {
    /// firewalld runs.
    pub(super) firewalld: bool,
    /// There is a program for the rules of iptables in nftables.
    pub(super) iptables: bool,
}

/// Returns the machine's rules as `nft` prints them; empty if there is no nftables.
pub(super) fn ruleset() -> String {
    tool("nft", &["list", "ruleset"]).unwrap_or_default()
}

/// Reports whether the rules have the table of `iptables-nft`.
pub(super) fn has_table(ruleset: &str, family: &str, table: &str) -> bool {
    ruleset.lines().any(|line| line == format!("table {family} {table} {{"))
}

/// Returns the chains that may reject the opening's connections: family, table and name. The tables that
/// firewalld or `iptables` rules are left to them.
pub(super) fn places(ruleset: &str, opening: Opening, others: Others) -> Vec<[String; 3]> {
    let is_concerned = |chain: &Chain<'_>| {
        let of_firewalld = others.firewalld && chain.table.starts_with("firewalld");
        let of_iptables = chain.family != "inet" && (chain.table, chain.name) == ("filter", "INPUT");
        chain.restricts && !of_firewalld && !(of_iptables && others.iptables)
    };
    input_chains(ruleset)
        .into_iter()
        .filter(|chain| chain.family == "inet" || chain.family == opening.family())
        .filter(is_concerned)
        .map(|chain| [chain.family, chain.table, chain.name].map(str::to_owned))
        .collect()
}

/// Returns the expression that matches and accepts the opening's connections, as `nft` prints it.
pub(super) fn rule(opening: Opening) -> String {
    let (family, Opening { peer, port }) = (opening.family(), opening);
    format!("{family} saddr {peer} tcp dport {port} accept")
}

pub(super) fn open([family, table, chain]: [&str; 3], opening: Opening, comment: &str) -> Result<(), String> {
    let rule = rule(opening);
    let mut words = vec!["insert", "rule", family, table, chain];
    words.extend(rule.split(' '));
    let quoted = format!("\"{comment}\"");
    words.extend(["comment", &quoted]);
    tool("nft", &words).map(|_| ())
}

pub(super) fn close([family, table, chain]: [&str; 3], mark: &str, but: Option<&str>) -> Result<(), String> {
    let Ok(listing) = tool("nft", &["-a", "list", "chain", family, table, chain]) else {
        // If nft works at all, the owner has removed the chain, and the rule with it.
        return tool("nft", &["list", "tables"]).map(|_| ());
    };
    for handle in handles(&listing, mark, but) {
        tool("nft", &["delete", "rule", family, table, chain, "handle", handle])?;
    }
    Ok(())
}

pub(super) fn has([family, table, chain]: [&str; 3], mark: &str) -> bool {
    tool("nft", &["-a", "list", "chain", family, table, chain])
        .is_ok_and(|listing| !handles(&listing, mark, None).is_empty())
}

/// Returns the handles of the rules whose comment begins with `mark`.
fn handles<'a>(listing: &'a str, mark: &str, but: Option<&str>) -> Vec<&'a str> {
    let mark = format!("comment \"{mark}");
    let but = but.map(|comment| format!("comment \"{comment}\""));
    let ours = |line: &&str| line.contains(&mark) && but.as_ref().is_none_or(|but| !line.contains(but));
    let lines = listing.lines().filter(ours);
    lines.filter_map(|line| line.rsplit_once("# handle ").map(|(_, handle)| handle.trim())).collect()
}

/// Parses the base chains at the hook `input` that filter packets.
fn input_chains(ruleset: &str) -> Vec<Chain<'_>> {
    let mut chains: Vec<Chain<'_>> = Vec::new();
    let (mut table, mut chain, mut is_base, mut inner) = (None, None, false, false);
    for line in ruleset.lines().map(str::trim) {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["table", family, name, "{"] => table = Some((*family, *name)),
            ["chain", name, "{"] if table.is_some() => (chain, is_base) = (Some(*name), false),
            [.., "{"] => inner = true,
            ["}"] if inner => inner = false,
            ["}"] if chain.is_some() => chain = None,
            ["}"] => table = None,
            ["type", "filter", "hook", "input", ..] => {
                if let (Some((family, table)), Some(name)) = (table, chain) {
                    is_base = true;
                    let restricts = line.contains("policy drop");
                    chains.push(Chain { family, table, name, restricts });
                }
            }
            words if chain.is_some() && is_base => {
                if let Some(last) = chains.last_mut() {
                    last.restricts |= words.iter().any(|word| VERDICTS.contains(word));
                }
            }
            _ => {}
        }
    }
    chains
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"table inet filter {
	set banned {
		type ipv4_addr
		flags interval
		elements = { 192.0.2.0/24,
			     198.51.100.7 }
	}

	chain input {
		type filter hook input priority filter; policy drop;
		iif "lo" accept
		tcp dport { 22, 80 } accept
	}

	chain output {
		type filter hook output priority filter; policy drop;
	}
}
table ip open {
	chain in {
		type filter hook input priority filter; policy accept;
		counter packets 7 bytes 9
	}
}
table ip6 late {
	chain late {
		type filter hook input priority filter + 10; policy accept;
		ip6 saddr fd00::/8 drop
	}

	chain other {
		drop
	}
}
"#;

    #[test]
    fn chains_that_may_reject_are_found() {
        let chains = input_chains(RULES);
        let found: Vec<_> = chains.iter().map(|c| (c.family, c.table, c.name, c.restricts)).collect();
        let expected =
            [("inet", "filter", "input", true), ("ip", "open", "in", false), ("ip6", "late", "late", true)];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_hole_concerns_the_chains_of_its_family() {
        let names = |peer: &str| {
            let opening = Opening { peer: peer.parse().unwrap(), port: 1 };
            places(RULES, opening, Others::default()).iter().map(|place| place.join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(names("10.0.0.1"), ["inet filter input"]);
        assert_eq!(names("fd77::1"), ["inet filter input", "ip6 late late"]);
    }

    #[test]
    fn only_rules_of_the_session_are_removed() {
        let listing = "table inet filter { # handle 1\n\tchain input { # handle 2\n\
            \t\tip saddr 10.0.0.1 tcp dport 62286 accept comment \"farrier s1 run r until x\" # handle 9\n\
            \t\tip saddr 10.0.0.1 tcp dport 62286 accept comment \"farrier s1 run r until y\" # handle 10\n\
            \t\ttcp dport 22 accept comment \"farrier s10 run r\" # handle 11\n\t}\n}\n";
        assert_eq!(handles(listing, "farrier s1 ", None), ["9", "10"]);
        assert_eq!(handles(listing, "farrier s1 ", Some("farrier s1 run r until y")), ["9"]);
    }
}
