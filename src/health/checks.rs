//! The checks of `/readyz`: the dependencies of the work.

use super::Report;
use crate::caches::UnsyncedKinds;
use crate::engines::Engines;
use crate::heartbeat::LastContact;
use crate::metrics::{Metrics, catalogue};
use crate::payload::Store;
use kube::Client;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The API server counts as reachable this long after an answer: several renewals of a Lease.
const REACHED_FOR: Duration = Duration::from_secs(45);

/// After this long without a request, the API server is asked for its version.
const ASK_AFTER: Duration = Duration::from_secs(15);

/// Timeout of that request.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Minimum interval of write tests of the payload directory, however often it is probed.
const TRY_STORE_INTERVAL: Duration = Duration::from_secs(10);

/// The results of the checks and what they need.
#[derive(Clone)]
pub struct Readiness {
    inner: Arc<Inner>,
}

struct Inner {
    contact: LastContact,
    engines: Engines,
    store: Store,
    /// Empty until the watches are started.
    unsynced: OnceLock<UnsyncedKinds>,
    tried: tokio::sync::Mutex<Option<(Instant, Result<String, String>)>>,
    /// The last results, for the metric.
    last: Mutex<Vec<(&'static str, bool)>>,
}

impl Readiness {
    /// Creates the checks before any cache is filled.
    pub fn new(contact: LastContact, engines: Engines, store: Store) -> Self {
        let inner = Inner {
            contact,
            engines,
            store,
            unsynced: OnceLock::new(),
            tried: tokio::sync::Mutex::default(),
            last: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Sets the caches, which are being filled from now on.
    pub fn watching(&self, unsynced: &UnsyncedKinds) {
        // Set once, at the start; a second call would set the same value.
        self.inner.unsynced.set(unsynced.clone()).ok();
    }

    /// Returns one line for each check, and whether all of them pass.
    pub async fn report(&self) -> Report {
        let checks = [
            ("api-server", self.api_server()),
            ("caches", self.caches()),
            ("engines", Ok(format!("for {}", self.inner.engines.architectures().join(", ")))),
            ("payload-store", self.payload_store().await),
        ];
        let mut report = Report::new("readyz");
        for (name, verdict) in &checks {
            report.line(name, verdict);
        }
        *self.lock() = checks.iter().map(|(name, verdict)| (*name, verdict.is_ok())).collect();
        report
    }

    fn api_server(&self) -> Result<String, String> {
        let age = self.inner.contact.age();
        let (seconds, limit) = (age.as_secs(), REACHED_FOR.as_secs());
        if age <= REACHED_FOR {
            Ok(format!("answered {seconds} s ago"))
        } else {
            Err(format!(
                "it has not answered for {seconds} s, the limit is {limit} s; check the API server and the network policies of the operator"
            ))
        }
    }

    fn caches(&self) -> Result<String, String> {
        let unsynced = self.inner.unsynced.get().ok_or("no watch has started yet")?.kinds();
        if unsynced.is_empty() {
            Ok("filled".to_owned())
        } else {
            Err(format!("not synced yet: {}; check the rights of the operator", unsynced.join(", ")))
        }
    }

    async fn payload_store(&self) -> Result<String, String> {
        let mut tried = self.inner.tried.lock().await;
        if let Some((when, verdict)) = &*tried
            && when.elapsed() < TRY_STORE_INTERVAL
        {
            return verdict.clone();
        }
        let store = &self.inner.store;
        let dir = store.dir().display();
        let verdict = match store.try_write().await {
            Ok(()) => Ok(format!("{dir} can be written")),
            Err(error) => {
                Err(format!("{dir} cannot be written: {error}; make room or correct its permissions"))
            }
        };
        *tried = Some((Instant::now(), verdict.clone()));
        verdict
    }

    /// Keeps the results current: sends a request to the API server if nothing else does, and runs
    /// all checks even without probes, so that the metric is correct.
    pub async fn keep(self, client: Client) -> std::convert::Infallible {
        loop {
            if self.inner.contact.age() >= ASK_AFTER {
                let asked = tokio::time::timeout(ANSWER_LIMIT, client.apiserver_version()).await;
                if !matches!(asked, Ok(Ok(_))) {
                    tracing::debug!("the API server does not answer");
                }
            }
            let was_good = self.lock().iter().map(|(_, good)| *good).reduce(|a, b| a && b);
            let report = self.report().await;
            if was_good == Some(true) && !report.good {
                tracing::warn!(checks = %report.into_text().trim().replace('\n', "; "), "no longer ready");
            }
            // sleep: this is the interval of the heartbeat.
            tokio::time::sleep(crate::heartbeat::HEARTBEAT_INTERVAL).await;
        }
    }

    /// Exports the results as a metric.
    pub fn measure(&self, metrics: &Metrics) {
        let readiness = self.clone();
        metrics.watch(&catalogue::READY, move || {
            readiness.lock().iter().map(|(name, good)| ([*name], f64::from(u8::from(*good)))).collect()
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(&'static str, bool)>> {
        self.inner.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
