//! What the operator counts and measures, for Prometheus.
//!
//! One [`Metrics`] is made at the start and handed to whoever counts; there is nothing global.
//! Numbers about objects are worked out from the caches when they are asked for (`fleet_metrics`), so
//! that they agree with what the objects' statuses say.

pub mod api_calls;
pub mod catalogue;
mod instrument;
mod process;
#[cfg(test)]
mod tests;

pub use instrument::{Counters, Gauge, GaugeGuard, Histograms};
pub(crate) use process::{counter, gauge, number};

use crate::failure::Failure;
use catalogue as c;
use farrier_update::Reason;
use instrument::Buckets;
use prometheus_client::collector::Collector;
use prometheus_client::registry::Registry;
use std::sync::{Arc, Mutex, PoisonError};

/// From a quick look to an installer that takes hours.
const WORK: Buckets =
    Buckets(&[1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0]);

/// From a local answer to a server in trouble.
const ANSWER: Buckets = Buckets(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);

/// What the parts of the operator count. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    /// Machines in runs that ended: result and reason.
    pub node_updates_ended: Counters<2>,
    /// Handed to another runner.
    pub hand_overs: Counters<0>,
    /// Attempts that ended: result and reason.
    pub attempts: Counters<2>,
    /// How long they took: result.
    pub attempt_duration: Histograms<1>,
    /// From creation to the first attempt.
    pub first_attempt_delay: Histograms<0>,
    /// Attempts under way.
    pub sessions: Gauge,
    /// SSH connections: result.
    pub ssh_connects: Counters<1>,
    /// Engines brought: result.
    pub engine_deploys: Counters<1>,
    /// Looks after the work: result.
    pub clean_ups: Counters<1>,
    /// Payloads asked for: result.
    pub payload_lookups: Counters<1>,
    /// Bytes fetched.
    pub payload_fetched: Counters<0>,
    /// Bytes handed to engines.
    pub payload_served: Counters<0>,
    /// Decisions: result.
    pub reconciles: Counters<1>,
    /// How long they took.
    pub reconcile_duration: Histograms<0>,
    /// Requests to the API server: verb, resource, result.
    pub api_requests: Counters<3>,
    /// How long they took: verb.
    pub api_request_duration: Histograms<1>,
    /// Watches interrupted: kind.
    pub watch_interruptions: Counters<1>,
    /// Objects left out: kind.
    pub objects_unreadable: Counters<1>,
    /// Events: result.
    pub events: Counters<1>,
    /// Whether this replica decides.
    pub leader: Gauge,
    /// Runners with a fresh Lease.
    pub runners_live: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let mut r = Registry::default();
        let metrics = Self {
            registry: Arc::default(),
            node_updates_ended: Counters::register(&mut r, &c::NODE_UPDATES_ENDED),
            hand_overs: Counters::register(&mut r, &c::HAND_OVERS),
            attempts: Counters::register(&mut r, &c::ATTEMPTS),
            attempt_duration: Histograms::register(&mut r, &c::ATTEMPT_DURATION, WORK),
            first_attempt_delay: Histograms::register(&mut r, &c::FIRST_ATTEMPT_DELAY, ANSWER),
            sessions: Gauge::register(&mut r, &c::SESSIONS),
            ssh_connects: Counters::register(&mut r, &c::SSH_CONNECTS),
            engine_deploys: Counters::register(&mut r, &c::ENGINE_DEPLOYS),
            clean_ups: Counters::register(&mut r, &c::CLEAN_UPS),
            payload_lookups: Counters::register(&mut r, &c::PAYLOAD_LOOKUPS),
            payload_fetched: Counters::register(&mut r, &c::PAYLOAD_FETCHED),
            payload_served: Counters::register(&mut r, &c::PAYLOAD_SERVED),
            reconciles: Counters::register(&mut r, &c::RECONCILES),
            reconcile_duration: Histograms::register(&mut r, &c::RECONCILE_DURATION, ANSWER),
            api_requests: Counters::register(&mut r, &c::API_REQUESTS),
            api_request_duration: Histograms::register(&mut r, &c::API_REQUEST_DURATION, ANSWER),
            watch_interruptions: Counters::register(&mut r, &c::WATCH_INTERRUPTIONS),
            objects_unreadable: Counters::register(&mut r, &c::OBJECTS_UNREADABLE),
            events: Counters::register(&mut r, &c::EVENTS),
            leader: Gauge::register(&mut r, &c::LEADER),
            runners_live: Gauge::register(&mut r, &c::RUNNERS_LIVE),
        };
        r.register_collector(Box::new(process::Process::default()));
        metrics.begin_at_zero();
        *metrics.lock() = r;
        metrics
    }

    /// Series that alerts ask for: an increase from nothing to one is seen only where there was a
    /// zero before.
    fn begin_at_zero(&self) {
        let name = Reason::as_str;
        for reason in [Reason::HostKeyChanged, Reason::HostKeyUnknown] {
            self.ssh_connects.add([name(reason)], 0);
        }
        for reason in [Reason::NothingLeftBehind, Reason::Leftovers, Reason::CleanupFailed] {
            self.clean_ups.add([name(reason)], 0);
        }
        for reason in Reason::ALL {
            let result = if reason.unreachable() { "unreachable" } else { "failed" };
            self.node_updates_ended.add([result, reason.as_str()], 0);
        }
        for result in ["hit", "fetched", "failed"] {
            self.payload_lookups.add([result], 0);
        }
        for result in ["ok", "conflict", "error"] {
            self.reconciles.add([result], 0);
        }
        for kind in ["ManagedNode", "Baseline", "UpdateRun", "NodeUpdate"] {
            self.objects_unreadable.add([kind], 0);
            self.watch_interruptions.add([kind], 0);
        }
    }

    /// Has somebody else's numbers served too; they are asked for at each scrape.
    pub fn collect(&self, collector: impl Collector) {
        self.lock().register_collector(Box::new(collector));
    }

    /// Has a gauge served that is worked out at each scrape.
    pub fn watch<const N: usize>(
        &self,
        described: &'static c::MetricDescription<N>,
        values: impl Fn() -> Vec<([&'static str; N], f64)> + Send + Sync + 'static,
    ) {
        self.collect(process::Watched { described, values });
    }

    /// Everything in the text format of `OpenMetrics`.
    ///
    /// # Errors
    /// None in practice: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.lock())?;
        Ok(text)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value of a label `result` for something that has a reason when it fails.
pub fn result_of<T>(result: &Result<T, Failure>, good: &'static str) -> &'static str {
    match result {
        Ok(_) => good,
        Err(failure) => failure.reason.as_str(),
    }
}
