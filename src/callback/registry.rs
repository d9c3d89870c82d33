//! The registry: which sessions this process serves, and which are served by other runners.

use crate::engine_api::EngineApi;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Where a session's engine is served.
#[derive(Clone)]
pub enum Route {
    /// By this process.
    Local(LocalSession),
    /// By another runner, at its pod's address with its HTTPS port for this run.
    Remote(SocketAddr),
}

/// The sessions that runners serve.
#[derive(Default)]
pub struct Registry {
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    local: HashMap<String, LocalSession>,
    remote: HashMap<String, SocketAddr>,
}

/// A session that this process serves.
#[derive(Clone)]
pub struct LocalSession {
    engine_api: Arc<EngineApi>,
    streams: Arc<watch::Sender<StreamState>>,
}

/// The streams of one session: each stream has a number, and the newest is the valid one.
#[derive(Debug, Clone, Copy, Default)]
struct StreamState {
    newest: u64,
    source: Option<SocketAddr>,
}

/// Keeps a session in the registry; dropping it removes the session and ends its stream.
pub struct Registration {
    registry: Arc<Registry>,
    session: String,
    seen: u64,
    streams: watch::Receiver<StreamState>,
}

/// An established stream of an engine.
#[derive(Debug)]
pub struct Stream {
    number: u64,
    source: SocketAddr,
    streams: watch::Receiver<StreamState>,
}

impl Registry {
    /// Creates an empty registry.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Serves this session's engine with `engine_api` from now on. An earlier registration of the
    /// same session is no longer served.
    pub fn register(self: &Arc<Self>, session: &str, engine_api: Arc<EngineApi>) -> Registration {
        let (sender, streams) = watch::channel(StreamState::default());
        let entry = LocalSession { engine_api, streams: Arc::new(sender) };
        self.lock().local.insert(session.to_owned(), entry);
        Registration { registry: self.clone(), session: session.to_owned(), seen: 0, streams }
    }

    /// Sets all sessions that other runners serve, and their addresses. Replaces the previous map.
    /// Local registrations take precedence.
    pub fn set_elsewhere(&self, sessions: HashMap<String, SocketAddr>) {
        self.lock().remote = sessions;
    }

    /// Returns where this session is served.
    pub fn find(&self, session: &str) -> Option<Route> {
        let sessions = self.lock();
        let local = sessions.local.get(session).cloned().map(Route::Local);
        local.or_else(|| sessions.remote.get(session).copied().map(Route::Remote))
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalSession {
    /// Records that a stream begins; the previous stream has to end. Consumes the entry, because
    /// holding an entry keeps a session that is no longer registered.
    pub(super) fn begin(self, source: SocketAddr) -> (ActiveStream, Arc<EngineApi>) {
        let mut number = 0;
        self.streams.send_modify(|streams| {
            streams.newest += 1;
            streams.source = Some(source);
            number = streams.newest;
        });
        let replaced = self.streams.subscribe();
        (ActiveStream { streams: Arc::downgrade(&self.streams), number, replaced }, self.engine_api)
    }
}

/// A stream that is being served. It does not keep the session registered.
pub(super) struct ActiveStream {
    streams: std::sync::Weak<watch::Sender<StreamState>>,
    number: u64,
    replaced: watch::Receiver<StreamState>,
}

impl ActiveStream {
    /// Waits until there is a newer stream of the session, or the session is no longer served here.
    pub(super) async fn over(&mut self) {
        let number = self.number;
        // An error means that the session is no longer registered.
        self.replaced.wait_for(|streams| streams.newest != number).await.ok();
    }
}

impl Drop for ActiveStream {
    fn drop(&mut self) {
        let Some(streams) = self.streams.upgrade() else { return };
        streams.send_if_modified(|streams| {
            let current = streams.newest == self.number && streams.source.is_some();
            if current {
                streams.source = None;
            }
            current
        });
    }
}

impl Registration {
    /// Waits for a stream of the engine that this registration has not returned yet. Never
    /// completes after the session was registered again elsewhere.
    pub async fn next_stream(&mut self) -> Stream {
        let seen = self.seen;
        let found = self.streams.wait_for(|s| s.newest > seen && s.source.is_some()).await.map(|s| *s);
        match found {
            Ok(StreamState { newest, source: Some(source) }) => {
                self.seen = newest;
                Stream { number: newest, source, streams: self.streams.clone() }
            }
            Ok(_) | Err(_) => std::future::pending().await,
        }
    }

    /// Reports whether the engine has an established stream.
    pub fn is_connected(&self) -> bool {
        self.streams.borrow().source.is_some()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut sessions = self.registry.lock();
        let ours = sessions
            .local
            .get(&self.session)
            .is_some_and(|entry| entry.streams.subscribe().same_channel(&self.streams));
        if ours {
            sessions.local.remove(&self.session);
        }
    }
}

impl Stream {
    /// Returns the address that the engine connected from: its own, or that of the runner that
    /// relayed the stream.
    pub fn source(&self) -> SocketAddr {
        self.source
    }

    /// Waits until the stream has ended or was replaced by a newer one.
    pub async fn ended(&mut self) {
        let number = self.number;
        self.streams.wait_for(|s| s.newest != number || s.source.is_none()).await.ok();
    }
}
