//! Where a machine fetches an image: the best of several addresses, and the URL.

use super::super::callback::{Target, family};
use super::super::offers::source_towards;
use crate::api::managed_node::AddressFamily;
use crate::attempt::Scheme;
use crate::callback::in_url;
use std::net::IpAddr;

/// Returns the best target for a machine with these addresses: this runner before others, the source address
/// towards the machine before other ones, then by family in the order of the user.
pub(super) fn best(targets: Vec<Target>, families: &[AddressFamily], own: &[IpAddr]) -> Option<Target> {
    let sources: Vec<String> =
        own.iter().filter_map(|address| source_towards(*address)).map(|ip| ip.to_string()).collect();
    // A name has no family of its own.
    let rank = |target: &Target| match family(&target.host) {
        Some(of) => families.iter().position(|family| *family == of),
        None => Some(0),
    };
    let mut usable: Vec<Target> = targets.into_iter().filter(|target| rank(target).is_some()).collect();
    usable.sort_by_key(|target| (!target.ours, !sources.contains(&target.host), rank(target)));
    usable.into_iter().next()
}

/// Returns the URL of an offer. The folder begins with a slash, or is empty.
pub(super) fn url(scheme: Scheme, target: &Target, folder: &str, name: &str) -> String {
    let Target { host, port, ours: _ } = target;
    let host = match family(host) {
        // The zone of an address is escaped (RFC 6874).
        Some(AddressFamily::IPv6) => format!("[{}]", host.replace('%', "%25")),
        Some(AddressFamily::IPv4) | None => host.clone(),
    };
    format!("{scheme}://{host}:{port}{folder}/{}", in_url(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(ours: bool, host: &str) -> Target {
        Target { ours, host: host.to_owned(), port: 63001 }
    }

    /// Management processors parse URLs strictly.
    #[test]
    fn the_url_has_brackets_and_escapes() {
        let shown = |host: &str, name| url(Scheme::Http, &target(true, host), "/r/o", name);
        assert_eq!(shown("192.0.2.9", "a.bin"), "http://192.0.2.9:63001/r/o/a.bin");
        assert_eq!(shown("2001:db8::9", "a b.bin"), "http://[2001:db8::9]:63001/r/o/a%20b.bin");
        assert_eq!(shown("fe80::9%mgmt0", "a"), "http://[fe80::9%25mgmt0]:63001/r/o/a");
        assert_eq!(shown("farrier.example", "a"), "http://farrier.example:63001/r/o/a");
    }

    /// A machine that is told the address of another network card fetches nothing.
    #[test]
    fn the_address_towards_the_machine_is_preferred() {
        let both = [AddressFamily::IPv4, AddressFamily::IPv6];
        let all = || {
            vec![
                target(false, "127.0.0.1"),
                target(true, "2001:db8::9"),
                target(true, "192.0.2.9"),
                target(true, "127.0.0.1"),
            ]
        };
        let host = |families: &[AddressFamily], own: &str| {
            best(all(), families, &[own.parse().unwrap()]).map(|target| (target.ours, target.host))
        };
        assert_eq!(host(&both, "127.0.0.5"), Some((true, "127.0.0.1".to_owned())));
        assert_eq!(host(&both[1..], "127.0.0.5"), Some((true, "2001:db8::9".to_owned())));
        assert_eq!(host(&[], "127.0.0.5"), None);
        assert_eq!(source_towards([127, 0, 0, 5].into()), Some([127, 0, 0, 1].into()));
    }
}
