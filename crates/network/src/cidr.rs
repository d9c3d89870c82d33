//! Sets of addresses: what an address is, exact covers by CIDRs, fast look-up.
//!
//! Nothing here resolves names: a text that is no address is none.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr};

/// Bytes of the name of an interface: `IFNAMSIZ` of Linux without the end.
const MAX_ZONE_LEN: usize = 15;

/// Reads an address as it stands in `ManagedNode.spec.addresses`.
///
/// A zone (`fe80::1%eth0`) is taken off: no NetworkPolicy and no set can name one. An IPv4 address
/// that is written as IPv6 (`::ffff:10.0.0.1`) becomes what it is on the wire. Names are `None`, and
/// so is an address whose zone is not the name of an interface: zones get as far as machines do.
pub fn parse(text: &str) -> Option<IpAddr> {
    match text.split_once('%') {
        // Only IPv6 has zones.
        Some((address, zone)) if is_zone(zone) => address.parse::<Ipv6Addr>().ok().map(|a| a.to_canonical()),
        Some(_) => None,
        None => text.parse::<IpAddr>().ok().map(|a| a.to_canonical()),
    }
}

/// Whether this is the name or the number of an interface. Linux itself takes more (anything but
/// blanks, slashes and colons, up to 15 bytes), which nobody uses and much of which a shell obeys.
fn is_zone(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=MAX_ZONE_LEN).contains(&text.len()) && text != "." && text != ".." && text.bytes().all(fits)
}

/// The shortest list of CIDRs that holds exactly these addresses and no other.
///
/// The same for every order of the addresses; IPv4 comes before IPv6, low before high.
pub fn cover(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpNet> {
    let single: Vec<IpNet> = addresses.into_iter().map(|a| IpNet::from(a.to_canonical())).collect();
    IpNet::aggregate(&single)
}

/// A set of addresses that is asked often: thousands of them, one look-up per connection.
///
/// IPv4 addresses and those written as IPv6 are the same; zones play no part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressSet {
    /// First and last of each run of neighbours, IPv4 among IPv6 as `::ffff:0:0/96`; in order, and
    /// with a gap between any two.
    runs: Vec<(u128, u128)>,
}

impl AddressSet {
    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let wanted = number(address);
        let after = self.runs.partition_point(|(first, _)| *first <= wanted);
        after.checked_sub(1).and_then(|n| self.runs.get(n)).is_some_and(|(_, last)| wanted <= *last)
    }

    /// Whether there is nothing in it.
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
