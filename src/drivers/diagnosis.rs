//! Describes what blocks a machine's connection to the callback server: the obstacle, and the next step.

use crate::failure::Failure;
use farrier_protocol::{Dial, DialOutcome};
use farrier_update::Reason;
use std::net::{IpAddr, Ipv6Addr};

/// Maximum number of addresses in a message.
const MAX_NAMED: usize = 4;

/// The failed attempts of one machine, and related facts.
pub(super) struct FailedDials<'a> {
    /// Name of the machine.
    pub(super) node: &'a str,
    /// The result for each address, in order of preference.
    pub(super) dials: &'a [Dial],
    /// The machine's addresses as the user listed them.
    pub(super) own: &'a [IpAddr],
    /// Addresses that the callback server has rejected meanwhile. They may belong to any host.
    pub(super) unknown_sources: &'a [IpAddr],
}

/// Returns the failure that describes the obstacle. Its reason is that of the first address.
pub(super) fn of(attempts: &FailedDials<'_>) -> Failure {
    let told: Vec<String> =
        attempts.dials.iter().map(|dial| format!("TCP {}: {}", dial.address, in_words(dial))).collect();
    let (reason, next) = match attempts.dials.first() {
        Some(dial) if dial.result == DialOutcome::Closed => closed_immediately(attempts, dial),
        Some(dial) => {
            let (reason, next) = before_server(dial.result);
            (reason, format!("{next}{}", unlisted(attempts, dial)))
        }
        None => {
            let (reason, next) = before_server(DialOutcome::TimedOut);
            (reason, next.to_owned())
        }
    };
    Failure::new(
        reason,
        format!(
            "{} cannot reach the callback server (from the machine to the runner): {}; {next}",
            attempts.node,
            told.join(", ")
        ),
    )
}

/// Returns the reason and the next step for obstacles before the callback server.
fn before_server(result: DialOutcome) -> (Reason, &'static str) {
    match result {
        DialOutcome::TimedOut => (
            Reason::CallbackTimedOut,
            "a firewall drops the connection, most likely the machine's own for outgoing connections, one on the network path, or that of the operator's host for incoming ones; allow the connection (`farrier ports` prints the rules)",
        ),
        DialOutcome::Refused => (
            Reason::CallbackRejected,
            "the callback server listens, so either a firewall rejects the connection (the machine's own, one on the network path, or that of the operator's host for incoming connections), or another host has this address; allow the connection (`farrier ports` prints the rules), or set spec.callbackAddress",
        ),
        DialOutcome::Prohibited => (
            Reason::CallbackRejected,
            "a firewall or router rejects the connection (the machine's own, one on the network path, or that of the operator's host for incoming connections), or no host has this address; allow the connection (`farrier ports` prints the rules), or correct spec.callbackAddress",
        ),
        DialOutcome::NoRoute => {
            (Reason::CallbackNoRoute, "give the machine a route there, or set spec.callbackAddress")
        }
        DialOutcome::Silent => (
            Reason::CallbackTimedOut,
            "a proxy or load balancer in between has no backend, or a firewall passes only the beginning of the connection; fix it, or set spec.callbackAddress",
        ),
        DialOutcome::Connected | DialOutcome::Untrusted => (
            Reason::CallbackUntrusted,
            "something in between answers in place of the callback server; find it, or set spec.callbackAddress",
        ),
        DialOutcome::Closed | DialOutcome::Failed => {
            (Reason::CallbackRefused, "look at the machine's network")
        }
    }
}

