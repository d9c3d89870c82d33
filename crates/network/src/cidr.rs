//! Sets of addresses: parsing, exact covers by CIDRs, fast look-up.
//!
//! This module does not resolve names: a text that is not an address is rejected.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr};

/// Maximum length of an interface name: `IFNAMSIZ` of Linux without the terminating zero.
const MAX_ZONE_LEN: usize = 15;

/// Parses an address as written in `ManagedNode.spec.addresses`.
///
/// A zone (`fe80::1%eth0`) is removed, because no NetworkPolicy and no set can name one. An IPv4
/// address that is written as IPv6 (`::ffff:10.0.0.1`) is converted to IPv4, as it is on the wire.
/// Names are `None`, and so is an address whose zone is not the name of an interface: zones are
/// passed on to machines.
pub fn parse(text: &str) -> Option<IpAddr> {
    match text.split_once('%') {
        // Only IPv6 has zones.
        Some((address, zone)) if is_zone(zone) => address.parse::<Ipv6Addr>().ok().map(|a| a.to_canonical()),
        Some(_) => None,
        None => text.parse::<IpAddr>().ok().map(|a| a.to_canonical()),
    }
}

/// Reports whether this is the name or the number of an interface. Linux itself accepts more
/// (anything but blanks, slashes and colons, up to 15 bytes); such names are not used in practice,
/// and many of them are special to a shell.
fn is_zone(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=MAX_ZONE_LEN).contains(&text.len()) && text != "." && text != ".." && text.bytes().all(fits)
}

/// Returns the shortest list of CIDRs that contains exactly these addresses and no other.
///
/// The result does not depend on the order of the addresses; IPv4 comes before IPv6, low before
/// high.
pub fn cover(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpNet> {
    let single: Vec<IpNet> = addresses.into_iter().map(|a| IpNet::from(a.to_canonical())).collect();
    IpNet::aggregate(&single)
}

/// A set of addresses for frequent look-ups: thousands of addresses, one look-up per connection.
///
/// IPv4 addresses and their IPv6-mapped forms are the same; zones are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressSet {
    /// First and last address of each contiguous run, IPv4 as `::ffff:0:0/96`; sorted, with a gap
    /// between any two.
    runs: Vec<(u128, u128)>,
}

impl AddressSet {
    /// Reports whether the set contains the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let wanted = number(address);
        let after = self.runs.partition_point(|(first, _)| *first <= wanted);
        after.checked_sub(1).and_then(|n| self.runs.get(n)).is_some_and(|(_, last)| wanted <= *last)
    }

    /// Reports whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

impl FromIterator<IpAddr> for AddressSet {
    fn from_iter<T: IntoIterator<Item = IpAddr>>(addresses: T) -> Self {
        let mut numbers: Vec<u128> = addresses.into_iter().map(number).collect();
        numbers.sort_unstable();
        let mut runs: Vec<(u128, u128)> = Vec::new();
        for number in numbers {
            match runs.last_mut() {
                Some((_, last)) if number <= last.saturating_add(1) => *last = number,
                Some(_) | None => runs.push((number, number)),
            }
        }
        Self { runs }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

#[cfg(test)]
mod tests;
