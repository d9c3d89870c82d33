//! Counters, gauges and histograms whose names and labels come from the catalogue.
//!
//! Label values are `&'static str`: a value that is known only at run time, such as the name of a
//! machine, cannot become a label, so the number of series stays bounded.

use super::catalogue::{Kind, MetricDescription};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge as PlainGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// The labels of one series.
pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Pairs the label names of a metric with values.
pub(super) fn labels<const N: usize>(
    names: &'static [&'static str; N],
    values: [&'static str; N],
) -> Labels<N> {
    let mut values = values.into_iter();
    names.map(|name| (name, values.next().unwrap_or_default()))
}

/// A counter for each combination of values.
#[derive(Clone, Debug)]
pub struct Counters<const N: usize> {
    names: &'static [&'static str; N],
    family: Family<Labels<N>, Counter>,
}

impl<const N: usize> Counters<N> {
    pub(super) fn register(registry: &mut Registry, described: &MetricDescription<N>) -> Self {
        debug_assert_eq!(described.kind, Kind::Counter, "{}", described.name);
        let family = Family::default();
        // The encoder appends the suffix again.
        let name = described.name.trim_end_matches("_total");
        registry.register(name, help(described.help), family.clone());
        Self { names: described.labels, family }
    }

    /// Adds one.
    pub fn count(&self, values: [&'static str; N]) {
        self.add(values, 1);
    }

    /// Adds `by`.
    pub fn add(&self, values: [&'static str; N], by: u64) {
        self.family.get_or_create(&labels(self.names, values)).inc_by(by);
    }

    /// Returns the current count.
    pub fn get(&self, values: [&'static str; N]) -> u64 {
        self.family.get(&labels(self.names, values)).map_or(0, |counter| counter.get())
    }
}

/// A number that increases and decreases.
#[derive(Clone, Debug, Default)]
pub struct Gauge(PlainGauge);

impl Gauge {
    pub(super) fn register(registry: &mut Registry, described: &MetricDescription<0>) -> Self {
        debug_assert_eq!(described.kind, Kind::Gauge, "{}", described.name);
        let gauge = Self::default();
        registry.register(described.name, help(described.help), gauge.0.clone());
        gauge
    }

    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.set(value);
    }

    /// Returns the value.
    pub fn get(&self) -> i64 {
        self.0.get()
    }

    /// Increments the gauge until the returned guard is dropped.
    #[must_use = "the gauge goes down again when this is dropped"]
    pub fn hold(&self) -> GaugeGuard {
        self.0.inc();
        GaugeGuard(self.0.clone())
    }
}

/// Keeps a gauge incremented while it lives.
#[derive(Debug)]
pub struct GaugeGuard(PlainGauge);

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A histogram for each combination of values.
#[derive(Clone, Debug)]
pub struct Histograms<const N: usize> {
    names: &'static [&'static str; N],
    family: Family<Labels<N>, Histogram, Buckets>,
}

/// Upper bounds in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets(pub(super) &'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

impl<const N: usize> Histograms<N> {
    pub(super) fn register(
        registry: &mut Registry,
        described: &MetricDescription<N>,
        buckets: Buckets,
    ) -> Self {
        debug_assert_eq!(described.kind, Kind::Histogram, "{}", described.name);
        let family = Family::new_with_constructor(buckets);
        registry.register(described.name, help(described.help), family.clone());
        Self { names: described.labels, family }
    }

    /// Records an observation.
    pub fn observe(&self, values: [&'static str; N], took: Duration) {
        self.family.get_or_create(&labels(self.names, values)).observe(took.as_secs_f64());
    }
}

/// Removes the trailing full stop, because the library appends its own.
fn help(text: &'static str) -> &'static str {
    text.trim_end_matches('.')
}
