//! Channel `Listen`: accepts the runner's connection.
//!
//! ```text
//! accept ─► the runner's address? ─► its greeting within 5 s? ─► TLS handshake ─► the link
//! ```
//!
//! One thread waits for all connections that have not sent their greeting. They cost a descriptor and a
//! few bytes each; if there are too many, the oldest goes. Only a peer that knows the token is given a
//! thread and cryptography.

use super::channel::Channel;
use super::config::{self, Version};
use super::listen::{self, ListenSettings};
use super::stream::Stream;
use super::tls;
use crate::firewall::{FirewallLeases, Opening};
use crate::shared::Shared;
use crate::work_dir::WorkDir;
use farrier_protocol::Listening;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;
use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Maximum number of connections that have not sent their greeting.
const MAX_PENDING: usize = 64;

/// Time for the greeting. The runner sends it at once; this covers two lost packets.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum number of handshakes at a time; each has a timeout of its own.
const MAX_HANDSHAKES: usize = 4;

/// Interval between two checks whether the configuration has changed.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Pause after a failed `accept`, which means a lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The thread that accepts connections while there is a configuration for that.
pub(crate) struct Acceptor {
    shared: Arc<Shared>,
    place: WorkDir,
    firewall: Arc<FirewallLeases>,
    version: Option<Version>,
    /// Whether a version was applied, or the lack of one.
    has_looked: bool,
    open: Option<Open>,
    pending: VecDeque<Pending>,
    handshakes: Arc<AtomicUsize>,
}

/// A port that is open.
struct Open {
    listener: TcpListener,
    port: u16,
    settings: ListenSettings,
    channel: Arc<Channel>,
}

/// A connection that has not sent its greeting.
struct Pending {
    tcp: TcpStream,
    received: Vec<u8>,
    until: Instant,
}

/// What a connection has sent so far of the runner's greeting, which is its first line.
enum Greeting {
    /// A part of it, or nothing.
    Incomplete,
    /// The greeting.
    Valid,
    /// Anything else, or the end.
    Invalid,
}

impl Acceptor {
    /// Creates an acceptor that has not read a configuration yet.
    pub(crate) fn new(shared: Arc<Shared>, place: WorkDir, firewall: Arc<FirewallLeases>) -> Self {
        Self {
            shared,
            place,
            firewall,
            version: None,
            has_looked: false,
            open: None,
            pending: VecDeque::new(),
            handshakes: Arc::default(),
        }
    }

