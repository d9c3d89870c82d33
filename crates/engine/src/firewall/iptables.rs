//! iptables and ip6tables: the chain `INPUT` of the table `filter`, as rules of nftables or of the older kernel
//! interface. Both may be in effect at the same time, and neither lists the other's rules.

use super::{Opening, tool};
use crate::command;
use std::fs;

/// How long a program waits for the lock that all of them share.
pub(super) const LOCK_SECONDS: &str = "10";

/// Targets that let a packet go on to the next rule, or accept it.
const HARMLESS: [&str; 8] = ["ACCEPT", "LOG", "NFLOG", "RETURN", "MARK", "CONNMARK", "TRACE", "AUDIT"];

/// Whose rules a program edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    Nftables,
    Legacy,
}

/// The state of the chain `INPUT`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Input {
    restricts: bool,
    ufw: bool,
    firewalld: bool,
}

/// A program whose chain `INPUT` may reject a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Restricting {
    /// Its name.
    pub(super) program: String,
    /// Whether ufw rules the chain.
    pub(super) ufw: bool,
}

/// Returns the programs whose chain may reject the opening's connections. `in_nftables`: whether nftables has a
/// table of theirs.
pub(super) fn places(opening: Opening, in_nftables: bool, has_firewalld: bool) -> Vec<Restricting> {
    let nftables = program(Backend::Nftables, opening).filter(|_| in_nftables);
    let legacy = program(Backend::Legacy, opening).filter(|_| has_legacy_table(opening));
    let place = |program: String| {
        let input = read(&saved(&program).unwrap_or_default());
        let ruled = has_firewalld && input.firewalld;
        (input.restricts && !ruled).then_some(Restricting { program, ufw: input.ufw })
    };
    nftables.into_iter().chain(legacy).filter_map(place).collect()
}

/// Reports whether the machine has a program for the rules in nftables.
pub(super) fn has_nft_program(opening: Opening) -> bool {
    program(Backend::Nftables, opening).is_some()
}

pub(super) fn open(program: &str, opening: Opening, comment: &str) -> Result<(), String> {
    let (peer, port) = (opening.peer.to_string(), opening.port.to_string());
    let rule = ["-I", "INPUT", "1", "-s", &peer, "-p", "tcp", "--dport", &port];
    let marked = ["-m", "comment", "--comment", comment, "-j", "ACCEPT"];
    edit(program, &[&rule[..], &marked].concat())
}

pub(super) fn close(program: &str, mark: &str, but: Option<&str>) -> Result<(), String> {
    let listing = tool(program, &["-w", LOCK_SECONDS, "-S", "INPUT"])?;
    for rule in rules(&listing, mark, but) {
        let words: Vec<&str> = rule.iter().map(String::as_str).collect();
        edit(program, &words)?;
    }
    Ok(())
}

pub(super) fn has(program: &str, mark: &str) -> bool {
    tool(program, &["-w", LOCK_SECONDS, "-S", "INPUT"])
        .is_ok_and(|listing| !rules(&listing, mark, None).is_empty())
}

fn edit(program: &str, words: &[&str]) -> Result<(), String> {
    tool(program, &[&["-w", LOCK_SECONDS][..], words].concat()).map(|_| ())
}

/// Returns the arguments that delete each rule whose comment begins with `mark`.
fn rules(listing: &str, mark: &str, but: Option<&str>) -> Vec<Vec<String>> {
    let is_ours = |words: &Vec<String>| {
        let comment = words.iter().skip_while(|word| *word != "--comment").nth(1);
        comment.is_some_and(|comment| comment.starts_with(mark) && Some(comment.as_str()) != but)
    };
    let added = listing.lines().filter_map(|line| line.strip_prefix("-A "));
    let words = added.map(|line| {
        let mut words = vec!["-D".to_owned()];
        words.extend(split(line));
        words
    });
    words.filter(is_ours).collect()
}

