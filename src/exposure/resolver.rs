//! The addresses of machines, names among them.
//!
//! A policy and the callback server's door know addresses only. Names are looked up once in a
//! while; what a name has meant lately still counts, because the machine may call from there.
//! Nobody who decides waits for the name service, but for a moment when a name is new.

use crate::api::ManagedNode;
use farrier_network::cidr;
use futures::future::join_all;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::lookup_host;
use tokio::sync::{Semaphore, watch};

/// How long an answer of the name service is used before it is asked again.
const REFRESH_AFTER: Duration = Duration::from_secs(30);

/// How long an address counts after the name service has last given it.
const ANSWER_TTL: Duration = Duration::from_mins(10);

/// How long the first answer is waited for.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a name is known that nobody asks for.
const ENTRY_TTL: Duration = Duration::from_hours(1);

/// How often it is looked for such names.
const PRUNE_INTERVAL: Duration = Duration::from_mins(1);

/// How many names are looked up at once. Each takes a thread while the name service is silent.
const MAX_CONCURRENT: usize = 32;

/// Looks names up and remembers the answers.
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
    /// When somebody has asked for it first, and last.
    first: Instant,
    last: Instant,
    /// When the name service has answered, or failed to; `None`: not yet.
    answered: Option<Instant>,
    /// The name service is being asked.
    asking: bool,
    /// Becomes true with the first answer.
    has_answer: watch::Sender<bool>,
    /// What it means or meant, and when that was said.
    seen: Vec<(IpAddr, Instant)>,
}

impl Default for Resolver {
    fn default() -> Self {
        let cache = ResolverCache { known: HashMap::new(), pruned_at: Instant::now() };
        Self { shared: Arc::new(Shared { cache: Mutex::new(cache), turns: Semaphore::new(MAX_CONCURRENT) }) }
    }
}

impl Resolver {
    /// Every address that a machine's owner has written down, and those that its names mean. Takes
    /// 2 s at most.
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

    /// What a name means, or meant lately. Empty where the name service does not know it, or has
    /// not answered yet. Takes 2 s at most, and nothing once the name is known.
    pub async fn look_up(&self, name: &str) -> Vec<IpAddr> {
        if let Some((mut known, until)) = self.ask(name, Instant::now()) {
            tokio::time::timeout_at(until.into(), known.wait_for(|known| *known)).await.ok();
        }
        self.shared.lock().known.get(name).map(CacheEntry::addresses).unwrap_or_default()
    }

    /// Sees to it that the name service is asked, unless it was lately. Returns what to wait for if
    /// there was no answer yet, and until when.
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
    /// Asks the name service. Without a limit of ours: a thread waits for the answer as long as the
    /// system says, and has its turn until then.
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
    async fn what_a_name_meant_is_remembered() {
        let names = Resolver::default();
        let found = names.look_up("localhost").await;
        assert!(found.iter().any(IpAddr::is_loopback), "{found:?}");
        assert_eq!(names.look_up("localhost").await, found);
    }

    #[test]
    fn an_address_counts_for_ten_minutes_after_it_was_last_given() {
        let (old, new) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        let mut known = CacheEntry::new(now);
        known.learn(vec![old, new], now);
        known.learn(vec![new], now + Duration::from_mins(5));
        assert_eq!(known.addresses(), [old, new]);
        known.learn(Vec::new(), now + ANSWER_TTL);
        assert_eq!(known.addresses(), [new]);
    }

    /// With a name service that is away, every decision about a thousand machines took hours.
    #[tokio::test]
    async fn a_name_service_that_is_silent_is_waited_for_once() {
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
    async fn names_that_nobody_asks_for_are_forgotten() {
        let names = Resolver::default();
        let now = Instant::now();
        names.shared.lock().known.insert("old.test".into(), CacheEntry::new(now));
        names.ask("localhost", now + ENTRY_TTL);
        assert!(!names.shared.lock().known.contains_key("old.test"));
    }
}
