//! A place for a rule, and what can be done there.

use super::{Opening, firewalld, iptables, nft};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A place where a firewall decides about incoming connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A chain of nftables.
    Nft {
        /// Family of its table.
        family: String,
        /// Name of its table.
        table: String,
        /// Name of the chain.
        chain: String,
    },
    /// The chain `INPUT` of the table `filter`.
    Iptables {
        /// The program for it, which says whether it is IPv4 or IPv6, and whose rules these are.
        program: String,
        /// Whether ufw rules it. Farrier's rule is not one of ufw's, so that ufw does not store it.
        ufw: bool,
    },
    /// A zone of firewalld.
    Firewalld {
        /// Name of the zone.
        zone: String,
    },
}

impl Place {
    /// Creates the place of a chain: family, table and name.
    pub(super) fn nft([family, table, chain]: [String; 3]) -> Self {
        Self::Nft { family, table, chain }
    }

    /// Inserts the rule.
    pub(super) fn open(&self, opening: Opening, comment: &str, span: Duration) -> Result<(), String> {
        match self {
            Self::Nft { family, table, chain } => nft::open([family, table, chain], opening, comment),
            Self::Iptables { program, .. } => iptables::open(program, opening, comment),
            Self::Firewalld { zone } => firewalld::open(zone, opening, span),
        }
    }

    /// Removes all rules whose comment begins with `mark`, except the one with the comment `but`. A rule that
    /// is gone is fine.
    pub(super) fn close(&self, opening: Opening, mark: &str, but: Option<&str>) -> Result<(), String> {
        match self {
            Self::Nft { family, table, chain } => nft::close([family, table, chain], mark, but),
            Self::Iptables { program, .. } => iptables::close(program, mark, but),
            Self::Firewalld { zone } => firewalld::close(zone, opening),
        }
    }

    /// Reports whether the rule is there. A firewall that does not answer has none.
    pub(super) fn has(&self, opening: Opening, mark: &str) -> bool {
        match self {
            Self::Nft { family, table, chain } => nft::has([family, table, chain], mark),
            Self::Iptables { program, .. } => iptables::has(program, mark),
            Self::Firewalld { zone } => firewalld::has(zone, opening),
        }
    }

    /// Reports whether the owner has made the rule, so that this place rejects nothing. `is_leased`: whether the
    /// engine has a lease of it. Rules in other places have a comment, by which ours are told from the owner's.
    pub(super) fn is_opened_by_owner(&self, opening: Opening, is_leased: bool) -> bool {
        match self {
            Self::Nft { .. } | Self::Iptables { .. } => false,
            Self::Firewalld { zone } => {
                firewalld::accepts(zone, opening) && (!is_leased || firewalld::is_permanent(zone, opening))
            }
        }
    }

    /// Whether a rule has to be removed before it can be renewed.
    pub(super) fn has_one_rule(&self) -> bool {
        matches!(self, Self::Firewalld { .. })
    }

    /// Returns the command with which a person opens the port.
    pub(super) fn command(&self, opening: Opening) -> String {
        let Opening { peer, port } = opening;
        match self {
            Self::Nft { family, table, chain } => {
                format!("nft insert rule {family} {table} {chain} {}", nft::rule(opening))
            }
            Self::Iptables { ufw: true, .. } => format!("ufw allow proto tcp from {peer} to any port {port}"),
            Self::Iptables { program, ufw: false } => {
                format!("{program} -I INPUT -s {peer} -p tcp --dport {port} -j ACCEPT")
            }
            Self::Firewalld { zone } => {
                format!("firewall-cmd --zone={zone} --add-rich-rule='{}'", firewalld::rule(opening))
            }
        }
    }

    /// Returns the name for users.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Nft { family, table, chain } => format!("nftables ({family} {table} {chain})"),
            Self::Iptables { program, ufw: true } => format!("ufw ({program} INPUT)"),
            Self::Iptables { program, ufw: false } => format!("{program} (INPUT)"),
            Self::Firewalld { zone } => format!("firewalld (zone {zone})"),
        }
    }
}

/// The form in the journal.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nft { family, table, chain } => write!(f, "nftables {family} {table} {chain}"),
            Self::Iptables { program, ufw: true } => write!(f, "ufw {program}"),
            Self::Iptables { program, ufw: false } => write!(f, "xtables {program}"),
            Self::Firewalld { zone } => write!(f, "firewalld {zone}"),
        }
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let words: Vec<&str> = text.split(' ').collect();
        let own = |word: &str| word.to_owned();
        Ok(match words.as_slice() {
            ["nftables", family, table, chain] => {
                Self::Nft { family: own(family), table: own(table), chain: own(chain) }
            }
            ["ufw", program] => Self::Iptables { program: own(program), ufw: true },
            ["xtables", program] => Self::Iptables { program: own(program), ufw: false },
            ["firewalld", zone] => Self::Firewalld { zone: own(zone) },
            _ => return Err(()),
        })
    }
}
