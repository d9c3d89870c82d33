//! Options for the logs of machines.

use crate::attempt::LogRetention;
use crate::log_store::LogStore;
use crate::metrics::Metrics;
use anyhow::Context as _;
use std::path::{Path, PathBuf};

/// Options for the logs of machines: what engines and installers print.
#[derive(Debug, clap::Args)]
#[group(id = "machine-logs")]
pub(super) struct Options {
    /// Directory for the logs of machines, from which `farrier logs` is answered. Default: farrier/logs under
    /// the cache directory of the user, or logs under the directory of --cache-dir.
    #[arg(id = "machine-log-dir", long = "machine-log-dir", env = "FARRIER_MACHINE_LOG_DIR")]
    dir: Option<PathBuf>,

    /// Maximum size of all logs in that directory in MiB. The logs that were not written to for longest make
    /// room for new ones; each is removed a week after its last line.
    #[arg(id = "machine-log-mib", long = "machine-log-mib", env = "FARRIER_MACHINE_LOG_MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(32..=1_048_576))]
    mib: u32,

    /// Number of runs whose logs are kept on each machine, in /var/log/farrier.
    #[arg(id = "machine-log-runs", long = "machine-log-runs", env = "FARRIER_MACHINE_LOG_RUNS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,

    /// Days for which logs are kept on each machine. Those of the last three runs are kept in any case.
    #[arg(id = "machine-log-days", long = "machine-log-days", env = "FARRIER_MACHINE_LOG_DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

impl Options {
    /// Opens the store of the logs. `cache` is the directory of --cache-dir, if it was given.
    ///
    /// # Errors
    /// When its directory cannot be used.
    pub(super) fn store(&self, cache: Option<&Path>, metrics: &Metrics) -> anyhow::Result<LogStore> {
        let default =
            || cache.map_or_else(|| super::cache_base().join("farrier/logs"), |dir| dir.join("logs"));
        let dir = self.dir.clone().unwrap_or_else(default);
        let limit = u64::from(self.mib) * 1024 * 1024;
        LogStore::open(&dir, limit, metrics).with_context(|| {
            format!(
                "failed to use {} for the logs of machines; name another directory with --machine-log-dir",
                dir.display()
            )
        })
    }

    /// Returns how long logs stay on machines.
    pub(super) fn retention(&self) -> LogRetention {
        LogRetention { runs: self.runs, days: self.days }
    }
}
