//! What others see of the operator: its metrics, its health, its HTTP endpoint.

use crate::caches::Watches;
use crate::callback::{CallbackCollector, Counters};
use crate::engines::Engines;
use crate::fleet_metrics::Fleet;
use crate::health::{Loops, Readiness};
use crate::heartbeat::{Heartbeat, LastContact};
use crate::http::{self, Endpoint};
use crate::metrics::Metrics;
use crate::metrics::api_calls::ApiCalls;
use crate::payload::Store;
use anyhow::Context as _;
use kube::Client;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The controller's loop makes requests, and a run of ten thousand machines takes a minute of
/// them. One that hangs this long hangs for good.
const CONTROLLER_LIMIT: Duration = Duration::from_mins(5);

/// The runner's loop only hands out work.
const RUNNER_LIMIT: Duration = Duration::from_mins(1);

/// Everything that is measured and asked for.
pub(super) struct Instruments {
    /// What is counted.
    pub(super) metrics: Metrics,
    loops: Loops,
    readiness: Readiness,
    contact: LastContact,
}

impl Instruments {
    /// Begins to answer on the HTTP endpoint, before anything else can take its time.
    pub(super) async fn start(
        metrics: Metrics,
        address: Option<SocketAddr>,
        engines: &Engines,
        store: &Store,
    ) -> anyhow::Result<Self> {
        let loops = Loops::default();
        let contact = LastContact::default();
        let readiness = Readiness::new(contact.clone(), engines.clone(), store.clone());
        loops.measure(&metrics);
        readiness.measure(&metrics);
        let bound = http::bind(address).await.with_context(|| {
            let address = address.unwrap_or(http::DEFAULT_ADDRESS);
            format!("failed to serve health and metrics on {address}; end what listens there, or name another address with --http-addr")
        })?;
        if let Some(listener) = bound {
            let address =
                listener.local_addr().context("failed to learn the address of the HTTP endpoint")?;
            tracing::info!(%address, "health and metrics are served");
            let endpoint =
                Endpoint { metrics: metrics.clone(), loops: loops.clone(), readiness: readiness.clone() };
            tokio::spawn(endpoint.serve(listener));
        }
        Ok(Self { metrics, loops, readiness, contact })
    }

    /// Counters that all callback servers of this process share, exported as metrics.
    pub(super) fn callback_counters(&self) -> Arc<Counters> {
        let counters = Arc::<Counters>::default();
        self.metrics.collect(CallbackCollector(counters.clone()));
        counters
    }

    /// What counts the requests of a client.
    pub(super) fn api_calls(&self) -> ApiCalls {
        ApiCalls { metrics: self.metrics.clone(), contact: self.contact.clone() }
    }

    /// The caches are being filled from now on.
    pub(super) fn watching(&self, client: &Client, watches: &Watches) {
        self.readiness.watching(watches.unsynced());
        self.metrics.collect(Fleet { caches: watches.caches().clone(), leader: self.metrics.leader.clone() });
        tokio::spawn(self.readiness.clone().keep(client.clone()));
    }

    /// The controller's sign of life.
    pub(super) fn controller(&self) -> Heartbeat {
        self.loops.begin("controller", CONTROLLER_LIMIT)
    }

    /// The runner's sign of life.
    pub(super) fn runner(&self) -> Heartbeat {
        self.loops.begin("runner", RUNNER_LIMIT)
    }
}
