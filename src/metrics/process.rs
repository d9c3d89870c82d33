//! Resource usage of the process, from `/proc/self`.
//!
//! A value that cannot be read is omitted: a missing series is clearer than a zero.

use super::catalogue::{self as c, Kind, MetricDescription};
use super::instrument::labels;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::fs::read_to_string;

/// Clock ticks per second in `/proc/self/stat`: `USER_HZ`, which Linux fixes at 100 on all
/// architectures that Farrier is built for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Collects the metrics of the process at each scrape.
#[derive(Debug, Default)]
pub(super) struct Process {}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        gauge(&mut encoder, &c::BUILD_INFO, [([env!("CARGO_PKG_VERSION")], 1.0)])?;
        let stat = read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(seconds) = cpu_seconds(&stat) {
            counter(&mut encoder, &c::PROCESS_CPU, [([], seconds)])?;
        }
        let started = started(&stat, &read_to_string("/proc/stat").unwrap_or_default());
        let memory = memory_bytes(&read_to_string("/proc/self/status").unwrap_or_default());
        let limit = most_files(&read_to_string("/proc/self/limits").unwrap_or_default());
        // Subtract the descriptor of this directory listing.
        let open = std::fs::read_dir("/proc/self/fd").ok().map(|files| number(files.count() - 1));
        let gauges = [
            (&c::PROCESS_MEMORY, memory),
            (&c::PROCESS_FDS, open),
            (&c::PROCESS_MAX_FDS, limit),
            (&c::PROCESS_START, started),
        ];
        for (described, value) in gauges {
            gauge(&mut encoder, described, value.map(|v| ([], v)))?;
        }
        Ok(())
    }
}

/// Encodes a gauge that was computed at scrape time, from pairs of label values and value.
pub(crate) fn gauge<const N: usize>(
    encoder: &mut DescriptorEncoder,
    described: &MetricDescription<N>,
    series: impl IntoIterator<Item = ([&'static str; N], f64)>,
) -> fmt::Result {
    debug_assert_eq!(described.kind, Kind::Gauge, "{}", described.name);
    encode(encoder, described, series.into_iter().map(|(values, value)| (values, ConstGauge::new(value))))
}

/// Encodes a counter whose value is kept elsewhere.
pub(crate) fn counter<const N: usize>(
    encoder: &mut DescriptorEncoder,
    described: &MetricDescription<N>,
    series: impl IntoIterator<Item = ([&'static str; N], f64)>,
) -> fmt::Result {
    debug_assert_eq!(described.kind, Kind::Counter, "{}", described.name);
    encode(encoder, described, series.into_iter().map(|(values, value)| (values, ConstCounter::new(value))))
}

fn encode<const N: usize, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder,
    described: &MetricDescription<N>,
    series: impl Iterator<Item = ([&'static str; N], M)>,
) -> fmt::Result {
    let mut series = series.peekable();
    let Some((_, first)) = series.peek() else { return Ok(()) };
    // The encoder appends the suffix of counters again.
    let name = described.name.trim_end_matches("_total");
    let mut metric = encoder.encode_descriptor(name, described.help, None, first.metric_type())?;
    for (values, value) in series {
        if N == 0 {
            return value.encode(metric);
        }
        value.encode(metric.encode_family(&labels(described.labels, values))?)?;
    }
    Ok(())
}

/// A gauge whose values a closure returns at each scrape.
pub(super) struct Watched<const N: usize, F> {
    pub(super) described: &'static MetricDescription<N>,
    pub(super) values: F,
}

impl<const N: usize, F> fmt::Debug for Watched<N, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("name", &self.described.name).finish_non_exhaustive()
    }
}

impl<const N: usize, F> Collector for Watched<N, F>
where
    F: Fn() -> Vec<([&'static str; N], f64)> + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        gauge(&mut encoder, self.described, (self.values)())
    }
}

/// Converts a count to a metric value. Counts beyond 2^52 do not occur.
#[expect(clippy::cast_precision_loss, reason = "counts of things in memory")]
pub(crate) fn number(count: usize) -> f64 {
    count as f64
}

/// Returns the fields of `/proc/self/stat` after the program's name, which may contain any character.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // Fields 14 and 15 of proc(5): user and system time. The first field here is number 3.
    let times: Vec<f64> = fields(stat).skip(11).take(2).filter_map(|t| t.parse().ok()).collect();
    (times.len() == 2).then(|| times.iter().sum::<f64>() / TICKS_PER_SECOND)
}

fn started(stat: &str, system: &str) -> Option<f64> {
    // Field 22 of proc(5): ticks from boot to the start of the process.
    let ticks: f64 = fields(stat).nth(19)?.parse().ok()?;
    let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + ticks / TICKS_PER_SECOND)
}

fn memory_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

fn most_files(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program's name may contain blanks and parentheses, which would shift every field.
    #[test]
    fn an_unusual_program_name_does_not_shift_fields() {
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 3 0 4200 1 1";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(started(stat, "cpu 1\nbtime 1000\n"), Some(1042.0));
    }

    #[test]
    fn values_that_cannot_be_read_are_omitted() {
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(memory_bytes("Name: x"), None);
        assert_eq!(most_files("Max open files unlimited unlimited files"), None);
    }
}
