//! Data connections of FTP: the client connects to a port that it was told.
//!
//! The ports are held as long as the service is open. A connection is given to the session of its source address
//! that waits at this port, and to no other one, so nobody can take another machine's file. All machines can use the
//! same port at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// The ports for data connections.
pub(super) struct PassivePorts {
    ports: Vec<u16>,
    waits: Mutex<Waits>,
}

#[derive(Default)]
struct Waits {
    next: u64,
    /// By port and source.
    by_place: HashMap<(u16, IpAddr), Wait>,
}

/// The number of a wait, and where its connection goes, unless it has come.
type Wait = (u64, Option<oneshot::Sender<TcpStream>>);

/// A data connection that is waited for. Its port is free for the same client again when this is dropped.
pub(super) struct Expected {
    ports: Arc<PassivePorts>,
    number: u64,
    source: IpAddr,
    /// The port that the client is told.
    pub(super) port: u16,
    arrival: oneshot::Receiver<TcpStream>,
}

impl PassivePorts {
    pub(super) fn new(ports: Vec<u16>) -> Arc<Self> {
        Arc::new(Self { ports, waits: Mutex::default() })
    }

    /// Begins to wait for a connection of this client; `None` if it has as many waits as there are ports.
    pub(super) fn expect(self: &Arc<Self>, source: IpAddr) -> Option<Expected> {
        let mut waits = self.lock();
        let port = *self.ports.iter().find(|port| !waits.by_place.contains_key(&(**port, source)))?;
        waits.next += 1;
        let (number, (sender, arrival)) = (waits.next, oneshot::channel());
        waits.by_place.insert((port, source), (number, Some(sender)));
        drop(waits);
        Some(Expected { ports: self.clone(), number, source, port, arrival })
    }

    /// Hands a connection to the session that waits for it. Reports whether there is one.
    pub(super) fn arrived(&self, port: u16, source: IpAddr, stream: TcpStream) -> bool {
        let mut waits = self.lock();
        let sender = waits.by_place.get_mut(&(port, source)).and_then(|(_, sender)| sender.take());
        drop(waits);
        sender.is_some_and(|sender| sender.send(stream).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected {
    /// Waits for the connection.
    pub(super) async fn arrive(&mut self) -> Option<TcpStream> {
        (&mut self.arrival).await.ok()
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut waits = self.ports.lock();
        let place = (self.port, self.source);
        if waits.by_place.get(&place).is_some_and(|(number, _)| *number == self.number) {
            waits.by_place.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a machine could get the file of another one, or find no port at all.
    #[test]
    fn each_client_has_all_ports_to_itself() {
        let ports = PassivePorts::new(vec![7, 8]);
        let [one, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let first = ports.expect(one).unwrap();
        let second = ports.expect(one).unwrap();
        assert_eq!((first.port, second.port), (7, 8));
        assert!(ports.expect(one).is_none());
        assert_eq!(ports.expect(other).unwrap().port, 7);
        drop(first);
        assert_eq!(ports.expect(one).unwrap().port, 7);
    }
}
