//! The server: admits connections on its ports and handles each of them.

use super::admission::{Admission, Limits, PeerState, Permit};
use super::client_hello::{self, Destination, NotTls, PeekedHello};
use super::counters::{Cause, Counters, Refusals};
use super::identity::RunIdentity;
use super::listeners::{BoundListeners, Pair};
use super::offers::OpenOffers;
use super::registry::{LocalSession, Registry, Route};
use super::state::ServerState;
use super::tls::{self, Tls};
#[cfg(test)]
use super::transfer::Transfers;
use super::write_timeout::WriteTimeout;
use super::{AddressSet, devices, relay};
use socket2::{SockRef, TcpKeepalive};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::StartHandshake;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the server accepts nothing after the operating system returned an error for `accept`.
pub(super) const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How long closing takes at most. All tasks end as soon as they are told to, so this is for faults only.
pub(super) const CLOSING: Duration = Duration::from_secs(30);

/// A machine that is off or disconnected is noticed after two minutes of silence.
const KEEPALIVE: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_RETRIES: u32 = 3;

/// What the server knows about a run.
pub struct ServerOptions {
    /// The run's TLS identity.
    pub identity: Arc<RunIdentity>,
    /// Addresses of the run's machines: only they may connect. The connections of an address that
    /// is removed are closed.
    pub sources: watch::Receiver<Arc<AddressSet>>,
    /// Addresses of the other runners' pods: they may relay streams of sessions that are served
    /// here.
    pub peers: watch::Receiver<Arc<[IpAddr]>>,
    /// Where each session is served.
    pub registry: Arc<Registry>,
    /// What machines without a certificate may fetch.
    pub offers: Arc<dyn OpenOffers>,
    /// Names and addresses by which machines without a certificate reach this server: its certificate is valid
    /// for them.
    pub names: watch::Receiver<Arc<BTreeSet<String>>>,
    /// The counters.
    pub counters: Arc<Counters>,
    /// The limits.
    pub limits: Limits,
}

/// A running server. Dropping it closes all of its connections and releases the ports.
pub struct Server {
    pair: Pair,
    state: Arc<ServerState>,
    admission: Arc<Admission>,
    closed: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Http,
    Https,
}

/// Starts serving on bound ports.
///
/// Must be called within a tokio runtime.
///
/// # Errors
/// When the identity's certificate cannot be used.
pub fn serve(bound: BoundListeners, options: ServerOptions) -> Result<Server, rustls::Error> {
    let (pair, closed, tasks) = (bound.pair(), CancellationToken::new(), TaskTracker::new());
    let admission = Admission::new(options.limits, options.counters, closed.clone());
    let server = Arc::new(ServerState {
        tls: Tls::new(&options.identity)?,
        identity: options.identity,
        offers: options.offers,
        names: options.names,
        admission: admission.clone(),
        sources: options.sources,
        peers: options.peers,
        registry: options.registry,
        closed: closed.clone(),
        tasks: tasks.clone(),
    });
    let http = bound.http.into_iter().map(|listener| (listener, Port::Http));
    let https = bound.https.into_iter().map(|listener| (listener, Port::Https));
    for (listener, port) in http.chain(https) {
        tasks.spawn(server.clone().accept(listener, port));
    }
    tasks.spawn(server.clone().watch_addresses());
    Ok(Server { pair, state: server, admission, closed, tasks })
}

impl Server {
    /// Returns the ports of the server.
    pub fn pair(&self) -> Pair {
        self.pair
    }

    pub(super) fn state(&self) -> &Arc<ServerState> {
        &self.state
    }

    /// Returns the refusals that have not been reported to the run yet.
    pub fn refusals(&self) -> &Arc<Refusals> {
        self.admission.refusals()
    }

    /// Returns the transfers to machines without a certificate.
    #[cfg(test)]
    pub(super) fn transfers(&self) -> &Transfers {
        self.admission.transfers()
    }

