//! Where a machine fetches an image: the best of several addresses, and the URL.

use super::super::callback::{Target, family};
use super::super::offers::source_towards;
use crate::api::managed_node::AddressFamily;
use crate::attempt::Scheme;
use crate::callback::in_url;
use std::net::IpAddr;

/// Returns the families of a machine with these addresses that may be used, in order of preference: first that in which
/// it answered us.
pub(super) fn families_of(
    allowed: &[AddressFamily],
    own: &[IpAddr],
    reached: Option<IpAddr>,
) -> Vec<AddressFamily> {
    let of = |ip: &IpAddr| if ip.is_ipv4() { AddressFamily::IPv4 } else { AddressFamily::IPv6 };
    let has = |family: &AddressFamily| own.iter().chain(&reached).any(|ip| of(ip) == *family);
    let mut found: Vec<AddressFamily> = allowed.iter().copied().filter(has).collect();
    found.sort_by_key(|family| Some(*family) != reached.as_ref().map(of));
    found
}

/// Returns the best target for a machine with these addresses, in a family that it has: this runner before others, the
/// family in which the machine answered us, the source address towards the machine before other ones, then by family in
/// the order of the user.
pub(super) fn best(
    targets: Vec<Target>,
    allowed: &[AddressFamily],
    own: &[IpAddr],
    reached: Option<IpAddr>,
) -> Option<Target> {
    let families = families_of(allowed, own, reached);
    let sources: Vec<String> =
        own.iter().filter_map(|address| source_towards(*address)).map(|ip| ip.to_string()).collect();
    // A name has no family of its own.
    let rank = |target: &Target| match family(&target.host) {
        Some(of) => families.iter().position(|family| *family == of),
        None => Some(0),
    };
    let is_other = |target: &Target| reached.is_some() && rank(target) != Some(0);
    let mut usable: Vec<Target> = targets.into_iter().filter(|target| rank(target).is_some()).collect();
    usable.sort_by_key(|target| {
        (!target.ours, is_other(target), !sources.contains(&target.host), rank(target))
    });
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
            best(all(), families, &[own.parse().unwrap()], None).map(|target| (target.ours, target.host))
        };
        assert_eq!(host(&both, "127.0.0.5"), Some((true, "127.0.0.1".to_owned())));
        assert_eq!(host(&both[1..], "127.0.0.5"), None, "a machine that has no address of the family");
        assert_eq!(host(&both[1..], "2001:db8::5"), Some((true, "2001:db8::9".to_owned())));
        assert_eq!(host(&[], "127.0.0.5"), None);
        assert_eq!(source_towards([127, 0, 0, 5].into()), Some([127, 0, 0, 1].into()));
    }

    /// A machine of a mixed site would be told an address that it has no way to.
    #[test]
    fn the_family_in_which_a_machine_answered_is_told_to_it() {
        let both = [AddressFamily::IPv4, AddressFamily::IPv6];
        let [v4, v6]: [IpAddr; 2] = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let all = || vec![target(true, "127.0.0.1"), target(true, "::1")];
        let told = |targets, own: &[IpAddr], reached| {
            best(targets, &both, own, Some(reached)).map(|target| target.host)
        };
        assert_eq!(told(all(), &[v4, v6], v4).as_deref(), Some("127.0.0.1"));
        assert_eq!(told(all(), &[v4, v6], v6).as_deref(), Some("::1"));
        assert_eq!(told(all(), &[], v6).as_deref(), Some("::1"), "a name that resolved to it");
        let one = |host| vec![target(true, host)];
        assert_eq!(told(one("::1"), &[v4, v6], v4).as_deref(), Some("::1"), "it has the other family, too");
        assert_eq!(told(one("::1"), &[v4], v4), None);
        assert_eq!(told(one("127.0.0.1"), &[v6], v6), None);
        assert_eq!(told(one("farrier.example"), &[v6], v6).as_deref(), Some("farrier.example"));
        assert_eq!(best(one("::1"), &both[..1], &[v4, v6], Some(v4)).map(|target| target.host), None);
    }
}
