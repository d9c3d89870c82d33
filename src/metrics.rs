//! Prometheus metrics of the operator.
//!
//! One [`Metrics`] is created at startup and passed to each component that counts; there is no global
//! state. Metrics about objects are computed from the caches at scrape time (`fleet_metrics`), so that
//! they agree with the objects' statuses.

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

/// Buckets for work on machines: from a short check to an installer that runs for hours.
const WORK: Buckets =
    Buckets(&[1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0]);

/// Buckets for requests: from a local response to an overloaded server.
const ANSWER: Buckets = Buckets(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);

/// Buckets for decisions: from a run of ten machines to one of a hundred thousand.
const DECISION: Buckets =
    Buckets(&[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0]);

/// The metrics of all components. Clones share the same counters.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    /// NodeUpdates that ended, by result and reason.
    pub node_updates_ended: Counters<3>,
    /// NodeUpdates that were handed over to another runner.
    pub hand_overs: Counters<0>,
    /// Attempts that ended, by result and reason.
    pub attempts: Counters<2>,
    /// Duration of attempts, by result.
    pub attempt_duration: Histograms<1>,
    /// Time from the creation of a NodeUpdate to its first attempt.
    pub first_attempt_delay: Histograms<0>,
    /// Attempts in progress.
    pub sessions: Gauge,
    /// SSH connections, by result.
    pub ssh_connects: Counters<1>,
    /// Engine deployments, by result.
    pub engine_deploys: Counters<1>,
    /// Clean-up checks after the work, by result.
    pub clean_ups: Counters<1>,
    /// Payload lookups, by result.
    pub payload_lookups: Counters<1>,
    /// Payload bytes fetched from sources.
    pub payload_fetched: Counters<0>,
    /// Payload bytes served to engines.
    pub payload_served: Counters<0>,
    /// Bytes of machines' logs that were received and kept.
    pub log_bytes: Counters<0>,
    /// Bytes of machines' logs that were received and not kept.
    pub log_dropped: Counters<0>,
    /// Reconciliations of runs, by result.
    pub reconciles: Counters<1>,
    /// Duration of reconciliations.
    pub reconcile_duration: Histograms<0>,
    /// Duration of decisions.
    pub decision_duration: Histograms<0>,
    /// Requests to the API server, by verb, resource and result.
    pub api_requests: Counters<3>,
    /// Duration of requests to the API server, by verb.
    pub api_request_duration: Histograms<1>,
    /// Interrupted watches, by kind.
    pub watch_interruptions: Counters<1>,
    /// Objects that were skipped because they could not be parsed, by kind.
    pub objects_unreadable: Counters<1>,
    /// Events, by result.
    pub events: Counters<1>,
    /// 1 while this replica is the leader.
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
    /// Creates and registers all metrics, with no observations.
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
            log_bytes: Counters::register(&mut r, &c::LOG_BYTES),
            log_dropped: Counters::register(&mut r, &c::LOG_DROPPED),
            reconciles: Counters::register(&mut r, &c::RECONCILES),
            reconcile_duration: Histograms::register(&mut r, &c::RECONCILE_DURATION, ANSWER),
            decision_duration: Histograms::register(&mut r, &c::DECISION_DURATION, DECISION),
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

    /// Creates series that alerts use with the value zero: Prometheus sees an increase to one only if
    /// it scraped a zero before.
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
            self.node_updates_ended.add(["user", result, reason.as_str()], 0);
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

    /// Registers a collector, which is called at each scrape.
    pub fn collect(&self, collector: impl Collector) {
        self.lock().register_collector(Box::new(collector));
    }

    /// Registers a gauge whose values are computed at each scrape.
    pub fn watch<const N: usize>(
        &self,
        described: &'static c::MetricDescription<N>,
        values: impl Fn() -> Vec<([&'static str; N], f64)> + Send + Sync + 'static,
    ) {
        self.collect(process::Watched { described, values });
    }

    /// Encodes all metrics in the text format of `OpenMetrics`.
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

/// Returns the value of the label `result`: `good` on success, the reason on failure.
pub fn result_of<T>(result: &Result<T, Failure>, good: &'static str) -> &'static str {
    match result {
        Ok(_) => good,
        Err(failure) => failure.reason.as_str(),
    }
}
