//! Resolves the addresses of machines, names included.
//!
//! Policies and the callback server's admission know addresses only. Names are looked up
//! periodically; recent answers for a name still count, because the machine may connect from them.
//! A reconciliation does not wait for the name service, except for a moment when a name is new.

use crate::api::ManagedNode;
use farrier_network::cidr;
use futures::future::join_all;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::lookup_host;
use tokio::sync::{Semaphore, watch};

/// How long an answer of the name service is used before the name is looked up again.
const REFRESH_AFTER: Duration = Duration::from_secs(30);

/// How long an address counts after the name service last returned it.
const ANSWER_TTL: Duration = Duration::from_mins(10);

/// Timeout for the first answer.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an unused name is remembered.
const ENTRY_TTL: Duration = Duration::from_hours(1);

/// Interval of the search for unused names.
const PRUNE_INTERVAL: Duration = Duration::from_mins(1);

/// Maximum number of concurrent lookups. Each takes a thread while the name service does not
/// answer.
const MAX_CONCURRENT: usize = 32;

/// Resolves names and caches the answers.
#[derive(Debug)]
pub struct Resolver {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cache: Mutex<ResolverCache>,
    turns: Semaphore,
}

#[derive(Debug)]
struct ResolverCache {
    known: HashMap<String, CacheEntry>,
    pruned_at: Instant,
}

#[derive(Debug)]
struct CacheEntry {
    /// When the name was requested first, and last.
    first: Instant,
    last: Instant,
    /// When the name service answered or failed; `None` if it has not yet.
    answered: Option<Instant>,
    /// A lookup is in progress.
    asking: bool,
    /// Becomes true with the first answer.
    has_answer: watch::Sender<bool>,
    /// The addresses of the name, present and past, and when each was last returned.
    seen: Vec<(IpAddr, Instant)>,
}

impl Default for Resolver {
    fn default() -> Self {
        let cache = ResolverCache { known: HashMap::new(), pruned_at: Instant::now() };
        Self { shared: Arc::new(Shared { cache: Mutex::new(cache), turns: Semaphore::new(MAX_CONCURRENT) }) }
    }
}

