//! Who else is there: every operator process is a runner, and says so with a Lease.
//!
//! The Leases are read rather than watched: they change every few seconds anyway, and a Lease may
//! only be called dead by who has just read it. A watch that hangs looks like runners that died.

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

/// Marks the Leases of runners.
const PART_LABEL: (&str, &str) = ("farrier.dev/part", "runner");

/// Where a runner's Lease says what it is: a [`RunnerInfo`] as JSON.
const INFO_ANNOTATION: &str = "farrier.dev/runner";

/// Every live runner, by name.
pub type Runners = BTreeMap<String, RunnerInfo>;

/// The live runners, this one among them.
#[derive(Debug, Clone)]
pub struct Membership {
    known: watch::Receiver<Snapshot>,
}

/// What was seen of the runners.
#[derive(Debug, Clone, Default, PartialEq)]
struct Snapshot {
    live: Arc<Runners>,
    unconfirmed: BTreeSet<String>,
}

impl Membership {
    /// The runners that are alive as far as this one knows.
    pub fn live(&self) -> Arc<Runners> {
        self.known.borrow().live.clone()
    }

    /// Whether a runner is neither alive nor one of whom that is still to be seen: its work is for
    /// others.
    pub fn is_gone(&self, runner: &str) -> bool {
        let known = self.known.borrow();
        !known.live.contains_key(runner) && !known.unconfirmed.contains(runner)
    }

    /// Returns when a runner has come, gone, or moved.
    pub async fn changed(&mut self) {
        if self.known.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a runner claims to be there.
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

/// Reads the Leases of runners again and again.
pub struct MembershipWatcher {
    api: Api<Lease>,
    terms: LeaseDurations,
    tracker: LivenessTracker,
    known: watch::Sender<Snapshot>,
}

impl MembershipWatcher {
    /// A lookout in the operator's namespace, which does nothing yet.
    pub fn new(client: &Client, namespace: &str, terms: LeaseDurations) -> (Self, Membership) {
        let (send, known) = watch::channel(Snapshot::default());
        let api = Api::namespaced(client.clone(), namespace);
        (Self { api, terms, tracker: LivenessTracker::default(), known: send }, Membership { known })
    }

    /// Reads the Leases once, and returns those that are left over from runners that were killed.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn look(&mut self) -> Result<Vec<Lease>, kube::Error> {
        let (part, of) = PART_LABEL;
        // Taken before the question: what the answer shows is at least as new.
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

    /// Reads them for ever. Who leads takes away what is left over.
    pub async fn run(mut self, leads: Hold) {
        let every = self.terms.look_every();
        loop {
            tokio::time::sleep(every).await;
            let work = async {
                let dead = self.look().await?;
                if leads.is_held() { act::remove(&self.api, &dead).await } else { Ok(()) }
            };
            match tokio::time::timeout(every, work).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %chain(&error), "the Leases of the runners could not be read, or left over ones not deleted; tried again");
                }
                Err(_) => tracing::warn!("the Leases of the runners could not be read in time; tried again"),
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
