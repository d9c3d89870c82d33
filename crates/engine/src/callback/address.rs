//! Addresses to connect to, and the classification of the kernel's errors.

use farrier_protocol::{Dial, DialOutcome};
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Maximum number of addresses; more than any runner has.
pub(crate) const MAX_ADDRESSES: usize = 64;

/// Longest name of an interface: `IFNAMSIZ` of Linux without the terminating zero.
const MAX_ZONE_LEN: usize = 15;

/// A firewall that prohibits a connection responds at once. An absent host is reported, by a router or
/// by our own kernel, only after three unanswered requests one second apart (`mcast_solicit` in Linux).
const PROHIBITED_WITHIN: Duration = Duration::from_secs(2);

/// An address to connect to: `10.0.0.1:63002`, `[fd00::1]:63002`, `[fe80::1%eth0]:63002`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    text: String,
    socket: SocketAddr,
    /// Name of the interface; its index is looked up for each connection, because it can change.
    zone: Option<String>,
}

impl Address {
    /// Returns the address as it was given.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Opens a connection; the error says why it failed.
    pub(crate) fn connect(&self, timeout: Duration) -> Result<TcpStream, Dial> {
        let start = Instant::now();
        let stream = self.scoped().and_then(|socket| TcpStream::connect_timeout(&socket, timeout));
        stream.map_err(|error| self.failed(self.meaning(&error, start.elapsed()), &error))
    }

    /// Returns the report of a failed connection to this address.
    pub(crate) fn failed(&self, result: DialOutcome, error: &io::Error) -> Dial {
        Dial { address: self.text.clone(), result, message: error.to_string(), from: self.own() }
    }

    /// Returns the source address of connections to this address. Sends no packet.
    pub(crate) fn own(&self) -> Option<IpAddr> {
        let any: IpAddr = match self.socket {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(self.scoped().ok()?).ok()?;
        Some(socket.local_addr().ok()?.ip())
    }

    /// Returns the socket address with the index of the interface.
    pub(crate) fn scoped(&self) -> io::Result<SocketAddr> {
        let (Some(zone), SocketAddr::V6(socket)) = (&self.zone, self.socket) else { return Ok(self.socket) };
        let any = rustix::net::socket(AddressFamily::INET6, SocketType::DGRAM, None)?;
        let index = name_to_index(&any, zone)?;
        Ok(SocketAddrV6::new(*socket.ip(), socket.port(), 0, index).into())
    }

    /// Classifies an error. ICMP messages arrive as the errors of `icmp_err_convert` in Linux'
    /// `net/ipv4/icmp.c`, and of `tab_unreach` in `net/ipv6/icmp.c`.
    fn meaning(&self, error: &io::Error, after: Duration) -> DialOutcome {
        if error.kind() == io::ErrorKind::TimedOut {
            return DialOutcome::TimedOut;
        }
        match Errno::from_io_error(error) {
            Some(Errno::CONNREFUSED) => DialOutcome::Refused,
            // Linux reports a reset only after the peer has accepted: `tcp_reset` in `net/ipv4/tcp_input.c`.
            Some(Errno::CONNRESET) => DialOutcome::Closed,
            Some(Errno::HOSTUNREACH | Errno::HOSTDOWN) if self.is_absent(after) => DialOutcome::TimedOut,
            Some(Errno::ACCESS | Errno::PERM | Errno::HOSTUNREACH) => DialOutcome::Prohibited,
            Some(
                Errno::NETUNREACH | Errno::NETDOWN | Errno::NONET | Errno::NODEV | Errno::NXIO
                // This machine has no address, or no support, of this family.
                | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT,
            ) => DialOutcome::NoRoute,
            _ => DialOutcome::Failed,
        }
    }

    /// `EHOSTUNREACH` means that the host is absent, or, in IPv4 alone, that a firewall responded
    /// "prohibited".
    fn is_absent(&self, after: Duration) -> bool {
        match self.socket {
            SocketAddr::V6(_) => true,
            SocketAddr::V4(socket) => {
                let neighbours = fs::read_to_string("/proc/net/arp").unwrap_or_default();
                after > PROHIBITED_WITHIN || is_unanswered(&neighbours, *socket.ip())
            }
        }
    }
}

/// Reports whether the neighbour table says that `ip` was requested and does not respond.
fn is_unanswered(neighbours: &str, ip: Ipv4Addr) -> bool {
    let ip = ip.to_string();
    neighbours.lines().skip(1).any(|line| {
        let mut words = line.split_whitespace();
        // Fields: address, kind of hardware, flags. The flags lack the bit for "complete".
        words.next() == Some(&ip) && words.nth(1) == Some("0x0")
    })
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is not an address with a port, like 10.0.0.1:63002 or [fd00::1]:63002");
        let (socket, zone) = match text.split_once('%') {
            None => (text.parse::<SocketAddr>().map_err(|_| wrong())?, None),
            Some((before, after)) => {
                let (zone, port) = after.split_once("]:").ok_or_else(wrong)?;
                let ip: Ipv6Addr =
                    before.strip_prefix('[').and_then(|ip| ip.parse().ok()).ok_or_else(wrong)?;
                let port = port.parse().map_err(|_| wrong())?;
                if !is_zone(zone) {
                    return Err(format!("{zone:?} in {text:?} is not the name of an interface"));
                }
                (SocketAddr::from((ip, port)), Some(zone.to_owned()))
            }
        };
        if socket.port() == 0 { Err(wrong()) } else { Ok(Self { text: text.to_owned(), socket, zone }) }
    }
}

