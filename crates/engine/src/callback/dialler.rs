//! Connects to the runner whenever there is a configuration and no stream is being served.

use super::channel::Channel;
use super::config::{self, Version};
use super::stream::{Route, Stream, failed_dial};
use super::tls;
use crate::shared::Shared;
use crate::work_dir::WorkDir;
use farrier_protocol::Dial;
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Timeout for connecting to one address. It covers two lost packets.
const CONNECT: Duration = Duration::from_secs(3);

/// Interval between the starts of the first two rounds.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// Maximum interval between the starts of two rounds. A thousand machines whose runner is gone open a
/// hundred connections a second.
const MAX_DELAY: Duration = Duration::from_secs(10);

/// A stream that lasted this long resets the backoff.
const GOOD: Duration = MAX_DELAY;

/// Interval between two checks whether the configuration has changed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The result of trying every address once.
enum DialRound {
    /// A stream was established.
    Through(Stream),
    /// No address succeeded, with the reasons.
    AllFailed(Vec<Dial>),
    /// The round was aborted, because a peer attached or the configuration changed.
    Aborted,
}

/// The loop that connects to the runner.
pub(crate) struct Dialler {
    shared: Arc<Shared>,
    place: WorkDir,
    version: Option<Version>,
    channel: Option<Channel>,
    due: Instant,
    delay: Duration,
    /// Time of the last successful connection.
    connected: Option<Instant>,
    is_last_chance: bool,
}

impl Dialler {
    /// Creates a dialler that has not read a configuration yet.
    pub(crate) fn new(shared: Arc<Shared>, place: WorkDir) -> Self {
        Self {
            shared,
            place,
            version: None,
            channel: None,
            due: Instant::now(),
            delay: FIRST_DELAY,
            connected: None,
            is_last_chance: false,
        }
    }

    /// Runs forever.
    pub(crate) fn run(mut self) {
        loop {
            self.look();
            let due = self.channel.as_ref().map(|_| self.due);
            if self.shared.await_turn(due, Instant::now() + POLL_INTERVAL) {
                self.dial();
            }
        }
    }

    /// Applies a configuration that has changed, and drops one that was removed.
    fn look(&mut self) {
        if self.shared.is_retiring() {
            // The directory goes, but the final events must still be delivered.
            if !std::mem::replace(&mut self.is_last_chance, true) {
                self.begin_anew();
            }
            return;
        }
        let version = config::version(&self.place);
        if version == self.version {
            return;
        }
        self.version = version;
        // `launch` has validated the configuration; if it is unreadable all the same, there is no
        // address to connect to.
        let channel = version.and_then(|_| Channel::load(&self.place).ok());
        self.shared.renew_callback(channel.is_some());
        // On channel `Listen` the runner connects.
        self.channel = channel.filter(|channel| channel.listen.is_none());
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        (self.due, self.delay, self.connected) = (Instant::now(), FIRST_DELAY, None);
    }

    /// Runs one round, and schedules the next.
    fn dial(&mut self) {
        if self.connected.take().is_some_and(|at| at.elapsed() >= GOOD) {
            self.delay = FIRST_DELAY;
        }
        let start = Instant::now();
        match self.channel.as_ref().map(|channel| self.round(channel)) {
            None | Some(DialRound::Aborted) => return,
            Some(DialRound::AllFailed(dials)) => self.shared.note_dials(dials),
            Some(DialRound::Through(stream)) => {
                self.connected = Some(Instant::now());
                self.shared.offer(stream);
            }
        }
        self.due = start + jittered(self.delay);
        self.delay = (self.delay * 2).min(MAX_DELAY);
    }

    /// Tries the addresses in order until a stream is established.
    fn round(&self, channel: &Channel) -> DialRound {
        let mut dials = Vec::new();
        for address in &channel.addresses {
            if self.shared.is_served() || self.is_outdated() {
                return DialRound::Aborted;
            }
            let secured = address.connect(CONNECT).and_then(|tcp| {
                let from = tcp.local_addr().ok().map(|own| own.ip());
                let secured = tls::secure(tcp, channel);
                secured.map(|tls| (tls, from)).map_err(|error| failed_dial(address.text(), from, &error))
            });
            match secured {
                Ok((tls, from)) => {
                    let route = Route { address: address.text().to_owned(), from, before: dials };
                    return DialRound::Through(Stream::Dialled { route, tls: Box::new(tls) });
                }
                Err(dial) => dials.push(dial),
            }
        }
        DialRound::AllFailed(dials)
    }

    fn is_outdated(&self) -> bool {
        !self.shared.is_retiring() && config::version(&self.place) != self.version
    }
}

/// Returns a random delay between half of `delay` and all of it, so that the machines of a fleet do not
/// connect all at once.
fn jittered(delay: Duration) -> Duration {
    let mut bytes = [0; 2];
    // Without randomness the delay is half: a worse spread, but no reason not to connect.
    SystemRandom::new().fill(&mut bytes).ok();
    let half = delay / 2;
    half + half * u32::from(u16::from_le_bytes(bytes)) / (u32::from(u16::MAX) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without jitter a thousand machines that lost one runner would reconnect at the same time.
    #[test]
    fn delays_are_spread_over_half_of_their_length() {
        let delays: Vec<_> = (0..1000).map(|_| jittered(MAX_DELAY)).collect();
        assert!(delays.iter().all(|delay| (MAX_DELAY / 2..MAX_DELAY).contains(delay)));
        let spread = delays.iter().max().unwrap().abs_diff(*delays.iter().min().unwrap());
        assert!(spread > MAX_DELAY / 4, "{spread:?}");
    }
}
