//! The offers of this process and of the run, and what is known of their fetches.

mod directory;
mod fetches;

pub(super) use directory::{FetchingMachine, RunOffers};
pub(super) use fetches::{Fetches, NewFetch};

use farrier_network::cidr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Port of the discard service: nothing is sent there.
const DISCARD: u16 = 9;

/// Returns the address of this host from which it reaches a machine, which the machine then reaches most
/// likely. Sends nothing.
pub(super) fn source_towards(machine: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match machine {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((machine, DISCARD)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_unspecified())
}

/// Removes the zone of an address, which no certificate can contain.
pub(super) fn without_zone(text: &str) -> String {
    cidr::parse(text).map_or_else(|| text.to_owned(), |address| address.to_string())
}
