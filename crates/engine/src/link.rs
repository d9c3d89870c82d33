//! The link: requests to the runner over the most recent connection.
//!
//! The engine is the HTTP client, whether a peer attached to it or it dialled. An error here ends the
//! connection and never the engine: events stay in the journal until the next connection.

mod http;

pub(crate) use http::{Body, Head, Http};

use crate::callback::{Route, Stream};
use crate::digest::Digest;
use crate::shared::{Answer, Identity, LinkOrder, RequestTimes, Shared};
use farrier_protocol::{Ack, LogAck, Next, Welcome};
use serde::Deserialize;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Pause after a failed `accept`, which means a lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Who may connect, and the identity that is sent first.
pub(crate) struct Link {
    /// Shared with the worker.
    pub(crate) shared: Arc<Shared>,
    /// Id of the session.
    pub(crate) session: String,
    /// User that may connect besides root.
    pub(crate) peer_uid: u32,
}

impl Link {
    /// Accepts connections forever.
    pub(crate) fn accept(&self, listener: &UnixListener) {
        loop {
            match listener.accept() {
                Ok((stream, _)) if self.is_welcome(&stream) => self.shared.accept(Stream::Attached(stream)),
                Ok(_) => {}
                // sleep: without it a lack of descriptors is a busy loop.
                Err(_) => thread::sleep(ACCEPT_PAUSE),
            }
        }
    }

    /// Serves one connection after the other, forever.
    pub(crate) fn serve(&self) {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let who = Identity {
            session: self.session.clone(),
            boot_id: boot_id.trim().to_owned(),
            digest: Digest::of_self().ok().map(|digest| digest.to_string()),
        };
        loop {
            if let Ok(stream) = self.shared.next_stream() {
                self.hold(stream, &who);
            }
        }
    }

    fn is_welcome(&self, stream: &UnixStream) -> bool {
        let peer = rustix::net::sockopt::socket_peercred(stream);
        peer.is_ok_and(|peer| peer.uid.is_root() || peer.uid.as_raw() == self.peer_uid)
    }

    /// Serves one connection from its first request to its end.
    fn hold(&self, stream: Stream, who: &Identity) {
        let route = stream.route().cloned();
        let mut http = Http::new(stream, self.shared.contact());
        let greeted = self.greet(&mut http, who, route.as_ref());
        if let Some(route) = route {
            self.shared.greeted(route, greeted.as_ref().err());
        }
        // An error ends the connection. The runner notices and connects again, or the engine does.
        greeted.and_then(|()| self.converse(&mut http)).ok();
        http.end();
    }

    fn greet(&self, http: &mut Http, who: &Identity, route: Option<&Route>) -> io::Result<()> {
        let hello = serde_json::to_vec(&self.shared.hello(who, route))?;
        let welcome: Welcome = http.post("/v1/hello", &hello)?;
        self.shared.welcome(&welcome);
        Ok(())
    }

    fn converse(&self, http: &mut Http) -> io::Result<()> {
        let shared = &self.shared;
        let mut pace = RequestTimes { posted: None, asked: None };
        loop {
            match shared.link_order(&pace) {
                LinkOrder::Post { events, last } => {
                    let ack: Ack = http.post("/v1/events", &events)?;
                    pace.posted = Some(Instant::now());
                    shared.acknowledge(&ack, last)?;
                }
                LinkOrder::Log { from, lines } => {
                    let ack: LogAck = http.post(&format!("/v1/log?from={from}"), &lines)?;
                    shared.log_taken(&ack)?;
                }
                LinkOrder::Ask(next) => {
                    let answer = ask(http, &next)?;
                    pace.asked = matches!(answer, Answer::Nothing).then(Instant::now);
                    shared.answer(answer);
                }
                LinkOrder::Fetch(mut download) => match download.proceed(http) {
                    Ok(result) => {
                        // Close the file before anything uses it: a file that is open for writing cannot be
                        // executed.
                        drop(download);
                        shared.fetched(result);
                    }
                    Err(error) => {
                        shared.fetch_again(download);
                        return Err(error);
                    }
                },
                LinkOrder::Leave => return Ok(()),
            }
            if http.is_closing() {
                return Ok(());
            }
        }
    }
}

fn ask(http: &mut Http, next: &Next) -> io::Result<Answer> {
    /// The field that every version of a task has.
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }
    let Some(answer) = http.post_for_bytes("/v1/next", &serde_json::to_vec(next)?)? else {
        return Ok(Answer::Nothing);
    };
    match serde_json::from_slice(&answer) {
        Ok(task) => Ok(Answer::Task(task)),
        Err(error) => {
            let Id { id } = serde_json::from_slice(&answer)?;
            let engine = env!("CARGO_PKG_VERSION");
            let message = format!("engine {engine} does not understand this task: {error}");
            Ok(Answer::Unintelligible { id, message })
        }
    }
}
