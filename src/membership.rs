//! Who else is there: every operator process is a runner, and says so with a Lease.
//!
//! The Leases are read rather than watched: they change every few seconds anyway, and a Lease may
//! only be called dead by who has just read it. A watch that hangs looks like runners that died.

mod info;
mod sightings;

pub use info::{Home, HostPorts, RunnerInfo, this_host};

use crate::failure::chain;
use crate::lease::{Claim, Terms};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, Client};
use sightings::Sightings;
use std::collections::BTreeMap;
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
    live: watch::Receiver<Arc<Runners>>,
}

impl Membership {
    /// The runners that are alive as far as this one knows.
    pub fn live(&self) -> Arc<Runners> {
        self.live.borrow().clone()
    }

    /// Returns when a runner has come, gone, or moved.
    pub async fn changed(&mut self) {
        if self.live.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a runner claims to be there.
pub fn claim(namespace: &str, runner: &str, info: &RunnerInfo) -> Claim {
    let (part, of) = PART_LABEL;
    Claim {
        namespace: namespace.to_owned(),
        name: format!("farrier-runner-{runner}"),
        runner: runner.to_owned(),
        labels: BTreeMap::from([(part.to_owned(), of.to_owned())]),
        annotations: BTreeMap::from([(INFO_ANNOTATION.to_owned(), info.to_string())]),
    }
}

/// Reads the Leases of runners again and again.
pub struct Lookout {
    api: Api<Lease>,
    terms: Terms,
    sightings: Sightings,
    live: watch::Sender<Arc<Runners>>,
}

impl Lookout {
    /// A lookout in the operator's namespace, which does nothing yet.
    pub fn new(client: &Client, namespace: &str, terms: Terms) -> (Self, Membership) {
        let (send, live) = watch::channel(Arc::default());
        let api = Api::namespaced(client.clone(), namespace);
        (Self { api, terms, sightings: Sightings::default(), live: send }, Membership { live })
    }

    /// Reads the Leases once.
    ///
    /// # Errors
    /// Those of the API server.
    pub async fn look(&mut self) -> Result<(), kube::Error> {
        let (part, of) = PART_LABEL;
        // Taken before the question: what the answer shows is at least as new.
        let asked = Instant::now();
        let leases = self.api.list(&ListParams::default().labels(&format!("{part}={of}"))).await?.items;
        let live = self.sightings.live(&leases, asked);
        self.live.send_if_modified(|known| {
            let differs = **known != live;
            if differs {
                tell(known, &live);
                *known = Arc::new(live);
            }
            differs
        });
        Ok(())
    }

    /// Reads them for ever.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(self.terms.look_every()).await;
            match tokio::time::timeout(self.terms.look_every(), self.look()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %chain(&error), "the Leases of the runners could not be read; tried again");
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