/// Describes a connection that was established and closed immediately. The callback server does that to
/// peers that do not belong to the run, and it knows their addresses.
fn closed_immediately(attempts: &FailedDials<'_>, dial: &Dial) -> (Reason, String) {
    let FailedDials { node, own, unknown_sources, .. } = attempts;
    let listed = list(own);
    let unlisted = dial.from.filter(|from| !own.contains(from));
    let seen_as_it_is = |from: &IpAddr| unknown_sources.contains(from) || unknown_sources.is_empty();
    if let Some(from) = unlisted.filter(seen_as_it_is) {
        let next = format!(
            "{node} connects from {from}, which is not in its spec.addresses ({listed}), and the callback server accepts no other address; add {from} to spec.addresses, or make the machine connect from a listed address{}",
            temporary(from, own)
        );
        return (Reason::CallbackSourceNotListed, next);
    }
    if let Some(from) = dial.from.filter(|from| unknown_sources.contains(from)) {
        let next = format!(
            "{node} connects from {from}, which the callback server accepted when this attempt began, but does not accept any more: ManagedNode {node} was deleted, or its spec.addresses or spec.channel was changed meanwhile; add {from} to spec.addresses again, if the machine still has this address"
        );
        return (Reason::CallbackSourceNotListed, next);
    }
    let from = dial.from.map(|from| format!(" from {from}")).unwrap_or_default();
    match unknown_sources {
        [] => (
            Reason::CallbackRefused,
            format!(
                "{node} connects{from}, and something other than the callback server closes the connection: a firewall or proxy in between, or another program at this address; allow the connection, or set spec.callbackAddress"
            ),
        ),
        [seen] => (
            Reason::CallbackSourceNotListed,
            format!(
                "{node} connects{from}, and probably arrives as {seen}, which the callback server has rejected and which is not in its spec.addresses ({listed}): then addresses are translated in between (NAT); if {seen} is this machine or the gateway before it, add {seen} to spec.addresses, or exempt the connections from NAT; if it is another host, look for a firewall or proxy in between"
            ),
        ),
        [_, _, ..] => (
            Reason::CallbackSourceNotListed,
            format!(
                "{node} connects{from}; the callback server rejected {} meanwhile, none of them in spec.addresses of a machine of the run: one of them is probably {node} behind a translation of addresses (NAT); add that address to spec.addresses, or exempt the connections from NAT",
                list(unknown_sources)
            ),
        ),
    }
}

/// Describes a further possible obstacle: policies silently drop connections from unlisted addresses.
fn unlisted(attempts: &FailedDials<'_>, dial: &Dial) -> String {
    let unlisted = dial.from.filter(|from| !attempts.own.is_empty() && !attempts.own.contains(from));
    unlisted.map_or_else(String::new, |from| {
        format!(
            "; {} connects from {from}, which is not in its spec.addresses ({}): only listed addresses are accepted, add it",
            attempts.node,
            list(attempts.own)
        )
    })
}

/// Returns a hint if the address looks like one that changes every day.
fn temporary(from: IpAddr, own: &[IpAddr]) -> &'static str {
    let network = |ip: &Ipv6Addr| ip.octets().iter().take(8).copied().collect::<Vec<_>>();
    let IpAddr::V6(from) = from else { return "" };
    let neighbour = own.iter().any(|ip| matches!(ip, IpAddr::V6(ip) if network(ip) == network(&from)));
    if neighbour {
        " (if it is a temporary one, which changes: net.ipv6.conf.all.use_tempaddr=1 on the machine)"
    } else {
        ""
    }
}

