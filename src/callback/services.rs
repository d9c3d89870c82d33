//! The file services of a run: bound like the pair of ports, and open only while a machine needs them.

use super::admission::Permit;
use super::counters::Cause;
use super::files::Visitor;
use super::ftp::FtpService;
use super::listeners::{BindError, Family, listeners};
use super::server::{ACCEPT_BACKOFF, CLOSING, Server, ended};
use super::ssh::{HostKeys, SshService};
use super::state::ServerState;
use farrier_network::FileService;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The bound ports of a service. Dropping it releases them.
#[derive(Debug)]
pub struct BoundService {
    service: FileService,
    /// The port of the service, then those for data connections, each in all families.
    ports: Vec<(u16, Vec<TcpListener>)>,
}

/// Binds all ports of a service, of which this is the first, or none. Port 0 binds any free ports, which then do not
/// follow each other.
///
/// Must be called within a tokio runtime.
///
/// # Errors
/// The first port that could not be bound, and why.
pub fn bind_service(
    service: FileService,
    first: u16,
    families: &[Family],
) -> Result<BoundService, BindError> {
    let wanted = service.ports(first).map(|port| if first == 0 { 0 } else { port });
    let bound = wanted.map(|port| listeners(port, families).map(|(bound, port, _)| (port, bound)));
    Ok(BoundService { service, ports: bound.collect::<Result<_, _>>()? })
}

impl BoundService {
    /// Returns the port of the service.
    pub fn port(&self) -> u16 {
        self.ports.first().map_or(0, |(port, _)| *port)
    }
}

/// A service that is open. Dropping it closes its connections and releases the ports.
pub struct OpenService {
    state: Arc<ServerState>,
    closed: CancellationToken,
    tasks: TaskTracker,
}

impl OpenService {
    /// Closes the service, and waits until ports and connections are released.
    pub async fn close(self) {
        self.closed.cancel();
        ended(&self.tasks, self.state.identity.run()).await;
    }
}

impl Drop for OpenService {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

enum Protocol {
    Ssh(SshService),
    Ftp(FtpService),
}

/// What the connections of a service share.
struct Shared {
    state: Arc<ServerState>,
    protocol: Protocol,
    closed: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Opens a service on bound ports. It has the server's machines, offers and budgets, and ends with the server. Only
    /// SFTP has host keys.
    pub fn open(&self, bound: BoundService, keys: &HostKeys) -> OpenService {
        let state = self.state().clone();
        let (closed, tasks) = (state.closed.child_token(), TaskTracker::new());
        let data: Vec<u16> = bound.ports.iter().skip(1).map(|(port, _)| *port).collect();
        let protocol = match bound.service {
            FileService::Sftp => Protocol::Ssh(SshService::new(keys)),
            FileService::Ftp => Protocol::Ftp(FtpService::new(data)),
        };
        let shared =
            Arc::new(Shared { state: state.clone(), protocol, closed: closed.clone(), tasks: tasks.clone() });
        for (number, (port, listeners)) in bound.ports.into_iter().enumerate() {
            let data = (number > 0).then_some(port);
            for listener in listeners {
                tasks.spawn(shared.clone().accept(listener, data));
            }
        }
        OpenService { state, closed, tasks }
    }
}

impl Shared {
    /// Accepts connections; `data` is the port if they are data connections.
    async fn accept(self: Arc<Self>, listener: TcpListener, data: Option<u16>) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.closed.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match (accepted, data) {
                (Ok((stream, from)), None) => self.admit(stream, from),
                (Ok((stream, from)), Some(port)) => self.hand_over(stream, from.ip().to_canonical(), port),
                (Err(error), _) => {
                    tracing::warn!(run = self.state.identity.run(), %error, "cannot accept a connection");
                    // sleep: without it a lack of descriptors causes a busy loop.
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    /// Reports whether this is the address of a machine of the run that fetches by this service.
    fn is_welcome(&self, source: IpAddr) -> bool {
        let service = match self.protocol {
            Protocol::Ssh(_) => FileService::Sftp,
            Protocol::Ftp(_) => FileService::Ftp,
        };
        self.state.is_of_run(source) && self.state.offers.is_served(source, service)
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, from: SocketAddr) {
        // As with the other ports: until the peer has shown that it is one, closing leaves nothing behind.
        stream.set_zero_linger().ok();
        let source = from.ip().to_canonical();
        let state = &self.state;
        if !self.is_welcome(source) {
            return state.admission.refuse(Cause::Source, source);
        }
        state.offers.note_connection(source);
        let (Some(permit), Ok(local)) = (state.admission.enter(source, false), stream.local_addr()) else {
            return;
        };
        state.admission.counters().count_accepted();
        let shared = self.clone();
        self.tasks.spawn(async move { shared.serve(stream, source, local, Arc::new(permit)).await });
    }

    async fn serve(&self, stream: TcpStream, source: IpAddr, local: SocketAddr, permit: Arc<Permit>) {
        let leave = permit.leave();
        // Ends the connection with the service, or when its address leaves the run.
        let over = CancellationToken::new();
        let visitor = Visitor { state: self.state.clone(), source, permit };
        let served = async {
            // The addresses may have changed while the permit was taken, so they are checked once more.
            if !self.is_welcome(source) {
                return;
            }
            match &self.protocol {
                Protocol::Ftp(ftp) => ftp.serve(visitor, stream, local).await,
                Protocol::Ssh(ssh) => ssh.serve(visitor, stream, over.clone()).await,
            }
        };
        let is_ssh = matches!(self.protocol, Protocol::Ssh(_));
        tokio::pin!(served);
        tokio::select! {
            () = &mut served => return,
            () = leave.cancelled() => {}
            () = self.closed.cancelled() => {}
        }
        over.cancel();
        if is_ssh {
            // The library's task ends with its stream. It cannot be ended in another way.
            let _in_time = tokio::time::timeout(CLOSING / 2, served).await;
        }
    }

    fn hand_over(&self, stream: TcpStream, source: IpAddr, port: u16) {
        stream.set_zero_linger().ok();
        if !self.is_welcome(source) {
            return self.state.admission.refuse(Cause::Source, source);
        }
        let is_expected = match &self.protocol {
            Protocol::Ftp(ftp) => ftp.arrived(port, source, stream),
            Protocol::Ssh(_) => false,
        };
        if !is_expected {
            self.state.admission.refuse(Cause::Path, source);
        }
    }
}