/// Splits a line into words. Only comments of ours matter, which contain neither quotes nor backslashes.
fn split(line: &str) -> Vec<String> {
    let quoted = line.split('"').enumerate();
    quoted.fold(Vec::new(), |mut words, (number, part)| {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
        words
    })
}

/// Parses what `iptables-save` prints.
fn read(saved: &str) -> Input {
    let mut input = Input::default();
    for line in saved.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            [":INPUT", policy, ..] => input.restricts |= *policy != "ACCEPT",
            ["-A", "INPUT", rule @ ..] => {
                let target = rule.iter().skip_while(|word| !["-j", "-g"].contains(word)).nth(1);
                let target = target.copied().unwrap_or("ACCEPT");
                input.restricts |= !HARMLESS.contains(&target);
                input.ufw |= target.starts_with("ufw-") || target.starts_with("ufw6-");
                input.firewalld |= target.starts_with("INPUT_ZONES") || target == "INPUT_direct";
            }
            _ => {}
        }
    }
    input
}

/// Returns the rules of the table `filter`. `iptables-save` creates no table, in contrast to older versions of
/// `iptables -S`.
fn saved(program: &str) -> Result<String, String> {
    tool(&format!("{program}-save"), &["-t", "filter"])
}

/// Returns the program for the rules of a backend: the one that is named after it, or the plain one.
fn program(backend: Backend, opening: Opening) -> Option<String> {
    let plain = if opening.peer.is_ipv4() { "iptables" } else { "ip6tables" };
    let named = format!("{plain}-{}", if backend == Backend::Nftables { "nft" } else { "legacy" });
    let is_nft = || tool(plain, &["--version"]).map(|version| version.contains("nf_tables"));
    let plain_is_it = is_nft().is_ok_and(|is_nft| is_nft == (backend == Backend::Nftables));
    if plain_is_it {
        return Some(plain.to_owned());
    }
    command::find(&named).map(|_| named)
}

/// Reports whether the older kernel interface has a table of filters. Asking the program would create one.
fn has_legacy_table(opening: Opening) -> bool {
    let list = format!("/proc/net/{}_tables_names", opening.family());
    fs::read_to_string(list).is_ok_and(|names| names.lines().any(|name| name == "filter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_accepts_everything_needs_no_rule() {
        let read = |rules: &str| read(rules);
        assert_eq!(read(""), Input::default());
        assert_eq!(read("*filter\n:INPUT ACCEPT [1:2]\n-A INPUT -j LOG\nCOMMIT\n"), Input::default());
        assert!(read(":INPUT DROP [0:0]\n").restricts);
        assert!(read(":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j REJECT --reject-with tcp-reset\n").restricts);
        assert!(!read(":INPUT ACCEPT [0:0]\n-A FORWARD -j DROP\n").restricts);
        let ufw = read(":INPUT DROP [0:0]\n-A INPUT -j ufw-before-input\n");
        assert_eq!(ufw, Input { restricts: true, ufw: true, firewalld: false });
    }

    #[test]
    fn only_rules_of_the_session_are_deleted() {
        let listing = "-P INPUT DROP\n\
            -A INPUT -s 10.0.0.1/32 -p tcp -m tcp --dport 62286 -m comment --comment \"farrier s1 run r until x\" -j ACCEPT\n\
            -A INPUT -p tcp -m comment --comment \"not farrier s1 run\" -j ACCEPT\n\
            -A INPUT -p tcp -m comment --comment ssh -j ACCEPT\n";
        let found = rules(listing, "farrier s1 ", None);
        assert_eq!(found.len(), 1);
        let words: Vec<&str> = found[0].iter().map(String::as_str).collect();
        assert_eq!(words[..4], ["-D", "INPUT", "-s", "10.0.0.1/32"]);
        assert_eq!(words[13..], ["farrier s1 run r until x", "-j", "ACCEPT"]);
        assert!(rules(listing, "farrier s1 ", Some("farrier s1 run r until x")).is_empty());
    }
}
