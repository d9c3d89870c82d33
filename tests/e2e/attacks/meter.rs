//! The operator's metrics, and its use of memory and descriptors.

use crate::harness::{Site, wait};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How often descriptors are counted.
const EVERY: Duration = Duration::from_millis(20);

/// An operator that serves its metrics on a port.
pub(super) struct Meter {
    port: u16,
    proc: PathBuf,
    most: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

/// Values of metrics by name with labels.
pub(super) struct Reading(BTreeMap<String, u64>);

impl Meter {
    /// Restarts the site's operator with its metrics on a free port.
    pub(super) async fn start(site: &Site) -> Self {
        site.operator.kill();
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
        site.operator.options(&[&format!("--http-addr=127.0.0.1:{port}")]);
        site.operator.start();
        let proc = PathBuf::from(format!("/proc/{}", site.operator.pid()));
        let (most, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let meter = Self { port, proc: proc.clone(), most: most.clone(), over: over.clone() };
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let open = std::fs::read_dir(proc.join("fd")).map_or(0, Iterator::count);
                most.fetch_max(open, Ordering::Relaxed);
                // sleep: the maximum between two samples is unknown, but attacks last for seconds.
                std::thread::sleep(EVERY);
            }
        });
        wait::until("the operator's metrics", wait::LIMIT, async || meter.scrape().await.map(|_| ())).await;
        meter
    }

    /// Returns the current values.
    pub(super) async fn read(&self) -> Reading {
        self.scrape().await.expect("metrics")
    }

    /// Waits until at least `times` connections have been rejected for a cause since an earlier
    /// reading.
    pub(super) async fn refused(&self, since: &Reading, cause: &str, times: u64) {
        wait::until(&format!("{times} refusals: {cause}"), wait::LIMIT, async || {
            let now = self.read().await.refused(cause) - since.refused(cause);
            if now >= times { Ok(()) } else { Err(format!("{now} so far")) }
        })
        .await;
    }

    /// Waits until at most `at_most` connections are open.
    pub(super) async fn open(&self, at_most: u64) {
        wait::until("connections to be closed", wait::LIMIT, async || {
            let open = self.read().await.of("farrier_callback_connections_open");
            if open <= at_most { Ok(()) } else { Err(format!("{open} are open")) }
        })
        .await;
    }

    /// Returns the maximum number of open descriptors that was seen.
    pub(super) fn most_descriptors(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Returns the peak memory of the operator, in MiB.
    pub(super) fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc.join("status")).expect("the operator runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.split_whitespace().next().expect("a number").parse::<u64>().expect("kB") / 1024
    }

    async fn scrape(&self) -> Result<Reading, String> {
        let text = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Ok::<_, std::io::Error>(text)
        };
        let text = text.await.map_err(|error| error.to_string())?;
        let value = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            // The tests need whole numbers only.
            let whole = value.split('.').next()?.parse().ok()?;
            Some((name.to_owned(), whole))
        };
        Ok(Reading(text.lines().filter_map(value).collect()))
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Reading {
    /// Returns the value of a metric without labels.
    pub(super) fn of(&self, name: &str) -> u64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no metric {name}"))
    }

    /// Returns the number of rejected connections for a cause.
    pub(super) fn refused(&self, cause: &str) -> u64 {
        self.of(&format!("farrier_callback_connections_refused_total{{cause=\"{cause}\"}}"))
    }
}
