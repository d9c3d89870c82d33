//! The addresses of machines, names among them.
//!
//! A policy and the callback server's door know addresses only. Names are looked up once in a
//! while; what a name has meant lately still counts, because the machine may call from there.

use crate::api::ManagedNode;
use farrier_network::cidr;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::lookup_host;

/// How long an answer of the name service is used.
const FRESH: Duration = Duration::from_secs(30);

/// How long an address counts after the name service has last given it.
const REMEMBERED: Duration = Duration::from_mins(10);

/// How long the name service may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Looks names up and remembers the answers.
#[derive(Debug, Default)]
pub struct Names {
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Default, Clone)]
struct Known {
    asked: Option<Instant>,
    seen: Vec<(IpAddr, Instant)>,
}

impl Names {
    /// Every address that a machine's owner has written down, and those that its names mean.
    pub async fn of(&self, node: &ManagedNode) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for text in &node.spec.addresses {
            match cidr::parse(text) {
                Some(address) => found.push(address),
                None => found.extend(self.look_up(text).await),
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// What a name means, or meant lately. Empty where the name service does not know it.
    pub async fn look_up(&self, name: &str) -> Vec<IpAddr> {
        let known = self.lock().get(name).cloned().unwrap_or_default();
        if known.asked.is_some_and(|at| at.elapsed() < FRESH) {
            return known.addresses();
        }
        let answer = tokio::time::timeout(LIMIT, lookup_host((name, 0))).await;
        let now = Instant::now();
        let mut seen = known.seen;
        if let Ok(Ok(addresses)) = answer {
            for address in addresses.map(|a| a.ip()) {
                seen.retain(|(other, _)| *other != address);
                seen.push((address, now));
            }
        }
        seen.retain(|(_, at)| at.elapsed() < REMEMBERED);
        let known = Known { asked: Some(now), seen };
        let addresses = known.addresses();
        self.lock().insert(name.to_owned(), known);
        addresses
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn addresses(&self) -> Vec<IpAddr> {
        self.seen.iter().map(|(address, _)| *address).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_name_meant_is_remembered() {
        let names = Names::default();
        let found = names.look_up("localhost").await;
        assert!(found.iter().any(IpAddr::is_loopback), "{found:?}");
        assert_eq!(names.look_up("localhost").await, found);
    }
}