fn list(addresses: &[IpAddr]) -> String {
    let named: Vec<String> = addresses.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    match addresses.len().saturating_sub(MAX_NAMED) {
        0 if named.is_empty() => "no address".to_owned(),
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn in_words(dial: &Dial) -> String {
    match dial.result {
        DialOutcome::Connected => "answers, but the engine did not connect".to_owned(),
        DialOutcome::TimedOut => "no answer".to_owned(),
        DialOutcome::Refused => "refused".to_owned(),
        DialOutcome::Prohibited => "rejected by a firewall or router".to_owned(),
        DialOutcome::NoRoute => "no route".to_owned(),
        DialOutcome::Closed => "accepted and closed again at once".to_owned(),
        DialOutcome::Silent => "accepted, but no data came".to_owned(),
        DialOutcome::Untrusted => format!("not trusted ({})", dial.message),
        DialOutcome::Failed => dial.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn failure(result: DialOutcome, from: Option<&str>, own: &[&str], unknown_sources: &[&str]) -> Failure {
        let dial =
            Dial { address: "10.0.0.1:63002".into(), result, message: String::new(), from: from.map(ip) };
        let (own, unknown_sources): (Vec<_>, Vec<_>) =
            (own.iter().map(|a| ip(a)).collect(), unknown_sources.iter().map(|a| ip(a)).collect());
        of(&FailedDials { node: "db", dials: &[dial], own: &own, unknown_sources: &unknown_sources })
    }

    /// "Connection reset" directs the user to the firewall, while an address is missing.
    #[test]
    fn the_missing_address_is_named() {
        let own = ["10.0.0.7"];
        let other = failure(DialOutcome::Closed, Some("10.0.0.8"), &own, &["192.0.2.9", "10.0.0.8"]);
        assert_eq!(other.reason, Reason::CallbackSourceNotListed);
        assert!(other.message.contains("add 10.0.0.8 to spec.addresses"), "{}", other.message);
        // Behind a Service another runner may have rejected the connection.
        let unseen = failure(DialOutcome::Closed, Some("10.0.0.8"), &own, &[]);
        assert!(unseen.message.contains("add 10.0.0.8 to spec.addresses"), "{}", unseen.message);
        for from in [Some("10.0.0.7"), Some("10.0.0.8"), None] {
            let translated = failure(DialOutcome::Closed, from, &own, &["192.0.2.9"]);
            assert_eq!(translated.reason, Reason::CallbackSourceNotListed);
            // The address may belong to another host that connected in the same second.
            let words = [
                "probably arrives as 192.0.2.9",
                "if 192.0.2.9 is this machine or the gateway before it, add 192.0.2.9",
            ];
            assert!(words.iter().all(|w| translated.message.contains(w)), "{}", translated.message);
        }
        let edited = failure(DialOutcome::Closed, Some("10.0.0.7"), &own, &["192.0.2.9", "10.0.0.7"]);
        assert!(edited.message.contains("when this attempt began"), "{}", edited.message);
        let any = failure(DialOutcome::Closed, Some("10.0.0.7"), &own, &["192.0.2.9", "192.0.2.8"]);
        assert!(any.message.contains("192.0.2.9, 192.0.2.8"), "{}", any.message);
        let nobody = failure(DialOutcome::Closed, Some("10.0.0.7"), &own, &[]);
        assert_eq!(nobody.reason, Reason::CallbackRefused);
        assert!(!nobody.message.contains("spec.addresses"), "{}", nobody.message);
    }

    #[test]
    fn a_temporary_address_is_suspected_beside_a_listed_one() {
        let own = ["2001:db8::7"];
        let near = failure(DialOutcome::Closed, Some("2001:db8::1234:5678:9abc:def0"), &own, &[]);
        assert!(near.message.contains("use_tempaddr"), "{}", near.message);
        let far = failure(DialOutcome::Closed, Some("2001:db8:1::7"), &own, &[]);
        assert!(!far.message.contains("use_tempaddr"), "{}", far.message);
    }

    /// A policy drops connections from unlisted addresses, which looks like any other firewall.
    #[test]
    fn an_unlisted_address_is_named_when_nothing_responds() {
        let dropped = failure(DialOutcome::TimedOut, Some("10.0.0.8"), &["10.0.0.7"], &[]);
        assert_eq!(dropped.reason, Reason::CallbackTimedOut);
        assert!(dropped.message.contains("connects from 10.0.0.8"), "{}", dropped.message);
        let listed = failure(DialOutcome::TimedOut, Some("10.0.0.7"), &["10.0.0.7"], &["192.0.2.9"]);
        assert!(!listed.message.contains("spec.addresses"), "{}", listed.message);
    }
}
