//! The door: who is let in on which port, and what becomes of each connection.

use super::counters::{Cause, Counters, Refusals};
use super::gate::{Gate, Limits, Seat, Standing};
use super::hello::{self, Called, Greeted, Instead};
use super::identity::RunIdentity;
use super::listen::{Bound, Pair};
use super::pace::Paced;
use super::registry::{Entry, Owner, Registry};
use super::tls::{self, Tls};
use super::{AddressSet, devices, relay};
use crate::payload::PayloadFiles;
use socket2::{SockRef, TcpKeepalive};
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

/// How long nothing is accepted after the system said that it can give no more connections.
const OUT_OF_RESOURCES: Duration = Duration::from_millis(100);

/// A machine that is off or cut off is noticed after two minutes of silence.
const KEEPALIVE: Duration = Duration::from_mins(1);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMES: u32 = 3;

/// Everything that the server knows of a run.
pub struct RunSide {
    /// Who the run is on the wire.
    pub identity: Arc<RunIdentity>,
    /// Addresses of the run's machines: only they may connect. Whoever is taken out is cut off.
    pub sources: watch::Receiver<Arc<AddressSet>>,
    /// Addresses of the other runners' pods: they may pass on what is answered here.
    pub peers: watch::Receiver<Arc<[IpAddr]>>,
    /// Which session is answered where.
    pub registry: Arc<Registry>,
    /// Payloads for devices that have no certificate.
    pub files: Arc<dyn PayloadFiles>,
    /// Where to count.
    pub counters: Arc<Counters>,
    /// Budgets.
    pub limits: Limits,
}

/// A server that is running. Dropping it closes all of its connections and gives the ports back.
pub struct Server {
    pair: Pair,
    gate: Arc<Gate>,
    closed: CancellationToken,
    tasks: TaskTracker,
}

/// What each connection of a run needs.
pub(super) struct Door {
    pub(super) identity: Arc<RunIdentity>,
    pub(super) files: Arc<dyn PayloadFiles>,
    pub(super) gate: Arc<Gate>,
    tls: Tls,
    sources: watch::Receiver<Arc<AddressSet>>,
    peers: watch::Receiver<Arc<[IpAddr]>>,
    registry: Arc<Registry>,
    closed: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Http,
    Https,
}

/// Begins to answer on ports that are bound.
///
/// Must be called within a tokio runtime.
///
/// # Errors
/// When the identity's certificate cannot be used.
pub fn serve(bound: Bound, side: RunSide) -> Result<Server, rustls::Error> {
    let (pair, closed, tasks) = (bound.pair(), CancellationToken::new(), TaskTracker::new());
    let gate = Gate::new(side.limits, side.counters, closed.clone());
    let door = Arc::new(Door {
        tls: Tls::new(&side.identity)?,
        identity: side.identity,
        files: side.files,
        gate: gate.clone(),
        sources: side.sources,
        peers: side.peers,
        registry: side.registry,
        closed: closed.clone(),
        tasks: tasks.clone(),
    });
    let http = bound.http.into_iter().map(|listener| (listener, Port::Http));
    let https = bound.https.into_iter().map(|listener| (listener, Port::Https));
    for (listener, port) in http.chain(https) {
        tasks.spawn(door.clone().accept(listener, port));
    }
    tasks.spawn(door.watch_addresses());
    Ok(Server { pair, gate, closed, tasks })
}

impl Server {
    /// The ports that it answers on.
    pub fn pair(&self) -> Pair {
        self.pair
    }

    /// Refusals that the run has not been told of yet.
    pub fn refusals(&self) -> &Arc<Refusals> {
        self.gate.refusals()
    }

