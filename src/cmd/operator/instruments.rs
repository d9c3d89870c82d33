//! The observable side of the operator: its metrics, its health and its HTTP endpoint.

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

/// Liveness limit of the controller's loop. The loop makes requests, which take a minute for a run of
/// ten thousand machines. A loop that hangs for this long does not recover.
const CONTROLLER_LIMIT: Duration = Duration::from_mins(5);

/// Liveness limit of the runner's loop, which only hands out work.
const RUNNER_LIMIT: Duration = Duration::from_mins(1);

/// Metrics, health and readiness of this process.
pub(super) struct Instruments {
    /// The metrics.
    pub(super) metrics: Metrics,
    loops: Loops,
    readiness: Readiness,
    contact: LastContact,
}

impl Instruments {
    /// Starts the HTTP endpoint, before any step of the startup that can take long.
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

    /// Returns the counters that all callback servers of this process share, exported as metrics.
    pub(super) fn callback_counters(&self) -> Arc<Counters> {
        let counters = Arc::<Counters>::default();
        self.metrics.collect(CallbackCollector(counters.clone()));
        counters
    }

    /// Returns the layer that counts the requests of a client.
    pub(super) fn api_calls(&self) -> ApiCalls {
        ApiCalls { metrics: self.metrics.clone(), contact: self.contact.clone() }
    }

    /// Reports the caches in the readiness and the metrics from now on.
    pub(super) fn watching(&self, client: &Client, watches: &Watches) {
        self.readiness.watching(watches.unsynced());
        self.metrics.collect(Fleet { caches: watches.caches().clone(), leader: self.metrics.leader.clone() });
        tokio::spawn(self.readiness.clone().keep(client.clone()));
    }

    /// Registers the heartbeat of the controller.
    pub(super) fn controller(&self) -> Heartbeat {
        self.loops.begin("controller", CONTROLLER_LIMIT)
    }

    /// Registers the heartbeat of the runner.
    pub(super) fn runner(&self) -> Heartbeat {
        self.loops.begin("runner", RUNNER_LIMIT)
    }
}