/// The kernel's rule for interface names, `dev_valid_name`.
fn is_zone(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"/:".contains(&byte);
    !name.is_empty() && name.len() <= MAX_ZONE_LEN && name != "." && name != ".." && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_each_kind_are_read() {
        for text in ["10.0.0.1:63002", "[fd00::1]:63002", "[fe80::1%eth0]:63002", "[fe80::1%eth0.7]:1"] {
            assert_eq!(text.parse::<Address>().unwrap().text(), text);
        }
        let zoned: Address = "[fe80::1%eth0]:63002".parse().unwrap();
        assert_eq!((zoned.zone.as_deref(), zoned.socket.port()), (Some("eth0"), 63002));
    }

    /// The engine resolves no names, and a zone becomes an argument of a system call.
    #[test]
    fn invalid_addresses_are_refused() {
        let wrong = [
            "",
            "10.0.0.1",
            "10.0.0.1:0",
            "runner:63002",
            "[fe80::1%]:1",
            "[fe80::1%a b]:1",
            "10.0.0.1%eth0:1",
        ];
        for text in
            wrong.into_iter().chain(["fe80::1%eth0", "[fe80::1%eth0]", "[fe80::1%0123456789abcdef]:1"])
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    /// A server that rejects this machine's address can reset the connection before `connect` returns.
    #[test]
    fn a_reset_after_the_handshake_is_not_a_closed_port() {
        let address: Address = "10.0.0.1:63002".parse().unwrap();
        for (errno, result) in
            [(Errno::CONNREFUSED, DialOutcome::Refused), (Errno::CONNRESET, DialOutcome::Closed)]
        {
            assert_eq!(address.meaning(&errno.into(), Duration::ZERO), result, "{errno}");
        }
    }

    #[test]
    fn a_neighbour_that_does_not_answer_is_found() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
            10.0.0.9         0x1         0x0         00:00:00:00:00:00     *        eth0\n\
            10.0.0.1         0x1         0x2         02:00:00:00:00:01     *        eth0\n";
        assert!(is_unanswered(table, Ipv4Addr::new(10, 0, 0, 9)));
        assert!(!is_unanswered(table, Ipv4Addr::new(10, 0, 0, 1)));
        assert!(!is_unanswered(table, Ipv4Addr::new(10, 0, 0, 2)));
    }
}
