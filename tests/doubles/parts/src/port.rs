//! Ports: they really close, and stay the double's, while its device is away.

use std::net::{Shutdown, SocketAddr};

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Whether anything listens on the ports of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Net {
    /// It is there.
    Up,
    /// It is away, for example because it restarts.
    Down,
    /// For good: the double ends.
    Gone,
}

/// A port that nobody else can have.
#[derive(Debug)]
pub struct Port {
    socket: Socket,
    address: SocketAddr,
    backlog: i32,
}

impl Port {
    /// Takes a port; 0: any. Nothing is accepted yet.
    ///
    /// # Errors
    /// When somebody else has it.
    pub fn bind(address: SocketAddr, backlog: i32) -> anyhow::Result<Self> {
        let first = bound(address)?;
        let address = first.local_addr()?.as_socket().context("no address of the internet")?;
        // A port that the system has chosen is given away when a socket stops to listen; one that was named is not.
        Ok(Self { socket: bound(address)?, address, backlog })
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets clients connect from now, though they are served only by [`Self::serve`].
    ///
    /// # Errors
    /// Those of the system.
    pub fn listen(&self) -> anyhow::Result<()> {
        Ok(self.socket.listen(self.backlog)?)
    }

    /// Hands each connection to `connected`, until the double ends. While the device is down the port is kept, but
    /// closed. `open` counts the ports of the double that are open, and `closed` is called when this one was closed.
    ///
    /// # Errors
    /// When the port cannot be opened again.
    pub async fn serve(
        self,
        mut net: watch::Receiver<Net>,
        open: &watch::Sender<usize>,
        connected: impl Fn(TcpStream),
        closed: impl Fn(),
    ) -> anyhow::Result<()> {
        loop {
            let now = *net.borrow_and_update();
            match now {
                Net::Gone => return Ok(()),
                Net::Down => {
                    if net.changed().await.is_err() {
                        return Ok(());
                    }
                }
                Net::Up => {
                    self.listen()?;
                    let listener = TcpListener::from_std(self.socket.try_clone()?.into())?;
                    open.send_modify(|open| *open += 1);
                    let is_over = accept(&listener, &mut net, &connected).await;
                    // A program that the double has just started may have the port too, until it becomes that program.
                    self.socket.shutdown(Shutdown::Read)?;
                    drop(listener);
                    open.send_modify(|open| *open -= 1);
                    closed();
                    if is_over {
                        return Ok(());
                    }
                }
            }
        }
    }
}

fn bound(address: SocketAddr) -> anyhow::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into()).with_context(|| format!("bind {address}"))?;
    Ok(socket)
}

/// Returns whether the double has ended.
async fn accept(
    listener: &TcpListener,
    net: &mut watch::Receiver<Net>,
    connected: impl Fn(TcpStream),
) -> bool {
    loop {
        tokio::select! {
            changed = net.changed() => return changed.is_err(),
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connected(stream);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    /// A test of a device that restarts would meet the open port of one that does not, or find it taken by somebody: also
    /// by a program that the double is starting, which has its sockets for a moment.
    #[tokio::test]
    async fn a_port_is_closed_while_the_device_is_down_and_nobody_else_gets_it() {
        let port = Port::bind(([127, 0, 0, 1], 0).into(), 16).unwrap();
        let (address, inherited) = (port.address(), port.socket.try_clone().unwrap());
        let (net, seen) = watch::channel(Net::Up);
        let open = Arc::new(watch::Sender::new(0));
        let mut opened = open.subscribe();
        let count = Arc::clone(&open);
        let task = tokio::spawn(async move { port.serve(seen, &count, drop, || {}).await });
        let mut becomes = async |wanted: usize| {
            let limit = Duration::from_mins(1);
            tokio::time::timeout(limit, opened.wait_for(|open| *open == wanted)).await.unwrap().unwrap();
        };
        becomes(1).await;
        TcpStream::connect(address).await.unwrap();
        net.send_replace(Net::Down);
        becomes(0).await;
        assert!(TcpStream::connect(address).await.is_err());
        net.send_replace(Net::Up);
        becomes(1).await;
        TcpStream::connect(address).await.unwrap();
        net.send_replace(Net::Gone);
        task.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
        drop(inherited);
    }
}