    /// Closes everything, and waits until ports and connections are released.
    pub async fn close(self) {
        self.closed.cancel();
        ended(&self.tasks, self.state.identity.run()).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl ServerState {
    async fn accept(self: Arc<Self>, listener: TcpListener, port: Port) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.closed.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => self.admit(stream, from, port),
                Err(error) => {
                    tracing::warn!(run = self.identity.run(), %error, "cannot accept a connection");
                    // sleep: without it a lack of descriptors causes a busy loop.
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    /// Admits a connection or resets it before a byte is read.
    fn admit(self: &Arc<Self>, stream: TcpStream, from: SocketAddr, port: Port) {
        // Until the peer has sent valid data, the connection is closed by a reset, which leaves
        // nothing behind in the kernel. If this call fails, closing takes longer.
        stream.set_zero_linger().ok();
        let source = from.ip().to_canonical();
        let runner = port == Port::Https && self.is_runner(source);
        if !runner && !self.is_of_run(source) {
            self.admission.refuse(Cause::Source, source);
            return;
        }
        if !runner {
            self.offers.note_connection(source);
        }
        let Some(permit) = self.admission.enter(source, runner) else { return };
        self.admission.counters().count_accepted();
        let server = self.clone();
        self.tasks.spawn(async move {
            let leave = permit.leave();
            // Each stage has its own allocation, so that a connection holds the memory of its
            // present stage and not that of the largest one.
            let attended: Pin<Box<dyn Future<Output = ()> + Send>> = match port {
                Port::Http => Box::pin(server.handle_http(stream, source, &permit)),
                Port::Https => Box::pin(server.handle_https(stream, from, &permit, runner)),
            };
            // The addresses may have changed while the permit was taken, so they are checked once
            // more.
            if runner && server.is_runner(source) || !runner && server.is_of_run(source) {
                leave.run_until_cancelled(attended).await;
            }
        });
    }

    async fn handle_http(&self, stream: TcpStream, source: IpAddr, permit: &Permit) {
        settle(&stream);
        devices::serve(self, WriteTimeout::new(stream, self.admission.clone(), source), source, permit).await;
    }

    async fn handle_https(&self, stream: TcpStream, from: SocketAddr, permit: &Permit, runner: bool) {
        let source = from.ip().to_canonical();
        let deadline = Instant::now() + self.admission.limits().handshake;
        let stream = WriteTimeout::new(stream, self.admission.clone(), source);
        let hello = match timeout_at(deadline, client_hello::read(stream)).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(NotTls::Other)) => return permit.refuse(Cause::Handshake),
            Ok(Err(NotTls::Nothing | NotTls::Preflight)) => return permit.refuse(Cause::Silent),
            Err(_) => return permit.refuse(Cause::TooSlow),
        };
        settle(hello.start.io.get_ref());
        let route = match &hello.destination {
            Destination::Any => return self.handle_device(hello.start, deadline, source, permit).await,
            Destination::Session(session) => self.registry.find(session),
        };
        match route {
            Some(Route::Local(entry)) => self.handle_engine(hello, entry, deadline, from, permit).await,
            // A stream that another runner relayed is not relayed again: it might come back.
            Some(Route::Remote(to)) if !runner => self.pass_on(hello, to, deadline, permit).await,
            Some(Route::Remote(_)) | None => permit.refuse(Cause::UnknownSession),
        }
    }

    async fn handle_engine(
        &self,
        hello: PeekedHello<WriteTimeout<TcpStream>>,
        entry: LocalSession,
        deadline: Instant,
        from: SocketAddr,
        permit: &Permit,
    ) {
        let Destination::Session(session) = &hello.destination else { return };
        let config = match self.tls.for_session(session) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(run = self.identity.run(), %error, "no TLS configuration for a session");
                return;
            }
        };
        let stream = match timeout_at(deadline, hello.start.into_stream(config)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return permit.refuse(tls::cause(&error)),
            Err(_) => return permit.refuse(Cause::TooSlow),
        };
        permit.set_state(PeerState::Authenticated);
        self.admission.counters().count_engine();
        let (mut serving, engine_api) = entry.begin(from);
        let source = from.ip().to_canonical();
        tokio::select! {
            served = engine_api.serve(stream, || self.admission.refuse(Cause::Request, source)) => {
                if let Err(error) = served {
                    tracing::debug!(run = self.identity.run(), %session, %error, "a stream broke");
                }
            }
            () = serving.over() => {}
        }
    }

    async fn handle_device(
        &self,
        start: StartHandshake<WriteTimeout<TcpStream>>,
        deadline: Instant,
        source: IpAddr,
        permit: &Permit,
    ) {
        let names = self.names.borrow().clone();
        let config = match self.tls.for_devices(&self.identity, &names) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(run = self.identity.run(), %error, "no TLS configuration for machines");
                return;
            }
        };
        match timeout_at(deadline, start.into_stream(config)).await {
            Ok(Ok(stream)) => devices::serve(self, stream, source, permit).await,
            Ok(Err(error)) => {
                if let Some(how) = tls::rejection(&error) {
                    self.offers.note_rejection(source, &how);
                }
                permit.refuse(tls::cause(&error));
            }
            Err(_) => permit.refuse(Cause::TooSlow),
        }
    }

    async fn pass_on(
        &self,
        hello: PeekedHello<WriteTimeout<TcpStream>>,
        to: SocketAddr,
        deadline: Instant,
        permit: &Permit,
    ) {
        let other = match relay::dial(to, &hello.words).await {
            Ok(other) => other,
            Err(error) => {
                tracing::warn!(run = self.identity.run(), %to, %error, "cannot pass on an engine's stream");
                return permit.refuse(Cause::Relay);
            }
        };
        self.admission.counters().count_relayed();
        let engine = hello.start.io;
        // The other runner closes connections that have not authenticated by the deadline. Until
        // then the connection counts against the limit here.
        let proven = async {
            // sleep: the deadline has to pass; if the stream ends first, this future is dropped.
            tokio::time::sleep_until(deadline).await;
            permit.set_state(PeerState::Authenticated);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            copied = relay::copy(engine, other) => {
                if let Err(error) = copied {
                    tracing::debug!(run = self.identity.run(), %to, %error, "a stream that was passed on broke");
                }
            }
            () = proven => {}
        }
    }

    /// Closes the connections of addresses that are no longer allowed.
    async fn watch_addresses(self: Arc<Self>) {
        let (mut sources, mut peers) = (self.sources.clone(), self.peers.clone());
        loop {
            tokio::select! {
                () = self.closed.cancelled() => return,
                Ok(()) = sources.changed() => {}
                Ok(()) = peers.changed() => {}
                // Both senders are dropped: the addresses cannot change any more.
                else => return,
            }
            self.admission
                .keep(|source, runner| if runner { self.is_runner(source) } else { self.is_of_run(source) });
        }
    }

    pub(super) fn is_of_run(&self, source: IpAddr) -> bool {
        self.sources.borrow().contains(source)
    }

    fn is_runner(&self, source: IpAddr) -> bool {
        self.peers.borrow().contains(&source)
    }
}

/// Waits until all tasks have ended, but not longer than [`CLOSING`]: the reconciler of all runs waits for it.
pub(super) async fn ended(tasks: &TaskTracker, run: &str) {
    tasks.close();
    if tokio::time::timeout(CLOSING, tasks.wait()).await.is_err() {
        let left = tasks.len();
        tracing::error!(run, left, "tasks of a closed callback server are still running; report it as a bug");
    }
}

/// Sets the usual socket options. All of them are optional, so errors are ignored.
pub(super) fn settle(stream: &TcpStream) {
    stream.set_nodelay(true).ok();
    let socket = SockRef::from(stream);
    socket.set_linger(None).ok();
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive).ok();
}