    /// Runs forever.
    pub(crate) fn run(mut self) {
        loop {
            self.look();
            self.firewall.check(self.shared.is_served());
            let pause = self.await_connections();
            self.read_greetings();
            if pause {
                // sleep: without it a lack of descriptors is a busy loop.
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }

    /// Applies a configuration that has changed, and closes the port if it was removed.
    fn look(&mut self) {
        // The directory goes when the engine retires, but the port stays open for the final events.
        if self.shared.is_retiring() {
            return;
        }
        let version = config::version(&self.place);
        if std::mem::replace(&mut self.has_looked, true) && version == self.version {
            return;
        }
        self.version = version;
        let json = version.and_then(|_| fs::read(self.place.callback()).ok());
        let channel = json.as_ref().and_then(|json| Channel::parse(json).ok());
        self.pending.clear();
        if let Some((settings, channel)) =
            channel.and_then(|channel| Some((channel.listen.clone()?, channel)))
        {
            let listening = self.open(settings, Arc::new(channel));
            // If the report cannot be stored, the launch says that it did not come.
            listen::report(&self.place, &json.unwrap_or_default(), listening).ok();
        } else {
            self.open = None;
            self.firewall.close();
        }
    }

    fn open(&mut self, settings: ListenSettings, channel: Arc<Channel>) -> Listening {
        let kept = self.open.take().filter(|open| open.settings.is_at(&settings));
        let bound = kept.map_or_else(|| settings.bind(), |open| Ok((open.listener, open.port)));
        match bound {
            Ok((listener, port)) => {
                let firewalls =
                    self.firewall.open(Opening { peer: settings.peer, port }, settings.open_firewall);
                self.open = Some(Open { listener, port, settings, channel });
                Listening { port, problem: String::new(), firewalls }
            }
            Err(problem) => {
                self.firewall.close();
                Listening { problem, ..Listening::default() }
            }
        }
    }

    /// Waits until a connection comes or says something, and accepts those that come. Returns true if the
    /// system has no resources for a connection.
    fn await_connections(&mut self) -> bool {
        let listener = self.open.as_ref().map(|open| &open.listener);
        let mut sockets: Vec<PollFd<'_>> =
            self.pending.iter().map(|pending| PollFd::new(&pending.tcp, PollFlags::IN)).collect();
        sockets.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        let until = self.pending.iter().map(|pending| pending.until).min();
        let left = until.map_or(POLL_INTERVAL, |until| until.saturating_duration_since(Instant::now()));
        let timeout = Timespec::try_from(left.min(POLL_INTERVAL)).ok();
        // An interrupted wait is as good as one that has ended.
        poll(&mut sockets, timeout.as_ref()).ok();
        drop(sockets);
        self.accept()
    }

    fn accept(&mut self) -> bool {
        let Some(open) = &self.open else { return false };
        for _ in 0..MAX_PENDING {
            match open.listener.accept() {
                Ok((tcp, from)) if from.ip().to_canonical() == open.settings.peer => {
                    reset_on_close(&tcp);
                    if tcp.set_nonblocking(true).is_err() {
                        continue;
                    }
                    if self.pending.len() >= MAX_PENDING {
                        self.pending.pop_front();
                    }
                    let until = Instant::now() + GREETING_TIMEOUT;
                    self.pending.push_back(Pending { tcp, received: Vec::new(), until });
                }
                Ok((tcp, _)) => reset_on_close(&tcp),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => return true,
            }
        }
        false
    }

    /// Reads what the connections have sent, and begins handshakes.
    fn read_greetings(&mut self) {
        let Some(open) = &self.open else { return };
        let now = Instant::now();
        for mut pending in std::mem::take(&mut self.pending) {
            match pending.read_greeting(&open.settings.greeting) {
                Greeting::Incomplete if pending.until > now => self.pending.push_back(pending),
                Greeting::Valid => self.secure(pending.tcp, &open.channel),
                Greeting::Incomplete | Greeting::Invalid => {}
            }
        }
    }

    /// Does the handshake in a thread of its own. A connection that comes while too many handshakes are
    /// under way is closed; the runner connects again.
    fn secure(&self, tcp: TcpStream, channel: &Arc<Channel>) {
        if self.handshakes.fetch_add(1, Ordering::Relaxed) >= MAX_HANDSHAKES {
            self.handshakes.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let (shared, channel, handshakes) =
            (Arc::clone(&self.shared), Arc::clone(channel), Arc::clone(&self.handshakes));
        thread::spawn(move || {
            set_socket_linger(&tcp, None).ok();
            let secured = tcp.set_nonblocking(false).and_then(|()| tls::secure(tcp, &channel));
            handshakes.fetch_sub(1, Ordering::Relaxed);
            if let Ok(tls) = secured {
                shared.accept(Stream::Accepted(Box::new(tls)));
            }
        });
    }
}

impl Pending {
    /// Reads no more than the greeting: what follows belongs to TLS.
    fn read_greeting(&mut self, greeting: &[u8]) -> Greeting {
        loop {
            let mut buffer = [0; 64];
            let wanted = greeting.len().saturating_sub(self.received.len()).min(buffer.len());
            match self.tcp.read(buffer.get_mut(..wanted).unwrap_or_default()) {
                Ok(0) => return Greeting::Invalid,
                Ok(count) => self.received.extend(buffer.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Greeting::Incomplete,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Greeting::Invalid,
            }
            if self.received.len() == greeting.len() {
                return if is_equal(&self.received, greeting) { Greeting::Valid } else { Greeting::Invalid };
            }
        }
    }
}

/// Compares in constant time; both have the same length.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Makes closing the connection leave nothing behind in the kernel. If the call fails, closing takes longer.
fn reset_on_close(tcp: &TcpStream) {
    set_socket_linger(tcp, Some(Duration::ZERO)).ok();
}
