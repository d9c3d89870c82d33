//! Membership: every operator process is a runner and reports its liveness with a Lease.
//!
//! The Leases are read rather than watched: they change every few seconds anyway, and only a
//! process that has just read a Lease may consider it expired. A watch that hangs would look like
//! runners that died.

mod act;
mod info;
mod liveness;

pub use info::{HostPorts, RunnerInfo, RunnerLocation, this_host};

use crate::failure::chain;
use crate::lease::{Hold, LeaseConfig, LeaseDurations};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, Client};
use liveness::LivenessTracker;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

/// The label of the runners' Leases.
const PART_LABEL: (&str, &str) = ("farrier.dev/part", "runner");

/// The annotation of a runner's Lease with its [`RunnerInfo`] as JSON.
const INFO_ANNOTATION: &str = "farrier.dev/runner";

/// All live runners, by name.
pub type Runners = BTreeMap<String, RunnerInfo>;

/// The live runners, this one included.
#[derive(Debug, Clone)]
pub struct Membership {
    known: watch::Receiver<Snapshot>,
}

/// The observed state of the runners.
#[derive(Debug, Clone, Default, PartialEq)]
struct Snapshot {
    live: Arc<Runners>,
    unconfirmed: BTreeSet<String>,
}

impl Membership {
    /// Returns the runners that are alive as far as this process knows.
    pub fn live(&self) -> Arc<Runners> {
        self.known.borrow().live.clone()
    }

    /// Reports whether a runner is neither alive nor unconfirmed: other runners take over its work.
    pub fn is_gone(&self, runner: &str) -> bool {
        let known = self.known.borrow();
        !known.live.contains_key(runner) && !known.unconfirmed.contains(runner)
    }

    /// Waits until a runner has appeared, disappeared, or moved.
    pub async fn changed(&mut self) {
        if self.known.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Returns the configuration of a runner's Lease.
pub fn claim(namespace: &str, runner: &str, info: &RunnerInfo) -> LeaseConfig {
    let (part, of) = PART_LABEL;
    LeaseConfig {
        namespace: namespace.to_owned(),
        name: format!("farrier-runner-{runner}"),
        runner: runner.to_owned(),
        labels: BTreeMap::from([(part.to_owned(), of.to_owned())]),
        annotations: BTreeMap::from([(INFO_ANNOTATION.to_owned(), info.to_string())]),
    }
}

/// Reads the Leases of the runners periodically.
pub struct MembershipWatcher {
    api: Api<Lease>,
    terms: LeaseDurations,
    tracker: LivenessTracker,
    known: watch::Sender<Snapshot>,
}

impl MembershipWatcher {
    /// Creates a watcher in the operator's namespace that does nothing yet.
    pub fn new(client: &Client, namespace: &str, terms: LeaseDurations) -> (Self, Membership) {
        let (send, known) = watch::channel(Snapshot::default());
        let api = Api::namespaced(client.clone(), namespace);
        (Self { api, terms, tracker: LivenessTracker::default(), known: send }, Membership { known })
    }

    /// Reads the Leases once, and returns those of runners that were killed.
    ///
    /// # Errors
    /// Errors of the API server.
    pub async fn look(&mut self) -> Result<Vec<Lease>, kube::Error> {
        let (part, of) = PART_LABEL;
        // Taken before the request: the state in the answer is at least as new.
        let asked = Instant::now();
        let leases = self.api.list(&ListParams::default().labels(&format!("{part}={of}"))).await?.items;
        let liveness = self.tracker.look(&leases, asked, jiff::Timestamp::now());
        let dead = liveness.dead.into_iter().cloned().collect();
        let now = Snapshot { live: Arc::new(liveness.live), unconfirmed: liveness.unconfirmed };
        self.known.send_if_modified(|known| {
            let differs = *known != now;
            if differs {
                tell(&known.live, &now.live);
                *known = now;
            }
            differs
        });
        Ok(dead)
    }

    /// Reads the Leases for ever. The leader deletes those of killed runners.
    pub async fn run(mut self, leads: Hold) {
        let every = self.terms.look_every();
        loop {
            // sleep: this is the interval of the renewals.
            tokio::time::sleep(every).await;
            let work = async {
                let dead = self.look().await?;
                if leads.is_held() { act::remove(&self.api, &dead).await } else { Ok(()) }
            };
            match tokio::time::timeout(every, work).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %chain(&error), "the Leases of the runners could not be read, or left over ones not deleted; it is retried");
                }
                Err(_) => {
                    tracing::warn!("the Leases of the runners could not be read in time; it is retried");
                }
            }
        }
    }
}

fn tell(before: &Runners, now: &Runners) {
    for name in now.keys().filter(|name| !before.contains_key(*name)) {
        tracing::info!(runner = %name, "a runner is there");
    }
    for name in before.keys().filter(|name| !now.contains_key(*name)) {
        tracing::warn!(runner = %name, "a runner is gone");
    }
}