impl Resolver {
    /// Returns every address of a machine's spec, and the addresses that its names resolve to.
    /// Takes at most 2 s.
    pub async fn of(&self, node: &ManagedNode) -> Vec<IpAddr> {
        let look_up = async |text: &String| match cidr::parse(text) {
            Some(address) => vec![address],
            None => self.look_up(text).await,
        };
        let found = join_all(node.spec.addresses.iter().map(look_up)).await;
        let mut found: Vec<IpAddr> = found.into_iter().flatten().collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns the addresses of a machine's `callbackAddress`; none if it has none. Takes at most 2 s.
    pub async fn callback_address_of(&self, node: &ManagedNode) -> Vec<IpAddr> {
        let Some(text) = &node.spec.callback_address else { return Vec::new() };
        match cidr::parse(text) {
            Some(address) => vec![address],
            None => self.look_up(text).await,
        }
    }

    /// Returns the addresses that a name resolves to, or recently did. Empty if the name service
    /// does not know the name, or has not answered yet. Takes at most 2 s, and no time once the
    /// name is known.
    pub async fn look_up(&self, name: &str) -> Vec<IpAddr> {
        if let Some((mut known, until)) = self.ask(name, Instant::now()) {
            tokio::time::timeout_at(until.into(), known.wait_for(|known| *known)).await.ok();
        }
        self.shared.lock().known.get(name).map(CacheEntry::addresses).unwrap_or_default()
    }

    /// Starts a lookup unless there was one recently. If there is no answer yet, returns what to
    /// wait for and until when.
    fn ask(&self, name: &str, now: Instant) -> Option<(watch::Receiver<bool>, Instant)> {
        let mut cache = self.shared.lock();
        cache.tidy(now);
        let known = cache.known.entry(name.to_owned()).or_insert_with(|| CacheEntry::new(now));
        known.last = now;
        let fresh = known.answered.is_some_and(|at| now.duration_since(at) < REFRESH_AFTER);
        if !fresh && !known.asking {
            known.asking = true;
            tokio::spawn(self.shared.clone().refresh(name.to_owned()));
        }
        known.answered.is_none().then(|| (known.has_answer.subscribe(), known.first + FIRST_ANSWER_TIMEOUT))
    }
}

impl Shared {
    /// Looks the name up. There is no timeout of our own: a thread waits as long as the system
    /// resolver does, and holds its permit until then.
    async fn refresh(self: Arc<Self>, name: String) {
        let Ok(_turn) = self.turns.acquire().await else { return };
        let answer: Vec<IpAddr> = match lookup_host((name.as_str(), 0)).await {
            Ok(addresses) => {
                addresses.map(|address| address.ip()).collect::<BTreeSet<_>>().into_iter().collect()
            }
            Err(error) => {
                tracing::debug!(%name, %error, "the name service does not know a machine's name");
                Vec::new()
            }
        };
        if let Some(known) = self.lock().known.get_mut(&name) {
            known.learn(answer, Instant::now());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ResolverCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolverCache {
    fn tidy(&mut self, now: Instant) {
        if now.duration_since(self.pruned_at) >= PRUNE_INTERVAL {
            self.pruned_at = now;
            self.known.retain(|_, known| known.asking || now.duration_since(known.last) < ENTRY_TTL);
        }
    }
}

impl CacheEntry {
    fn new(now: Instant) -> Self {
        Self {
            first: now,
            last: now,
            answered: None,
            asking: false,
            has_answer: watch::channel(false).0,
            seen: Vec::new(),
        }
    }

    fn learn(&mut self, answer: Vec<IpAddr>, now: Instant) {
        self.seen.retain(|(address, _)| !answer.contains(address));
        self.seen.extend(answer.into_iter().map(|address| (address, now)));
        self.seen.retain(|(_, at)| now.duration_since(*at) < ANSWER_TTL);
        (self.answered, self.asking) = (Some(now), false);
        self.has_answer.send_replace(true);
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.seen.iter().map(|(address, _)| *address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_addresses_of_a_name_are_remembered() {
        let names = Resolver::default();
        let found = names.look_up("localhost").await;
        assert!(found.iter().any(IpAddr::is_loopback), "{found:?}");
        assert_eq!(names.look_up("localhost").await, found);
    }

    #[test]
    fn an_address_counts_for_ten_minutes_after_the_last_answer_with_it() {
        let (old, new) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        let mut known = CacheEntry::new(now);
        known.learn(vec![old, new], now);
        known.learn(vec![new], now + Duration::from_mins(5));
        assert_eq!(known.addresses(), [old, new]);
        known.learn(Vec::new(), now + ANSWER_TTL);
        assert_eq!(known.addresses(), [new]);
    }

    /// Regression test: while the name service was down, each reconciliation of a thousand machines took
    /// hours.
    #[tokio::test]
    async fn a_silent_name_service_is_waited_for_once() {
        let names = Resolver::default();
        let taken = names.shared.turns.acquire_many(u32::try_from(MAX_CONCURRENT).unwrap()).await.unwrap();
        let now = Instant::now();
        let long_ago = now.checked_sub(FIRST_ANSWER_TIMEOUT).unwrap();
        names.ask("localhost", long_ago);
        let (_, until) = names.ask("localhost", now).unwrap();
        assert_eq!(until, now, "asked long ago: nobody waits any more");
        assert_eq!(names.look_up("localhost").await, Vec::<IpAddr>::new());
        assert_eq!(names.shared.lock().known.len(), 1);
        drop(taken);
        let mut known = names.shared.lock().known["localhost"].has_answer.subscribe();
        known.wait_for(|known| *known).await.unwrap();
        assert!(names.ask("localhost", Instant::now()).is_none());
    }

    #[tokio::test]
    async fn unused_names_are_forgotten() {
        let names = Resolver::default();
        let now = Instant::now();
        names.shared.lock().known.insert("old.test".into(), CacheEntry::new(now));
        names.ask("localhost", now + ENTRY_TTL);
        assert!(!names.shared.lock().known.contains_key("old.test"));
    }
}