    /// Closes everything, and waits until ports and connections are gone.
    pub async fn close(self) {
        self.closed.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl Door {
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
                    // sleep: without it a lack of descriptors is a busy loop.
                    tokio::time::sleep(OUT_OF_RESOURCES).await;
                }
            }
        }
    }

    /// Lets a connection in or resets it, before a byte was read.
    fn admit(self: &Arc<Self>, stream: TcpStream, from: SocketAddr, port: Port) {
        // Until it has said something sensible it is closed by a reset, which leaves nothing
        // behind in the kernel. Should this fail, closing takes longer.
        stream.set_zero_linger().ok();
        let source = from.ip().to_canonical();
        let runner = port == Port::Https && self.is_runner(source);
        if !runner && !self.is_of_run(source) {
            self.gate.refuse(Cause::Source, source);
            return;
        }
        let Some(seat) = self.gate.enter(source, runner) else { return };
        self.gate.counters().count_accepted();
        let door = self.clone();
        self.tasks.spawn(async move {
            let leave = seat.leave();
            // Each stage has its own memory, so that a connection holds what its present stage
            // needs and not what the largest one would.
            let attended: Pin<Box<dyn Future<Output = ()> + Send>> = match port {
                Port::Http => Box::pin(door.attend_http(stream, source, &seat)),
                Port::Https => Box::pin(door.attend_https(stream, from, &seat, runner)),
            };
            // A place that was taken while the addresses changed is looked at once more.
            if runner && door.is_runner(source) || !runner && door.is_of_run(source) {
                leave.run_until_cancelled(attended).await;
            }
        });
    }

    async fn attend_http(&self, stream: TcpStream, source: IpAddr, seat: &Seat) {
        settle(&stream);
        devices::serve(self, Paced::new(stream, self.gate.clone(), source), source, seat).await;
    }

    async fn attend_https(&self, stream: TcpStream, from: SocketAddr, seat: &Seat, runner: bool) {
        let source = from.ip().to_canonical();
        let deadline = Instant::now() + self.gate.limits().handshake;
        let stream = Paced::new(stream, self.gate.clone(), source);
        let greeted = match timeout_at(deadline, hello::read(stream)).await {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(Instead::Nonsense)) => return seat.refuse(Cause::Handshake),
            Ok(Err(Instead::Nothing | Instead::Preflight)) => return seat.refuse(Cause::Silent),
            Err(_) => return seat.refuse(Cause::TooSlow),
        };
        settle(greeted.start.io.get_ref());
        let owner = match &greeted.called {
            Called::Anybody => return self.attend_device(greeted.start, deadline, source, seat).await,
            Called::Session(session) => self.registry.find(session),
        };
        match owner {
            Some(Owner::Here(entry)) => self.attend_engine(greeted, entry, deadline, from, seat).await,
            // What another runner passed on is not passed on once more: it might come back.
            Some(Owner::Elsewhere(to)) if !runner => self.pass_on(greeted, to, deadline, seat).await,
            Some(Owner::Elsewhere(_)) | None => seat.refuse(Cause::UnknownSession),
        }
    }

    async fn attend_engine(
        &self,
        greeted: Greeted<Paced<TcpStream>>,
        entry: Entry,
        deadline: Instant,
        from: SocketAddr,
        seat: &Seat,
    ) {
        let Called::Session(session) = &greeted.called else { return };
        let config = match self.tls.for_session(session) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(run = self.identity.run(), %error, "no TLS configuration for a session");
                return;
            }
        };
        let stream = match timeout_at(deadline, greeted.start.into_stream(config)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return seat.refuse(tls::cause(&error)),
            Err(_) => return seat.refuse(Cause::TooSlow),
        };
        seat.rise(Standing::Proven);
        self.gate.counters().count_engine();
        let (mut serving, conversation) = entry.begin(from);
        let source = from.ip().to_canonical();
        tokio::select! {
            served = conversation.serve(stream, || self.gate.refuse(Cause::Request, source)) => {
                if let Err(error) = served {
                    tracing::debug!(run = self.identity.run(), %session, %error, "a stream broke");
                }
            }
            () = serving.over() => {}
        }
    }

    async fn attend_device(
        &self,
        start: StartHandshake<Paced<TcpStream>>,
        deadline: Instant,
        source: IpAddr,
        seat: &Seat,
    ) {
        match timeout_at(deadline, start.into_stream(self.tls.for_devices())).await {
            Ok(Ok(stream)) => devices::serve(self, stream, source, seat).await,
            Ok(Err(error)) => seat.refuse(tls::cause(&error)),
            Err(_) => seat.refuse(Cause::TooSlow),
        }
    }

    async fn pass_on(
        &self,
        greeted: Greeted<Paced<TcpStream>>,
        to: SocketAddr,
        deadline: Instant,
        seat: &Seat,
    ) {
        let other = match relay::dial(to, &greeted.words).await {
            Ok(other) => other,
            Err(error) => {
                tracing::warn!(run = self.identity.run(), %to, %error, "cannot pass on an engine's stream");
                return seat.refuse(Cause::Relay);
            }
        };
        self.gate.counters().count_relayed();
        let engine = greeted.start.io;
        // The other runner closes what has not proven itself by the deadline. Until then it counts
        // against the budget here.
        let proven = async {
            // sleep: only the passing of the deadline proves it; the stream ends this if it ends first.
            tokio::time::sleep_until(deadline).await;
            seat.rise(Standing::Proven);
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

    /// Cuts off whoever may not be here any more.
    async fn watch_addresses(self: Arc<Self>) {
        let (mut sources, mut peers) = (self.sources.clone(), self.peers.clone());
        loop {
            tokio::select! {
                () = self.closed.cancelled() => return,
                Ok(()) = sources.changed() => {}
                Ok(()) = peers.changed() => {}
                // Nobody is left who could change them.
                else => return,
            }
            self.gate
                .keep(|source, runner| if runner { self.is_runner(source) } else { self.is_of_run(source) });
        }
    }

    fn is_of_run(&self, source: IpAddr) -> bool {
        self.sources.borrow().contains(source)
    }

    fn is_runner(&self, source: IpAddr) -> bool {
        self.peers.borrow().contains(&source)
    }
}

/// From here on it is a connection like any other. None of this is needed for it to work.
fn settle(stream: &TcpStream) {
    stream.set_nodelay(true).ok();
    let socket = SockRef::from(stream);
    socket.set_linger(None).ok();
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_AGAIN).with_retries(KEEPALIVE_TIMES);
    socket.set_tcp_keepalive(&keepalive).ok();
}
