//! The two ports of a run: either both are bound and held, or none.
//!
//! There is no check whether a port is free before binding it: binding is the check. Both ports of
//! a pair are bound for all families at once and released together.

use super::port_holder;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::TcpListener;

/// How many connections may wait to be accepted. Beyond that the kernel makes the clients retry; a
/// whole fleet that connects at the same moment does not reach this number.
const BACKLOG: i32 = 1024;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6 only: IPv4 has its own socket, so that addresses look the same everywhere.
    V6,
}

/// A pair of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// The port for devices that cannot do TLS.
    pub http: u16,
    /// The port for engines.
    pub https: u16,
}

/// The bound ports of a run. Dropping it releases them.
#[derive(Debug)]
pub struct BoundListeners {
    pub(super) http: Vec<TcpListener>,
    pub(super) https: Vec<TcpListener>,
    pair: Pair,
    families: Vec<Family>,
}

/// Why a pair could not be bound. No port of the pair is held after this error.
#[derive(Debug, thiserror::Error)]
#[error("port {port} cannot be bound: {kind}")]
pub struct BindError {
    /// The port.
    pub port: u16,
    /// The reason.
    pub kind: BindErrorKind,
}

/// Why a port could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindErrorKind {
    /// Another run or another program has the port; [`BindError::named`] finds its name.
    #[error("it is in use by {0}")]
    InUse(String),
    /// Ports below the system's limit (mostly 1024) need a capability.
    #[error("it needs the capability NET_BIND_SERVICE")]
    NotPermitted,
    /// The host has none of the families.
    #[error("the host has none of the wanted address families")]
    NoFamily,
    /// Any other error.
    #[error("{0}")]
    Other(io::Error),
}

/// Binds both ports of a pair in all of these families. A family that the host does not have is
/// left out, unless the host has none of them; [`BoundListeners::families`] returns the bound
/// families. Port 0 binds any free port.
///
/// Must be called within a tokio runtime.
///
/// # Errors
/// The first port that could not be bound, and why.
pub fn bind(pair: Pair, families: &[Family]) -> Result<BoundListeners, BindError> {
    let (http, first, _) = listeners(pair.http, families)?;
    let (https, second, families) = listeners(pair.https, families)?;
    Ok(BoundListeners { http, https, pair: Pair { http: first, https: second }, families })
}

impl BoundListeners {
    /// Returns the ports.
    pub fn pair(&self) -> Pair {
        self.pair
    }

    /// Returns the families that the ports are bound in.
    pub fn families(&self) -> &[Family] {
        &self.families
    }
}

impl BindError {
    /// Adds the name of the process that has the port, as far as this process can see it. The
    /// search runs on a blocking thread because it takes long on a host with many processes.
    pub async fn named(mut self) -> Self {
        let port = self.port;
        if let BindErrorKind::InUse(by) = &mut self.kind
            && let Ok(found) = tokio::task::spawn_blocking(move || port_holder::of(port)).await
        {
            *by = found;
        }
        self
    }
}

/// The listeners of one port, the port, and the families.
pub(super) type BoundPort = (Vec<TcpListener>, u16, Vec<Family>);

pub(super) fn listeners(wanted: u16, families: &[Family]) -> Result<BoundPort, BindError> {
    let (mut port, mut bound, mut had) = (wanted, Vec::new(), Vec::new());
    for family in families {
        match listener(port, *family) {
            Ok(listener) => {
                // With port 0, all families get the same port.
                port = listener.local_addr().map_or(port, |address| address.port());
                bound.push(listener);
                had.push(*family);
            }
            Err(error) if lacks_family(&error) => {}
            Err(error) => return Err(BindError { port, kind: kind(error) }),
        }
    }
    if bound.is_empty() {
        return Err(BindError { port, kind: BindErrorKind::NoFamily });
    }
    Ok((bound, port, had))
}

fn listener(port: u16, family: Family) -> io::Result<TcpListener> {
    let (domain, address) = match family {
        Family::V4 => (Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        Family::V6 => (Domain::IPV6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
    };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if family == Family::V6 {
        socket.set_only_v6(true)?;
    }
    // Connections of a run that ended a moment ago do not block the port for the next run. On Linux
    // a second listener is refused all the same, here or by `listen` below.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn lacks_family(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

fn kind(error: io::Error) -> BindErrorKind {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the list of io::ErrorKind is open")]
    match error.kind() {
        io::ErrorKind::AddrInUse => BindErrorKind::InUse("somebody".to_owned()),
        io::ErrorKind::PermissionDenied => BindErrorKind::NotPermitted,
        _ => BindErrorKind::Other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Family; 2] = [Family::V4, Family::V6];
    const ANY: Pair = Pair { http: 0, https: 0 };

    #[tokio::test]
    async fn a_pair_is_held_until_it_is_dropped() {
        let bound = bind(ANY, &BOTH).unwrap();
        let pair = bound.pair();
        let error = bind(pair, &BOTH).unwrap_err();
        assert!(
            matches!(error, BindError { port, kind: BindErrorKind::InUse(_) } if port == pair.http),
            "{error}"
        );
        let named = error.named().await.to_string();
        assert!(named.contains(&format!("in use by process {} (", std::process::id())), "{named}");
        drop(bound);
        assert_eq!(bind(pair, &BOTH).unwrap().pair(), pair);
    }

    /// A program that has the port on one address only, as most do, is a conflict too.
    #[tokio::test]
    async fn a_foreign_listener_on_one_address_is_a_conflict_and_no_port_is_kept() {
        let foreign = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken = foreign.local_addr().unwrap().port();
        let free = bind(ANY, &BOTH).unwrap().pair().http;
        let error = bind(Pair { http: free, https: taken }, &BOTH).unwrap_err();
        assert!(
            matches!(error, BindError { port, kind: BindErrorKind::InUse(_) } if port == taken),
            "{error}"
        );
        bind(Pair { http: free, https: 0 }, &BOTH).expect("the first port of the pair was given back");
    }
}
