//! A cover is never wider, never narrower and never longer than necessary.

use super::*;
use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Addresses that have neighbours: close together, at both ends of the number range, in both
/// families.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = |base: u32| (0..64_u32).prop_map(move |n| IpAddr::V4(Ipv4Addr::from(base.wrapping_add(n))));
    let v6 = |base: u128| (0..64_u128).prop_map(move |n| IpAddr::V6(Ipv6Addr::from(base.wrapping_add(n))));
    prop_oneof![
        v4(0x0a00_0ce0),
        v4(u32::MAX - 40),
        v4(0),
        v6(0xfd00_0000_0000_0012_0000_0000_0000_0000),
        v6(u128::MAX - 40),
        v6(0xfe80_0000_0000_0000_0000_0000_0000_00f0),
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
        any::<Ipv6Addr>().prop_map(IpAddr::V6),
        any::<Ipv4Addr>().prop_map(|v4| IpAddr::V6(v4.to_ipv6_mapped())),
    ]
}

fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    prop::collection::vec(address(), 0..120)
}

/// Lists every address of the CIDRs.
fn listed(cidrs: &[IpNet]) -> Vec<IpAddr> {
    cidrs
        .iter()
        .flat_map(|cidr| {
            let bits = cidr.max_prefix_len() - cidr.prefix_len();
            assert!(bits <= 9, "{cidr} is wider than all that was asked for");
            let first = number(cidr.network());
            (0..1_u128 << bits).map(move |n| match cidr {
                IpNet::V4(_) => IpAddr::V6(Ipv6Addr::from(first + n)).to_canonical(),
                IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from(first + n)),
            })
        })
        .collect()
}

/// Counts the blocks of an exact cover without any arithmetic on ranges: a block belongs to the
/// cover if all of its addresses are wanted and not all of the block twice its size are.
fn fewest(wanted: &BTreeSet<IpAddr>) -> usize {
    let whole = |net: IpNet| {
        let bits = u32::from(net.max_prefix_len() - net.prefix_len());
        bits < 10 && listed(&[net]).iter().all(|address| wanted.contains(address))
    };
    let net = |address: IpAddr, bits: u8| match address {
        IpAddr::V4(v4) => IpNet::V4(Ipv4Net::new(v4, 32 - bits).unwrap().trunc()),
        IpAddr::V6(v6) => IpNet::V6(Ipv6Net::new(v6, 128 - bits).unwrap().trunc()),
    };
    let mut blocks = BTreeSet::new();
    for address in wanted {
        // Half of a complete block is complete, so the search ends with the first block that is
        // not.
        let largest = (0..10).map(|bits| net(*address, bits)).take_while(|net| whole(*net)).last();
        blocks.insert(largest.unwrap());
    }
    blocks.len()
}

proptest! {
    /// A wider cover admits a machine that is not in the run; a narrower one excludes one that is.
    #[test]
    fn a_cover_contains_exactly_its_addresses(addresses in addresses()) {
        let wanted: BTreeSet<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
        let cover = cover(addresses);
        let listed = listed(&cover);
        prop_assert_eq!(listed.len(), wanted.len(), "an address stands in it twice");
        prop_assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), wanted.clone());
        prop_assert_eq!(cover.len(), fewest(&wanted));
    }

    /// A cover that depends on the order would be written again with every reconciliation.
    #[test]
    fn the_order_of_addresses_changes_nothing(addresses in addresses(), by in any::<prop::sample::Index>()) {
        let expected = cover(addresses.clone());
        let mut other = addresses;
        if !other.is_empty() {
            let middle = by.index(other.len());
            other.rotate_left(middle);
            other.push(other[0]);
        }
        other.reverse();
        prop_assert_eq!(cover(other), expected);
    }

    /// The filter in the listener and the policy in the cluster must agree.
    #[test]
    fn a_set_agrees_with_the_list(addresses in addresses(), asked in addresses()) {
        let list: BTreeSet<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
        let set: AddressSet = addresses.iter().copied().collect();
        for address in addresses.iter().chain(&asked) {
            prop_assert_eq!(set.contains(*address), list.contains(&address.to_canonical()));
        }
        prop_assert_eq!(set.is_empty(), list.is_empty());
    }
}

/// Both ends of both address families do not overflow.
#[test]
fn the_ends_of_the_address_ranges_do_not_overflow() {
    let ends = ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
    let ends: Vec<IpAddr> = ends.iter().map(|text| text.parse().unwrap()).collect();
    let cover: Vec<String> = cover(ends.clone()).iter().map(ToString::to_string).collect();
    assert_eq!(
        cover,
        ["0.0.0.0/32", "255.255.255.255/32", "::/128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"]
    );
    let set: AddressSet = ends.iter().copied().collect();
    assert!(ends.iter().all(|address| set.contains(*address)));
    assert!(!set.contains("0.0.0.1".parse().unwrap()));
}

/// Ten thousand consecutive machines are a handful of CIDRs; with every second address there are as
/// many CIDRs as machines.
#[test]
fn ten_thousand_addresses() {
    let base = u32::from(Ipv4Addr::new(10, 0, 0, 0));
    let row: Vec<IpAddr> = (0..10_000).map(|n| IpAddr::V4(Ipv4Addr::from(base + n))).collect();
    assert_eq!(cover(row.clone()).len(), 5, "10000 is 8192 + 1024 + 512 + 256 + 16");
    let second: Vec<IpAddr> = (0..10_000).map(|n| IpAddr::V4(Ipv4Addr::from(base + 2 * n))).collect();
    assert_eq!(cover(second.clone()).len(), 10_000);
    let set: AddressSet = second.into_iter().collect();
    assert!(row.iter().enumerate().all(|(n, address)| set.contains(*address) == (n % 2 == 0)));
}

/// Addresses as a user writes them, and as they are on the wire.
#[test]
fn addresses_as_they_are_written() {
    let read = |text| parse(text).map(|address| address.to_string());
    assert_eq!(read("10.0.12.7").as_deref(), Some("10.0.12.7"));
    assert_eq!(read("fe80::1%mgmt0").as_deref(), Some("fe80::1"));
    assert_eq!(read("FD00:12:0::7").as_deref(), Some("fd00:12::7"));
    assert_eq!(read("::ffff:10.0.12.7").as_deref(), Some("10.0.12.7"));
    for name in ["db-01.example.net", "fe80::1%", "10.0.12.7%eth0", "10.0.12", "[fd00::1]", "10.0.0.0/24", ""]
    {
        assert_eq!(read(name), None, "{name}");
    }
    assert_eq!(read("fe80::1%br-0.lan_7").as_deref(), Some("fe80::1"));
    assert_eq!(read("fe80::1%2").as_deref(), Some("fe80::1"));
}

/// A zone is passed on to machines as it was written, and a shell there may interpret it.
#[test]
fn a_zone_is_the_name_of_an_interface_and_nothing_else() {
    for zone in
        ["x';reboot;'", "$(id)", "a b", "a\nb", "a/b", "a%b", "a:b", "é", ".", "..", "0123456789abcdef"]
    {
        assert_eq!(parse(&format!("fe80::1%{zone}")), None, "{zone}");
    }
}
