//! What the operator writes to the API server, by its own metrics.

use super::{Site, lab, wait};
use std::collections::BTreeMap;
use std::net::TcpListener;

/// An operator whose writes are counted.
pub(crate) struct Writes {
    address: String,
}

impl Writes {
    /// Restarts the site's operator with its metrics on a free port.
    pub(crate) async fn of(site: &Site) -> Self {
        site.operator.kill();
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
        let writes = Self { address: format!("127.0.0.1:{port}") };
        site.operator.options(&["--http-addr", &writes.address]);
        site.operator.start();
        let curl = format!("curl -sf http://{}/metrics", writes.address);
        wait::until("the operator's metrics", wait::LIMIT, async || {
            let ended = tokio::process::Command::new("sh").args(["-c", &curl]).output().await;
            if ended.is_ok_and(|output| output.status.success()) {
                Ok(())
            } else {
                Err("no answer yet".to_owned())
            }
        })
        .await;
        writes
    }

    /// Returns the number of writes so far for each resource, without the renewals of the operator's own Leases.
    pub(crate) async fn count(&self) -> BTreeMap<String, u64> {
        let text = lab::output("curl", ["-sf", &format!("http://{}/metrics", self.address)]).await;
        let mut sums = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("farrier_api_requests_total{")) {
            let writes = ["create", "patch", "update", "delete"]
                .iter()
                .any(|v| line.contains(&format!("verb=\"{v}\"")));
            let is_renewal = line.contains("resource=\"leases\"") && line.contains("verb=\"update\"");
            let what = line.split("resource=\"").nth(1).and_then(|rest| rest.split('"').next());
            let count = line.rsplit_once(' ').and_then(|(_, n)| n.parse::<u64>().ok());
            if let (true, Some(what), Some(count)) = (writes && !is_renewal, what, count) {
                *sums.entry(what.to_owned()).or_default() += count;
            }
        }
        sums
    }
}
